//! Probes end as often as the fabric says that they do.

use std::time::Duration;

use rdmamesh_fabric::simulate::{
    Cluster, Direction, Fabric, Fault, Harm, Mesh, Place, Setup, Size,
};

const S: fn(u64) -> Duration = Duration::from_secs;

fn fabric() -> Fabric {
    let size = Size {
        leaves: 4,
        spines: 2,
        hosts_per_leaf: 4,
        rails: 1,
    };
    Fabric::new(size, 7).expect("it can be numbered")
}

fn cluster(change: impl FnOnce(&mut Setup)) -> Cluster {
    let mut setup = Setup::healthy(fabric(), Mesh::default(), 11);
    change(&mut setup);
    let mut cluster = Cluster::new(setup);
    // What is counted here does not hang on verdicts.
    let harm = Harm::OperatorDown;
    let place = Place::Control;
    cluster.inject("operator", Fault { place, harm });
    cluster
}

/// Probes with this outcome since the cluster began, over all agents.
fn counted(cluster: &Cluster, outcome: &str) -> u64 {
    let all = cluster.counters();
    let of = |counted: &rdmamesh_fabric::simulate::Counted| {
        let found = counted.outcomes.iter().find(|(name, _)| *name == outcome);
        found.expect("an outcome").1
    };
    all.iter().map(of).sum()
}

#[track_caller]
fn assert_about(found: u64, expected: f64, what: &str) {
    // Six standard deviations of a count.
    let margin = 6.0 * expected.sqrt() + 1.0;
    let off = (found as f64 - expected).abs();
    assert!(
        off <= margin,
        "{what}: {found}, expected {expected:.0} ± {margin:.0}"
    );
}

#[test]
fn in_a_fabric_in_order_no_probe_is_lost_and_all_that_are_planned_are_sent() {
    let mut cluster = cluster(|_| ());
    cluster.run_until(S(10), |_, _| {});
    let before = counted(&cluster, "sent");
    cluster.run_until(S(70), |_, _| {});
    let sent = counted(&cluster, "sent") - before;
    // 16 hosts with 3 targets at 10/s below their leaf; 12 pairs of leaves with 115 flows at 1/s.
    assert_about(sent, 60.0 * (16.0 * 30.0 + 12.0 * 115.0), "sent");
    for outcome in ["lost", "late", "hostDelayed", "unresolved"] {
        assert_eq!(counted(&cluster, outcome), 0, "{outcome}");
    }
}

#[test]
fn the_background_loses_its_share_of_packets_on_every_cable_both_ways() {
    let mut cluster = cluster(|setup| setup.background_loss = 2e-3);
    cluster.run_until(S(10), |_, _| {});
    let (before, lost_before) = (counted(&cluster, "sent"), counted(&cluster, "lost"));
    cluster.run_until(S(50), |_, _| {});
    let sent = counted(&cluster, "sent") - before;
    let near = sent as f64 * 480.0 / 1860.0;
    let lost = 1.0 - 0.998_f64.powi(4);
    let lost_far = 1.0 - 0.998_f64.powi(8);
    let expected = near * lost + (sent as f64 - near) * lost_far;
    assert_about(counted(&cluster, "lost") - lost_before, expected, "lost");
}

#[test]
fn an_rnic_that_loses_a_tenth_each_way_loses_a_fifth_of_the_probes_through_it() {
    let mut cluster = cluster(|_| ());
    cluster.run_until(S(10), |_, _| {});
    let sent = |cluster: &Cluster| cluster.counters()[0].outcomes[0].1;
    let before = sent(&cluster);
    let place = Place::rnic(&fabric(), "host1", 1).expect("it exists");
    let harm = Harm::Loss(0.1, Direction::Both);
    cluster.inject("f", Fault { place, harm });
    cluster.run_until(S(70), |_, _| {});
    cluster.clear("f");
    let own = (sent(&cluster) - before) as f64;
    cluster.run_until(S(75), |_, _| {});
    let lost = cluster.counters()[0].outcomes[2].1 as f64;
    let share = lost / own;
    assert!((0.17..0.21).contains(&share), "{share} of its own probes");
}

#[test]
fn a_cable_that_is_down_loses_every_probe_that_hashes_to_it_and_no_other() {
    let mut cluster = cluster(|_| ());
    cluster.run_until(S(10), |_, _| {});
    let sent = counted(&cluster, "sent");
    let place = Place::link(&fabric(), "leaf1-spine1").expect("it exists");
    cluster.inject(
        "f",
        Fault {
            place,
            harm: Harm::Down,
        },
    );
    cluster.run_until(S(70), |_, _| {});
    cluster.clear("f");
    cluster.run_until(S(75), |_, _| {});
    let sent = (counted(&cluster, "sent") - sent) as f64 * 60.0 / 65.0;
    // Half of the pairs of leaves have leaf 1 at one end; a probe has one chance in two on each way to cross it.
    let expected = sent * (1380.0 / 1860.0) * 0.5 * 0.75;
    let lost = counted(&cluster, "lost") as f64;
    assert!(
        (lost / expected - 1.0).abs() < 0.1,
        "{lost} lost, {expected:.0} expected"
    );
}

#[test]
fn what_a_starved_or_frozen_or_dead_agent_does_not_answer_is_never_lost() {
    let mut cluster = cluster(|setup| {
        setup.starved = vec![1, 2];
        setup.died_before = vec![5];
    });
    cluster.run_until(S(10), |_, _| {});
    let fault = |host: &str, harm| Fault {
        place: Place::host(&fabric(), host).expect("it exists"),
        harm,
    };
    cluster.inject("dead", fault("host9", Harm::AgentDead));
    cluster.inject("stopped", fault("host10", Harm::AgentStopped));
    cluster.inject("hogged", fault("host11", Harm::Hogged));
    cluster.inject("off", fault("host12", Harm::Off));
    cluster.run_until(S(20), |_, _| {});
    for id in ["dead", "stopped", "hogged", "off"] {
        cluster.clear(id);
    }
    cluster.run_until(S(40), |_, _| {});
    assert_eq!(counted(&cluster, "lost"), 0);
    for outcome in ["late", "hostDelayed", "unresolved"] {
        assert!(counted(&cluster, outcome) > 0, "{outcome}");
    }
    let before = counted(&cluster, "unresolved");
    let silent = counted(&cluster, "sent");
    cluster.run_until(S(50), |_, _| {});
    let share = (counted(&cluster, "unresolved") - before) as f64
        / (counted(&cluster, "sent") - silent) as f64;
    assert!(
        share > 0.01 && share < 0.15,
        "only the dead one stays unresolved: {share}"
    );
}
