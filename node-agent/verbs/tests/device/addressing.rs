//! What the inventory and `open` say about real devices.

use libtest_mimic::Failed;
use rdmamesh_verbs::{
    EndpointConfig, GidKind, LinkLayer, PhysicalState, PortState, SysfsRoot, UdEndpoint,
    VerbsError, devices, provider_gap,
};

use super::child;
use super::fabric::{NETDEV, Pair, run, runtime};

pub(crate) fn inventory_says_whose_netdev_is_here() -> Result<(), Failed> {
    let pair = Pair::new();
    let (a, b) = (pair.a.device.clone(), pair.b.device.clone());
    let seen = pair
        .a
        .enter(|| devices(&SysfsRoot::system()).expect("sysfs is readable"));
    let ours = seen.iter().find(|d| d.name == a).expect("listed");
    let theirs = seen
        .iter()
        .find(|d| d.name == b)
        .expect("shared mode shows every device");
    assert_eq!(ours.driver.as_deref(), Some("rxe"));
    assert!(
        ours.uverbs
            .as_deref()
            .is_some_and(|name| name.starts_with("uverbs"))
    );
    let (port, far) = (&ours.ports[0], &theirs.ports[0]);
    assert_eq!(
        (port.state, port.physical_state),
        (PortState::Active, PhysicalState::LinkUp)
    );
    assert_eq!(port.link_layer, LinkLayer::Ethernet);
    assert!(port.netdev_here && !far.netdev_here);
    let netdev = port.netdev.as_ref().expect("a netdev");
    assert_eq!((netdev.name.as_str(), netdev.mtu), (NETDEV, Some(1500)));
    assert!(netdev.ifindex.is_some());
    assert_eq!(
        far.netdev.as_ref().map(|n| (n.name.as_str(), n.ifindex)),
        Some((NETDEV, None)),
        "same name, not ours"
    );

    run(&format!("ip -n {} link set {NETDEV} down", pair.a.netns));
    let down = pair.a.port();
    assert_eq!(
        (down.state, down.physical_state),
        (PortState::Down, PhysicalState::Disabled)
    );
    assert!(down.netdev_here, "a port that is down is still ours");
    Ok(())
}

pub(crate) fn gids_of_both_families_are_listed() -> Result<(), Failed> {
    let pair = Pair::new();
    let port = pair.a.port();
    let find = |text: &str| {
        port.gids
            .iter()
            .find(|entry| entry.gid == text.parse().expect("an address"))
    };
    for address in [&pair.a.ipv4, &pair.a.ipv6] {
        let entry = find(address).expect("in the table");
        assert_eq!(
            (&entry.kind, entry.netdev.as_deref()),
            (&GidKind::RoceV2, Some(NETDEV))
        );
    }
    assert!(port.gids.iter().any(|entry| entry.gid.is_link_local()));
    Ok(())
}

pub(crate) fn opening_what_is_not_there_says_so() -> Result<(), Failed> {
    let pair = Pair::new();
    let good = pair.a.ipv4_config(1);
    let refused = move |config: EndpointConfig| {
        pair.a.enter(move || {
            runtime().block_on(async {
                UdEndpoint::open(&config)
                    .map(|_| ())
                    .expect_err("not there")
            })
        })
    };
    let nowhere = refused(EndpointConfig {
        device: "nowhere0".to_owned(),
        ..good.clone()
    });
    assert!(
        matches!(nowhere, VerbsError::DeviceNotFound { .. }),
        "{nowhere}"
    );
    let empty = refused(EndpointConfig {
        gid_index: 200,
        ..good.clone()
    });
    assert!(
        matches!(empty, VerbsError::GidEmpty { index: 200, .. }),
        "{empty}"
    );
    let long = refused(EndpointConfig {
        max_payload: 4096,
        ..good
    });
    assert!(long.to_string().contains("MTU"), "{long}");
    Ok(())
}

pub(crate) fn a_missing_provider_is_named() -> Result<(), Failed> {
    let pair = Pair::new();
    provider_gap(&SysfsRoot::system())?;
    print!("{}", child::ask_without_provider(&pair.a)?);
    Ok(())
}
