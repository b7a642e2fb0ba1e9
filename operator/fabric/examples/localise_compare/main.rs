//! Compares methods of localisation over generated cases: precision, recall, time, calibration.
//!
//! `cargo run --release -p rdmamesh-fabric --example localise_compare -- [SEED] [CASES]` draws CASES cases
//! of each class over fat trees and leaf–spines. The classes are those that the marks to beat were measured
//! on; the tables are in the crate's README. Nothing in the judged code knows this generator.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tables and small numbers for people"
)]

mod methods;
mod world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use methods::Paths;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rdmamesh_fabric::judge::Judge;
use rdmamesh_fabric::localise::Kind;
use world::{Class, Flow, Guilty, Packets, Shape, World};

const CLASSES: [Class; 8] = [
    Class {
        name: "one link",
        links: (1, 1),
        switch: false,
        loss: (0.002, 0.05),
        flows_per_host: (20.0, 400.0),
        packets: Packets::HeavyTailed,
    },
    Class {
        name: "two to four links",
        links: (2, 4),
        switch: false,
        loss: (0.002, 0.05),
        flows_per_host: (20.0, 400.0),
        packets: Packets::HeavyTailed,
    },
    Class {
        name: "one link, 0.2–1 %, few flows",
        links: (1, 1),
        switch: false,
        loss: (0.002, 0.01),
        flows_per_host: (3.0, 20.0),
        packets: Packets::HeavyTailed,
    },
    Class {
        name: "two to four, 0.2–1 %, few flows",
        links: (2, 4),
        switch: false,
        loss: (0.002, 0.01),
        flows_per_host: (3.0, 20.0),
        packets: Packets::HeavyTailed,
    },
    Class {
        name: "one to four, even flows",
        links: (1, 4),
        switch: false,
        loss: (0.002, 0.05),
        flows_per_host: (10.0, 200.0),
        packets: Packets::Even(10, 3_000),
    },
    Class {
        name: "share of a switch",
        links: (0, 0),
        switch: true,
        loss: (0.002, 0.05),
        flows_per_host: (20.0, 400.0),
        packets: Packets::HeavyTailed,
    },
    Class {
        name: "healthy",
        links: (0, 0),
        switch: false,
        loss: (0.0, 0.0),
        flows_per_host: (20.0, 400.0),
        packets: Packets::HeavyTailed,
    },
    Class {
        name: "healthy, few flows",
        links: (0, 0),
        switch: false,
        loss: (0.0, 0.0),
        flows_per_host: (1.0, 10.0),
        packets: Packets::Even(1, 2_000),
    },
];

const METHODS: [&str; 4] = [
    "ours",
    "two rates (Flock)",
    "votes (007)",
    "success (NetBouncer)",
];

#[derive(Clone, Copy, Default)]
struct Score {
    right: usize,
    wrong: usize,
    missed: usize,
    time: Duration,
}

impl Score {
    fn add(&mut self, truth: &[Guilty], named: &[Guilty], time: Duration) {
        let truth: BTreeSet<&Guilty> = truth.iter().collect();
        let named: BTreeSet<&Guilty> = named.iter().collect();
        let right = truth.intersection(&named).count();
        self.right += right;
        self.wrong += named.len() - right;
        self.missed += truth.len() - right;
        self.time += time;
    }
}

fn shape(rng: &mut ChaCha8Rng) -> Shape {
    match rng.random_range(0..7) {
        0 => Shape::FatTree { k: 4, hosts: 2 },
        1 => Shape::FatTree { k: 8, hosts: 4 },
        2 => Shape::FatTree { k: 12, hosts: 6 },
        3 => Shape::FatTree { k: 16, hosts: 8 },
        4 => Shape::LeafSpine {
            leaves: 4,
            spines: 2,
            hosts: 8,
        },
        5 => Shape::LeafSpine {
            leaves: 16,
            spines: 8,
            hosts: 16,
        },
        _ => Shape::LeafSpine {
            leaves: 32,
            spines: 16,
            hosts: 24,
        },
    }
}

/// Our verdicts with their confidence.
fn ours(world: &World, flows: &[Flow]) -> Vec<(Guilty, f64)> {
    let mut judge = Judge::new(&world.fabric).expect("generated fabrics are sound");
    for flow in flows {
        let path: Vec<&str> = flow.path.iter().map(|node| world.name(*node)).collect();
        judge
            .flow(
                world.name(flow.source),
                world.name(flow.target),
                &path,
                flow.sent,
                flow.lost,
            )
            .expect("generated flows are sound");
    }
    let node = |name: &String| (0..world.nodes()).find(|node| world.name(*node) == name);
    let ruling = judge.rule();
    let named = ruling.verdicts.iter().filter_map(|verdict| {
        let nodes: Vec<usize> = verdict.element.nodes.iter().filter_map(node).collect();
        let guilty = match (verdict.element.kind, nodes.as_slice()) {
            (Kind::Link, [a, b]) => Guilty::Link(*a.min(b), *a.max(b)),
            (_, [switch, ..]) => Guilty::Switch(*switch),
            _ => return None,
        };
        Some((guilty, verdict.confidence))
    });
    named.collect()
}

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse::<u64>().ok());
    let seed = arguments.next().unwrap_or(1);
    let cases = arguments.next().unwrap_or(100);
    // Confidence from 50 % on in steps of 10 %: verdicts, right ones, sum of confidence.
    let mut reliability = [(0_usize, 0_usize, 0.0_f64); 6];
    println!(
        "{:<33}{:>22}  precision recall  wrong  ms/case",
        "class", "method"
    );
    for (number, class) in CLASSES.iter().enumerate() {
        let mut scores = [Score::default(); METHODS.len()];
        for case in 0..cases {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream((number as u64) << 32 | case);
            let world = World::new(shape(&mut rng));
            let (flows, truth) = world.draw(class, &mut rng);
            let start = Instant::now();
            let verdicts = ours(&world, &flows);
            let took = start.elapsed();
            for (guilty, confidence) in &verdicts {
                let bin = &mut reliability[((confidence * 10.0) as usize).clamp(5, 9) - 5
                    + usize::from(*confidence >= 0.99)];
                bin.0 += 1;
                bin.1 += usize::from(truth.contains(guilty));
                bin.2 += confidence;
            }
            let named: Vec<Guilty> = verdicts.into_iter().map(|(guilty, _)| guilty).collect();
            if std::env::var_os("SHOW_ERRORS").is_some() && named != truth {
                println!(
                    "  {number}/{case} {} flows, links {}: truth {truth:?} named {named:?}",
                    flows.len(),
                    world.links.len()
                );
            }
            scores[0].add(&truth, &named, took);
            let paths = Paths::new(&world, &flows);
            for (score, method) in scores[1..].iter_mut().zip([
                Paths::two_rates,
                Paths::votes,
                Paths::success_estimate,
            ]) {
                let start = Instant::now();
                let named = method(&paths, &world, &flows);
                score.add(&truth, &named, start.elapsed());
            }
        }
        for (score, method) in scores.iter().zip(METHODS) {
            let ratio = |part: usize, whole: usize| match whole {
                0 => "    –".to_owned(),
                _ => format!("{:.3}", part as f64 / whole as f64),
            };
            println!(
                "{:<33}{method:>22}  {:>9} {:>6} {:>6} {:>8.1}",
                class.name,
                ratio(score.right, score.right + score.wrong),
                ratio(score.right, score.right + score.missed),
                score.wrong,
                score.time.as_secs_f64() * 1e3 / cases as f64,
            );
        }
    }
    println!("\nconfidence   verdicts  mean   right");
    for (bin, (verdicts, right, sum)) in reliability.iter().enumerate().filter(|(_, r)| r.0 > 0) {
        let label = [
            "50–60 %",
            "60–70 %",
            "70–80 %",
            "80–90 %",
            "90–99 %",
            "≥ 99 %",
        ][bin];
        let count = *verdicts as f64;
        println!(
            "{label:<12}{verdicts:>9}  {:.3}  {:.3}",
            sum / count,
            *right as f64 / count
        );
    }
}
