//! What cannot be told apart stays so, and what nobody has seen proves little.

use rdmamesh_fabric::localise::{ComponentId, Kind, Localisation, Network, Priors, localise};

/// Losses of probes, as the judge sees them.
fn probes() -> Priors {
    Priors {
        background: 1e-5,
        mildest: 8e-3,
        outlier: 1e-3,
        ..Priors::default()
    }
}

/// A link with two directions.
struct Cable {
    both: ComponentId,
    ways: [ComponentId; 2],
}

fn cable(network: &mut Network) -> Cable {
    let ways = [(); 2].map(|()| network.component(Kind::Link));
    let both = network.cable(ways[0], ways[1]).expect("two plain links");
    Cable { both, ways }
}

/// Probability that something is guilty, as told of the first suspect.
fn probability(found: &Localisation, component: ComponentId) -> f64 {
    let suspect = found.suspects.first().expect("somebody is guilty");
    if suspect.component == component {
        return suspect.confidence;
    }
    let mut others = suspect.alternatives.iter();
    others
        .find(|(other, _)| *other == component)
        .map_or(0.0, |(_, probability)| *probability)
}

#[test]
fn two_cables_in_a_row_are_alike_although_each_direction_loses_at_its_own_rate() {
    let mut network = Network::new();
    let (near, far) = (cable(&mut network), cable(&mut network));
    for (way, lost) in [(0, 22), (1, 43)] {
        let crossed = [near.ways[way], far.ways[way]];
        for _ in 0..4 {
            let observed = network.observe(&crossed, 100, lost, 20);
            observed.expect("lost is at most sent");
        }
    }
    let found = localise(&network, &probes());
    let [near, far] = [near, far].map(|cable| probability(&found, cable.both));
    assert!(near > 0.3 && (near - far).abs() < 0.05, "{near} {far}");
}

#[test]
fn a_flow_of_which_nobody_says_that_it_crossed_a_link_speaks_for_the_link_once() {
    let lossy = |network: &mut Network| {
        let link = network.component(Kind::Link);
        for _ in 0..4 {
            let observed = network.observe(&[link], 5, 5, 1);
            observed.expect("lost is at most sent");
        }
        link
    };
    let mut presumed = Network::new();
    let link = lossy(&mut presumed);
    let known = presumed.presume(link, 50, 10);
    known.expect("a plain link");
    let found = localise(&presumed, &probes());
    assert!(probability(&found, link) > 0.9, "{found:#?}");

    let mut seen = Network::new();
    let link = lossy(&mut seen);
    seen.observe(&[link], 50, 0, 10)
        .expect("lost is at most sent");
    assert!(localise(&seen, &probes()).suspects.is_empty());
}

#[test]
fn many_lossy_flows_on_a_path_have_no_reasons_of_their_own() {
    let mut network = Network::new();
    let (first, second) = (network.component(Kind::Link), network.component(Kind::Link));
    for (sent, lost, flows) in [(75, 26, 15), (35, 13, 7), (70, 23, 14), (50, 20, 10)] {
        let observed = network.observe(&[first, second], sent, lost, flows);
        observed.expect("lost is at most sent");
    }
    for link in [first, second] {
        let observed = network.observe(&[link], 95, 0, 19);
        observed.expect("nothing is lost");
    }
    let found = localise(&network, &probes());
    let [a, b] = [first, second].map(|link| probability(&found, link));
    assert!(a + b > 0.9, "{found:#?}");
}
