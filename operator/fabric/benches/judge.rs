//! Time to judge 100,000 flow records over a fat tree of 16 pods with 1,024 hosts, healthy and with four
//! lossy links, from names to verdicts (without parsing JSON).
//!
//! The seconds are the point estimate of the mean in criterion's
//! `target/criterion/<name>/new/estimates.json` (`mean.point_estimate`, in nanoseconds).
#![expect(
    dead_code,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the generator of the example is shared; small numbers"
)]

#[path = "../examples/localise_compare/world.rs"]
mod world;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rdmamesh_fabric::judge::{Judge, Ruling};
use world::{Class, Flow, Packets, Shape, World};

fn judge(world: &World, flows: &[Flow]) -> Ruling {
    let mut judge = Judge::new(&world.fabric).expect("generated fabrics are sound");
    for flow in flows {
        let path: Vec<&str> = flow.path.iter().map(|node| world.name(*node)).collect();
        judge
            .flow(path[0], path[path.len() - 1], &path, flow.sent, flow.lost)
            .expect("generated flows are sound");
    }
    judge.rule()
}

fn judges(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("judge_100k");
    group.sample_size(10);
    for (name, links) in [("healthy", 0), ("four_links", 4)] {
        let world = World::new(Shape::FatTree { k: 16, hosts: 8 });
        let class = Class {
            name,
            links: (links, links),
            switch: false,
            loss: (0.002, 0.05),
            flows_per_host: (98.0, 98.0),
            packets: Packets::HeavyTailed,
        };
        let (flows, _) = world.draw(&class, &mut ChaCha8Rng::seed_from_u64(1));
        group.bench_function(name, |bench| {
            bench.iter(|| judge(black_box(&world), black_box(&flows)));
        });
    }
    group.finish();
}

criterion_group!(benches, judges);
criterion_main!(benches);
