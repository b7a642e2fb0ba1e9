//! The classes of cases that methods are compared on, and the fabrics that they are drawn from.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::world::{Class, Flow, Guilty, Packets, Shape, World};

pub const CLASSES: [Class; 8] = [
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
        flows_per_host: (5.0, 60.0),
        packets: Packets::HeavyTailed,
    },
    Class {
        name: "two to four, 0.2–1 %, few flows",
        links: (2, 4),
        switch: false,
        loss: (0.002, 0.01),
        flows_per_host: (5.0, 60.0),
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

/// One case: the same for the same seed, class and number.
pub struct Case {
    pub world: World,
    pub flows: Vec<Flow>,
    pub truth: Vec<Guilty>,
}

impl Case {
    /// Draws case `number` of class `class`, counted from 0.
    pub fn draw(seed: u64, class: usize, number: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream((class as u64) << 32 | number);
        let world = World::new(shape(&mut rng));
        let (flows, truth) = world.draw(&CLASSES[class], &mut rng);
        Self {
            world,
            flows,
            truth,
        }
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
