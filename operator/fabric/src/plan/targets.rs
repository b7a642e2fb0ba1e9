//! Who probes whom, in the compact form that the whole plan is kept in.

use super::output::ProbeClass;

/// One RNIC probes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub local: u32,
    pub peer: u32,
    pub class: ProbeClass,
    pub flows: u16,
}

/// A target of a known local RNIC: eight bytes, for there are millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub class: ProbeClass,
    pub flows: u16,
    pub peer: u32,
}

/// Targets by local RNIC, each list by class and peer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Targets {
    /// Where the targets of each RNIC begin; one more at the end.
    starts: Vec<u32>,
    targets: Vec<Target>,
}

impl Targets {
    /// Sorts `edges` by local RNIC; `rnics` is their number.
    pub fn collect(rnics: usize, edges: &[Edge]) -> Self {
        let mut starts = vec![0_u32; rnics + 1];
        for edge in edges {
            starts[edge.local as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let blank = Target {
            class: ProbeClass::Control,
            flows: 0,
            peer: 0,
        };
        let mut next = starts.clone();
        let mut targets = vec![blank; edges.len()];
        for edge in edges {
            let place = &mut next[edge.local as usize];
            targets[*place as usize] = Target {
                class: edge.class,
                flows: edge.flows,
                peer: edge.peer,
            };
            *place += 1;
        }
        let mut sorted = Self { starts, targets };
        for rnic in 0..rnics {
            let range = sorted.range(rnic);
            sorted.targets[range].sort_unstable_by_key(|target| (target.class, target.peer));
        }
        sorted
    }

    fn range(&self, rnic: usize) -> std::ops::Range<usize> {
        match self.starts.get(rnic..rnic + 2) {
            Some(&[start, end]) => start as usize..end as usize,
            _ => 0..0,
        }
    }

    /// Targets of an RNIC, by class and peer.
    pub fn of(&self, rnic: u32) -> &[Target] {
        &self.targets[self.range(rnic as usize)]
    }

    /// Distinct peers of an RNIC, into `peers`, in order.
    pub fn peers_into(&self, rnic: u32, peers: &mut Vec<u32>) {
        peers.clear();
        peers.extend(self.of(rnic).iter().map(|target| target.peer));
        peers.sort_unstable();
        peers.dedup();
    }
}
