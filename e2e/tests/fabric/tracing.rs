//! Path tracing against what is really on the wire, and without a tracer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use rdmamesh_api::RdmaNode;
use rdmamesh_e2e::rig::Rig;
use serde::Deserialize;
use tokio::time::Instant;

use crate::datagrams::{Flow, parse};

const MINUTE: Duration = Duration::from_secs(60);
/// Every flow sends a probe per second at least.
const LISTEN_SECONDS: u32 = 12;
const KNOWN_WITHIN: Duration = Duration::from_secs(120);
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

/// One row of an agent's `/paths`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Traced {
    source: Ipv4Addr,
    target: Ipv4Addr,
    source_port: u16,
    routers: u8,
    #[serde(default)]
    path: Option<Vec<String>>,
}

impl Traced {
    fn flow(&self) -> Flow {
        let (source, target) = (self.source.to_string(), self.target.to_string());
        (source, target, self.source_port)
    }

    fn is_complete(&self) -> bool {
        let known = |path: &Vec<String>| {
            path.len() == usize::from(self.routers) && path.iter().all(|hop| !hop.is_empty())
        };
        self.routers > 0 && self.path.as_ref().is_some_and(known)
    }
}

async fn traced(rig: &Rig) -> Result<Vec<Traced>> {
    let mut all = Vec::new();
    for host in rig.fabric().hosts() {
        let page = rig.agent_http(&host.name, "/paths").await?;
        let rows: Vec<Traced> = serde_json::from_str(&page)
            .with_context(|| format!("the page /paths of {}", host.name))?;
        all.extend(rows);
    }
    Ok(all)
}

/// Every flow's path, once all are known.
async fn all_traced(rig: &Rig) -> Result<Vec<Traced>> {
    let deadline = Instant::now() + KNOWN_WITHIN;
    loop {
        let rows = traced(rig).await?;
        let missing = rows.iter().filter(|row| !row.is_complete()).count();
        if missing == 0 && rows.len() >= rig.fabric().hosts().len() {
            return Ok(rows);
        }
        ensure!(
            Instant::now() < deadline,
            "{missing} of {} flows are not traced completely: {:?}",
            rows.len(),
            rows.iter().find(|row| !row.is_complete())
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Flows of `filter` that come in at `netns`' interfaces, as tcpdump sees them.
async fn seen(rig: &Rig, netns: &str, devices: &[String], filter: &str) -> Result<BTreeSet<Flow>> {
    let devices = devices.join(" ");
    let script = format!(
        "for device in {devices}; do
           timeout {LISTEN_SECONDS} ip netns exec {netns} tcpdump -lnn -Q in -i $device udp dst port 4791 and '{filter}' 2>/dev/null &
         done
         wait || true"
    );
    let text = rig
        .guest()
        .script(&format!("listening on {netns}"), &script, MINUTE)
        .await?;
    let flow = |line: &str| parse(line).with_context(|| format!("not a packet: {line:?}"));
    // tcpdump ends its output with an empty line when it is ended itself.
    text.lines()
        .filter(|line| !line.is_empty())
        .map(flow)
        .collect()
}

/// The claim of the tracer, checked against the wire for every flow: the probes of each flow cross just the switches that its
/// traced path names, and no traced packet comes to a host.
pub async fn traced_paths_equal_the_true_ones(rig: &mut Rig) -> Result<()> {
    let names: BTreeMap<String, String> = rig
        .fabric()
        .switch_addresses()
        .into_iter()
        .flat_map(|(name, all)| {
            all.into_iter()
                .map(move |at| (at.to_string(), name.clone()))
        })
        .collect();
    let before = all_traced(rig).await?;
    // Probes leave with a hop limit of 64; what the tracer sends ends after three routers.
    let mut truth: BTreeMap<Flow, Vec<String>> = BTreeMap::new();
    let leaves = rig.fabric().leaves();
    let spines = rig.fabric().spines();
    let listen = |spine: String| {
        let (rig, leaves) = (&*rig, &leaves);
        async move {
            let flows = seen(rig, &spine, leaves, "ip[8] > 32").await?;
            anyhow::Ok((spine, flows))
        }
    };
    let hosts: Vec<String> = rig
        .fabric()
        .hosts()
        .iter()
        .map(|host| host.name.clone())
        .collect();
    let at_host = |host: String| {
        let rig = &*rig;
        async move {
            let rails = ["rail1".to_owned()];
            let flows = seen(rig, &host, &rails, "ip[8] <= 32").await?;
            anyhow::Ok((host, flows))
        }
    };
    let (by_spine, strays) = tokio::try_join!(
        futures::future::try_join_all(spines.into_iter().map(listen)),
        futures::future::try_join_all(hosts.into_iter().map(at_host)),
    )?;
    for (host, flows) in strays {
        ensure!(flows.is_empty(), "traced packets came to {host}: {flows:?}");
    }
    for (spine, flows) in by_spine {
        for flow in flows {
            truth.entry(flow).or_default().push(spine.clone());
        }
    }
    let leaf_of: BTreeMap<String, String> = rig
        .fabric()
        .hosts()
        .iter()
        .flat_map(|host| &host.rails)
        .map(|rail| (rail.address.to_string(), rail.leaf.clone()))
        .collect();
    let mut compared = 0;
    for row in all_traced(rig).await? {
        let flow = row.flow();
        let (from, to) = (&leaf_of[&flow.0], &leaf_of[&flow.1]);
        let path: Vec<&str> = row
            .path
            .iter()
            .flatten()
            .map(|hop| names[hop].as_str())
            .collect();
        let expected: Vec<&str> = if from == to {
            ensure!(
                !truth.contains_key(&flow),
                "{flow:?} stays on {from} but crosses a spine"
            );
            vec![from]
        } else {
            let crossed = truth.get(&flow);
            let [spine] = crossed.map_or(&[][..], Vec::as_slice) else {
                anyhow::bail!("{flow:?} crosses not one spine but {crossed:?}");
            };
            vec![from, spine, to]
        };
        ensure!(
            path == expected,
            "{flow:?} goes {expected:?}, traced was {path:?}"
        );
        compared += 1;
    }
    ensure!(
        compared >= before.len().min(10),
        "only {compared} flows were compared"
    );
    Ok(())
}

/// Waits until a host's `RdmaNode` says this of path tracing.
async fn wait_for_state(rig: &Rig, host: &str, state: &str) -> Result<Option<String>> {
    let nodes: kube::Api<RdmaNode> = kube::Api::all(rig.client());
    let deadline = Instant::now() + NOTICED_WITHIN;
    loop {
        let node = nodes.get(host).await?;
        let tracing = node.status.and_then(|status| status.path_tracing);
        if let Some(tracing) = tracing.as_ref().filter(|tracing| tracing.state == state) {
            return Ok(tracing.reason.clone());
        }
        ensure!(
            Instant::now() < deadline,
            "path tracing of {host} is {tracing:?}, not {state}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A tracer that dies is missed, said so, and taken up again when it is back; nobody else notices.
pub async fn without_a_tracer_probing_goes_on_and_the_node_says_why(rig: &mut Rig) -> Result<()> {
    wait_for_state(rig, "host2", "Active").await?;
    let pid = rig.agent_pid("host2").await?;
    rig.signal_tracer("host2", Signal::SIGKILL).await?;
    let reason = wait_for_state(rig, "host2", "Unavailable").await?;
    let reason = reason.context("a reason")?;
    ensure!(reason.contains("tracer"), "the reason is {reason:?}");
    rig.start_tracer("host2").await?;
    wait_for_state(rig, "host2", "Active").await?;
    ensure!(
        rig.agent_pid("host2").await? == pid,
        "the agent was restarted"
    );
    Ok(())
}
