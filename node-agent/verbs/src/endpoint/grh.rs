//! The 40 bytes before a received UD payload: who sent it.
//!
//! InfiniBand, RoCE v1 and RoCE v2 over IPv6 leave a 40-byte header there. RoCE v2 over IPv4 leaves
//! the 20-byte IPv4 header in the last 20 bytes and anything at all in the first 20.

use crate::gid::Gid;
use crate::sys::region::GRH_LEN;

/// What the header says of the way here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    /// The sender's GID.
    pub(super) source: Gid,
    /// The hop limit (TTL) that was left.
    pub(super) hop_limit: u8,
}

/// Reads the header; `None` when the bytes are no header of either kind.
pub(super) fn arrival(grh: &[u8; GRH_LEN]) -> Option<Arrival> {
    let ipv4 = &grh[20..];
    let ipv4_fits = ipv4[0] == 0x45;
    let over_ipv4 = Arrival {
        source: ipv4_source(ipv4),
        hop_limit: ipv4[8],
    };
    if grh[0] >> 4 == 6 {
        // The first bytes may be left-overs that look like version 6; only a valid checksum speaks
        // for IPv4 then.
        return if ipv4_fits && checksum_holds(ipv4) {
            Some(over_ipv4)
        } else {
            let (source, hop_limit) = (ipv6_source(grh), grh[7]);
            Some(Arrival { source, hop_limit })
        };
    }
    ipv4_fits.then_some(over_ipv4)
}

fn ipv4_source(header: &[u8]) -> Gid {
    let mut address = [0; 4];
    address.copy_from_slice(&header[12..16]);
    Gid::from_ipv4(address.into())
}

fn ipv6_source(header: &[u8; GRH_LEN]) -> Gid {
    let mut address = [0; 16];
    address.copy_from_slice(&header[8..24]);
    Gid::from_bytes(address)
}

/// Whether the ones' complement sum over an IPv4 header comes out right.
fn checksum_holds(header: &[u8]) -> bool {
    let sum: u32 = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (folded & 0xffff) + (folded >> 16) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source_gid(grh: &[u8; GRH_LEN]) -> Option<Gid> {
        arrival(grh).map(|arrival| arrival.source)
    }

    /// An IPv4 header from 10.0.0.1 to 10.0.0.2 with a right checksum, where RoCE v2 leaves it.
    fn over_ipv4(left_over: u8) -> [u8; GRH_LEN] {
        let mut grh = [left_over; GRH_LEN];
        grh[20..].copy_from_slice(&[
            0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        let sum: u32 = grh[20..]
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let checksum = !(u16::try_from((sum & 0xffff) + (sum >> 16)).expect("one carry at most"));
        grh[30..32].copy_from_slice(&checksum.to_be_bytes());
        grh
    }

    #[test]
    fn ipv4_senders_get_their_mapped_gid() {
        assert_eq!(
            source_gid(&over_ipv4(0)),
            Some("10.0.0.1".parse().expect("valid"))
        );
    }

    #[test]
    fn the_hop_limit_that_is_left_is_read_from_either_header() {
        let left = |grh| arrival(&grh).map(|arrival| arrival.hop_limit);
        assert_eq!(left(over_ipv4(0)), Some(64));
        let mut over_ipv6 = [0; GRH_LEN];
        (over_ipv6[0], over_ipv6[7]) = (0x60, 61);
        assert_eq!(left(over_ipv6), Some(61));
        assert_eq!(left([0; GRH_LEN]), None);
    }

    #[test]
    fn left_overs_that_look_like_ipv6_do_not_hide_an_ipv4_sender() {
        assert_eq!(
            source_gid(&over_ipv4(0x66)),
            Some("10.0.0.1".parse().expect("valid"))
        );
    }

    #[test]
    fn ipv6_senders_get_the_address_of_the_header() {
        let mut grh = [0; GRH_LEN];
        grh[0] = 0x60;
        let sender: Gid = "fe80::1234".parse().expect("valid");
        grh[8..24].copy_from_slice(&sender.bytes());
        assert_eq!(source_gid(&grh), Some(sender));
        // An address that happens to look like an IPv4 header has no checksum that holds.
        grh[20] = 0x45;
        assert_ne!(
            source_gid(&grh).and_then(|gid| gid.ipv4_mapped()),
            Some([0, 0, 0, 0].into())
        );
    }

    #[test]
    fn garbage_has_no_sender() {
        assert_eq!(source_gid(&[0; GRH_LEN]), None);
        assert_eq!(source_gid(&[0xff; GRH_LEN]), None);
    }
}
