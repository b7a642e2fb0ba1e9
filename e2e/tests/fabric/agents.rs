//! Agents as processes: devices that go away under them, the end, what they register.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use rdmamesh_e2e::rig::Rig;
use rdmamesh_e2e::rig::registry::Registered;
use rdmamesh_e2e::runner::exposition::{label, series};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// Waits until a gauge of a host's RNIC has a value.
async fn wait_gauge(rig: &Rig, host: &str, metric: &str, device: &str, wanted: f64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let text = rig.agent_http(host, "/metrics").await?;
        let found: Vec<f64> = series(&text, metric)
            .filter(|(labels, _)| label(labels, "device") == Some(device))
            .map(|(_, value)| value)
            .collect();
        if found == [wanted] {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("{metric} of {host}/{device} is {found:?}, not {wanted}, after 30 s");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// A process that keeps its context open would block `rdma link delete` until it is killed.
pub async fn an_rdma_device_is_let_go_of_at_once_and_taken_up_again(rig: &mut Rig) -> Result<()> {
    let pid = rig
        .agent_pid("host2")
        .await?
        .context("the agent of host2 runs")?;
    wait_gauge(rig, "host2", "rdmamesh_port_probing", "rxe2", 1.0).await?;
    for _ in 0..3 {
        let script = "start=$(date +%s%N)
            timeout 30 ip netns exec host2 rdma link delete rxe2
            echo $(( ($(date +%s%N) - start) / 1000000 ))";
        let took = rig
            .guest()
            .script("removing the device", script, MINUTE)
            .await?;
        let millis: u64 = took
            .trim()
            .parse()
            .with_context(|| format!("a time, not {took:?}"))?;
        ensure!(
            millis <= 2_000,
            "`rdma link delete` took {millis} ms with the agent running"
        );
        let script = "ip netns exec host2 rdma link add rxe2 type rxe netdev rail1";
        rig.guest()
            .script("adding the device again", script, MINUTE)
            .await?;
        wait_gauge(rig, "host2", "rdmamesh_port_probing", "rxe2", 1.0).await?;
    }
    ensure!(
        rig.agent_pid("host2").await? == Some(pid),
        "the agent was restarted meanwhile"
    );
    Ok(())
}

/// SIGTERM: last status and metrics go out, and the process ends with status 0.
pub async fn an_agent_that_is_asked_to_end_does_so_within_5_seconds(rig: &mut Rig) -> Result<()> {
    let asked = Instant::now();
    rig.signal_agent("host3", Signal::SIGTERM).await?;
    let ended = rig
        .guest()
        .wait("agent-host3", Duration::from_secs(15))
        .await?;
    let took = asked.elapsed();
    rig.start_agent("host3").await?;
    let exit = ended.exit.context("it does not end within 15 s")?;
    ensure!(took <= Duration::from_secs(5), "it took {took:?}");
    ensure!(
        exit == rdmamesh_e2e::channel::protocol::Exit::Code(0),
        "it ended with {exit:?}"
    );
    Ok(())
}

/// `rig registry`: who is registered. An agent that has just started writes its queue pairs a moment later.
pub async fn the_registry_names_every_rnic_with_its_queue_pairs(rig: &mut Rig) -> Result<()> {
    let deadline = Instant::now() + REGISTERED_WITHIN;
    loop {
        let registered = rig.registry().await?;
        match complete(rig, &registered) {
            Ok(()) => return Ok(()),
            Err(gap) if Instant::now() >= deadline => return Err(gap),
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

/// Agents write an inventory at most every two seconds, and this machine may be busy.
const REGISTERED_WITHIN: Duration = Duration::from_secs(60);

/// What of the fabric is not registered as it should be.
fn complete(rig: &Rig, registered: &[Registered]) -> Result<()> {
    for host in rig.fabric().hosts() {
        for rail in &host.rails {
            let row = registered
                .iter()
                .find(|row| row.node == host.name && row.device == rail.rnic)
                .with_context(|| format!("{}/{} is not registered", host.name, rail.rnic))?;
            let gid = rail.address.to_ipv6_mapped().to_string();
            ensure!(
                row.gids.iter().any(|known| known.contains(&gid)),
                "no {gid}: {row:?}"
            );
            ensure!(
                row.group.as_deref() == Some(host.rack.as_str()),
                "no group {}: {row:?}",
                host.rack
            );
            ensure!(
                !row.qpns.is_empty() && row.last_seen.is_some(),
                "no queue pairs: {row:?}"
            );
        }
    }
    Ok(())
}
