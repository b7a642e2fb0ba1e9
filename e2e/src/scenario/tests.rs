//! The grammar: what it takes, and what it says about mistakes.

use super::*;
use rdmamesh_api::mesh::SuspectKind;

const GRAMMAR: &str = r#"
fabric: {leaves: 2, spines: 2, hostsPerLeaf: 2, rails: 1}
mesh: {probes: {torMesh: {interval: 100ms}}}
steps:
  - expect: {condition: FabricHealthy, status: "True", within: 60s}
  - fault:  {id: f1, kind: loss, link: leaf1-spine2, percent: 30, direction: both}
  - expect: {condition: FabricHealthy, status: "False", within: 10s, suspects: [{kind: Link, name: leaf1-spine2}]}
  - clear:  {id: f1}
  - hold:   {condition: FabricHealthy, status: "True", for: 30s}
"#;

fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse(Path::new("dir/example.yaml"), text)
}

fn steps(lines: &str) -> Result<Vec<Action>, ScenarioError> {
    let scenario = parse(&format!("fabric: {{leaves: 2, rails: 2}}\nsteps:\n{lines}"))?;
    Ok(scenario.steps.into_iter().map(|step| step.action).collect())
}

#[test]
fn the_example_of_the_design_is_understood() {
    let scenario = parse(GRAMMAR).expect("the published grammar");
    assert_eq!(scenario.name, "example");
    assert_eq!(scenario.fabric.hosts().len(), 4);
    assert_eq!(scenario.mesh["probes"]["torMesh"]["interval"], "100ms");
    assert_eq!(scenario.steps[1].line, 6);
    let Action::Fault(fault) = &scenario.steps[1].action else {
        panic!("the second step is a fault")
    };
    assert_eq!(fault.id, "f1");
    assert_eq!(
        fault.to_string(),
        "loss leaf1-spine2 direction both percent 30"
    );
    let Action::Expect(expect) = &scenario.steps[2].action else {
        panic!("the third step is an expectation")
    };
    assert_eq!(expect.within, Duration::from_secs(10));
    assert_eq!(
        expect.goal.to_string(),
        "FabricHealthy False, suspected exactly: Link leaf1-spine2"
    );
    let Action::Hold(hold) = &scenario.steps[4].action else {
        panic!("the fifth step holds")
    };
    assert_eq!(hold.lasts, Duration::from_secs(30));
}

#[test]
fn every_published_fault_kind_is_understood() {
    let faults = "
  - fault: {kind: loss, link: leaf1-spine1, percent: 0.5}
  - fault: {kind: delay, link: spine1-leaf1, delay: 20ms, jitter: 1ms, direction: forward}
  - fault: {kind: corrupt, link: host1.2-leaf3, percent: 100, direction: backward}
  - fault: {kind: linkDown, link: host1-leaf1}
  - fault: {kind: switchLoss, switch: leaf4, percent: 10}
  - fault: {kind: switchDown, switch: spine2}
  - fault: {kind: nicDown, host: host4, rail: 2}
  - fault: {kind: nicLoss, host: host1, percent: 10}
  - fault: {kind: rdmaRemove, host: host1}
  - fault: {id: k, kind: agentKill, host: host1}
  - fault: {kind: agentStop, host: host1, for: 3s}
  - fault: {kind: cpuHog, host: host1}
  - fault: {kind: nodeReboot, host: host1}
  - fault: {kind: apiServerDown, for: 20s}
  - fault: {kind: operatorKill}
  - fault: {kind: collectorDown, for: 20s}
  - clear: {id: k}
  - clear: {id: fault7}
";
    let actions = steps(faults).expect("all kinds");
    assert_eq!(actions.len(), 18);
    let Action::Fault(delay) = &actions[1] else {
        panic!("the second is a fault")
    };
    let wanted = crate::fault::Fault::Delay {
        link: "leaf1-spine1".into(),
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(1),
        direction: crate::fabric::Direction::Backward,
    };
    assert_eq!(
        delay.fault, wanted,
        "named from above, so the way back is the way out"
    );
    let Action::Fault(down) = &actions[13] else {
        panic!("the fourteenth is a fault")
    };
    assert_eq!(down.lasts, Some(Duration::from_secs(20)));
    assert_eq!(down.to_string(), "apiServerDown for 20s");
}

#[test]
fn counters_and_api_writes_are_goals_too() {
    let actions = steps(
        "
  - fault: {id: k, kind: agentKill, host: host1}
  - hold: {counters: {lost: {max: 0}, sent: {min: 10}}, since: k, for: 10s}
  - expect: {apiWrites: {by: agents, exceptHosts: [host1], max: 0}, since: k, within: 5s}
  - expect: {named: [{kind: Link, name: leaf1-spine2}], since: k, within: 1s}
  - expect: {named: []}
",
    )
    .expect("documented steps");
    let Action::Hold(hold) = &actions[1] else {
        panic!("the second holds")
    };
    assert_eq!(
        hold.goal.to_string(),
        "probes lost <= 0, sent >= 10 since k"
    );
    let Action::Expect(writes) = &actions[2] else {
        panic!("the third is an expectation")
    };
    assert_eq!(
        writes.goal.to_string(),
        "API writes of the agents <= 0 besides host1 since k"
    );
    let named = actions[3..].iter().map(|action| match action {
        Action::Expect(named) => named.goal.to_string(),
        other => panic!("the last two are expectations: {other:?}"),
    });
    let texts: Vec<String> = named.collect();
    assert_eq!(
        texts,
        [
            "named, and nobody else: Link leaf1-spine2 since k",
            "nobody named"
        ]
    );
}

#[test]
fn mistakes_are_named_with_file_and_line_and_what_to_write() {
    let cases = [
        (
            "  - fault: {kind: los, link: leaf1-spine1, percent: 1}",
            "unknown variant `los`, expected one of `loss`, `delay`",
        ),
        (
            "  - fault: {link: leaf1-spine1, percent: 1}",
            "a fault needs a kind",
        ),
        (
            "  - fault: {kind: loss, link: leaf1-spine3, percent: 1}",
            "no link \"leaf1-spine3\"; it has host1-leaf1",
        ),
        (
            "  - fault: {kind: loss, link: leaf1-spine1}",
            "kind loss: missing field `percent`",
        ),
        (
            "  - fault: {kind: loss, link: leaf1-spine1, percent: 130}",
            "write a number above 0, up to 100",
        ),
        (
            "  - fault: {kind: nicDown, switch: leaf1}",
            "kind nicDown: unknown field `switch`, expected `host` or `rail`",
        ),
        (
            "  - fault: {kind: nicDown, host: host9}",
            "no host \"host9\"; it has host1",
        ),
        (
            "  - fault: {kind: nicDown, host: host1, rail: 3}",
            "no rail \"3\"; it has 1, 2",
        ),
        (
            "  - fault: {kind: switchDown, switch: leaf9}",
            "no switch \"leaf9\"; it has leaf1",
        ),
        (
            "  - fault: {kind: delay, link: leaf1-spine1, delay: 20}",
            "delay",
        ),
        (
            "  - fault: {kind: delay, link: leaf1-spine1, delay: 20ms, direction: up}",
            "`both`, `forward`",
        ),
        (
            "  - fault: {kind: apiServerDown, for: 20}",
            "for is 20: write how long the fault lasts, for example 20s",
        ),
        (
            "  - fault: {kind: apiServerDown, for: 0s}",
            "write how long the fault lasts",
        ),
        (
            "  - expect: {condition: FabricHealthy, status: \"False\", suspects: [{kind: Rnic, name: host1/mlx5_0}]}",
            "no RNIC \"mlx5_0\": write one of rxe1, rxe1.2",
        ),
        ("  - clear: {id: f1}", "no fault is in force"),
        (
            "  - fault: {id: a, kind: operatorKill}\n  - clear: {id: b}",
            "no fault has the id \"b\": write one of a",
        ),
        (
            "  - fault: {id: a, kind: operatorKill}\n  - clear: {id: a}\n  - clear: {id: a}",
            "has been cleared already",
        ),
        (
            "  - fault: {id: a, kind: operatorKill}\n  - fault: {id: a, kind: operatorKill}",
            "give this fault another id",
        ),
        (
            "  - expect: {condition: Healthy, status: \"True\"}",
            "no condition \"Healthy\": write one of Ready",
        ),
        (
            "  - expect: {condition: Ready, status: Fine}",
            "write \"True\", \"False\" or \"Unknown\"",
        ),
        ("  - expect: {condition: Ready}", "needs a status"),
        ("  - expect: {within: 3s}", "name one thing to look at"),
        (
            "  - expect: {condition: Ready, status: \"True\", for: 3s}",
            "write within, or make it a hold step",
        ),
        (
            "  - hold: {condition: Ready, status: \"True\"}",
            "hold needs for",
        ),
        (
            "  - expect: {counters: {gone: {max: 0}}}",
            "no counter is called \"gone\": write one of sent",
        ),
        (
            "  - expect: {counters: {lost: {max: 0}}, since: f1}",
            "since: f1 names no fault",
        ),
        (
            "  - expect: {condition: FabricHealthy, status: \"False\", suspects: [{kind: Rnic, name: host1}]}",
            "write <host>/<device>",
        ),
        (
            "  - expect: {condition: FabricHealthy, status: \"False\", suspects: [{kind: Cable, name: x}]}",
            "Link",
        ),
        ("  - wait: 3s", "expect"),
    ];
    for (text, wanted) in cases {
        let error = steps(text).expect_err(text);
        let last_line = 2 + text.lines().count() as u64;
        assert!(error.message.contains(wanted), "{text}\n  gave: {error}");
        assert_eq!(error.line, last_line, "{text}\n  gave: {error}");
        assert!(
            error.to_string().starts_with("dir/example.yaml:"),
            "{error}"
        );
    }
}

#[test]
fn mistakes_outside_the_steps_are_named_too() {
    let cases = [
        ("fabric: {leafs: 2}\nsteps: [{clear: {id: x}}]", 1, "leaves"),
        (
            "fabric: {leaves: 0}\nsteps: [{clear: {id: x}}]",
            1,
            "fabric.leaves is 0: write a number from 1",
        ),
        (
            "mesh: 3\nsteps: [{clear: {id: x}}]",
            1,
            "mesh must be the spec of a RdmaMesh",
        ),
        ("steps: []", 1, "steps is empty"),
        ("fabric: {}\n", 1, "steps"),
        ("stepz: []\n", 1, "steps"),
    ];
    for (text, line, wanted) in cases {
        let error = parse(text).expect_err(text);
        assert!(error.message.contains(wanted), "{text}\n  gave: {error}");
        assert_eq!(error.line, line, "{text}\n  gave: {error}");
    }
}

#[test]
fn a_pair_is_the_same_pair_named_the_other_way_round() {
    let pattern = SuspectPattern {
        kind: SuspectKind::Rnic,
        name: "host1/rxe1".into(),
        peer: Some("host3/rxe3".into()),
    };
    assert!(pattern.is(SuspectKind::Rnic, "host3/rxe3", Some("host1/rxe1")));
    assert!(!pattern.is(SuspectKind::Rnic, "host1/rxe1", None));
    assert!(!pattern.is(SuspectKind::Rnic, "host1/rxe1", Some("host4/rxe4")));
    let link = SuspectPattern {
        kind: SuspectKind::Link,
        name: "spine2-leaf1".into(),
        peer: None,
    };
    assert!(link.is(SuspectKind::Link, "leaf1-spine2", None));
    assert!(!link.is(SuspectKind::Rnic, "leaf1-spine2", None));
}

#[test]
fn every_shipped_scenario_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("e2e/scenarios is there") {
        let path = entry.expect("its entries can be listed").path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let scenario = Scenario::read(&path).unwrap_or_else(|error| panic!("{error}"));
            let spec: Result<rdmamesh_api::RdmaMeshSpec, _> = serde_json::from_value(scenario.mesh);
            spec.unwrap_or_else(|error| panic!("{}: mesh: {error}", path.display()));
            seen += 1;
        }
    }
    assert!(seen >= 8, "only {seen} scenarios are shipped");
}
