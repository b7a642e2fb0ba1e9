//! Faults: their effect, and that nothing of it stays.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use rdmamesh_e2e::channel::Program;
use rdmamesh_e2e::fault::Fault;
use rdmamesh_e2e::rig::Rig;

use crate::paths::{ping_pong, received, send_datagrams};
use crate::snapshot;

const MINUTE: Duration = Duration::from_secs(60);

fn fault(yaml: &str) -> Result<Fault> {
    serde_saphyr::from_str(yaml).with_context(|| format!("parse {yaml}"))
}

async fn rdma_link(rig: &Rig, host: &str) -> Result<String> {
    let program = Program::new(["rdma", "link"]).in_netns(host);
    rig.guest()
        .run(program, "", MINUTE)
        .await?
        .checked("rdma link")
}

pub async fn a_lossy_link_loses_its_share_and_no_other_link_does(rig: &mut Rig) -> Result<()> {
    rig.apply_fault(
        "f",
        fault("{kind: loss, link: host3-leaf2, percent: 30, direction: backward}")?,
    )
    .await?;
    let before = (
        received(rig, "leaf2", "spine1").await? + received(rig, "leaf2", "spine2").await?,
        received(rig, "host3", "rail1").await?,
    );
    send_datagrams(rig, "host1", "host3", 1000).await?;
    let arrived = (
        received(rig, "leaf2", "spine1").await? + received(rig, "leaf2", "spine2").await?
            - before.0,
        received(rig, "host3", "rail1").await? - before.1,
    );
    // Neighbour discovery adds a packet or two.
    ensure!(
        (1000..=1030).contains(&arrived.0),
        "at the leaf before the link: {arrived:?}"
    );
    // 1000 chances of 0.7: a deviation of 100 is seven standard deviations.
    ensure!(
        (600..=800).contains(&arrived.1),
        "behind the link: {arrived:?}"
    );
    rig.clear_fault("f").await?;
    let before = received(rig, "host3", "rail1").await?;
    send_datagrams(rig, "host1", "host3", 200).await?;
    let arrived = received(rig, "host3", "rail1").await? - before;
    ensure!(arrived >= 200, "after clearing: {arrived} of 200");
    Ok(())
}

pub async fn one_direction_of_a_link_can_be_lost(rig: &mut Rig) -> Result<()> {
    rig.apply_fault(
        "f",
        fault("{kind: linkDown, link: leaf1-spine2, direction: forward}")?,
    )
    .await?;
    let before = (
        received(rig, "spine1", "leaf1").await?,
        received(rig, "spine2", "leaf1").await?,
    );
    send_datagrams(rig, "host1", "host3", 200).await?;
    let after = (
        received(rig, "spine1", "leaf1").await?,
        received(rig, "spine2", "leaf1").await?,
    );
    let crossed = (after.0 - before.0, after.1 - before.1);
    ensure!(
        crossed.0 >= 50 && crossed.1 == 0,
        "to spine1 and spine2: {crossed:?}"
    );
    let before = received(rig, "leaf1", "spine2").await?;
    send_datagrams(rig, "host3", "host1", 200).await?;
    let back = received(rig, "leaf1", "spine2").await? - before;
    ensure!(back >= 50, "the other direction carries on: {back}");
    rig.clear_fault("f").await
}

pub async fn a_delayed_link_delays(rig: &mut Rig) -> Result<()> {
    let micros = |text: &str| -> Result<f64> {
        let line = text
            .lines()
            .find(|line| line.contains("usec/iter"))
            .context("a result")?;
        let word = line
            .split_ascii_whitespace()
            .rev()
            .nth(1)
            .context("a number")?;
        word.parse()
            .with_context(|| format!("{word:?} in {line:?}"))
    };
    let quiet = micros(&ping_pong(rig, ("host1", 1), ("host2", 1), 100).await?)?;
    rig.apply_fault(
        "f",
        fault("{kind: delay, link: host2-leaf1, delay: 20ms, direction: both}")?,
    )
    .await?;
    let slow = micros(&ping_pong(rig, ("host1", 1), ("host2", 1), 100).await?)?;
    ensure!(
        slow - quiet >= 38_000.0,
        "{quiet} us per round trip, {slow} us with 2 × 20 ms more"
    );
    rig.clear_fault("f").await
}

pub async fn an_rnic_without_carrier_is_down(rig: &mut Rig) -> Result<()> {
    rig.apply_fault("f", fault("{kind: linkDown, link: host1-leaf1}")?)
        .await?;
    let text = rdma_link(rig, "host1").await?;
    ensure!(text.contains("rxe1/1 state DOWN"), "{text}");
    ensure!(
        text.contains("rxe1.2/1 state ACTIVE"),
        "the other rail is not concerned: {text}"
    );
    rig.clear_fault("f").await?;
    let text = rdma_link(rig, "host1").await?;
    ensure!(text.contains("rxe1/1 state ACTIVE"), "{text}");
    ping_pong(rig, ("host1", 1), ("host3", 1), 20)
        .await
        .map(|_| ())
}

pub async fn a_removed_rnic_is_gone_and_comes_back_with_its_gids(rig: &mut Rig) -> Result<()> {
    rig.apply_fault("f", fault("{kind: rdmaRemove, host: host2, rail: 2}")?)
        .await?;
    let text = rdma_link(rig, "host2").await?;
    ensure!(
        !text.contains("rxe2.2/1") && text.contains("rxe2/1"),
        "{text}"
    );
    rig.clear_fault("f").await?;
    ping_pong(rig, ("host2", 2), ("host4", 2), 20)
        .await
        .map(|_| ())
}

pub async fn a_hogged_host_gets_little_processor_time(rig: &mut Rig) -> Result<()> {
    rig.apply_fault("f", fault("{kind: cpuHog, host: host1}")?)
        .await?;
    let script = "file=/sys/fs/cgroup/rig-host1/cpu.stat
        usage() { awk '$1 == \"usage_usec\" {print $2}' $file; cut -d' ' -f1 /proc/uptime; }
        usage; sleep 4; usage";
    let text = rig.guest().script("measuring", script, MINUTE).await?;
    let numbers: Result<Vec<f64>, _> = text.split_ascii_whitespace().map(str::parse).collect();
    let [used_before, from, used_after, to] = numbers.context("numbers")?[..] else {
        anyhow::bail!("{text:?}");
    };
    let share = (used_after - used_before) / 1e6 / (to - from);
    // A fifth of a processor, of which the host machine itself may have had less to give.
    ensure!((0.02..=0.25).contains(&share), "{share} of a processor");
    rig.clear_fault("f").await
}

pub async fn the_api_server_comes_back_at_its_address(rig: &mut Rig) -> Result<()> {
    let nodes: Api<Node> = Api::all(rig.client());
    let count = nodes.list(&ListParams::default()).await?.items.len();
    rig.apply_fault("f", fault("{kind: apiServerDown, for: 20s}")?)
        .await?;
    ensure!(
        nodes.list(&ListParams::default()).await.is_err(),
        "nobody answers"
    );
    rig.clear_fault("f").await?;
    ensure!(
        nodes.list(&ListParams::default()).await?.items.len() == count,
        "the nodes are there"
    );
    Ok(())
}

/// Every kind of fault that changes the fabric.
const KINDS: &[&str] = &[
    "{kind: loss, link: leaf1-spine1, percent: 10}",
    "{kind: delay, link: host1-leaf1, delay: 1ms, jitter: 100us}",
    "{kind: corrupt, link: leaf2-spine1, percent: 10, direction: forward}",
    "{kind: linkDown, link: leaf1-spine1}",
    "{kind: linkDown, link: host1-leaf1}",
    "{kind: switchLoss, switch: leaf1, percent: 10}",
    "{kind: switchDown, switch: spine1}",
    "{kind: switchDown, switch: leaf1}",
    "{kind: nicDown, host: host1}",
    "{kind: nicDown, host: host1, rail: 2}",
    "{kind: nicLoss, host: host1, percent: 10}",
    "{kind: rdmaRemove, host: host1}",
    "{kind: cpuHog, host: host1}",
];

/// The control group that a hogged host's processes run in is made at the first use and stays.
async fn settled(rig: &mut Rig) -> Result<Vec<String>> {
    rig.apply_fault("first", fault("{kind: cpuHog, host: host1}")?)
        .await?;
    rig.clear_fault("first").await?;
    snapshot::take(rig).await
}

pub async fn every_cleared_fault_leaves_no_trace(rig: &mut Rig) -> Result<()> {
    let before = settled(rig).await?;
    for kind in KINDS {
        rig.apply_fault("f", fault(kind)?).await?;
        ensure!(
            snapshot::take(rig).await? != before,
            "{kind} changes nothing"
        );
        rig.clear_fault("f").await?;
        snapshot::wait_same(rig, &before)
            .await
            .with_context(|| format!("after {kind}"))?;
    }
    Ok(())
}

pub async fn overlapping_faults_cleared_in_any_order_leave_no_trace(rig: &mut Rig) -> Result<()> {
    let before = settled(rig).await?;
    let orders: [fn(usize) -> usize; 2] = [|index| index, |index| index * 5 % KINDS.len()];
    for order in orders {
        for (index, kind) in KINDS.iter().enumerate() {
            rig.apply_fault(&format!("f{index}"), fault(kind)?)
                .await
                .with_context(|| (*kind).to_owned())?;
        }
        for index in (0..KINDS.len()).map(order) {
            rig.clear_fault(&format!("f{index}"))
                .await
                .with_context(|| KINDS[index].to_owned())?;
        }
        snapshot::wait_same(rig, &before).await?;
    }
    ping_pong(rig, ("host1", 1), ("host3", 1), 20)
        .await
        .map(|_| ())
}
