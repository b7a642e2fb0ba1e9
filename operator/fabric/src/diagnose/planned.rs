//! Who probes whom, compact enough to keep for 80,000 RNICs.

use crate::names::RnicName;
use crate::plan::MeshPlan;

/// The RNICs that take part and the ordered pairs that are probed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// Sorted, unique.
    rnics: Vec<RnicName>,
    /// Ordered pairs by position in `rnics`; sorted, unique.
    pairs: Vec<(u32, u32)>,
}

impl Planned {
    /// What `plan` lets probe.
    #[must_use]
    pub fn of(plan: &MeshPlan) -> Self {
        Self {
            rnics: plan.rnics().collect(),
            pairs: plan.pairs().collect(),
        }
    }

    /// Puts RNICs and ordered pairs together; RNICs of pairs need not be listed among `rnics`.
    pub fn new(
        rnics: impl IntoIterator<Item = RnicName>,
        pairs: impl IntoIterator<Item = (RnicName, RnicName)>,
    ) -> Self {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let mut all: Vec<_> = rnics.into_iter().collect();
        all.extend(pairs.iter().flat_map(|(a, b)| [a.clone(), b.clone()]));
        all.sort_unstable();
        all.dedup();
        let mut planned = Self {
            rnics: all,
            pairs: Vec::new(),
        };
        let mut indexed: Vec<_> = pairs
            .iter()
            .filter_map(|(a, b)| Some((planned.position(a)?, planned.position(b)?)))
            .collect();
        indexed.sort_unstable();
        indexed.dedup();
        planned.pairs = indexed;
        planned
    }

    /// The RNICs, in order.
    #[must_use]
    pub fn rnics(&self) -> &[RnicName] {
        &self.rnics
    }

    /// Number of ordered pairs.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// Whether `rnic` takes part.
    #[must_use]
    pub fn contains(&self, rnic: &RnicName) -> bool {
        self.position(rnic).is_some()
    }

    /// Whether `from` probes `to`.
    #[must_use]
    pub fn probes(&self, from: &RnicName, to: &RnicName) -> bool {
        match (self.position(from), self.position(to)) {
            (Some(from), Some(to)) => self.pairs.binary_search(&(from, to)).is_ok(),
            _ => false,
        }
    }

    /// How many RNICs `from` probes.
    #[must_use]
    pub fn targets(&self, from: &RnicName) -> usize {
        self.position(from).map_or(0, |from| {
            let end = self.pairs.partition_point(|pair| pair.0 <= from);
            end - self.pairs.partition_point(|pair| pair.0 < from)
        })
    }

    fn position(&self, rnic: &RnicName) -> Option<u32> {
        let position = self.rnics.binary_search(rnic).ok()?;
        u32::try_from(position).ok()
    }
}
