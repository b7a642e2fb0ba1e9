//! What is on the wire: where probes go, and what agents do with datagrams that are not probes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdmamesh_e2e::rig::Rig;

const MINUTE: Duration = Duration::from_secs(60);

/// A flow as a spine sees it: source and destination address, UDP source port.
type Flow = (String, String, u16);

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
fn parse(line: &str) -> Option<Flow> {
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
