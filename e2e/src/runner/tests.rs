//! Steps against a world of which the test decides what is observed, under tokio's paused clock.

use std::path::Path;

use super::view::{ApiWrite, ConditionView, MeshView};
use super::*;
use crate::scenario::ApiWriters;
use rdmamesh_api::mesh::SuspectKind;

/// What happens in the world so long after its begin.
type Event = (u64, fn(&mut View));

/// A world that follows a script.
struct Script {
    view: watch::Sender<View>,
    counted: Vec<(Instant, AgentCounters)>,
    calls: Vec<String>,
    begin: Instant,
}

impl Script {
    fn new(events: Vec<Event>) -> Self {
        let (view, _) = watch::channel(View::default());
        let begin = Instant::now();
        let sender = view.clone();
        tokio::spawn(async move {
            for (at, change) in events {
                tokio::time::sleep_until(begin + Duration::from_millis(at)).await;
                sender.send_modify(change);
            }
        });
        Self {
            view,
            counted: Vec::new(),
            calls: Vec::new(),
            begin,
        }
    }

    fn counting(mut self, at_ms: u64, host: &str, process: &str, outcomes: &[(&str, u64)]) -> Self {
        let reading = AgentCounters {
            host: host.into(),
            process: process.into(),
            outcomes: outcomes
                .iter()
                .map(|(name, number)| ((*name).to_owned(), *number))
                .collect(),
        };
        self.counted
            .push((self.begin + Duration::from_millis(at_ms), reading));
        self
    }

    fn called(&mut self, what: &str) {
        let at = self.begin.elapsed().as_millis();
        self.calls.push(format!("{at}: {what}"));
    }
}

impl World for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    fn can(&self, fault: &Fault) -> Result<(), String> {
        match fault.fault {
            crate::fault::Fault::CpuHog { .. } => Err("there is no processor to hog".to_owned()),
            _ => Ok(()),
        }
    }

    async fn inject(&mut self, fault: &Fault) -> Result<()> {
        self.called(&format!("inject {}", fault.id));
        Ok(())
    }

    async fn clear(&mut self, id: &str) -> Result<()> {
        self.called(&format!("clear {id}"));
        Ok(())
    }

    fn view(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    async fn refresh(&mut self) -> Result<()> {
        Ok(())
    }

    async fn counters(&mut self) -> Vec<AgentCounters> {
        let now = Instant::now();
        let due = self.counted.iter().filter(|(at, _)| *at <= now);
        due.map(|(_, reading)| reading.clone()).collect()
    }

    async fn diagnostics(&mut self) -> String {
        self.called("diagnostics");
        String::new()
    }
}

fn verdict(view: &mut View, status: &str, transition: &str, pairs: &[(&str, &str)]) {
    let condition = ConditionView {
        kind: "FabricHealthy".into(),
        status: status.into(),
        transition: transition.into(),
        ..ConditionView::default()
    };
    let suspects = pairs.iter().map(|(name, peer)| SuspectView {
        kind: SuspectKind::Rnic,
        name: (*name).to_owned(),
        peer: Some((*peer).to_owned()),
        evidence: "lost 12 of 80 probes".into(),
    });
    view.mesh = Some(MeshView {
        conditions: vec![condition],
        suspects: suspects.collect(),
    });
}

async fn run(world: &mut Script, steps: &str) -> ScenarioReport {
    let scenario = Scenario::parse(Path::new("t.yaml"), &format!("steps:\n{steps}"))
        .expect("a valid scenario");
    play(world, &scenario, &Progress::quiet()).await
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_names_exactly_the_suspects_in_time_passes() {
    let mut world = Script::new(vec![
        (500, |view| verdict(view, "True", "a", &[])),
        (3_000, |view| {
            verdict(view, "False", "b", &[("host3/rxe3", "host1/rxe1")]);
        }),
    ]);
    let report = run(
        &mut world,
        "  - expect: {condition: FabricHealthy, status: \"True\", suspects: [], within: 1s}
  - fault: {id: f1, kind: loss, link: leaf1-spine1, percent: 30}
  - expect: {condition: FabricHealthy, status: \"False\", within: 5s, suspects: [{kind: Rnic, name: host1/rxe1, peer: host3/rxe3}]}
",
    )
    .await;
    assert!(report.passed, "{report:?}");
    assert!(
        (report.fault_to_condition_s["f1"] - 2.5).abs() < 0.1,
        "{report:?}"
    );
    assert_eq!(
        world.calls,
        ["500: inject f1", "3000: clear f1"],
        "what is broken is mended at the end"
    );
}

#[tokio::test(start_paused = true)]
async fn another_set_of_suspects_or_a_late_verdict_fails() {
    let expect = |suspects: &str, within: &str| {
        format!(
            "  - expect: {{condition: FabricHealthy, status: \"False\", within: {within}, suspects: {suspects}}}\n"
        )
    };
    let pair = "{kind: Rnic, name: host1/rxe1, peer: host3/rxe3}";
    let other = "{kind: Rnic, name: host1/rxe1, peer: host4/rxe4}";
    for (steps, holds) in [
        (expect(&format!("[{pair}]"), "2s"), true),
        (expect(&format!("[{pair}]"), "900ms"), false),
        (expect("[]", "2s"), false),
        (expect(&format!("[{other}]"), "2s"), false),
        (expect(&format!("[{pair}, {other}]"), "2s"), false),
        (expect(&format!("[{pair}, {pair}]"), "2s"), false),
    ] {
        let mut world = Script::new(vec![(1_000, |view| {
            verdict(view, "False", "a", &[("host1/rxe1", "host3/rxe3")]);
        })]);
        let report = run(&mut world, &steps).await;
        assert_eq!(report.passed, holds, "{steps}{report:?}");
        assert_eq!(
            world.calls.len(),
            usize::from(!holds),
            "the state is shown when it failed"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_waits_for_its_begin_and_fails_when_a_suspect_appears_or_it_flaps() {
    let hold = "  - hold: {condition: FabricHealthy, status: \"True\", within: 5s, for: 10s}\n";
    let cases: [(Vec<Event>, bool); 5] = [
        (vec![(2_000, |view| verdict(view, "True", "a", &[]))], true),
        (vec![(6_000, |view| verdict(view, "True", "a", &[]))], false),
        (
            vec![
                (1_000, |view| verdict(view, "True", "a", &[])),
                (8_000, |view| {
                    verdict(view, "True", "a", &[("host1/rxe1", "host2/rxe2")]);
                }),
            ],
            false,
        ),
        (
            vec![
                (1_000, |view| verdict(view, "True", "a", &[])),
                (8_000, |view| verdict(view, "False", "b", &[])),
            ],
            false,
        ),
        // Both changes were made while nobody could look: the transition time gives it away.
        (
            vec![
                (1_000, |view| verdict(view, "True", "a", &[])),
                (8_000, |view| verdict(view, "True", "c", &[])),
            ],
            false,
        ),
    ];
    for (index, (events, holds)) in cases.into_iter().enumerate() {
        let report = run(&mut Script::new(events), hold).await;
        assert_eq!(report.passed, holds, "case {index}: {report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn counters_are_counted_from_the_fault_on_and_over_restarts() {
    let world = || {
        Script::new(Vec::new())
            .counting(0, "host1", "a", &[("lost", 7), ("ok", 100)])
            .counting(5_000, "host1", "b", &[("lost", 2), ("ok", 50)])
    };
    let steps = |bounds: &str| {
        format!(
            "  - fault: {{id: kill, kind: agentKill, host: host1, for: 2s}}
  - expect: {{counters: {{{bounds}}}, since: kill, within: 9s}}\n"
        )
    };
    let mut passing = world();
    let report = run(&mut passing, &steps("ok: {min: 50}, lost: {max: 2}")).await;
    assert!(report.passed, "{report:?}");
    assert_eq!(
        passing.calls,
        ["0: inject kill", "2000: clear kill"],
        "it mends itself after 2 s"
    );
    let report = run(&mut world(), &steps("ok: {min: 50}, lost: {max: 1}")).await;
    assert!(!report.passed, "{report:?}");
    let unknown = run(&mut world(), &steps("late: {max: 0}")).await;
    assert!(!unknown.passed, "a counter that nobody reports is no zero");
}

#[tokio::test(start_paused = true)]
async fn writes_to_the_api_are_counted_without_the_host_it_happened_to() {
    fn write(view: &mut View, node: &str) {
        view.writes.push(ApiWrite {
            at: Instant::now(),
            by: ApiWriters::Agents,
            node: node.into(),
            object: format!("RdmaNode/{node}"),
        });
    }
    let steps = "  - fault: {id: kill, kind: agentKill, host: host1}
  - hold: {apiWrites: {exceptHosts: [host1], max: 0}, since: kill, for: 5s}\n";
    let mut quiet = Script::new(vec![(1_000, |view| write(view, "host1"))]);
    assert!(run(&mut quiet, steps).await.passed);
    let mut noisy = Script::new(vec![(1_000, |view| write(view, "host2"))]);
    let report = run(&mut noisy, steps).await;
    assert!(!report.passed);
    assert!(
        report.steps[1].detail.contains("1 writes: RdmaNode/host2"),
        "{report:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_was_suspected_for_a_moment_has_been_named() {
    fn suspect(view: &mut View, names: &[&str]) {
        let suspects = names.iter().map(|name| SuspectView {
            kind: SuspectKind::Link,
            name: (*name).to_owned(),
            peer: None,
            evidence: String::new(),
        });
        view.saw(Some(MeshView {
            suspects: suspects.collect(),
            ..MeshView::default()
        }));
    }
    let world = || {
        Script::new(vec![
            (1_000, |view| suspect(view, &["leaf1-spine2"])),
            (2_000, |view| {
                suspect(view, &["leaf1-spine2", "leaf2-spine1"]);
            }),
            (3_000, |view| suspect(view, &["leaf1-spine2"])),
        ])
    };
    let steps = |named: &str| {
        format!(
            "  - fault: {{id: k, kind: agentKill, host: host1}}
  - expect: {{counters: {{sent: {{min: 1}}}}, within: 10s}}
  - expect: {{named: [{named}], since: k, within: 1s}}\n"
        )
    };
    let both = "{kind: Link, name: spine2-leaf1}, {kind: Link, name: leaf2-spine1}";
    let counted = |world: Script| world.counting(5_000, "host1", "a", &[("sent", 1)]);
    let report = run(&mut counted(world()), &steps(both)).await;
    assert!(report.passed, "{report:?}");
    assert_eq!(
        report.steps[2].detail,
        "named: Link leaf1-spine2 after 1.0 s, Link leaf2-spine1 after 2.0 s"
    );
    let one = "{kind: Link, name: leaf1-spine2}";
    let report = run(&mut counted(world()), &steps(one)).await;
    assert!(!report.passed, "the other was named, too: {report:?}");
    let third = format!("{both}, {{kind: Switch, name: spine1}}");
    let report = run(&mut counted(world()), &steps(&third)).await;
    assert!(!report.passed, "nobody named the switch: {report:?}");
}

#[tokio::test(start_paused = true)]
async fn steps_after_a_failure_are_reported_as_not_reached() {
    let report = run(
        &mut Script::new(Vec::new()),
        "  - expect: {condition: Ready, status: \"True\", within: 1s}
  - fault: {kind: operatorKill}\n",
    )
    .await;
    assert!(!report.passed);
    assert_eq!(report.steps.len(), 2);
    assert_eq!(report.steps[1].detail, "not reached");
    assert!(report.steps[1].started_s.is_none());
}

#[tokio::test]
async fn what_a_world_cannot_do_is_said_before_anything_is_broken() {
    let text = "steps:\n  - fault: {kind: operatorKill}\n  - fault: {kind: cpuHog, host: host1}\n";
    let scenario = Scenario::parse(Path::new("t.yaml"), text).expect("a valid scenario");
    let error = check(&scenario, &Script::new(Vec::new())).expect_err("no processor");
    assert_eq!(
        error,
        "line 3: the script world cannot do this: there is no processor to hog"
    );
}
