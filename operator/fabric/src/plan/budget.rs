//! The smallest budget that makes sense, for a sentence in a condition before anything is planned.

use super::input::MeshPolicy;
use super::output::ProbeClass;
use super::share::Costs;
use crate::rate::ProbeRate;

/// A budget that cannot carry one probe per peer at the intervals asked for. The planner then stretches the
/// intervals; the user should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the budget cannot carry one probe per peer: {rnics} RNICs per node need {needed} for two torMesh \
     peers and one peer of every other class each, budget.maxProbesPerSecond allows {budget}; set it to \
     {} or more, or lengthen the intervals",
    needed.ceil()
)]
pub struct BudgetShortfall {
    /// RNICs per node.
    pub rnics: u32,
    /// What they need at the very least.
    pub needed: ProbeRate,
    /// What the mesh allows.
    pub budget: ProbeRate,
}

/// Checks that the budget of `policy` carries the fewest peers that make sense on a node with `rnics`
/// RNICs: two of torMesh (with one nobody can tell which of the two is ill) and one of each other class
/// that is on, at the intervals asked for.
///
/// # Errors
/// [`BudgetShortfall`] with the budget that it takes.
pub fn check_budget(policy: &MeshPolicy, rnics: u32) -> Result<(), BudgetShortfall> {
    let costs = Costs::new(policy, 1);
    let per_rnic: ProbeRate = policy
        .classes
        .keys()
        .map(|class| match class {
            ProbeClass::TorMesh => costs.peer(*class).times(2),
            ProbeClass::InterTor | ProbeClass::Rail | ProbeClass::HostMesh => costs.peer(*class),
            ProbeClass::Service | ProbeClass::Control => ProbeRate::ZERO,
        })
        .sum();
    let needed = per_rnic.times(u64::from(rnics));
    let budget = ProbeRate::per_second(policy.budget.max_probes_per_second);
    if needed <= budget {
        Ok(())
    } else {
        Err(BudgetShortfall {
            rnics,
            needed,
            budget,
        })
    }
}
