//! Flows of which it is not known which of several ways they took.

use rdmamesh_fabric::localise::{
    ComponentId, Kind, Localisation, Network, NetworkError, OneOf, Priors, localise,
};

/// A flow is slow or not, and a slow element makes most of its flows slow.
fn slow() -> Priors {
    Priors {
        background: 1e-3,
        mildest: 0.3,
        outlier: 1e-2,
        ..Priors::default()
    }
}

const UPLINKS: usize = 8;
const RNICS: usize = 2;

/// One leaf of a fabric with eight rails: two RNICs and eight links each way. Everything else is well.
struct Leaf {
    network: Network,
    rnics: Vec<ComponentId>,
    up: Vec<ComponentId>,
    down: Vec<ComponentId>,
    peers: Vec<ComponentId>,
}

impl Leaf {
    fn new() -> Self {
        let mut network = Network::new();
        let mut several =
            |kind, count| -> Vec<_> { (0..count).map(|_| network.component(kind)).collect() };
        let (rnics, up) = (several(Kind::Rnic, RNICS), several(Kind::Link, UPLINKS));
        let (down, peers) = (
            several(Kind::Link, UPLINKS),
            several(Kind::Rnic, RNICS * UPLINKS),
        );
        for (up, down) in up.iter().zip(&down) {
            network.cable(*up, *down).expect("fresh directions");
        }
        let links: Vec<_> = rnics.iter().chain(&up).chain(&down).copied().collect();
        network
            .group(Kind::Switch, &links)
            .expect("links are no groups");
        Self {
            network,
            rnics,
            up,
            down,
            peers,
        }
    }

    /// Round trips of every RNIC over every uplink, to a peer of its own each, and back over a link down that follows
    /// from the three and `round`. `is_slow` says whether a flow is, by its RNIC, its uplink and its link
    /// down.
    fn probe(&mut self, round: usize, is_slow: impl Fn(usize, usize, usize) -> bool) {
        let ways: Vec<Vec<ComponentId>> = self.down.iter().map(|link| vec![*link]).collect();
        let one_of = OneOf {
            ways: &ways,
            of: UPLINKS,
        };
        for rnic in 0..RNICS {
            for up in 0..UPLINKS {
                let nth = rnic * UPLINKS + up;
                let crossed = [self.rnics[rnic], self.up[up], self.peers[nth]];
                let down = (up * 3 + rnic * 5 + round * 2) % UPLINKS;
                let lost = u64::from(is_slow(rnic, up, down));
                self.network
                    .observe_one_of(&crossed, one_of, 1, lost, 1)
                    .expect("eight ways of plain components");
            }
        }
    }

    fn judge(&self) -> Localisation {
        localise(&self.network, &slow())
    }
}

#[test]
fn an_end_that_all_slow_flows_cross_is_named_and_none_of_the_ways_that_each_may_have_taken() {
    let mut leaf = Leaf::new();
    leaf.probe(0, |rnic, _, _| rnic == 1);
    let found = leaf.judge();
    let [suspect] = found.suspects.as_slice() else {
        panic!("one suspect: {found:?}");
    };
    assert_eq!(suspect.component, leaf.rnics[1]);
    assert!(suspect.confidence > 0.85, "{suspect:?}");
    let mut others = suspect.alternatives.iter();
    assert!(others.all(|(id, _)| !leaf.down.contains(id)), "{suspect:?}");
    assert_eq!((suspect.flows.lossy, suspect.flows.lossy_elsewhere), (8, 0));
}

#[test]
fn a_link_that_is_slow_both_ways_is_named_although_it_is_not_known_who_came_back_over_it() {
    let mut leaf = Leaf::new();
    for round in 0..3 {
        leaf.probe(round, |_, up, down| up == 2 || down == 2);
    }
    let found = leaf.judge();
    let [suspect] = found.suspects.as_slice() else {
        panic!("one suspect: {found:?}");
    };
    let members: Vec<_> = suspect.members.iter().map(|(member, _)| *member).collect();
    assert_eq!(members, [leaf.up[2], leaf.down[2]], "{suspect:?}");
    assert_eq!(suspect.kind, Kind::Link);
    assert!(suspect.confidence > 0.9, "{suspect:?}");
}

#[test]
fn a_link_that_only_answers_may_have_crossed_is_no_suspect_where_most_that_may_have_were_fast() {
    let mut leaf = Leaf::new();
    leaf.probe(0, |_, _, down| down == 5);
    let found = leaf.judge();
    // Two slow flows of sixteen, and each of eight links down explains them as well.
    assert_eq!(found.suspects, Vec::new());
}

#[test]
fn flows_that_took_one_way_each_are_told_from_those_that_lose_a_share_everywhere() {
    // Of eight flows that each took one of two ways, four lose everything and four nothing.
    let mut network = Network::new();
    let ways: Vec<_> = (0..2)
        .map(|_| vec![network.component(Kind::Link)])
        .collect();
    let end = network.component(Kind::Rnic);
    let one_of = OneOf { ways: &ways, of: 2 };
    for _ in 0..4 {
        for lost in [0, 100] {
            network
                .observe_one_of(&[end], one_of, 100, lost, 1)
                .expect("two ways of plain components");
        }
    }
    // What is known to have crossed the second way was well.
    network.observe(&ways[1], 400, 0, 4).expect("a component");
    let found = localise(&network, &Priors::default());
    assert_eq!(found.suspects[0].component, ways[0][0], "{found:?}");
    assert!(found.suspects[0].loss > 0.9, "{found:?}");
}

#[test]
fn one_way_of_one_is_crossed_for_certain_and_ways_of_nothing_do_not_count() {
    let build = |certain: bool| {
        let mut network = Network::new();
        let links: Vec<_> = (0..3).map(|_| network.component(Kind::Link)).collect();
        let only = [vec![links[1]]];
        let nothing = [Vec::new(), Vec::new()];
        for (sent, lost) in [(100, 7), (300, 0)] {
            if certain {
                network.observe(&links[..2], sent, lost, 1)
            } else {
                let one_of = OneOf { ways: &only, of: 1 };
                network.observe_one_of(&links[..1], one_of, sent, lost, 1)
            }
            .expect("plain components");
            let one_of = OneOf {
                ways: if certain { &[] } else { &nothing },
                of: 0,
            };
            network
                .observe_one_of(&links[2..], one_of, sent, 0, 1)
                .expect("plain components");
        }
        localise(&network, &Priors::default())
    };
    assert_eq!(build(true), build(false));
}

#[test]
fn what_cannot_be_crossed_is_refused_on_any_way() {
    let mut network = Network::new();
    let (forth, back) = (network.component(Kind::Link), network.component(Kind::Link));
    let cable = network.cable(forth, back).expect("fresh directions");
    let mut observe = |ways: &[Vec<ComponentId>]| {
        let one_of = OneOf { ways, of: 2 };
        network.observe_one_of(&[], one_of, 10, 1, 1)
    };
    assert_eq!(
        observe(&[vec![forth], vec![cable]]),
        Err(NetworkError::NotCrossable(cable))
    );
    let many = vec![vec![forth]; 65];
    assert_eq!(observe(&many), Err(NetworkError::TooManyWays(65)));
    assert_eq!(observe(&[vec![forth], vec![back]]), Ok(()));
}
