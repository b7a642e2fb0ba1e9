//! What holds for any observations.

use proptest::prelude::*;
use rdmamesh_fabric::localise::{Kind, Network, OneOf, Priors, localise};

const LINKS: u32 = 12;

/// What was crossed for certain; of how many ways one was taken, and what was crossed on those that are known; packets
/// sent and lost.
type Observed = (Vec<u32>, (usize, Vec<Vec<u32>>), u64, u64);

/// Observations over up to four of twelve links in three switches, some of them over one of several ways.
fn observations() -> impl Strategy<Value = Vec<Observed>> {
    let way = proptest::collection::vec(0..LINKS, 1..3);
    let one_of = (0..6_usize, proptest::collection::vec(way, 0..4));
    let one = (
        proptest::collection::vec(0..LINKS, 1..5),
        one_of,
        1_u64..100_000,
        0.0_f64..1.0,
        any::<bool>(),
    )
        .prop_map(|(links, one_of, sent, share, lossy)| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share of a small count"
            )]
            let lost = (sent as f64 * share.powi(6)) as u64;
            (links, one_of, sent, if lossy { lost } else { 0 })
        });
    proptest::collection::vec(one, 0..60)
}

fn network(observations: &[Observed]) -> Network {
    let mut network = Network::new();
    let links: Vec<_> = (0..LINKS).map(|_| network.component(Kind::Link)).collect();
    for switch in links.chunks(4) {
        network
            .group(Kind::Switch, switch)
            .expect("links are no groups");
    }
    let ids = |of: &Vec<u32>| -> Vec<_> { of.iter().map(|link| links[*link as usize]).collect() };
    for (crossed, (of, ways), sent, lost) in observations {
        let ways: Vec<_> = ways.iter().map(ids).collect();
        let one_of = OneOf {
            ways: &ways,
            of: *of,
        };
        network
            .observe_one_of(&ids(crossed), one_of, *sent, *lost, 1)
            .expect("lost is at most sent");
    }
    network
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_observations_does_not_matter(mut observed in observations()) {
        let forth = localise(&network(&observed), &Priors::default());
        observed.reverse();
        let back = localise(&network(&observed), &Priors::default());
        prop_assert_eq!(forth, back);
    }

    #[test]
    fn figures_are_probabilities_and_suspects_are_unique(observed in observations(), outlier in 0..2) {
        let priors = Priors { outlier: f64::from(outlier) * 1e-3, ..Priors::default() };
        let found = localise(&network(&observed), &priors);
        for (index, suspect) in found.suspects.iter().enumerate() {
            prop_assert!((0.0..=1.0).contains(&suspect.confidence));
            prop_assert!((0.0..=1.0).contains(&suspect.loss));
            prop_assert!(suspect.flows.lossy > 0);
            prop_assert!(found.suspects[..index].iter().all(|s| s.component != suspect.component));
            let sum: f64 = suspect.confidence
                + suspect.alternatives.iter().map(|(_, p)| p).sum::<f64>();
            prop_assert!(sum <= 1.0 + 1e-9);
        }
    }

    #[test]
    fn without_loss_nobody_is_named(mut observed in observations()) {
        for (_, _, _, lost) in &mut observed {
            *lost = 0;
        }
        prop_assert!(localise(&network(&observed), &Priors::default()).suspects.is_empty());
    }
}
