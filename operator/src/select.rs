//! Which devices of a node a mesh picks, and which GID of them. Pure.

mod devices;
mod gid;

pub use devices::{DeviceFilter, DeviceFilterError, Picked};
pub use gid::{GidChoice, GidChoiceError};

use std::net::{IpAddr, Ipv6Addr};

use rdmamesh_api::node::PortStatus;

/// The address that a GID stands for: the IPv4 address of a mapped one.
pub(crate) fn gid_address(gid: &str) -> Option<IpAddr> {
    let gid: Ipv6Addr = gid.parse().ok()?;
    Some(gid.to_ipv4_mapped().map_or(IpAddr::V6(gid), IpAddr::V4))
}

/// Whether an address can be reached from elsewhere: neither unspecified, loopback nor link-local.
pub(crate) const fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => {
            !v6.is_unspecified()
                && !v6.is_loopback()
                && !v6.is_multicast()
                && !v6.is_unicast_link_local()
        }
    }
}

/// Addresses of the network interface under a port, as far as its GIDs tell.
pub(crate) fn addresses(port: &PortStatus) -> impl Iterator<Item = IpAddr> {
    port.gids
        .iter()
        .filter_map(|gid| gid_address(&gid.gid))
        .filter(|address| is_global(*address))
}
