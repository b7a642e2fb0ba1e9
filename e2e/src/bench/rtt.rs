//! Network round-trip time as our probes see it, beside what perftest and the verbs examples measure between the same
//! two RNICs of the same VM.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::Api;
use rdmamesh_api::RdmaProbeAssignment;
use serde_json::json;
use tokio::time::Instant;

use super::{Figures, healthy};
use crate::progress::Progress;
use crate::rig::Rig;
use crate::runner::exposition;

/// The pair: two hosts under one leaf.
const FROM: &str = "host1";
const TO: &str = "host2";
/// Round trips of each peer tool.
const ITERATIONS: u32 = 2000;
/// Long enough that the 99th percentile has tens of probes above it.
const WINDOW: Duration = Duration::from_secs(60);
const TOOL_WITHIN: Duration = Duration::from_secs(60);
/// These tools wait for ever for a datagram that was lost, which happens between emulated processors now and then;
/// then they have measured nothing and are run again.
const TOOL_TRIES: u32 = 3;

/// Percentiles of a round trip.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Percentiles {
    p50: Duration,
    p99: Duration,
}

/// Measures both tools, then our probes with nothing else on the fabric.
pub(super) async fn measure(rig: &mut Rig, progress: &Progress) -> Result<Figures> {
    progress.say("round trips by ib_send_lat and ibv_ud_pingpong, agents idle");
    // Half a round trip is what perftest prints.
    let half = send_lat(rig, "").await?;
    let half_with_events = send_lat(rig, "-e").await?;
    let half_paced = paced(send_lat(rig, &format!("-e --latency_gap={GAP_US} -n 500")).await?);
    let pingpong = pingpong(rig).await?;
    progress.say("round trips by our probes, one pair, 50 a second each way");
    let ours = probes(rig, progress).await?;
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let ratio = |ours: Duration, half: Duration| ours.as_secs_f64() / (2.0 * half.as_secs_f64());
    Ok(Figures::from([
        ("rtt_p50_us", us(ours.rtt.p50)),
        ("rtt_p99_us", us(ours.rtt.p99)),
        ("rtt_invalid_ratio", ours.invalid),
        ("ib_send_lat_p50_us", us(half.p50)),
        ("ib_send_lat_p99_us", us(half.p99)),
        ("ib_send_lat_events_p50_us", us(half_with_events.p50)),
        ("ib_send_lat_events_p99_us", us(half_with_events.p99)),
        ("ib_send_lat_paced_p50_us", us(half_paced.p50)),
        ("ib_send_lat_paced_p99_us", us(half_paced.p99)),
        ("ibv_ud_pingpong_us", us(pingpong)),
        ("rtt_p50_ratio", ratio(ours.rtt.p50, half.p50)),
        ("rtt_p99_ratio", ratio(ours.rtt.p99, half.p99)),
        (
            "rtt_p50_ratio_events",
            ratio(ours.rtt.p50, half_with_events.p50),
        ),
        ("rtt_p50_ratio_paced", ratio(ours.rtt.p50, half_paced.p50)),
        ("rtt_p99_ratio_paced", ratio(ours.rtt.p99, half_paced.p99)),
        (
            "rtt_p50_ratio_pingpong",
            ours.rtt.p50.as_secs_f64() / pingpong.as_secs_f64(),
        ),
    ]))
}

/// Runs a client-server tool between the two hosts; `$SERVER`'s address is appended to the client's arguments.
async fn tool(rig: &Rig, program: &str, arguments: impl Fn(&str) -> String) -> Result<String> {
    let fabric = rig.fabric();
    let (from, to) = (&fabric.rail(FROM, 1)?.rnic, &fabric.rail(TO, 1)?.rnic);
    let address = fabric.host(TO)?.management;
    let script = format!(
        "timeout 50 ip netns exec {TO} {program} {} >/tmp/server.log 2>&1 &
         until ip netns exec {TO} ss -Hltn 'sport = 18515' | grep -q .; do sleep 0.1; done
         status=0; timeout 40 ip netns exec {FROM} {program} {} {address} 2>&1 || status=$?
         wait; exit $status",
        arguments(to),
        arguments(from)
    );
    let mut tries = 1;
    loop {
        match rig.guest().script(program, &script, TOOL_WITHIN).await {
            Err(_) if tries < TOOL_TRIES => tries += 1,
            ended => return ended,
        }
    }
}

/// `ib_send_lat -c UD`: half a round trip.
async fn send_lat(rig: &Rig, mode: &str) -> Result<Percentiles> {
    let text = tool(rig, "ib_send_lat", |device| {
        format!("-c UD -d {device} -x 1 -F -s {PROBE_BYTES} -n {ITERATIONS} {mode}")
    })
    .await?;
    parse_send_lat(&text).with_context(|| format!("parse ib_send_lat's table:\n{text}"))
}

/// Between two messages of a paced `ib_send_lat`, as between two of our probes: both ends have gone to sleep meanwhile.
const GAP_US: u64 = 20_000;

/// Takes the pause off, which perftest counts as part of the time.
fn paced(measured: Percentiles) -> Percentiles {
    let gap = Duration::from_micros(GAP_US);
    Percentiles {
        p50: measured.p50.saturating_sub(gap),
        p99: measured.p99.saturating_sub(gap),
    }
}

/// Datagram of the same size as a probe.
const PROBE_BYTES: u32 = 88;

/// `#bytes #iterations t_min t_max t_typical t_avg t_stdev 99% 99.9%`, microseconds.
fn parse_send_lat(text: &str) -> Option<Percentiles> {
    let row: Vec<f64> = text
        .lines()
        .map(|line| {
            line.split_ascii_whitespace()
                .map_while(|word| word.parse().ok())
                .collect::<Vec<f64>>()
        })
        .rfind(|numbers| numbers.len() == 9)?;
    Some(Percentiles {
        p50: Duration::from_secs_f64(row[4] / 1e6),
        p99: Duration::from_secs_f64(row[7] / 1e6),
    })
}

/// `ibv_ud_pingpong -e`: a mean round trip, with completion events as an agent uses them.
async fn pingpong(rig: &Rig) -> Result<Duration> {
    let text = tool(rig, "ibv_ud_pingpong", |device| {
        format!("-d {device} -g 1 -e -s {PROBE_BYTES} -n {ITERATIONS}")
    })
    .await?;
    parse_pingpong(&text).with_context(|| format!("parse ibv_ud_pingpong's output:\n{text}"))
}

/// `2000 iters in 0.44 seconds = 221.03 usec/iter`
fn parse_pingpong(text: &str) -> Option<Duration> {
    let line = text.lines().find(|line| line.ends_with("usec/iter"))?;
    let number: f64 = line.split_ascii_whitespace().rev().nth(1)?.parse().ok()?;
    Some(Duration::from_secs_f64(number / 1e6))
}

/// What our probes found.
struct Probes {
    rtt: Percentiles,
    invalid: f64,
}

async fn probes(rig: &mut Rig, progress: &Progress) -> Result<Probes> {
    let mesh = json!({
        "nodeSelector": {"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [FROM, TO]},
        ]},
        "probes": {"torMesh": {"interval": "20ms"}, "interTor": {"enabled": false}, "control": {"enabled": false}},
        "thresholds": {"window": format!("{}s", WINDOW.as_secs()), "p99": "10s"},
    });
    let world = healthy(rig, &mesh, progress).await?;
    let rtt = reported(world.rig()).await?;
    let metrics = world.rig().agent_http(FROM, "/metrics").await?;
    let outcomes = exposition::outcomes(&metrics);
    let count = |name: &str| outcomes.get(name).copied().unwrap_or_default() as f64;
    let invalid = count("invalid") / (count("ok") + count("invalid"));
    world.remove_mesh().await?;
    Ok(Probes { rtt, invalid })
}

/// The first full window that the agent reports: it holds nothing but the one pair.
async fn reported(rig: &Rig) -> Result<Percentiles> {
    let api: Api<RdmaProbeAssignment> = Api::all(rig.client());
    let deadline = Instant::now() + WINDOW * 2;
    loop {
        let assignment = api.get(FROM).await?;
        let reports = assignment
            .status
            .into_iter()
            .flat_map(|status| status.meshes);
        let rnic = reports
            .flat_map(|mesh| mesh.rnics)
            .find(|rnic| rnic.ok > 1000);
        if let Some(rnic) = rnic {
            let (p50, p99) = (
                rnic.p50.context("a median")?,
                rnic.p99.context("a 99th percentile")?,
            );
            return Ok(Percentiles {
                p50: p50.get(),
                p99: p99.get(),
            });
        }
        ensure!(
            Instant::now() < deadline,
            "the agent of {FROM} reports no full window"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_tables_are_understood() {
        let table = "\
 #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec]
 128     2000          61.02          1520.77      73.25            80.11         40.02            160.50                 900.00
---------------------------------------------------------------------------------------
";
        let found = parse_send_lat(table).expect("a row");
        assert_eq!(found.p50, Duration::from_nanos(73_250));
        assert_eq!(found.p99, Duration::from_nanos(160_500));
        let pingpong = "512000 bytes in 0.44 seconds = 9.3 Mbit/sec\n2000 iters in 0.44 seconds = 221.03 usec/iter\n";
        assert_eq!(
            parse_pingpong(pingpong),
            Some(Duration::from_nanos(221_030))
        );
    }
}
