//! What agents cost: processor time and memory as the kernel counts them, probes as they count them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::Instant;

use crate::rig::Rig;
use crate::runner::exposition;

/// `USER_HZ`: what `/proc/<pid>/stat` counts in.
const TICKS_PER_SECOND: f64 = 100.0;
const READ_WITHIN: Duration = Duration::from_secs(30);

/// Cost of all agents over a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    agents: f64,
    over: Duration,
    cpu: Duration,
    probes: f64,
    /// Resident memory of the largest agent at the end, MiB.
    pub rss_mib: f64,
}

impl Cost {
    /// Processor time of all agents over the probes that they sent; answering the others' probes is part of it.
    pub(super) fn cpu_us_per_probe(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.probes
    }

    /// Thousandths of a processor that one agent takes.
    pub(super) fn mcpu_per_agent(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / self.over.as_secs_f64() / self.agents
    }

    /// Probes that one agent sends.
    pub(super) fn probes_per_second_and_agent(&self) -> f64 {
        self.probes / self.over.as_secs_f64() / self.agents
    }
}

/// One reading of one agent.
struct Reading {
    at: Instant,
    cpu_ticks: f64,
    rss_kib: f64,
    sent: f64,
}

/// Reads every agent twice, so far apart.
///
/// # Errors
/// When an agent does not run, or sent nothing.
pub(super) async fn over(rig: &Rig, time: Duration) -> Result<Cost> {
    let before = read_all(rig).await?;
    // A measurement takes as long as it takes.
    tokio::time::sleep(time).await;
    let after = read_all(rig).await?;
    let mut cost = Cost {
        agents: 0.0,
        over: Duration::ZERO,
        cpu: Duration::ZERO,
        probes: 0.0,
        rss_mib: 0.0,
    };
    for (then, now) in before.iter().zip(&after) {
        cost.agents += 1.0;
        cost.over = cost.over.max(now.at - then.at);
        cost.cpu +=
            Duration::from_secs_f64((now.cpu_ticks - then.cpu_ticks).max(0.0) / TICKS_PER_SECOND);
        cost.probes += now.sent - then.sent;
        cost.rss_mib = cost.rss_mib.max(now.rss_kib / 1024.0);
    }
    ensure!(
        cost.probes > 0.0,
        "the agents sent no probe in {} s",
        time.as_secs()
    );
    Ok(cost)
}

async fn read_all(rig: &Rig) -> Result<Vec<Reading>> {
    let hosts = rig.fabric().hosts().iter();
    futures::future::try_join_all(hosts.map(|host| read(rig, &host.name))).await
}

async fn read(rig: &Rig, host: &str) -> Result<Reading> {
    let Some(pid) = rig.agent_pid(host).await? else {
        bail!("the agent of {host} does not run");
    };
    let script = format!("cat /proc/{pid}/stat; grep VmRSS /proc/{pid}/status");
    let text = rig
        .guest()
        .script("reading the cost of an agent", &script, READ_WITHIN)
        .await?;
    let metrics = rig.agent_http(host, "/metrics").await?;
    let (cpu_ticks, rss_kib) = parse(&text).with_context(|| format!("parse {text:?}"))?;
    Ok(Reading {
        at: Instant::now(),
        cpu_ticks,
        rss_kib,
        sent: exposition::series(&metrics, "rdmamesh_probe_sent_total")
            .map(|(_, value)| value)
            .sum(),
    })
}

/// User and system time in ticks, resident memory in KiB.
fn parse(text: &str) -> Option<(f64, f64)> {
    let (stat, status) = text.split_once("VmRSS:")?;
    // The command's name may hold blanks: fields are counted from behind it, the first one there is the third.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let user: f64 = fields.nth(11)?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((
        user + system,
        status.split_ascii_whitespace().next()?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_taken_from_proc() {
        let text = "77 (agent (x) y) S 1 77 77 0 -1 4194560 5 0 0 0 120 34 0 0 20 0 9 0 100 1 2\nVmRSS:\t   20480 kB\n";
        assert_eq!(parse(text), Some((154.0, 20480.0)));
        assert_eq!(parse("gone"), None);
    }

    #[test]
    fn costs_are_per_probe_and_per_agent() {
        let cost = Cost {
            agents: 4.0,
            over: Duration::from_secs(10),
            cpu: Duration::from_secs(2),
            probes: 1000.0,
            rss_mib: 20.0,
        };
        assert!((cost.cpu_us_per_probe() - 2000.0).abs() < 1e-6);
        assert!((cost.mcpu_per_agent() - 50.0).abs() < 1e-6);
        assert!((cost.probes_per_second_and_agent() - 25.0).abs() < 1e-6);
    }
}
