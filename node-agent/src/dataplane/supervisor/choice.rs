//! Which local ports the data path uses and with which GID and how many queue pairs: pure, from the inventory.

use std::collections::BTreeMap;

use rdmamesh_verbs::{DeviceInfo, Gid, GidEntry, GidKind, LinkLayer, PortInfo, PortState};

use crate::model::{GidIndex, LocalPort, PortPlan};

/// Queue pairs of a soft-RoCE port that no plan has asked more of: enough for answers to take several paths.
const FEWEST_SOFT_QPS: u16 = 4;

/// A local port that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Usable {
    pub(super) gid_index: u16,
    pub(super) gid: Gid,
    pub(super) link_up: bool,
    /// The driver takes the UDP source port from the queue pair number.
    pub(super) soft: bool,
}

/// Every port of `devices` that belongs to our network namespace: how to open it, or why not.
pub(super) fn usable(
    devices: &[DeviceInfo],
    choice: impl Fn(&LocalPort) -> GidIndex,
) -> BTreeMap<LocalPort, Result<Usable, String>> {
    let ports = devices.iter().flat_map(|device| {
        let here = device.ports.iter().filter(|port| port.netdev_here);
        here.map(move |port| (device, port))
    });
    ports
        .map(|(device, port)| {
            let local = LocalPort::new(device.name.as_str(), port.port.get());
            let usable = choose(device, port, choice(&local));
            (local, usable)
        })
        .collect()
}

fn choose(device: &DeviceInfo, port: &PortInfo, wanted: GidIndex) -> Result<Usable, String> {
    if device.uverbs.is_none() {
        return Err("its character device is missing: load ib_uverbs".to_owned());
    }
    let entry = gid(port, wanted)?;
    Ok(Usable {
        gid_index: entry.index,
        gid: entry.gid,
        link_up: port.state == PortState::Active,
        soft: device.driver.as_deref() == Some("rxe") || device.name.starts_with("rxe"),
    })
}

fn gid(port: &PortInfo, wanted: GidIndex) -> Result<&GidEntry, String> {
    if let GidIndex::Fixed(index) = wanted {
        let entry = port.gids.iter().find(|entry| entry.index == index);
        return entry.ok_or_else(|| {
            format!(
                "GID index {index} is empty: set gid.index to Auto or to one that RdmaNode lists"
            )
        });
    }
    if port.link_layer == LinkLayer::InfiniBand {
        return port
            .gids
            .first()
            .ok_or_else(|| "its GID table is empty".to_owned());
    }
    let rank = |entry: &&GidEntry| {
        (
            entry.gid.ipv4_mapped().is_none(),
            entry.gid.is_link_local(),
            entry.index,
        )
    };
    let v2 = port
        .gids
        .iter()
        .filter(|entry| entry.kind == GidKind::RoceV2);
    v2.min_by_key(rank).ok_or_else(|| {
        "it has no RoCE v2 GID: give its netdev an IP address and bring it up".to_owned()
    })
}

/// Queue pairs to open: on soft-RoCE one per flow of the target with most, elsewhere one.
pub(super) fn queue_pairs(soft: bool, plan: Option<&PortPlan>, most: u16) -> u16 {
    let targets = plan.into_iter().flat_map(|plan| &plan.targets);
    let flows = targets.map(|target| target.flows).max().unwrap_or(0);
    if soft {
        soft_queue_pairs(flows, most)
    } else {
        1
    }
}

/// In powers of two, so that a plan that grows a little does not open the port again, which gives it new queue pair numbers; not
/// more, for each costs memory.
fn soft_queue_pairs(flows: u16, most: u16) -> u16 {
    let rounded = flows.max(FEWEST_SOFT_QPS).checked_next_power_of_two();
    rounded.unwrap_or(most).min(most.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdmamesh_verbs::{PhysicalState, PortNum};

    fn entry(index: u16, gid: &str, kind: GidKind) -> GidEntry {
        GidEntry {
            index,
            gid: gid.parse().expect("a GID"),
            kind,
            netdev: None,
        }
    }

    fn port(gids: Vec<GidEntry>) -> PortInfo {
        PortInfo {
            port: PortNum::FIRST,
            link_layer: LinkLayer::Ethernet,
            state: PortState::Active,
            physical_state: PhysicalState::LinkUp,
            rate: None,
            lid: None,
            netdev: None,
            netdev_here: true,
            gids,
        }
    }

    #[test]
    fn auto_prefers_roce_v2_over_ipv4_then_routable_ipv6() {
        let mut gids = vec![
            entry(0, "fe80::1", GidKind::RoceV1),
            entry(1, "fe80::1", GidKind::RoceV2),
            entry(2, "::ffff:10.0.0.1", GidKind::RoceV1),
            entry(3, "fd00::1", GidKind::RoceV2),
            entry(4, "::ffff:10.0.0.1", GidKind::RoceV2),
        ];
        let auto = |gids: &[GidEntry]| gid(&port(gids.to_vec()), GidIndex::Auto).map(|e| e.index);
        assert_eq!(auto(&gids), Ok(4));
        gids.pop();
        assert_eq!(auto(&gids), Ok(3));
        gids.pop();
        assert_eq!(auto(&gids), Ok(1));
        gids.remove(1);
        assert!(
            auto(&gids)
                .expect_err("only v1 is left")
                .contains("RoCE v2")
        );
    }

    #[test]
    fn a_fixed_index_that_is_empty_says_what_to_do() {
        let table = port(vec![entry(1, "fe80::1", GidKind::RoceV2)]);
        assert_eq!(gid(&table, GidIndex::Fixed(1)).map(|e| e.index), Ok(1));
        assert!(
            gid(&table, GidIndex::Fixed(3))
                .expect_err("empty")
                .contains("gid.index")
        );
    }

    #[test]
    fn a_port_of_another_network_namespace_is_not_ours() {
        let mut foreign = port(vec![entry(1, "::ffff:10.0.0.1", GidKind::RoceV2)]);
        foreign.netdev_here = false;
        let device = |name: &str, port| DeviceInfo {
            name: name.to_owned(),
            node_guid: String::new(),
            firmware: None,
            driver: Some("rxe".to_owned()),
            pci: None,
            numa_node: None,
            uverbs: Some("uverbs0".to_owned()),
            ports: vec![port],
        };
        let own = port(vec![entry(1, "::ffff:10.0.0.2", GidKind::RoceV2)]);
        let devices = [device("rxe1", foreign), device("rxe2", own)];
        let found = usable(&devices, |_| GidIndex::Auto);
        assert!(found.keys().map(|local| &*local.device).eq(["rxe2"]));
    }

    #[test]
    fn soft_roce_gets_a_queue_pair_per_flow_within_the_limit() {
        assert_eq!(queue_pairs(false, None, 64), 1);
        assert_eq!(queue_pairs(true, None, 64), 4);
        assert_eq!(soft_queue_pairs(29, 64), 32, "in powers of two");
        assert_eq!(soft_queue_pairs(200, 64), 64, "at most");
        assert_eq!(soft_queue_pairs(40_000, 50_000), 50_000);
        assert_eq!(soft_queue_pairs(0, 2), 2);
    }
}
