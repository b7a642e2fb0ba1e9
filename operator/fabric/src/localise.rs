//! Who loses the packets: guilty links, RNICs, switches and hosts from what flows sent and lost.
//!
//! [`Network`] holds the components that may be at fault and the observations: which components some
//! flows crossed, what they sent and what they lost. [`localise`] answers with the set of components that
//! explains the losses best, each with its estimated loss, the probability that it is really guilty, and
//! what else might be. `diagnose` asks it about probes of agents, `judge` about flows that somebody else
//! recorded.
//!
//! # Model
//! A packet survives a component with probability e^−λ. Good components share one small λ that is
//! estimated from the data itself; a guilty one adds its own λ, log-uniform from [`Priors::mildest`] up to
//! [`Priors::usual`], with a tail up to total loss. A flow's losses are binomial in 1 − e^−Σλ. Before anything is seen, faults are few; kinds
//! have fixed shares, and a component of a kind is as likely as any other of it, so that the number of
//! components needs no tuning. A switch or host is guilty as a whole with one λ, or in a share of its
//! members with a λ each; that share may be any from a quarter up. Where it is not known which of several ways a flow
//! took ([`OneOf`]), its likelihood is the mean over them.
//!
//! # Inference
//! The log likelihood is concave in λ, so rates of a given set of guilty components are fitted by
//! Newton steps; integrating over a rate (instead of taking the best) is what makes sets of
//! different size comparable. The set itself is searched: add what explains most (`search`), exchange what
//! another component explains better, until nothing improves. Tables of what each component would gain at
//! each of a few rates are kept up to date as the set changes (`field`), so that every step sees all
//! candidates at the price of the flows that changed. Confidence (`confidence`) is the posterior
//! probability among all candidates for the place of a suspect, with "nobody" as one of them.
#![expect(
    clippy::cast_precision_loss,
    reason = "counts of packets enter likelihoods, where 52 bits are plenty"
)]

mod confidence;
mod field;
mod network;
mod prepare;
mod prior;
mod search;

pub use network::{ComponentId, Kind, Network, NetworkError, OneOf};

/// What is known before anything is seen. None of it depends on the size of the fabric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Priors {
    /// Loss of a good component that is expected without data (ratio of packets, 0 to 1). The data
    /// overrule it.
    pub background: f64,
    /// Least loss of a guilty component (ratio of packets, 0 to 1).
    pub mildest: f64,
    /// Most that a guilty component usually loses (ratio of packets, 0 to 1); more is possible, and four times
    /// less likely together.
    pub usual: f64,
    /// Probability that a flow loses for reasons outside the network, as many packets as may be.
    pub outlier: f64,
    /// Odds of any fault against none.
    pub faults: f64,
    /// Odds of a switch or host failing together with something else, against what they were if faults had
    /// nothing to do with each other.
    pub mixed: f64,
    /// Least confidence (0 to 1) from which a component is named, alone or together with what cannot be
    /// told from it.
    pub named: f64,
}

impl Default for Priors {
    fn default() -> Self {
        Self {
            background: 5e-5,
            mildest: 1e-3,
            usual: 1.0,
            outlier: 0.0,
            faults: 0.5,
            mixed: 1.0,
            named: 0.5,
        }
    }
}

/// Who is guilty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Localisation {
    /// The guilty, most certain first.
    pub suspects: Vec<Suspect>,
    /// Estimated loss of a good component (ratio of packets).
    pub background: f64,
}

/// A component that the losses point at.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspect {
    /// The component, cable or group.
    pub component: ComponentId,
    /// Its kind.
    pub kind: Kind,
    /// Share of the packets crossing it that it loses (0 to 1); the mean over `members` where there are.
    pub loss: f64,
    /// Members of a cable or group that lose, each with its share of lost packets.
    pub members: Vec<(ComponentId, f64)>,
    /// Probability (0 to 1) that this one is guilty. The two directions of a cable count as one.
    pub confidence: f64,
    /// What the flows say.
    pub flows: Crossing,
    /// What else may be guilty in its place, each with its probability, most likely first. Nobody is
    /// not listed: what is missing to 1 is his.
    pub alternatives: Vec<(ComponentId, f64)>,
}

/// What flows saw of a suspect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crossing {
    /// Flows with loss that crossed it.
    pub lossy: u64,
    /// Flows without loss that crossed it.
    pub clean: u64,
    /// Flows with loss that crossed neither it nor another suspect.
    pub lossy_elsewhere: u64,
    /// Packets of the lossy flows that crossed it.
    pub sent: u64,
    /// Those of them that were lost.
    pub lost: u64,
}

/// Finds who is guilty of the losses that `network` has seen.
///
/// Deterministic, and independent of the order of observations.
#[must_use]
pub fn localise(network: &Network, priors: &Priors) -> Localisation {
    let data = prepare::Data::new(network, priors);
    let found = search::Search::run(network, &data, priors);
    confidence::explain(network, found, priors.named)
}
