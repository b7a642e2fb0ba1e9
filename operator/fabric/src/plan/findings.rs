//! Reasons and shortfalls that a plan has to tell, each as one sentence that says what to do.

use std::fmt;

use super::input::NodeState;
use super::output::ProbeClass;
use crate::rate::ProbeRate;

/// A few names of many, for a sentence: bounded whatever the cluster's size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// How many there are.
    pub count: u64,
    /// The first of them, in order, at most [`Names::SHOWN`].
    pub first: Vec<String>,
}

impl Names {
    /// Names shown at most.
    pub const SHOWN: usize = 3;

    /// Adds a name.
    pub fn push(&mut self, name: impl fmt::Display) {
        self.count += 1;
        if self.first.len() < Self::SHOWN {
            self.first.push(name.to_string());
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// `a, b, c and 4 more`.
impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(", "))?;
        let more = self.count.saturating_sub(self.first.len() as u64);
        if more > 0 {
            write!(f, " and {more} more")?;
        }
        Ok(())
    }
}

/// Something about a plan that its reader should know.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// Nodes lack the group label and form one group together.
    Unlabelled {
        /// The nodes.
        nodes: Names,
    },
    /// Nodes are left out because of their state.
    Excluded {
        /// Why.
        state: NodeState,
        /// The nodes.
        nodes: Names,
    },
    /// Nodes are left out because no control address is known.
    NoControlAddress {
        /// The nodes.
        nodes: Names,
    },
    /// RNICs are left out.
    UnusableRnics {
        /// Why.
        reason: String,
        /// The RNICs.
        rnics: Names,
    },
    /// Groups with RNICs of one host only: torMesh has nobody to probe there.
    LonelyGroups {
        /// The groups.
        groups: Names,
    },
    /// RNICs that fewer than two others probe, although torMesh is on.
    LowInDegree {
        /// The RNICs.
        rnics: Names,
    },
    /// The budget does not carry the class at its interval, not even for the fewest peers that make
    /// sense: the interval is stretched.
    Stretched {
        /// The class.
        class: ProbeClass,
        /// Longest factor in force.
        factor: u32,
        /// The nodes.
        nodes: Names,
        /// What a node would need.
        needed: ProbeRate,
        /// What it has.
        budget: ProbeRate,
    },
    /// The budget carries nothing of the class on some nodes.
    NotProbed {
        /// The class.
        class: ProbeClass,
        /// The nodes.
        nodes: Names,
    },
    /// Some RNICs probe fewer peers than the class has for them.
    Capped {
        /// The class.
        class: ProbeClass,
        /// Peers of the RNIC that has most.
        wanted: u64,
        /// Peers that it probes.
        planned: u64,
        /// Whether `maxProbesPerSecond` limits it; else `maxPeersPerRnic` does.
        by_rate: bool,
    },
    /// The flows between groups cover the parallel paths less surely than asked for.
    CoverageShort {
        /// Probability asked for.
        wanted: f64,
        /// Lowest probability achieved.
        achieved: f64,
        /// Flows per ordered group pair that it takes.
        flows_wanted: u32,
        /// Fewest flows of an ordered group pair.
        flows: u32,
        /// Ordered group pairs with too few flows, of how many.
        short: (u64, u64),
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
