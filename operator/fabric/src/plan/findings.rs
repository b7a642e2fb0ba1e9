//! Reasons and shortfalls that a plan has to tell, each as one sentence that says what to do.

use std::fmt;

use super::input::NodeState;
use super::output::ProbeClass;

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
    /// Nodes are left out because no RNIC of theirs is usable.
    NoUsableRnic {
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
    /// The budget does not carry the fewest probes that make sense at the intervals asked for: on these
    /// nodes all intervals are stretched.
    Stretched {
        /// Longest factor in force.
        factor: u32,
        /// The nodes.
        nodes: Names,
    },
    /// The budget carries nothing at all on these nodes.
    NotProbing {
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
        match self {
            Self::Excluded {
                state: NodeState::NoInventory,
                nodes,
            } => write!(
                f,
                "no inventory from the agent on {nodes}: `kubectl get pods -A -o wide -l \
                 app.kubernetes.io/component=agent` shows whether it runs; left out until it reports"
            ),
            Self::Excluded { state, nodes } => {
                write!(f, "{}: {nodes}; left out until that ends", state.describe())
            }
            Self::NoControlAddress { nodes } => write!(
                f,
                "no control address is known of {nodes}; left out until the agent advertises one"
            ),
            Self::NoUsableRnic { nodes } => {
                write!(
                    f,
                    "no selected RNIC is usable on {nodes}; see the RdmaNode's ports"
                )
            }
            Self::Unlabelled { nodes } => write!(
                f,
                "the group label is missing on {nodes}; they are treated as one group: label them, or \
                 set topology.groupLabel to a label that they have"
            ),
            Self::UnusableRnics { reason, rnics } => write!(f, "{rnics} left out: {reason}"),
            Self::LonelyGroups { groups } => write!(
                f,
                "only one host has RNICs in {groups}: torMesh has nobody to probe there; check \
                 topology.groupLabel"
            ),
            Self::LowInDegree { rnics } => write!(
                f,
                "{rnics} probed by fewer than two others; raise budget.maxProbesPerSecond or \
                 budget.maxPeersPerRnic"
            ),
            Self::Stretched { factor, nodes } => write!(
                f,
                "the budget does not carry two peers per RNIC at the intervals asked for on {nodes}: \
                 intervals are up to {factor} times longer; raise budget.maxProbesPerSecond"
            ),
            Self::NotProbing { nodes } => write!(
                f,
                "the budget carries nothing on {nodes}; raise budget.maxProbesPerSecond or select \
                 fewer meshes for them"
            ),
            Self::Capped {
                class,
                wanted,
                planned,
                by_rate,
            } => write!(
                f,
                "{class} probes {planned} of {wanted} peers per RNIC: {} limits it",
                if *by_rate {
                    "budget.maxProbesPerSecond"
                } else {
                    "budget.maxPeersPerRnic"
                }
            ),
            Self::CoverageShort {
                wanted,
                achieved,
                flows_wanted,
                flows,
                short: (short, pairs),
            } => write!(
                f,
                "{short} of {pairs} group pairs have fewer than the {flows_wanted} flows that \
                 coverage {wanted} takes; the worst has {flows}, which covers all paths with \
                 probability {achieved:.3}: raise budget.maxProbesPerSecond, lengthen \
                 probes.interTor.interval or lower probes.interTor.coverage"
            ),
        }
    }
}
