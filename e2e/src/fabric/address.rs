//! The fabric's address plan. All inside the guest: RNICs 10.10/16 (a /24 per leaf, a /30 per host), cables between
//! switches 10.11/16 (a /24 per leaf, a /30 per spine), management 10.12/16. QEMU's own network is 10.0.2.0/24.

use std::net::Ipv4Addr;

/// Bridge of the management network in the guest's own namespace: the hosts' way to the host machine.
pub const MANAGEMENT_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 12, 0, 1);

/// The two ends of a /30.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The end nearer to the spines (the leaf of a host cable, the spine of a spine cable).
    pub upper: Ipv4Addr,
    /// The other end.
    pub lower: Ipv4Addr,
}

fn pair(second: u8, third: u16, block: u16) -> Pair {
    let base =
        u32::from(Ipv4Addr::new(10, second, 0, 0)) + (u32::from(third) << 8) + u32::from(block) * 4;
    Pair {
        upper: Ipv4Addr::from(base + 1),
        lower: Ipv4Addr::from(base + 2),
    }
}

/// A host's cable: leaf number from 1, the host's place on the leaf from 0.
pub fn host_cable(leaf: u16, place: u16) -> Pair {
    pair(10, leaf, place)
}

/// A cable between switches, numbers from 1.
pub fn spine_cable(leaf: u16, spine: u16) -> Pair {
    pair(11, leaf, spine - 1)
}

/// What a leaf's hosts have in common, numbers from 1.
pub fn leaf_prefix(leaf: u16) -> String {
    format!(
        "{}/24",
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 10, 0, 0)) + (u32::from(leaf) << 8))
    )
}

/// The link-layer address of the interface with this address: locally administered, the same in every run.
pub fn mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// A host's management address, number from 1.
pub fn management(host: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(MANAGEMENT_GATEWAY) + u32::from(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_documented() {
        let host3 = host_cable(2, 0);
        assert_eq!(
            (host3.upper, host3.lower),
            ([10, 10, 2, 1].into(), [10, 10, 2, 2].into())
        );
        assert_eq!(host_cable(1, 1).lower, Ipv4Addr::new(10, 10, 1, 6));
        assert_eq!(spine_cable(1, 2).upper, Ipv4Addr::new(10, 11, 1, 5));
        assert_eq!(leaf_prefix(2), "10.10.2.0/24");
        assert_eq!(management(1), Ipv4Addr::new(10, 12, 0, 2));
        assert_eq!(mac(host3.lower), "02:00:0a:0a:02:02");
        assert_eq!(management(300), Ipv4Addr::new(10, 12, 1, 45));
    }
}
