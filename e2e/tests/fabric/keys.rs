//! The probe keys, rotated in the steps that the chart's README tells, under probing.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdmamesh_e2e::control_plane::credentials::base64;
use rdmamesh_e2e::control_plane::pki::write_secret;
use rdmamesh_e2e::rig::Rig;
use rdmamesh_e2e::runner::counters::{Outcomes, since};
use rdmamesh_e2e::runner::exposition::{label, outcomes, series};
use tokio::time::Instant;

/// Agents look at the folder every 10 s; this machine may be busy.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// Probes that are sent after the last step, to be judged with the rest.
const MORE_PROBES: u64 = 500;

/// Two keys, the new one signs, the old one goes: no probe is lost and no datagram is refused.
pub async fn probe_keys_are_rotated_without_a_lost_probe(rig: &mut Rig) -> Result<()> {
    let keys = rig.folder().join("keys");
    let first = std::fs::read_to_string(keys.join("1")).context("read the first key")?;
    let before = counted(rig).await?;
    // What `active` names is there first: without it the highest key signs.
    write_secret(&keys.join("active"), "1")?;
    write_secret(&keys.join("2"), &base64(&[2; 32]))?;
    taken(rig, "ids=[1, 2] active=1").await?;
    write_secret(&keys.join("active"), "2")?;
    taken(rig, "ids=[1, 2] active=2").await?;
    std::fs::remove_file(keys.join("1")).context("take the old key away")?;
    taken(rig, "ids=[2] active=2").await?;
    let rotated = counted(rig).await?;
    let deadline = Instant::now() + TAKEN_WITHIN;
    let end = loop {
        let now = counted(rig).await?;
        if since(&now, &rotated)
            .get("sent")
            .is_some_and(|sent| *sent >= MORE_PROBES)
        {
            break now;
        }
        ensure!(Instant::now() < deadline, "probing has stopped: {now:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let during = since(&end, &before);
    // What tests after this one find is what they would have found before, and a key more.
    write_secret(&keys.join("1"), &first)?;
    for bad in ["lost", "dropped for key", "dropped for mac"] {
        let number = during.get(bad).copied().unwrap_or_default();
        ensure!(
            number == 0,
            "{number} probes {bad} while the keys were rotated: {during:?}"
        );
    }
    Ok(())
}

/// What all agents have counted.
async fn counted(rig: &Rig) -> Result<Outcomes> {
    let mut all = Outcomes::new();
    for host in rig.fabric().hosts() {
        let text = rig.agent_http(&host.name, "/metrics").await?;
        for (name, number) in outcomes(&text) {
            *all.entry(name).or_default() += number;
        }
        for (labels, value) in series(&text, "rdmamesh_datagram_dropped_total") {
            let reason = label(labels, "rdmamesh_reason").unwrap_or_default();
            let name = format!("dropped for {reason}");
            // Counters are whole and far below 2^53.
            *all.entry(name).or_default() += value.round().max(0.0) as u64;
        }
    }
    Ok(all)
}

/// Waits until every agent has said that it took these keys.
async fn taken(rig: &Rig, keys: &str) -> Result<()> {
    let deadline = Instant::now() + TAKEN_WITHIN;
    let wanted = format!("probe keys changed {keys}");
    loop {
        let mut late = Vec::new();
        for host in rig.fabric().hosts() {
            let log = rig.folder().join(format!("logs/agent-{}.log", host.name));
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if !text.contains(&wanted) {
                late.push(host.name.as_str());
            }
        }
        if late.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("{late:?} have not taken the keys {keys} within {TAKEN_WITHIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
