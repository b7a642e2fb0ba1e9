//! Chooses the flows of a target: as many distinct UDP source ports as wanted or as there are.

use crate::model::FlowSource;

const LABEL_MASK: u32 = (1 << 20) - 1;

/// What the engine needs to know of an open port to choose flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowFacts {
    /// What distinguishes flows.
    pub source: FlowSource,
    /// Per queue pair its UDP source port, where the queue pair decides it and the rule is known.
    pub qp_ports: Vec<Option<u16>>,
    /// Whether the source port follows from the flow label by the known fold.
    pub label_ports: bool,
}

/// One way out of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Index of the sending queue pair; also chooses the answering one.
    pub qp_index: u16,
    /// Flow label, there and back.
    pub flow_label: u32,
    /// UDP source port, where known.
    pub source_port: Option<u16>,
}

/// The first `wanted` flows of `seed`, fewer if the port has fewer. The same input gives the same flows.
pub fn choose(facts: &FlowFacts, wanted: u16, seed: u64) -> Vec<Flow> {
    match facts.source {
        FlowSource::QpNumber => by_queue_pair(facts, wanted, seed),
        FlowSource::FlowLabel => by_flow_label(facts, wanted, seed),
        FlowSource::LidPath => vec![Flow {
            qp_index: 0,
            flow_label: 0,
            source_port: None,
        }],
    }
}

/// Most flows that any target can get on this port; `None` if there is no limit short of the port range.
pub fn limit(facts: &FlowFacts) -> Option<u16> {
    match facts.source {
        FlowSource::QpNumber => {
            let all = by_queue_pair(facts, u16::MAX, 0).len();
            Some(u16::try_from(all).unwrap_or(u16::MAX))
        }
        FlowSource::FlowLabel => None,
        FlowSource::LidPath => Some(1),
    }
}

fn by_queue_pair(facts: &FlowFacts, wanted: u16, seed: u64) -> Vec<Flow> {
    let count = facts.qp_ports.len().min(usize::from(u16::MAX));
    let start = (seed % (count as u64).max(1)) as usize;
    let mut flows: Vec<Flow> = Vec::new();
    for step in 0..count {
        let index = (start + step) % count;
        let source_port = facts.qp_ports.get(index).copied().flatten();
        let taken = source_port.is_some() && flows.iter().any(|f| f.source_port == source_port);
        if flows.len() < usize::from(wanted) && !taken {
            let qp_index = u16::try_from(index).unwrap_or(u16::MAX);
            flows.push(Flow {
                qp_index,
                flow_label: 0,
                source_port,
            });
        }
    }
    flows
}

fn by_flow_label(facts: &FlowFacts, wanted: u16, seed: u64) -> Vec<Flow> {
    let qps = u16::try_from(facts.qp_ports.len())
        .unwrap_or(u16::MAX)
        .max(1);
    // There are 16384 ports: past half of them the search for a free one gets long and covers nothing more.
    let wanted = wanted.min(1 << 13);
    let mut used = std::collections::HashSet::with_capacity(usize::from(wanted));
    let mut flows = Vec::with_capacity(usize::from(wanted));
    let mut state = seed;
    while flows.len() < usize::from(wanted) {
        // The low 20 bits of the next number of the seed's sequence.
        let label = (splitmix64(&mut state) & u64::from(LABEL_MASK)) as u32;
        let port = fold(label);
        if label != 0 && used.insert(port) {
            let qp_index = u16::try_from(flows.len()).unwrap_or(0) % qps;
            let source_port = facts.label_ports.then_some(port);
            flows.push(Flow {
                qp_index,
                flow_label: label,
                source_port,
            });
        }
    }
    flows
}

/// The UDP source port that RoCE drivers derive from a flow label (rdma-core `ibv_flow_label_to_udp_sport`).
const fn fold(flow_label: u32) -> u16 {
    (0xC000 | ((flow_label & 0x3FFF) ^ ((flow_label >> 14) & 0x3F))) as u16
}

/// The splitmix64 generator (Steele, Lea, Flood 2014): one well-mixed number per call.
pub(super) fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// An even number in [0, 1) of it: 53 random bits.
pub(super) fn share(state: &mut u64) -> f64 {
    (splitmix64(state) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn soft_roce(ports: &[u16]) -> FlowFacts {
        let qp_ports = ports.iter().copied().map(Some).collect();
        FlowFacts {
            source: FlowSource::QpNumber,
            qp_ports,
            label_ports: false,
        }
    }

    #[test]
    fn queue_pairs_that_share_a_source_port_count_once() {
        let facts = soft_roce(&[50_000, 50_001, 50_000, 50_002]);
        assert_eq!(limit(&facts), Some(3));
        let flows = choose(&facts, 16, 1);
        let ports: HashSet<_> = flows.iter().map(|f| f.source_port).collect();
        assert_eq!((flows.len(), ports.len()), (3, 3));
        assert_eq!(flows[0].qp_index, 1, "the seed chooses where to start");
    }

    #[test]
    fn flow_labels_never_fold_to_the_same_port() {
        let facts = FlowFacts {
            source: FlowSource::FlowLabel,
            qp_ports: vec![None],
            label_ports: true,
        };
        let flows = choose(&facts, 557, 42);
        let ports: HashSet<_> = flows.iter().map(|f| f.source_port).collect();
        assert_eq!((flows.len(), ports.len()), (557, 557));
        assert_eq!(flows, choose(&facts, 557, 42));
        assert_ne!(flows, choose(&facts, 557, 43));
        assert!(
            flows
                .iter()
                .all(|f| f.flow_label != 0 && f.flow_label <= LABEL_MASK)
        );
    }

    #[test]
    fn infiniband_has_one_path() {
        let facts = FlowFacts {
            source: FlowSource::LidPath,
            qp_ports: vec![None],
            label_ports: false,
        };
        assert_eq!(choose(&facts, 16, 1).len(), 1);
    }

    #[test]
    fn a_port_without_queue_pairs_has_no_flows() {
        assert_eq!(choose(&soft_roce(&[]), 4, 9), vec![]);
    }
}
