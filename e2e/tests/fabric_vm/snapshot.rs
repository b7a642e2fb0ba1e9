//! The state of everything that a fault can change in the guest, as text to compare.

use std::time::Duration;

use anyhow::Result;
use rdmamesh_e2e::rig::Rig;

/// Interfaces, addresses, routes, rules, fixed neighbours, queueing disciplines, RDMA devices with state and GIDs,
/// control groups and processes. Order is of no meaning in any of it, so lines are sorted.
const LOOK: &str = r#"
printf '%s\n' 'link show' 'addr show' 'route show table all' 'rule show' \
  'neigh show nud permanent' > /tmp/look
for netns in $(ls /run/netns); do
  { ip -n $netns -o -batch /tmp/look; tc -n $netns qdisc; } | sed "s/ qlen [0-9]*//; s/^/$netns /"
done
grep -H . /sys/class/infiniband/rxe*/ports/1/{state,gids/0,gids/1} /sys/fs/cgroup/rig-*/cpu.max 2>/dev/null || true
ps -eo stat,args | grep -c 'while :; do' || true
"#;

/// Sorted lines of the present state.
pub async fn take(rig: &Rig) -> Result<Vec<String>> {
    let text = rig
        .guest()
        .script("looking at the fabric", LOOK, Duration::from_secs(180))
        .await?;
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.sort();
    Ok(lines)
}

/// Waits until the state is again as it was: addresses that the kernel makes itself (IPv6 link-local) come a moment
/// after their interface.
///
/// # Errors
/// Shows what differs when it stays different.
pub async fn wait_same(rig: &Rig, before: &[String]) -> Result<()> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let now = take(rig).await?;
        if now == before {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            let gone: Vec<_> = before.iter().filter(|line| !now.contains(line)).collect();
            let new: Vec<_> = now.iter().filter(|line| !before.contains(line)).collect();
            anyhow::bail!("the fabric differs from before\ngone: {gone:#?}\nnew: {new:#?}");
        }
    }
}
