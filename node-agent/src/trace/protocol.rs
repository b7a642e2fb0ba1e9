//! What prober and tracer say to each other over the unix socket: JSON in frames led by their length, a version first.
//!
//! Whoever may open the socket may ask: the file's mode and its folder decide that. Both sides bound the length of a frame and
//! refuse what is out of range, so that neither can make the other grow.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tokio_util::codec::LengthDelimitedCodec;

/// Version of the protocol; the two containers of a pod have the same image, so that others are refused.
pub const PROTOCOL: u16 = 1;
/// Longest frame, in bytes.
pub const MAX_FRAME: usize = 8192;
/// Most routers on a traced path.
pub const MAX_ROUTERS: u8 = 32;
/// Most packets per router in one request.
pub const MAX_EACH: u8 = 16;
/// Longest name of a network interface (`IFNAMSIZ` without its end).
const MAX_NETDEV: usize = 15;

/// The five-tuple of a flow (the protocol is UDP, the target port 4791) and how it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Flow {
    /// Address of the local RNIC.
    pub source: IpAddr,
    /// Address of the peer's RNIC, of the same family.
    pub target: IpAddr,
    /// UDP source port.
    pub source_port: u16,
    /// Differentiated services code point, 6 bits.
    pub dscp: u8,
    /// Network interface to send from; the routing table decides without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netdev: Option<String>,
}

/// Asks for packets that end at routers `first` to `last` of a flow's path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The answer repeats it.
    pub id: u64,
    /// Which flow.
    pub flow: Flow,
    /// TTL of the first router, from 1.
    pub first: u8,
    /// TTL of the last router; must not reach the peer.
    pub last: u8,
    /// Packets per router.
    pub each: u8,
}

impl Request {
    /// What is out of range, if anything is.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let flow = &self.flow;
        if flow.source.is_ipv4() != flow.target.is_ipv4() {
            return Err("source and target must be of one address family".to_owned());
        }
        if self.first == 0 || self.first > self.last || self.last > MAX_ROUTERS {
            return Err(format!("routers must lie within 1 to {MAX_ROUTERS}"));
        }
        if self.each == 0 || self.each > MAX_EACH {
            return Err(format!("packets per router must be 1 to {MAX_EACH}"));
        }
        if flow.dscp > 63 {
            return Err("the DSCP must be 0 to 63".to_owned());
        }
        match &flow.netdev {
            Some(name) if name.is_empty() || name.len() > MAX_NETDEV || name.contains('/') => {
                Err("the network interface's name is not one".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Packets that this asks for.
    pub fn packets(&self) -> usize {
        usize::from(self.last.saturating_sub(self.first) + 1) * usize::from(self.each)
    }
}

/// What came of the packets that ended at one router.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hop {
    /// TTL that the packets were sent with.
    pub ttl: u8,
    /// Packets sent.
    pub sent: u16,
    /// Packets answered.
    pub answered: u16,
    /// Who answered; none when nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Fastest answer, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ns: Option<u64>,
}

/// What the tracer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FromTracer {
    /// First of all.
    #[serde(rename_all = "camelCase")]
    Hello {
        /// [`PROTOCOL`].
        protocol: u16,
        /// Its budget.
        packets_per_second: u32,
    },
    /// The answer to a [`Request`].
    #[serde(rename_all = "camelCase")]
    Traced {
        /// Of the request.
        id: u64,
        /// In order of TTL.
        hops: Vec<Hop>,
    },
    /// A [`Request`] that could not be carried out.
    #[serde(rename_all = "camelCase")]
    Refused {
        /// Of the request.
        id: u64,
        /// One sentence.
        reason: String,
    },
}

/// How frames are told apart on the stream.
pub fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .length_field_type::<u32>()
        .max_frame_length(MAX_FRAME)
        .new_codec()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn flow(target: &str, source_port: u16) -> Flow {
        Flow {
            source: "10.10.1.2".parse().expect("an address"),
            target: target.parse().expect("an address"),
            source_port,
            dscp: 26,
            netdev: None,
        }
    }

    pub(crate) fn request(id: u64, last: u8, each: u8) -> Request {
        let flow = flow("10.10.2.2", 0xC001);
        Request {
            id,
            flow,
            first: 1,
            last,
            each,
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_a_reason() {
        assert_eq!(request(1, 3, 1).check(), Ok(()));
        let bad = |change: fn(&mut Request), reason: &str| {
            let mut request = request(1, 3, 1);
            change(&mut request);
            let error = request.check().expect_err("out of range");
            assert!(error.contains(reason), "{error}");
        };
        bad(|r| r.first = 0, "1 to 32");
        bad(|r| r.last = 33, "1 to 32");
        bad(|r| r.first = 4, "1 to 32");
        bad(|r| r.each = 0, "1 to 16");
        bad(|r| r.each = 17, "1 to 16");
        bad(|r| r.flow.dscp = 64, "0 to 63");
        bad(
            |r| r.flow.target = "fd00::1".parse().expect("an address"),
            "family",
        );
        bad(|r| r.flow.netdev = Some("../eth0".to_owned()), "name");
    }

    #[test]
    fn the_longest_answer_fits_into_a_frame() {
        let address: IpAddr = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
            .parse()
            .expect("one");
        let hop = |ttl| Hop {
            ttl,
            sent: u16::MAX,
            answered: u16::MAX,
            address: Some(address),
            rtt_ns: Some(u64::MAX),
        };
        let hops = (1..=MAX_ROUTERS).map(hop).collect();
        let id = u64::MAX;
        let json = serde_json::to_vec(&FromTracer::Traced { id, hops }).expect("JSON");
        assert!(json.len() <= MAX_FRAME, "{}", json.len());
    }
}
