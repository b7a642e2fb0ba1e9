//! Sysfs trees as kernels show them, and what the inventory makes of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::gid::{Gid, GidKind};

/// A copy of sysfs that a test writes.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        Self(TempDir::new().expect("a writable temporary directory"))
    }

    fn root(&self) -> SysfsRoot {
        SysfsRoot::at(self.0.path())
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("writable");
        path
    }

    /// Writes attributes as the kernel shows them, with a line feed.
    fn write(&self, files: &[(&str, &str)]) {
        for (path, content) in files {
            fs::write(self.path(path), format!("{content}\n")).expect("writable");
        }
    }

    fn link(&self, path: &str, target: &str) {
        symlink(target, self.path(path)).expect("writable");
    }

    fn gid(&self, port: &str, index: u16, gid: &str, kind: Option<&str>, netdev: Option<&str>) {
        self.write(&[(&format!("{port}/gids/{index}"), gid)]);
        if let Some(kind) = kind {
            self.write(&[(&format!("{port}/gid_attrs/types/{index}"), kind)]);
        }
        if let Some(netdev) = netdev {
            self.write(&[(&format!("{port}/gid_attrs/ndevs/{index}"), netdev)]);
        }
    }

    /// A ConnectX port with RoCE v1 and v2 entries, a VLAN's among them, on `ens1f0np0`.
    fn mlx5(&self, name: &str, pci: &str) {
        let device = format!("class/infiniband/{name}");
        self.write(&[
            (&format!("devices/{pci}/numa_node"), "1"),
            (&format!("{device}/node_guid"), "b83f:d203:00ab:cdee"),
            (&format!("{device}/fw_ver"), "28.39.1002"),
            (&format!("class/infiniband_verbs/uverbs_{name}/ibdev"), name),
            ("class/infiniband_verbs/abi_version", "6"),
        ]);
        self.link(
            &format!("{device}/device"),
            &format!("../../../devices/{pci}"),
        );
        self.link(
            &format!("devices/{pci}/driver"),
            "../../bus/pci/drivers/mlx5_core",
        );
        let port = format!("{device}/ports/1");
        self.write(&[
            (&format!("{port}/state"), "4: ACTIVE"),
            (&format!("{port}/phys_state"), "5: LinkUp"),
            (&format!("{port}/rate"), "200 Gb/sec (4X HDR)"),
            (&format!("{port}/lid"), "0x0"),
            (&format!("{port}/link_layer"), "Ethernet"),
        ]);
        let local = "fe80:0000:0000:0000:ba3f:d2ff:feab:cdee";
        let mapped = "0000:0000:0000:0000:0000:ffff:0a00:0001";
        self.gid(&port, 0, local, Some("IB/RoCE v1"), Some("ens1f0np0"));
        self.gid(&port, 1, local, Some("RoCE v2"), Some("ens1f0np0"));
        self.gid(&port, 2, mapped, Some("IB/RoCE v1"), Some("ens1f0np0"));
        self.gid(&port, 3, mapped, Some("RoCE v2"), Some("ens1f0np0"));
        self.gid(&port, 4, EMPTY, None, None);
        self.gid(
            &port,
            5,
            "0000:0000:0000:0000:0000:ffff:0a00:0201",
            Some("RoCE v2"),
            Some("ens1f0np0.200"),
        );
    }

    fn netdev(&self, name: &str, mac: &str) {
        self.write(&[
            (&format!("class/net/{name}/address"), mac),
            (&format!("class/net/{name}/ifindex"), "4"),
            (&format!("class/net/{name}/mtu"), "9000"),
        ]);
    }
}

const EMPTY: &str = "0000:0000:0000:0000:0000:0000:0000:0000";
const MLX5_MAC: &str = "b8:3f:d2:ab:cd:ee";

fn one(tree: &Tree) -> DeviceInfo {
    let mut found = devices(&tree.root()).expect("readable");
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn a_machine_without_rdma_has_no_devices() {
    assert_eq!(devices(&Tree::new().root()).expect("no error"), Vec::new());
}

#[test]
fn a_connectx_is_read_in_full() {
    let tree = Tree::new();
    tree.mlx5("mlx5_0", "0000:3b:00.0");
    tree.netdev("ens1f0np0", MLX5_MAC);
    let device = one(&tree);
    assert_eq!(
        (device.name.as_str(), device.node_guid.as_str()),
        ("mlx5_0", "b83f:d203:00ab:cdee")
    );
    assert_eq!(device.firmware.as_deref(), Some("28.39.1002"));
    assert_eq!(device.driver.as_deref(), Some("mlx5_core"));
    assert_eq!(
        (device.pci.as_deref(), device.numa_node),
        (Some("0000:3b:00.0"), Some(1))
    );
    assert_eq!(device.uverbs.as_deref(), Some("uverbs_mlx5_0"));
    let port = &device.ports[0];
    assert_eq!(
        (port.state, port.physical_state),
        (PortState::Active, PhysicalState::LinkUp)
    );
    assert_eq!(
        port.rate,
        Some(Rate {
            mbit_per_sec: 200_000
        })
    );
    assert_eq!((&port.link_layer, port.lid), (&LinkLayer::Ethernet, None));
    assert_eq!(
        port.netdev,
        Some(Netdev {
            name: "ens1f0np0".to_owned(),
            ifindex: Some(4),
            mtu: Some(9000)
        })
    );
    assert!(port.netdev_here);
}

#[test]
fn gid_entries_keep_index_kind_and_netdev_and_empty_ones_are_left_out() {
    let tree = Tree::new();
    tree.mlx5("mlx5_0", "0000:3b:00.0");
    let gids = &one(&tree).ports[0].gids;
    let brief: Vec<_> = gids
        .iter()
        .map(|g| (g.index, &g.kind, g.netdev.as_deref()))
        .collect();
    let parent = Some("ens1f0np0");
    assert_eq!(
        brief,
        [
            (0, &GidKind::RoceV1, parent),
            (1, &GidKind::RoceV2, parent),
            (2, &GidKind::RoceV1, parent),
            (3, &GidKind::RoceV2, parent),
            (5, &GidKind::RoceV2, Some("ens1f0np0.200")),
        ]
    );
    assert_eq!(gids[3].gid.ipv4_mapped(), Some([10, 0, 0, 1].into()));
    assert!(gids[0].gid.is_link_local() && gids[0].gid.ipv4_mapped().is_none());
}

#[test]
fn a_netdev_of_the_same_name_in_our_namespace_is_not_enough() {
    let tree = Tree::new();
    tree.mlx5("mlx5_0", "0000:3b:00.0");
    tree.netdev("ens1f0np0", "02:00:00:00:00:01");
    let port = &one(&tree).ports[0];
    assert!(!port.netdev_here);
    assert_eq!(
        port.netdev,
        Some(Netdev {
            name: "ens1f0np0".to_owned(),
            ifindex: None,
            mtu: None
        })
    );
}

#[test]
fn netlink_decides_whose_netdev_it_is() {
    let tree = Tree::new();
    tree.mlx5("mlx5_0", "0000:3b:00.0");
    tree.mlx5("mlx5_1", "0000:3b:00.1");
    // By address both would look like ours.
    tree.netdev("ens1f0np0", MLX5_MAC);
    let ours = LinkFacts {
        driver: Some("mlx5"),
        netdevs: BTreeMap::from([(1, (4, "ens1f0np0".to_owned()))]),
    };
    let links = Links::from([
        ("mlx5_0".to_owned(), ours),
        ("mlx5_1".to_owned(), LinkFacts::default()),
    ]);
    let found = devices_with(&tree.root(), Some(&links)).expect("readable");
    assert_eq!(found[0].driver.as_deref(), Some("mlx5"));
    assert!(found[0].ports[0].netdev_here && !found[1].ports[0].netdev_here);
    assert_eq!(
        found[0].ports[0].netdev.as_ref().and_then(|n| n.mtu),
        Some(9000)
    );
    assert_eq!(found[1].ports[0].netdev.as_ref().and_then(|n| n.mtu), None);
}

#[test]
fn a_virtual_function_is_a_device_of_its_own() {
    let tree = Tree::new();
    tree.mlx5("mlx5_0", "0000:3b:00.0");
    tree.mlx5("mlx5_2", "0000:3b:00.2");
    tree.link("devices/0000:3b:00.2/physfn", "../0000:3b:00.0");
    let found = devices(&tree.root()).expect("readable");
    let brief: Vec<_> = found
        .iter()
        .map(|d| (d.name.as_str(), d.pci.as_deref()))
        .collect();
    assert_eq!(
        brief,
        [
            ("mlx5_0", Some("0000:3b:00.0")),
            ("mlx5_2", Some("0000:3b:00.2"))
        ]
    );
}

/// Soft-RoCE as Linux 7.3 shows it, under a name that says nothing.
fn soft_roce(tree: &Tree) {
    let port = "class/infiniband/roce9/ports/1";
    tree.write(&[
        ("class/infiniband/roce9/parent", "rail1"),
        ("class/infiniband/roce9/node_desc", "rxe"),
        ("class/infiniband/roce9/node_guid", "cccc:95ff:feb8:bad7"),
        ("class/infiniband/roce9/fw_ver", ""),
        ("class/infiniband_verbs/uverbs0/ibdev", "roce9"),
        (&format!("{port}/state"), "4: ACTIVE"),
        (&format!("{port}/phys_state"), "5: LinkUp"),
        (&format!("{port}/rate"), "10 Gb/sec (1X FDR10)"),
        (&format!("{port}/lid"), "0x0"),
        (&format!("{port}/link_layer"), "Ethernet"),
    ]);
    tree.gid(
        port,
        0,
        "fe80:0000:0000:0000:cccc:95ff:feb8:bad7",
        Some("RoCE v2"),
        Some("rail1"),
    );
    tree.gid(
        port,
        1,
        "0000:0000:0000:0000:0000:ffff:0a0a:0102",
        Some("RoCE v2"),
        Some("rail1"),
    );
}

#[test]
fn soft_roce_is_known_by_its_driver_not_by_its_name() {
    let tree = Tree::new();
    soft_roce(&tree);
    tree.netdev("rail1", "ce:cc:95:b8:ba:d7");
    let device = one(&tree);
    assert_eq!(device.driver.as_deref(), Some("rxe"));
    assert_eq!(
        (device.pci, device.numa_node, device.firmware),
        (None, None, None)
    );
    assert_eq!(device.uverbs.as_deref(), Some("uverbs0"));
    assert!(device.ports[0].netdev_here);
}

#[test]
fn a_device_on_its_way_out_has_no_character_device() {
    let tree = Tree::new();
    soft_roce(&tree);
    fs::remove_dir_all(tree.path("class/infiniband_verbs/uverbs0")).expect("there");
    assert_eq!(one(&tree).uverbs, None);
}

#[test]
fn infiniband_ports_have_lids_and_no_netdev_and_count_as_here() {
    let tree = Tree::new();
    for (number, state, phys, lid) in [
        (1, "4: ACTIVE", "5: LinkUp", "0x1f"),
        (2, "1: DOWN", "2: Polling", "0xffff"),
    ] {
        let port = format!("class/infiniband/mlx5_4/ports/{number}");
        tree.write(&[
            (&format!("{port}/state"), state),
            (&format!("{port}/phys_state"), phys),
            (&format!("{port}/rate"), "400 Gb/sec (4X NDR)"),
            (&format!("{port}/lid"), lid),
            (&format!("{port}/link_layer"), "InfiniBand"),
        ]);
        tree.gid(
            &port,
            0,
            "fe80:0000:0000:0000:b83f:d203:00ab:cdee",
            Some("IB/RoCE v1"),
            None,
        );
    }
    let ports = one(&tree).ports;
    assert_eq!(
        ports.iter().map(|p| p.port.get()).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(
        (ports[0].lid, &ports[0].link_layer),
        (Some(0x1f), &LinkLayer::InfiniBand)
    );
    assert_eq!(ports[0].gids[0].kind, GidKind::Ib);
    assert!(ports[0].netdev_here && ports[0].netdev.is_none());
    assert_eq!(
        (ports[1].state, ports[1].physical_state),
        (PortState::Down, PhysicalState::Polling)
    );
}

#[test]
fn missing_files_are_absent_not_errors() {
    let tree = Tree::new();
    fs::create_dir_all(tree.path("class/infiniband/bare0/ports/1/gids/x")).expect("writable");
    let device = one(&tree);
    let port = &device.ports[0];
    assert_eq!(
        (port.state, port.physical_state),
        (PortState::Unknown(0), PhysicalState::Unknown(0))
    );
    assert_eq!(
        (port.rate, port.lid, port.netdev.as_ref()),
        (None, None, None)
    );
    assert_eq!(
        (device.driver, device.uverbs, device.node_guid.as_str()),
        (None, None, "")
    );
    assert!(port.gids.is_empty() && !port.netdev_here);
}

#[test]
fn garbage_is_kept_as_unknown_and_never_panics() {
    let tree = Tree::new();
    let port = "class/infiniband/odd0/ports/1";
    tree.write(&[
        ("class/infiniband/odd0/ports/0/state", "4: ACTIVE"),
        ("class/infiniband/odd0/ports/300/state", "4: ACTIVE"),
        ("class/infiniband/odd0/ports/x/state", "4: ACTIVE"),
        ("class/infiniband_verbs/uverbs7/ibdev", "\u{fffd}\u{0}\u{0}"),
        (&format!("{port}/state"), "9: DREAMING"),
        (&format!("{port}/phys_state"), "LinkUp"),
        (&format!("{port}/rate"), "99999999999999999999.5 Gb/sec"),
        (&format!("{port}/lid"), "0xfffff"),
        (&format!("{port}/link_layer"), "Unspecified"),
    ]);
    fs::write(
        tree.path(&format!("{port}/gids/0")),
        [0xff, 0xfe, 0x00, 0x80],
    )
    .expect("writable");
    tree.gid(port, 1, "not:a:gid", None, None);
    tree.gid(port, 2, "fe80::1", Some("RoCE v3"), Some("e\u{301}th"));
    let ports = one(&tree).ports;
    assert_eq!(ports.len(), 1, "0, 300 and x are no port numbers");
    assert_eq!(
        (ports[0].state, ports[0].physical_state),
        (PortState::Unknown(9), PhysicalState::Unknown(0))
    );
    assert_eq!(
        ports[0].link_layer,
        LinkLayer::Unknown("Unspecified".to_owned())
    );
    assert_eq!((ports[0].rate, ports[0].lid), (None, None));
    let gids: Vec<_> = ports[0]
        .gids
        .iter()
        .map(|g| (g.index, g.kind.clone()))
        .collect();
    assert_eq!(gids, [(2, GidKind::Unknown("RoCE v3".to_owned()))]);
}

#[test]
fn a_used_entry_after_a_gap_of_empty_ones_is_found() {
    let tree = Tree::new();
    let port = "class/infiniband/rxe0/ports/1";
    for index in 0..100 {
        tree.gid(
            port,
            index,
            if index == 99 { "fe80::1" } else { EMPTY },
            None,
            None,
        );
    }
    assert_eq!(one(&tree).ports[0].gids[0].index, 99);
}

#[test]
fn a_directory_that_cannot_be_listed_is_named() {
    let tree = Tree::new();
    fs::write(tree.path("class/infiniband"), "").expect("writable");
    let error = devices(&tree.root())
        .expect_err("a file is no directory")
        .to_string();
    assert!(error.contains("class/infiniband"), "{error}");
}

#[test]
fn devices_that_libibverbs_leaves_out_are_named_with_the_package() {
    let tree = Tree::new();
    tree.mlx5("mlx5_0", "0000:3b:00.0");
    soft_roce(&tree);
    let listed = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    assert!(missing_providers(&tree.root(), &listed(&["mlx5_0", "roce9"])).is_ok());
    let error = missing_providers(&tree.root(), &listed(&["mlx5_0"]))
        .expect_err("no provider for soft-RoCE");
    assert!(matches!(&error, VerbsError::ProviderMissing { devices, .. } if *devices == ["roce9"]));
    let text = error.to_string();
    assert!(
        text.contains("roce9") && text.contains("ibverbs-providers"),
        "{text}"
    );
}

#[test]
fn rates_are_read_to_a_tenth_of_a_gigabit() {
    let rate = |text| Rate::from_sysfs(text).map(|rate| rate.mbit_per_sec);
    assert_eq!(rate("2.5 Gb/sec (1X SDR)"), Some(2500));
    assert_eq!(rate("100 Gb/sec (4X EDR)"), Some(100_000));
    for nonsense in [
        "",
        "100",
        "0 Gb/sec",
        "2.55 Gb/sec",
        "x Gb/sec",
        "10 Mb/sec",
    ] {
        assert_eq!(rate(nonsense), None, "{nonsense:?}");
    }
}

#[test]
fn gids_read_ipv6_in_any_form_and_plain_ipv4() {
    let gid: Gid = "10.0.0.1".parse().expect("IPv4");
    assert_eq!(
        gid,
        "0000:0000:0000:0000:0000:ffff:0a00:0001"
            .parse()
            .expect("as sysfs writes it")
    );
    assert_eq!(gid.to_string(), "::ffff:10.0.0.1");
    let error = "10.0.0".parse::<Gid>().expect_err("neither").to_string();
    assert!(error.contains("write it as"), "{error}");
}
