//! Which UDP source port, and so which ECMP path, a RoCE v2 flow takes.
//!
//! The port is not settable through verbs: each driver derives it from something that is. Used by
//! the endpoint to predict the ports of its flows, and by the path tracer to send along the same
//! path.

use crate::port::LinkLayer;

/// First port of the range that RoCE v2 senders use.
const FIRST_PORT: u16 = 0xc000;
/// The 14 bits of a port that vary.
const PORT_MASK: u32 = 0x3fff;

/// What the driver derives a flow's path from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlowSource {
    /// The number of the sending queue pair (soft-RoCE): one flow per queue pair, the flow label is
    /// ignored.
    QpNumber,
    /// The flow label of the address handle (mlx5, hns and other hardware RoCE).
    FlowLabel,
    /// InfiniBand: the LIDs, no UDP port at all.
    LidPath,
}

impl FlowSource {
    /// By link layer and driver.
    pub(crate) fn of(link_layer: &LinkLayer, driver: Option<&str>) -> Self {
        match (link_layer, driver) {
            (LinkLayer::InfiniBand, _) => Self::LidPath,
            (_, Some("rxe")) => Self::QpNumber,
            _ => Self::FlowLabel,
        }
    }
}

/// Whether the driver folds the flow label as [`flow_label_source_port`] does. Others (bnxt_re,
/// irdma, …) may mix in the queue pairs or choose for themselves, so nothing is predicted for them.
pub(crate) fn folds_flow_label(driver: Option<&str>) -> bool {
    driver.is_some_and(|driver| driver.starts_with("mlx5") || driver.starts_with("hns"))
}

/// The UDP source port that mlx5 and hns make of a flow label: its 20 bits folded to 14. `None` for
/// 0, where the driver chooses a port of its own. Labels with the same port are the same flow.
#[must_use]
pub const fn flow_label_source_port(flow_label: u32) -> Option<u16> {
    let label = flow_label & 0xf_ffff;
    if label == 0 {
        None
    } else {
        Some(port((label & PORT_MASK) ^ (label >> 14)))
    }
}

/// The UDP source port of a soft-RoCE queue pair: the kernel's 14-bit multiplicative hash of its
/// number (`rxe_qp_init_req` in Linux `drivers/infiniband/sw/rxe/rxe_qp.c`).
#[must_use]
pub const fn rxe_source_port(qpn: u32) -> u16 {
    /// `GOLDEN_RATIO_32` of the kernel's `hash_32`.
    const GOLDEN_RATIO: u32 = 0x61c8_8647;
    port(qpn.wrapping_mul(GOLDEN_RATIO) >> (32 - 14))
}

/// The 14 low bits as a port of the range.
const fn port(bits: u32) -> u16 {
    FIRST_PORT + (bits & PORT_MASK) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fold_to_the_upper_quarter_of_the_port_range() {
        assert_eq!(flow_label_source_port(1), Some(0xc001));
        assert_eq!(flow_label_source_port(0x3fff), Some(0xffff));
        assert_eq!(
            flow_label_source_port(0x4000),
            Some(0xc001),
            "bit 14 folds onto bit 0"
        );
        assert_eq!(flow_label_source_port(0xf_ffff), Some(0xffc0));
    }

    #[test]
    fn the_zero_label_predicts_no_port() {
        assert_eq!(flow_label_source_port(0), None);
        assert_eq!(
            flow_label_source_port(0x10_0000),
            None,
            "only 20 bits count"
        );
    }

    #[test]
    fn different_labels_can_be_the_same_flow() {
        assert_eq!(flow_label_source_port(0x4001), Some(0xc000));
        assert_eq!(flow_label_source_port(0x8003), Some(0xc001));
    }

    #[test]
    fn rxe_ports_equal_the_kernels_hash() {
        // hash_32(17, 14) = (17 * 0x61C88647 mod 2^32) >> 18
        assert_eq!(
            rxe_source_port(17),
            0xc000 + ((17_u64 * 0x61c8_8647 % (1 << 32)) >> 18) as u16
        );
        assert_eq!(rxe_source_port(0), 0xc000);
    }

    #[test]
    fn flows_follow_the_driver_not_the_device_name() {
        let ethernet = LinkLayer::Ethernet;
        assert_eq!(FlowSource::of(&ethernet, Some("rxe")), FlowSource::QpNumber);
        assert_eq!(
            FlowSource::of(&ethernet, Some("mlx5")),
            FlowSource::FlowLabel
        );
        assert_eq!(FlowSource::of(&ethernet, None), FlowSource::FlowLabel);
        assert_eq!(
            FlowSource::of(&LinkLayer::InfiniBand, Some("mlx5")),
            FlowSource::LidPath
        );
        assert!(folds_flow_label(Some("mlx5_core")) && folds_flow_label(Some("hns")));
        assert!(!folds_flow_label(Some("bnxt_re")) && !folds_flow_label(None));
    }
}
