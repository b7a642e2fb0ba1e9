use std::path::{Path, PathBuf};

use super::*;
use crate::scenario::Action;

fn scenario(text: &str) -> Scenario {
    Scenario::parse(Path::new("test.yaml"), text).expect("a valid scenario")
}

fn run(text: &str) -> ScenarioReport {
    play_simulated(&scenario(text), &Progress::quiet()).expect("the simulator can do this")
}

fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files = Vec::new();
    for folder in [folder.join("diagnosis"), folder] {
        let entries = std::fs::read_dir(folder).expect("scenarios are there");
        let paths = entries.map(|entry| entry.expect("it can be listed").path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")));
    }
    files.sort();
    files
}

#[test]
fn a_quiet_fabric_is_healthy_and_a_port_that_goes_down_is_named() {
    let report = run("
steps:
  - expect: {condition: FabricHealthy, status: \"True\", suspects: [], within: 60s}
  - fault: {id: port, kind: nicDown, host: host1}
  - expect: {condition: FabricHealthy, status: \"False\", within: 15s, suspects: [{kind: Rnic, name: host1/rxe1}]}
  - clear: {id: port}
  - hold: {condition: FabricHealthy, status: \"True\", suspects: [], within: 60s, for: 20s}
");
    assert!(report.passed, "{:?}", report.failure());
    let took = report.fault_to_condition_s["port"];
    assert!(took > 0.0 && took < 3.0, "{took} s of simulated time");
}

#[test]
fn what_does_not_come_true_fails_after_the_simulated_time_that_it_has() {
    let report = run("
steps:
  - expect: {condition: FabricHealthy, status: \"False\", within: 100s}
");
    assert!(!report.passed);
    assert!(
        (100.0..101.0).contains(&report.elapsed_s),
        "{}",
        report.elapsed_s
    );
}

#[test]
fn the_same_scenario_takes_the_same_course_every_time() {
    let text = "
steps:
  - expect: {condition: FabricHealthy, status: \"True\", within: 60s}
  - fault: {id: f, kind: loss, link: leaf1-spine1, percent: 40}
  - expect: {condition: FabricHealthy, status: \"False\", within: 60s}
";
    let (one, two) = (run(text), run(text));
    assert!(one.passed, "{:?}", one.failure());
    assert_eq!(one.fault_to_condition_s, two.fault_to_condition_s);
}

#[test]
fn every_shipped_scenario_can_be_simulated() {
    for file in shipped() {
        let scenario = Scenario::read(&file).expect("it is valid");
        let world = SimWorld::new(&scenario).expect("its fabric can be simulated");
        let faults = scenario.steps.iter().filter_map(|step| match &step.action {
            Action::Fault(fault) => Some(fault),
            _ => None,
        });
        for fault in faults {
            world
                .can(fault)
                .unwrap_or_else(|why| unreachable!("{}: {why}", file.display()));
        }
    }
}

/// The same file gives the same verdicts in every world; the other worlds are asked by `make test`.
#[test]
fn every_shipped_scenario_takes_its_course_in_the_simulator() {
    let mut failures = Vec::new();
    for file in shipped() {
        let scenario = Scenario::read(&file).expect("it is valid");
        let report =
            play_simulated(&scenario, &Progress::quiet()).expect("the simulator can do this");
        if let Some(failure) = report.failure() {
            failures.push(format!("{}: {failure:?}", file.display()));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn the_simulated_fabric_has_the_real_ones_names_and_addresses() {
    for (leaves, spines, hosts_per_leaf, rails) in [(2, 2, 2, 1), (4, 2, 2, 2), (3, 5, 4, 8)] {
        let spec = crate::fabric::FabricSpec {
            leaves,
            spines,
            hosts_per_leaf,
            rails,
        };
        let real = crate::fabric::Fabric::new(spec).expect("it can be built");
        let size = Size {
            leaves,
            spines,
            hosts_per_leaf,
            rails,
        };
        let fabric = Fabric::new(size, 1).expect("it can be numbered");
        let simulated = fabric.switch_names();
        assert_eq!(simulated.len(), real.leaves().len() + real.spines().len());
        for (name, addresses) in &simulated {
            let ends = real.switch_ends(name).expect("the real one has it");
            assert_eq!(ends.len(), addresses.len(), "{name}");
            for link in real.links() {
                for (end, address) in [
                    (&link.lower, link.addresses.lower),
                    (&link.upper, link.addresses.upper),
                ] {
                    if end.netns == *name {
                        assert!(addresses.contains(&address.into()), "{name} {}", link.name);
                    }
                }
            }
        }
        for link in real.links() {
            rdmamesh_fabric::simulate::Place::link(&fabric, &link.name).expect("it has this link");
        }
        for host in real.hosts() {
            for rail in &host.rails {
                let place = rdmamesh_fabric::simulate::Place::rnic(&fabric, &host.name, rail.rail)
                    .expect("it has this RNIC");
                assert_eq!(place.name(&fabric), format!("{}/{}", host.name, rail.rnic));
            }
        }
    }
}
