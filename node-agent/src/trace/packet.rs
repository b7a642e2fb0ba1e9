//! The datagrams that end at routers, and what routers say about them. Bytes only, no socket.
//!
//! The payload is no RoCE packet, so that an RNIC that sees one after all drops it: it carries a transport version that does not
//! exist (a base transport header has version 0), an unused opcode, queue pair 0, and it is too short for a datagram.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Slice, Icmpv6Slice, IpDscp, IpHeaders, IpNumber, Ipv4Header, Ipv4HeaderSlice,
    Ipv6FlowLabel, Ipv6Header, Ipv6HeaderSlice, PacketBuilder,
};

use super::protocol::Flow;

/// UDP port of `RoCEv2`.
pub const ROCE_PORT: u16 = 4791;
/// Longest datagram that [`probe`] makes, headers included.
pub const MAX_PROBE: usize = 64;

const PAYLOAD_LEN: usize = 16;
const UDP_LEN: usize = 8;
/// Where the payload holds the token: in the place of the packet sequence number.
const TOKEN_AT: usize = 10;
/// ICMP types, version 4 and 6: time exceeded, destination unreachable.
const ICMPV4_TYPES: [u8; 2] = [11, 3];
const ICMPV6_TYPES: [u8; 2] = [3, 1];

/// A packet could not be built.
#[derive(Debug, thiserror::Error)]
#[error("a datagram from {} to {} cannot be built", .0.source, .0.target)]
pub struct NotAFlow(Flow);

/// A whole IP packet of `flow` that ends after `ttl` routers. `token` finds its answer again: the answer quotes it.
///
/// # Errors
/// When the addresses are of different families, or the DSCP has more than 6 bits.
pub fn probe(flow: &Flow, ttl: u8, token: u16) -> Result<Vec<u8>, NotAFlow> {
    let failed = || NotAFlow(flow.clone());
    let dscp = IpDscp::try_new(flow.dscp).map_err(|_| failed())?;
    let payload = payload(token);
    let headers = match (flow.source, flow.target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let (length, udp) = ((UDP_LEN + PAYLOAD_LEN) as u16, IpNumber::UDP);
            let (source, target) = (source.octets(), target.octets());
            let mut header =
                Ipv4Header::new(length, ttl, udp, source, target).map_err(|_| failed())?;
            header.dscp = dscp;
            header.identification = token;
            header.dont_fragment = true;
            IpHeaders::Ipv4(header, Default::default())
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let header = Ipv6Header {
                traffic_class: flow.dscp << 2,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: (UDP_LEN + PAYLOAD_LEN) as u16,
                next_header: IpNumber::UDP,
                hop_limit: ttl,
                source: source.octets(),
                destination: target.octets(),
            };
            IpHeaders::Ipv6(header, Default::default())
        }
        _ => return Err(failed()),
    };
    let builder = PacketBuilder::ip(headers).udp(flow.source_port, ROCE_PORT);
    let mut packet = Vec::with_capacity(MAX_PROBE);
    builder.write(&mut packet, &payload).map_err(|_| failed())?;
    Ok(packet)
}

fn payload(token: u16) -> [u8; PAYLOAD_LEN] {
    let mut payload = [0; PAYLOAD_LEN];
    // Opcode of no transport; transport version 15.
    (payload[0], payload[1]) = (0xFF, 0x0F);
    payload[TOKEN_AT..TOKEN_AT + 2].copy_from_slice(&token.to_be_bytes());
    payload[PAYLOAD_LEN - 4..].copy_from_slice(b"mesh");
    payload
}

/// A router's word about one of our packets, told by the part of it that the router quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Who speaks.
    pub router: IpAddr,
    /// Where the packet came from.
    pub source: IpAddr,
    /// Where it was to go.
    pub target: IpAddr,
    /// Its UDP source port.
    pub source_port: u16,
    /// Its token.
    pub token: u16,
}

/// Reads an IPv4 packet with an ICMP message; `None` when it is not about a packet to port 4791.
pub fn quote_v4(packet: &[u8]) -> Option<Quote> {
    let outer = Ipv4HeaderSlice::from_slice(packet).ok()?;
    let icmp = Icmpv4Slice::from_slice(packet.get(outer.slice().len()..)?).ok()?;
    if outer.protocol() != IpNumber::ICMP || !ICMPV4_TYPES.contains(&icmp.type_u8()) {
        return None;
    }
    let quoted = icmp.payload();
    let inner = Ipv4HeaderSlice::from_slice(quoted).ok()?;
    let source_port = udp_source_port(inner.protocol(), quoted.get(inner.slice().len()..)?)?;
    Some(Quote {
        router: outer.source_addr().into(),
        source: inner.source_addr().into(),
        target: inner.destination_addr().into(),
        source_port,
        token: inner.identification(),
    })
}

/// Reads an `ICMPv6` message of `router`. IPv6 has no packet number, but its routers quote all of a short packet.
pub fn quote_v6(router: IpAddr, message: &[u8]) -> Option<Quote> {
    let icmp = Icmpv6Slice::from_slice(message).ok()?;
    if !ICMPV6_TYPES.contains(&icmp.type_u8()) {
        return None;
    }
    let quoted = icmp.payload();
    let inner = Ipv6HeaderSlice::from_slice(quoted).ok()?;
    let udp = quoted.get(inner.slice().len()..)?;
    let source_port = udp_source_port(inner.next_header(), udp)?;
    let token = udp.get(UDP_LEN + TOKEN_AT..)?.first_chunk()?;
    Some(Quote {
        router,
        source: inner.source_addr().into(),
        target: inner.destination_addr().into(),
        source_port,
        token: u16::from_be_bytes(*token),
    })
}

fn udp_source_port(protocol: IpNumber, udp: &[u8]) -> Option<u16> {
    let [a, b, c, d] = *udp.first_chunk()?;
    let ours = protocol == IpNumber::UDP && u16::from_be_bytes([c, d]) == ROCE_PORT;
    ours.then_some(u16::from_be_bytes([a, b]))
}

#[cfg(test)]
mod tests {
    use super::super::protocol::tests::flow;
    use super::*;

    const ROUTER: [u8; 4] = [10, 11, 0, 2];

    /// What a router says that quotes `quoted`.
    fn icmp_v4(kind: u8, quoted: &[u8]) -> Vec<u8> {
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(quoted);
        let length = u16::try_from(message.len()).expect("short");
        let header = Ipv4Header::new(length, 60, IpNumber::ICMP, ROUTER, [10, 10, 1, 2]);
        let mut packet = header.expect("short").to_bytes().to_vec();
        packet.extend(message);
        packet
    }

    #[test]
    fn a_router_that_quotes_only_eight_bytes_of_udp_is_understood() {
        let flow = flow("10.10.2.2", 0xC123);
        let packet = probe(&flow, 2, 0xBEEF).expect("a flow");
        assert!(packet.len() <= MAX_PROBE);
        let expected = Quote {
            router: ROUTER.into(),
            source: flow.source,
            target: flow.target,
            source_port: 0xC123,
            token: 0xBEEF,
        };
        for quoted in [&packet[..], &packet[..28]] {
            assert_eq!(quote_v4(&icmp_v4(11, quoted)), Some(expected));
        }
        assert_eq!(quote_v4(&icmp_v4(0, &packet)), None, "an echo reply");
        assert_eq!(quote_v4(&icmp_v4(11, &packet[..23])), None, "cut short");
    }

    #[test]
    fn packets_carry_the_flows_tuple_and_class_and_no_roce_header() {
        let packet = probe(&flow("10.10.2.2", 0xC123), 3, 7).expect("a flow");
        let header = Ipv4HeaderSlice::from_slice(&packet).expect("an IPv4 header");
        assert_eq!((header.ttl(), header.dcp().value()), (3, 26));
        assert_eq!(usize::from(header.total_len()), packet.len());
        assert_eq!(packet[20..24], [0xC1, 0x23, 0x12, 0xB7], "the two ports");
        let payload = &packet[28..];
        assert_ne!(payload[1] & 0x0F, 0, "the transport version is invalid");
        assert_eq!(payload[5..8], [0; 3], "queue pair 0");
    }

    #[test]
    fn ipv6_flows_are_traced_as_well() {
        let mut flow = flow("10.10.2.2", 0xC123);
        flow.source = "fd00::1".parse().expect("an address");
        assert!(probe(&flow, 1, 1).is_err(), "two families");
        flow.target = "fd00::2".parse().expect("an address");
        let packet = probe(&flow, 1, 0xABCD).expect("a flow");
        let mut message = vec![3, 0, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&packet);
        let router: IpAddr = "fd00:1::1".parse().expect("an address");
        let quote = quote_v6(router, &message).expect("understood");
        assert_eq!((quote.router, quote.token), (router, 0xABCD));
        assert_eq!((quote.source, quote.target), (flow.source, flow.target));
        assert_eq!(quote.source_port, 0xC123);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let packet = probe(&flow("10.10.2.2", 0xC123), 3, 7).expect("a flow");
        let good = icmp_v4(11, &packet);
        let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
        for length in 0..=good.len() {
            for _ in 0..200 {
                let mut bytes = good[..length].to_vec();
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                if let Some(byte) = bytes.get_mut((state >> 33) as usize % length.max(1)) {
                    *byte = (state >> 24) as u8;
                }
                quote_v4(&bytes);
                quote_v6([0; 16].into(), &bytes);
            }
        }
    }
}
