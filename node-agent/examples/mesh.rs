//! The data path of an agent without Kubernetes: probes the peers given on the command line, answers everybody else, and prints one
//! line per second and a JSON summary at the end (after `--seconds`, SIGINT or SIGTERM). For tests and measurements.
//!
//! `mesh --node host1 --device rxe1 --peer host3/rxe3=10.10.2.2@10.12.0.4:7475 --flows 4 --interval-ms 100 --seconds 20`
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "prints its results")]

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use nix::sys::resource::{UsageWho, getrusage};
use rdmamesh_agent::dataplane::{self, Budget, DataplaneConfig, DataplaneHandle};
use rdmamesh_agent::keys;
use rdmamesh_agent::model::{
    FabricAddress, GidIndex, LocalPort, Peer, PortPlan, ProbeClass, ProbePlan, RttHistogram, Tally,
    Target, TickReport, TrafficClass,
};
use rdmamesh_verbs::SysfsRoot;
use rdmamesh_wire::KeyRing;
use serde_json::json;
use tokio::sync::watch;

/// Command line.
#[derive(Parser)]
struct Args {
    /// Name of this node; peers must call it the same.
    #[arg(long)]
    node: String,
    /// Local devices to probe from; all peers are probed from each.
    #[arg(long)]
    device: Vec<String>,
    /// `<node>/<device>=<fabric address>@<control address>:<port>`
    #[arg(long, value_parser = peer)]
    peer: Vec<Peer>,
    /// Also probe the peers over plain IP.
    #[arg(long)]
    control: bool,
    /// Where to answer control datagrams.
    #[arg(long, default_value = "0.0.0.0:7475")]
    control_listen: SocketAddr,
    /// Flows per peer.
    #[arg(long, default_value_t = 1)]
    flows: u16,
    /// Milliseconds between two probes of one flow.
    #[arg(long, default_value_t = 100)]
    interval_ms: u64,
    /// Milliseconds after which an answer is late.
    #[arg(long, default_value_t = 500)]
    timeout_ms: u64,
    /// Milliseconds of lateness that count as starvation.
    #[arg(long, default_value_t = 50)]
    starved_after_ms: u64,
    /// CPU budget in cores.
    #[arg(long)]
    cpu_budget: Option<f64>,
    /// Folder of keys; without it a key that is no secret is used.
    #[arg(long)]
    probe_keys: Option<PathBuf>,
    /// Ends after so many seconds; without it runs until a signal.
    #[arg(long)]
    seconds: Option<u64>,
    /// No line per second.
    #[arg(long)]
    quiet: bool,
}

fn peer(text: &str) -> Result<Peer> {
    let form = "write <node>/<device>=<fabric address>@<control address>:<port>";
    let (name, addresses) = text.split_once('=').context(form)?;
    let (node, device) = name.split_once('/').context(form)?;
    let (fabric, control) = addresses.split_once('@').context(form)?;
    let gid = match fabric.parse().context(form)? {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    Ok(Peer {
        node: node.into(),
        device: device.into(),
        port: 1,
        group: "peers".into(),
        address: FabricAddress::Gid(gid),
        control: Some(control.parse().context(form)?),
    })
}

fn plan(args: &Args) -> ProbePlan {
    let classes = [
        Some(ProbeClass::TorMesh),
        args.control.then_some(ProbeClass::Control),
    ];
    let targets: Vec<Arc<Target>> = args
        .peer
        .iter()
        .flat_map(|peer| classes.iter().flatten().map(move |class| (peer, *class)))
        .enumerate()
        .map(|(index, (peer, class))| {
            Arc::new(Target {
                mesh: "example".into(),
                mesh_id: 1,
                class,
                local_group: "here".into(),
                peer: peer.clone(),
                traffic_class: TrafficClass {
                    name: "default".into(),
                    dscp: 0,
                    service_level: 0,
                },
                flows: if class == ProbeClass::Control {
                    1
                } else {
                    args.flows
                },
                seed: index as u64,
                interval: Duration::from_millis(args.interval_ms),
                timeout: Duration::from_millis(args.timeout_ms),
                window: Duration::from_secs(5),
            })
        })
        .collect();
    let ports = args.device.iter().map(|device| PortPlan {
        local: LocalPort::new(device.as_str(), 1),
        gid_index: GidIndex::Auto,
        targets: targets.clone(),
    });
    ProbePlan {
        ports: ports.collect(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    if args.device.is_empty() && !args.peer.is_empty() {
        bail!("name the local device to probe from with --device");
    }
    let (_keep, keys) = match &args.probe_keys {
        Some(folder) => (None, keys::watch(folder)?),
        None => {
            let ring = KeyRing::new([(1, [0x42; 32].as_slice())], None)?;
            let (keep, keys) = watch::channel(Arc::new(ring));
            (Some(keep), keys)
        }
    };
    let config = DataplaneConfig {
        node: args.node.as_str().into(),
        control_listen: args.control_listen,
        max_qps: 64,
        budget: Budget {
            cpu_cores: args.cpu_budget,
            memory_bytes: None,
        },
        starved_after: Duration::from_millis(args.starved_after_ms),
    };
    let handle = dataplane::spawn(config, SysfsRoot::system(), keys)?;
    handle.set_plan(plan(&args));
    let mut reports = handle.reports().context("the first reader")?;
    let until = args.seconds.map_or(u64::MAX / 4, |seconds| seconds);
    let end = tokio::time::sleep(Duration::from_secs(until));
    tokio::pin!(end);
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        tokio::select! {
            Some(report) = reports.recv() => if !args.quiet { print_line(&report) },
            () = &mut end => break,
            _ = term.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    handle.shutdown().await;
    println!("{}", summary(&args.node, &handle));
    Ok(())
}

fn print_line(report: &TickReport) {
    let (mut tally, mut rtt) = (Tally::default(), RttHistogram::default());
    let over_rdma = report
        .targets
        .iter()
        .filter(|w| w.target.class != ProbeClass::Control);
    for window in over_rdma {
        tally += window.tally;
        rtt.merge(&window.rtt);
    }
    println!(
        "{} p50 {:?} p99 {:?}",
        tally_json(&tally),
        rtt.quantile(0.5),
        rtt.quantile(0.99)
    );
}

fn tally_json(tally: &Tally) -> serde_json::Value {
    json!({
        "sent": tally.sent, "ok": tally.ok, "lost": tally.lost, "late": tally.late,
        "hostDelayed": tally.host_delayed, "unresolved": tally.unresolved,
        "invalid": tally.invalid, "sendError": tally.send_error,
    })
}

fn rtt_json(rtt: &RttHistogram) -> serde_json::Value {
    let us = |d: Option<Duration>| d.map(|d| d.as_secs_f64() * 1e6);
    json!({
        "count": rtt.count(), "minUs": us(rtt.min()), "p50Us": us(rtt.quantile(0.5)),
        "p99Us": us(rtt.quantile(0.99)), "maxUs": us(rtt.max()),
    })
}

fn summary(node: &str, handle: &DataplaneHandle) -> serde_json::Value {
    let series: Vec<_> = handle
        .series()
        .iter()
        .map(|(key, series)| {
            json!({
                "class": key.class.as_str(), "local": key.local.to_string(),
                "tally": tally_json(&series.tally), "rtt": rtt_json(&series.rtt),
                "proberDelay": rtt_json(&series.prober_delay),
                "responderDelay": rtt_json(&series.responder_delay),
            })
        })
        .collect();
    let counters = handle.counters().snapshot();
    let drops = |drops: &[(&str, u64)]| -> serde_json::Map<String, serde_json::Value> {
        drops
            .iter()
            .filter(|(_, n)| *n > 0)
            .map(|(r, n)| ((*r).to_owned(), json!(n)))
            .collect()
    };
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
    let cpu_us = usage.map(|u| {
        let (user, system) = (u.user_time(), u.system_time());
        (user.tv_sec() + system.tv_sec()) * 1_000_000 + user.tv_usec() + system.tv_usec()
    });
    json!({
        "node": node, "series": series,
        "counters": {
            "probesSent": counters.probes_sent, "probesAnswered": counters.probes_answered,
            "lateAcks": counters.late_acks, "starvations": counters.starvations,
            "resolvesSent": counters.resolves_sent, "resolvesAnswered": counters.resolves_answered,
            "resolvesFailed": counters.resolves_failed, "resolvesServed": counters.resolves_served,
            "portOpenings": counters.port_openings, "throttle": counters.throttle,
            "probeDrops": drops(&counters.probe_drops), "controlDrops": drops(&counters.control_drops),
        },
        "cpuUs": cpu_us, "maxRssKib": usage.map(|u| u.max_rss()),
    })
}
