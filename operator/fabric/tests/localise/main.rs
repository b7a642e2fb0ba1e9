//! Rules of the inference core: who is named, who is not, and what cannot be told apart.

use rdmamesh_fabric::localise::{
    ComponentId, Kind, Localisation, Network, NetworkError, Priors, localise,
};

mod alike;
mod laws;
mod one_of;

/// Four leaves, two spines, two hosts a leaf, every link a cable, every switch a group.
struct Clos {
    network: Network,
    /// `up[leaf][spine]`, `down[leaf][spine]`.
    up: Vec<Vec<ComponentId>>,
    down: Vec<Vec<ComponentId>>,
    cables: Vec<Vec<ComponentId>>,
    spines: Vec<ComponentId>,
    /// `nic[leaf][host]`.
    nic: Vec<Vec<ComponentId>>,
}

const LEAVES: usize = 4;
const SPINES: usize = 2;
const HOSTS: usize = 2;

impl Clos {
    fn new() -> Self {
        let mut network = Network::new();
        let mut grid = |kind| -> Vec<Vec<ComponentId>> {
            let mut row = || (0..SPINES).map(|_| network.component(kind)).collect();
            (0..LEAVES).map(|_| row()).collect()
        };
        let (up, down, nic) = (grid(Kind::Link), grid(Kind::Link), grid(Kind::Rnic));
        let mut cable = |leaf: usize, spine: usize| {
            network
                .cable(up[leaf][spine], down[leaf][spine])
                .expect("fresh directions")
        };
        let cables: Vec<Vec<ComponentId>> = (0..LEAVES)
            .map(|leaf| (0..SPINES).map(|spine| cable(leaf, spine)).collect())
            .collect();
        let mut group = |links: Vec<ComponentId>| {
            network
                .group(Kind::Switch, &links)
                .expect("cables are no groups")
        };
        let spines = (0..SPINES)
            .map(|spine| group(cables.iter().map(|leaf| leaf[spine]).collect()))
            .collect();
        for leaf in &cables {
            group(leaf.clone());
        }
        Self {
            network,
            up,
            down,
            cables,
            spines,
            nic,
        }
    }

    /// Every pair of hosts on different leaves sends `sent` packets over every spine; `lost` says how
    /// many of a flow's packets get lost, given source, target and spine.
    fn probe(&mut self, sent: u64, lost: impl Fn(usize, usize, usize) -> u64) {
        for from in 0..LEAVES * HOSTS {
            for to in 0..LEAVES * HOSTS {
                let (a, b) = (from / HOSTS, to / HOSTS);
                if a == b {
                    continue;
                }
                for spine in 0..SPINES {
                    let crossed = [
                        self.nic[a][from % HOSTS],
                        self.up[a][spine],
                        self.down[b][spine],
                        self.nic[b][to % HOSTS],
                    ];
                    self.network
                        .observe(&crossed, sent, lost(a, b, spine), 1)
                        .expect("lost at most what was sent");
                }
            }
        }
    }

    fn judge(&self) -> Localisation {
        localise(&self.network, &Priors::default())
    }
}

#[test]
fn one_lossy_direction_is_named_and_nobody_else() {
    let mut clos = Clos::new();
    clos.probe(100, |a, _, spine| u64::from(a == 1 && spine == 0) * 5);
    let found = clos.judge();
    let [suspect] = found.suspects.as_slice() else {
        panic!("one suspect: {found:?}");
    };
    assert_eq!(suspect.component, clos.up[1][0]);
    assert!(suspect.confidence > 0.9, "{suspect:?}");
    assert!((suspect.loss - 0.05).abs() < 0.01, "{suspect:?}");
    assert_eq!((suspect.flows.lossy, suspect.flows.clean), (12, 0));
    assert_eq!(suspect.flows.lossy_elsewhere, 0);
}

#[test]
fn a_cable_that_loses_both_ways_is_one_suspect() {
    let mut clos = Clos::new();
    clos.probe(100, |a, b, spine| {
        u64::from((a == 1 || b == 1) && spine == 0) * 5
    });
    let found = clos.judge();
    let [suspect] = found.suspects.as_slice() else {
        panic!("one suspect: {found:?}");
    };
    assert_eq!(suspect.component, clos.cables[1][0]);
    assert_eq!(suspect.members.len(), 2);
}

#[test]
fn a_spine_that_loses_everywhere_is_the_switch() {
    let mut clos = Clos::new();
    clos.probe(100, |_, _, spine| u64::from(spine == 1) * 8);
    let found = clos.judge();
    let [suspect] = found.suspects.as_slice() else {
        panic!("one suspect: {found:?}");
    };
    assert_eq!(suspect.component, clos.spines[1]);
    assert_eq!(suspect.kind, Kind::Switch);
}

#[test]
fn a_dead_link_and_a_mildly_lossy_rnic_are_both_named() {
    let mut clos = Clos::new();
    let nic = clos.nic[3][1];
    clos.probe(100, |a, b, spine| {
        u64::from((a == 0 || b == 0) && spine == 1) * 100
    });
    for from in 1..3 {
        for spine in 0..SPINES {
            let crossed = [
                clos.nic[from][0],
                clos.up[from][spine],
                clos.down[3][spine],
                nic,
            ];
            clos.network.observe(&crossed, 1_000, 30, 1).expect("valid");
        }
    }
    let found = clos.judge();
    let mut named: Vec<ComponentId> = found.suspects.iter().map(|s| s.component).collect();
    named.sort_unstable();
    let mut guilty = vec![clos.cables[0][1], nic];
    guilty.sort_unstable();
    assert_eq!(named, guilty, "{found:?}");
}

#[test]
fn a_few_stray_losses_accuse_nobody() {
    let mut clos = Clos::new();
    clos.probe(2_000, |a, b, spine| u64::from((a, b, spine) == (0, 2, 1)));
    assert_eq!(clos.judge().suspects, Vec::new());
}

#[test]
fn no_observations_accuse_nobody() {
    assert_eq!(Clos::new().judge().suspects, Vec::new());
    assert_eq!(
        localise(&Network::new(), &Priors::default()).suspects,
        Vec::new()
    );
}

#[test]
fn what_the_same_flows_cross_is_named_with_its_double_as_alternative() {
    let mut network = Network::new();
    let link = network.component(Kind::Link);
    let other = network.component(Kind::Link);
    let clean = network.component(Kind::Link);
    network
        .observe(&[link, other], 1_000, 50, 10)
        .expect("valid");
    network.observe(&[clean], 1_000, 0, 10).expect("valid");
    let found = localise(&network, &Priors::default());
    let [suspect] = found.suspects.as_slice() else {
        panic!("one suspect: {found:?}");
    };
    assert_eq!(suspect.component, link);
    let [(alternative, probability)] = suspect.alternatives.as_slice() else {
        panic!("one alternative: {suspect:?}");
    };
    assert_eq!(*alternative, other);
    assert!((probability - suspect.confidence).abs() < 1e-6);
}

#[test]
fn a_nuisance_explains_and_is_never_named() {
    let mut network = Network::new();
    let link = network.component(Kind::Link);
    let icmp = network.component(Kind::Nuisance);
    network.observe(&[link], 10_000, 0, 10).expect("valid");
    network.observe(&[link, icmp], 100, 90, 1).expect("valid");
    assert_eq!(localise(&network, &Priors::default()).suspects, Vec::new());
}

#[test]
fn one_flow_alone_accuses_nobody_where_flows_lose_for_other_reasons() {
    let mut clos = Clos::new();
    clos.probe(50, |a, b, spine| u64::from((a, b, spine) == (0, 2, 1)) * 50);
    let crossed = [
        clos.nic[1][0],
        clos.up[1][0],
        clos.down[2][0],
        clos.nic[2][0],
    ];
    clos.network.observe(&crossed, 50, 20, 1).expect("valid");
    let priors = Priors {
        outlier: 1e-3,
        mildest: 0.01,
        ..Priors::default()
    };
    let found = localise(&clos.network, &priors);
    assert!(
        found.suspects.iter().all(|s| s.confidence < 0.9),
        "{found:?}"
    );
}

#[test]
fn impossible_observations_are_refused_with_what_to_do() {
    let mut clos = Clos::new();
    let too_many = clos.network.observe(&[clos.up[0][0]], 1, 2, 1);
    assert_eq!(
        too_many,
        Err(NetworkError::LostMoreThanSent { sent: 1, lost: 2 })
    );
    let cable = clos.network.observe(&[clos.cables[0][0]], 1, 0, 1);
    assert_eq!(cable, Err(NetworkError::NotCrossable(clos.cables[0][0])));
    let nested = clos.network.group(Kind::Switch, &[clos.spines[0]]);
    assert_eq!(nested, Err(NetworkError::NestedGroup(clos.spines[0])));
}
