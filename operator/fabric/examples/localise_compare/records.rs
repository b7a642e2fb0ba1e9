//! A case as lines of JSON, as `rig judge` reads it.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use crate::classes::Case;
use crate::world::Guilty;

pub fn print(case: &Case) {
    let mut out = io::BufWriter::new(io::stdout().lock());
    // Whoever reads half of it (head) has what he wants.
    out.write_all(header(case).as_bytes()).ok();
    for flow in &case.flows {
        let path: Vec<&str> = flow
            .path
            .iter()
            .map(|node| case.world.name(*node))
            .collect();
        writeln!(
            out,
            "{{\"src\": \"{}\", \"dst\": \"{}\", \"path\": {path:?}, \"sent\": {}, \"lost\": {}}}",
            case.world.name(flow.source),
            case.world.name(flow.target),
            flow.sent,
            flow.lost
        )
        .ok();
    }
}

/// Names of generated nodes need no escapes, so that Rust's lists of strings are JSON's.
fn header(case: &Case) -> String {
    let fabric = &case.world.fabric;
    let links: Vec<[&str; 2]> = fabric.links.iter().map(|(a, b)| [a.as_str(), b]).collect();
    let mut truth = String::new();
    for guilty in &case.truth {
        let comma = if truth.is_empty() { "" } else { ", " };
        let name = |node: &usize| case.world.name(*node);
        match guilty {
            Guilty::Link(a, b) => write!(truth, "{comma}{:?}", [name(a), name(b)]),
            Guilty::Switch(switch) => write!(truth, "{comma}{:?}", name(switch)),
        }
        // Writing to a String cannot fail.
        .ok();
    }
    format!(
        "{{\"fabric\": {{\"links\": {links:?}, \"hosts\": {:?}, \"switches\": {:?}}}, \"truth\": [{truth}]}}\n",
        fabric.hosts, fabric.switches
    )
}
