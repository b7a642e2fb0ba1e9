//! What is on the wire: where probes go, and what agents do with datagrams that are not probes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdmamesh_e2e::channel::Program;
use rdmamesh_e2e::layout::Layout;
use rdmamesh_e2e::rig::Rig;
use rdmamesh_e2e::runner::exposition::{label, series};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// A flow as a spine sees it: source and destination address, UDP source port.
pub type Flow = (String, String, u16);

/// RoCEv2 packets that a spine takes in from its leaves, by flow.
async fn capture(rig: &Rig, spine: &str, packets: u32) -> Result<BTreeMap<Flow, u32>> {
    let script = format!(
        "for leaf in leaf1 leaf2; do
           timeout 40 ip netns exec {spine} tcpdump -lnn -Q in -i $leaf -c {packets} udp dst port 4791 2>/dev/null &
         done
         wait"
    );
    let text = rig
        .guest()
        .script(&format!("listening on {spine}"), &script, MINUTE)
        .await?;
    let mut flows = BTreeMap::new();
    for line in text.lines() {
        let flow = parse(line).with_context(|| format!("not a packet: {line:?}"))?;
        *flows.entry(flow).or_default() += 1;
    }
    Ok(flows)
}

/// `11:46:15.123456 IP 10.10.1.2.51234 > 10.10.2.2.4791: UDP, length 120`
pub fn parse(line: &str) -> Option<Flow> {
    let mut words = line.split_whitespace();
    let source = words.by_ref().skip_while(|word| *word != "IP").nth(1)?;
    let destination = words.nth(1)?;
    let (from, port) = source.rsplit_once('.')?;
    let (to, _) = destination.rsplit_once('.')?;
    Some((from.to_owned(), to.to_owned(), port.parse().ok()?))
}

/// The proof that the probes see the whole fabric: every pair of racks has flows over either spine.
pub async fn probes_cross_both_spines_and_each_flow_stays_on_its_path(rig: &mut Rig) -> Result<()> {
    let (first, second) =
        tokio::try_join!(capture(rig, "spine1", 400), capture(rig, "spine2", 400))?;
    let address = |host: &str| anyhow::Ok(rig.fabric().rail(host, 1)?.address.to_string());
    for (from, to) in [
        ("host1", "host3"),
        ("host1", "host4"),
        ("host3", "host2"),
        ("host4", "host1"),
    ] {
        let ends = (address(from)?, address(to)?);
        for (spine, flows) in [("spine1", &first), ("spine2", &second)] {
            let ports = flows
                .keys()
                .filter(|flow| (&flow.0, &flow.1) == (&ends.0, &ends.1))
                .count();
            ensure!(
                ports > 0,
                "no flow from {from} to {to} crosses {spine}: {flows:?}"
            );
        }
    }
    let one: BTreeSet<&Flow> = first.keys().collect();
    let both: Vec<&&Flow> = one
        .iter()
        .filter(|flow| second.contains_key(**flow))
        .collect();
    ensure!(both.is_empty(), "flows seen on both spines: {both:?}");
    Ok(())
}

/// Datagrams per transport that the attack consists of.
const FORGED: u32 = 10_000;
const ATTACK_WITHIN: Duration = Duration::from_secs(180);
const COUNTED_WITHIN: Duration = Duration::from_secs(20);

/// Datagrams that a host's agent has refused, and control datagrams that its kernel had no room for.
async fn refused(rig: &Rig, host: &str, transport: &str) -> Result<u64> {
    let metrics = rig.agent_http(host, "/metrics").await?;
    let dropped: f64 = series(&metrics, "rdmamesh_datagram_dropped_total")
        .filter(|(labels, _)| label(labels, "rdmamesh_transport") == Some(transport))
        .map(|(_, value)| value)
        .sum();
    if transport == "rdma" {
        return Ok(dropped as u64);
    }
    let cat = Program::new(["cat", "/proc/net/snmp"]).in_netns(host);
    let snmp = rig
        .guest()
        .run(cat, "", MINUTE)
        .await?
        .checked("reading UDP counters")?;
    let row = snmp
        .lines()
        .filter(|line| line.starts_with("Udp:"))
        .nth(1)
        .context("a row of UDP")?;
    let overflows: u64 = row
        .split_whitespace()
        .nth(5)
        .context("RcvbufErrors")?
        .parse()?;
    Ok(dropped as u64 + overflows)
}

/// Random, truncated, damaged, foreign and replayed datagrams, on the fabric and on the control socket.
pub async fn forged_and_random_datagrams_are_dropped_counted_and_not_answered(
    rig: &mut Rig,
) -> Result<()> {
    let forge = Layout::of_workspace()?
        .product("examples/forge")
        .context("build it: cargo build -p rdmamesh-agent --example forge")?;
    let victim = rig.fabric().host("host3")?;
    let rail = rig.fabric().rail("host3", 1)?;
    let target = format!(
        "host3/{}={}@{}:7475",
        rail.rnic, rail.address, victim.management
    );
    let before = (
        refused(rig, "host3", "rdma").await?,
        refused(rig, "host3", "ip").await?,
    );
    let pid = rig.agent_pid("host3").await?;
    let keys = rig.folder().join("keys").display().to_string();
    let attack = Program::new([
        forge.display().to_string().as_str(),
        "--device",
        "rxe1",
        "--target",
        &target,
        "--probe-keys",
        &keys,
        "--count",
        &FORGED.to_string(),
    ])
    .in_netns("host1");
    // Fails by itself when anything but the genuine datagrams is answered.
    rig.guest()
        .run(attack, "", ATTACK_WITHIN)
        .await?
        .checked("the attack")?;
    ensure!(
        rig.agent_pid("host3").await? == pid,
        "the agent did not survive"
    );
    for (transport, before) in [("rdma", before.0), ("ip", before.1)] {
        let deadline = Instant::now() + COUNTED_WITHIN;
        loop {
            let counted = refused(rig, "host3", transport).await? - before;
            if counted >= u64::from(FORGED) {
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "{counted} of {FORGED} counted as dropped over {transport}"
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    Ok(())
}
