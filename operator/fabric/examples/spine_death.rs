//! How much is written to the API server when a spine dies in a mesh of 1,000 nodes.
//!
//! `cargo run --release -p rdmamesh-fabric --features simulate --example spine_death [SEED]`

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use rdmamesh_fabric::simulate::{Cluster, Fabric, Fault, Harm, Mesh, Place, Setup, Size, Write};

/// 1,000 hosts.
const SIZE: Size = Size {
    leaves: 50,
    spines: 8,
    hosts_per_leaf: 20,
    rails: 1,
};
const QUIET: Duration = Duration::from_secs(60);
const DEAD: Duration = Duration::from_secs(120);
const AFTER: Duration = Duration::from_secs(60);

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for people"
)]
fn main() -> ExitCode {
    let seed = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or(1);
    let fabric = match Fabric::new(SIZE, seed) {
        Ok(fabric) => fabric,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut setup = Setup::healthy(fabric, Mesh::default(), seed);
    setup.background_loss = 1e-5;
    let mut cluster = Cluster::new(setup);
    let begin = Duration::from_secs(30);
    cluster.run_until(begin + QUIET, |_, _| {});
    let spine = Place::switch(&fabric, "spine3");
    let Ok(place) = spine else {
        eprintln!("the fabric has no spine3");
        return ExitCode::FAILURE;
    };
    let harm = Harm::Down;
    cluster.inject("spine", Fault { place, harm });
    let mut first = None;
    let died = begin + QUIET;
    cluster.run_until(died + DEAD, |now, verdict| {
        if let (None, Some(suspect)) = (&first, verdict.suspects.first()) {
            first = Some((
                now - died,
                suspect.key.to_string(),
                suspect.evidence.clone(),
            ));
        }
    });
    cluster.clear("spine");
    cluster.run_until(died + DEAD + AFTER, |_, _| {});

    println!(
        "{} hosts, seed {seed}; spine3 dies and is back after {DEAD:?}",
        SIZE.hosts()
    );
    if let Some((after, name, evidence)) = first {
        println!(
            "first suspect after {:.1} s: {name}: {evidence}",
            after.as_secs_f64()
        );
    }
    println!(
        "{:<34} {:>9} {:>12} {:>12} {:>12} {:>14} {:>10}",
        "", "writes", "a second", "peak second", "largest", "bytes/s", "writers"
    );
    let spans = [
        ("one quiet minute", begin, died),
        (
            "first 10 s without the spine",
            died,
            died + Duration::from_secs(10),
        ),
        (
            "the rest of 2 min without it",
            died + Duration::from_secs(10),
            died + DEAD,
        ),
        (
            "one minute after its return",
            died + DEAD,
            died + DEAD + AFTER,
        ),
    ];
    for (name, from, to) in spans {
        println!("{}", line(name, cluster.writes(), from, to));
    }
    ExitCode::SUCCESS
}

/// Figures of the writes of a span.
fn line(name: &str, writes: &[Write], from: Duration, to: Duration) -> String {
    let writes: Vec<&Write> = writes
        .iter()
        .filter(|write| (from..to).contains(&write.at))
        .collect();
    let seconds = (to - from).as_secs_f64();
    let peak = (0..(to - from).as_secs())
        .map(|second| {
            let at = from + Duration::from_secs(second);
            let within = at..at + Duration::from_secs(1);
            writes
                .iter()
                .filter(|write| within.contains(&write.at))
                .count()
        })
        .max();
    let bytes: usize = writes.iter().map(|write| write.bytes).sum();
    let largest = writes.iter().map(|write| write.bytes).max();
    let writers: BTreeSet<String> = writes
        .iter()
        .map(|write| format!("{:?}", write.by))
        .collect();
    format!(
        "{name:<34} {:>9} {:>12.1} {:>12} {:>12} {:>14.0} {:>10}",
        writes.len(),
        writes.len() as f64 / seconds,
        peak.unwrap_or_default(),
        largest.unwrap_or_default(),
        bytes as f64 / seconds,
        writers.len()
    )
}
