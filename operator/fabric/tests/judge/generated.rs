//! A few seeded cases of the comparison's generator: a guard against a method that has got worse. The
//! figures that count come from the comparison itself.
#![expect(
    dead_code,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the generator of the example is shared; small numbers"
)]

#[path = "../../examples/localise_compare/world.rs"]
mod world;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rdmamesh_fabric::judge::Judge;
use rdmamesh_fabric::localise::Kind;
use world::{Class, Guilty, Packets, Shape, World};

const CASES: u64 = 8;

/// Right, wrong and missed over seeded cases.
fn play(class: &Class) -> (usize, usize, usize) {
    let world = World::new(Shape::LeafSpine {
        leaves: 6,
        spines: 4,
        hosts: 6,
    });
    let (mut right, mut wrong, mut missed) = (0, 0, 0);
    for seed in 0..CASES {
        let (flows, truth) = world.draw(class, &mut ChaCha8Rng::seed_from_u64(seed));
        let mut judge = Judge::new(&world.fabric).expect("generated fabrics are sound");
        for flow in &flows {
            let path: Vec<&str> = flow.path.iter().map(|node| world.name(*node)).collect();
            let ends = (world.name(flow.source), world.name(flow.target));
            judge
                .flow(ends.0, ends.1, &path, flow.sent, flow.lost)
                .expect("generated flows are sound");
        }
        let node = |name: &String| (0..world.nodes()).find(|node| world.name(*node) == name);
        let mut hit = 0;
        for verdict in judge.rule().verdicts {
            let nodes: Vec<usize> = verdict.element.nodes.iter().filter_map(node).collect();
            let guilty = match (verdict.element.kind, nodes.as_slice()) {
                (Kind::Link, [a, b]) => Guilty::Link(*a.min(b), *a.max(b)),
                (_, nodes) => Guilty::Switch(nodes[0]),
            };
            hit += usize::from(truth.contains(&guilty));
            wrong += usize::from(!truth.contains(&guilty));
        }
        right += hit;
        missed += truth.len() - hit;
    }
    (right, wrong, missed)
}

fn class(links: (usize, usize), switch: bool) -> Class {
    Class {
        name: "guard",
        links,
        switch,
        loss: (0.005, 0.05),
        flows_per_host: (25.0, 30.0),
        packets: Packets::Even(100, 400),
    }
}

#[test]
fn one_to_three_lossy_links_are_found() {
    let (right, wrong, missed) = play(&class((1, 3), false));
    assert!(wrong * 20 <= right, "{wrong} of {right} verdicts are wrong");
    assert!(missed * 10 <= right, "{missed} missed, {right} found");
}

#[test]
fn a_share_of_a_switch_is_the_switch() {
    let (right, wrong, missed) = play(&class((0, 0), true));
    assert!(
        wrong <= 1 && missed <= 1,
        "{right} right, {wrong} wrong, {missed} missed"
    );
}

#[test]
fn healthy_fabrics_have_no_suspect() {
    assert_eq!(play(&class((0, 0), false)), (0, 0, 0));
}
