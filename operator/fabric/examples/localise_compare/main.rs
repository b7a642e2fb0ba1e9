//! Compares methods of localisation over generated cases: precision, recall, time, calibration.
//!
//! * `cargo run --release -p rdmamesh-fabric --example localise_compare -- SEED CASES` draws CASES cases of each
//!   class over fat trees and leaf–spines. The classes are those that the marks to beat were measured on; the
//!   tables are in the crate's README.
//! * `… -- SEED CLASS CASE records` prints one case as `rig judge` reads it, truth included.
//!
//! Nothing in the judged code knows this generator.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tables and small numbers for people"
)]

mod classes;
mod methods;
mod records;
mod table;
mod world;

use std::time::Instant;

use classes::{CLASSES, Case};
use methods::Paths;
use rdmamesh_fabric::judge::Judge;
use rdmamesh_fabric::localise::Kind;
use table::{Reliability, Score};
use world::{Flow, Guilty, World};

const METHODS: [&str; 4] = [
    "ours",
    "two rates (Flock)",
    "votes (007)",
    "success (NetBouncer)",
];

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

fn compare(seed: u64, cases: u64) {
    let mut reliability = Reliability::default();
    println!(
        "| class | method | precision | recall | wrong | ms a case |\n|---|---|---|---|---|---|"
    );
    for (number, class) in CLASSES.iter().enumerate() {
        let mut scores = [Score::default(); METHODS.len()];
        for case in 0..cases {
            let Case {
                world,
                flows,
                truth,
            } = Case::draw(seed, number, case);
            let start = Instant::now();
            let verdicts = ours(&world, &flows);
            let took = start.elapsed();
            for (guilty, confidence) in &verdicts {
                reliability.add(*confidence, truth.contains(guilty));
            }
            let named: Vec<Guilty> = verdicts.into_iter().map(|(guilty, _)| guilty).collect();
            scores[0].add(&truth, &named, took);
            let paths = Paths::new(&world, &flows);
            let others = [Paths::two_rates, Paths::votes, Paths::success_estimate];
            for (score, method) in scores[1..].iter_mut().zip(others) {
                let start = Instant::now();
                let named = method(&paths, &world, &flows);
                score.add(&truth, &named, start.elapsed());
            }
        }
        for (score, method) in scores.iter().zip(METHODS) {
            println!("{}", score.row(class.name, method, cases));
        }
    }
    println!("\n| our confidence | verdicts | mean | right |\n|---|---|---|---|");
    for row in reliability.rows() {
        println!("{row}");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |position: usize, default: u64| {
        let text = arguments.get(position);
        text.map_or(Ok(default), |text| text.parse())
    };
    let numbers = (number(0, 1), number(1, 100), number(2, 0));
    let (Ok(seed), Ok(second), Ok(third)) = numbers else {
        println!("give numbers: SEED CASES, or SEED CLASS CASE records");
        return;
    };
    if arguments.get(3).is_some_and(|word| word == "records") {
        let class = (second as usize).min(CLASSES.len() - 1);
        records::print(&Case::draw(seed, class, third));
    } else {
        compare(seed, second);
    }
}
