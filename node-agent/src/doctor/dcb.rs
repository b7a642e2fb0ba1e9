//! Priorities and flow control of a network interface, out of the kernel's DCB netlink (`linux/dcbnl.h`): what `dcb pfc
//! show` and `dcb app show` print. Interfaces without DCB do not answer.

use std::collections::BTreeMap;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;

const RTM_GETDCB: u16 = 78;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const CMD_IEEE_GET: u8 = 21;
const ATTR_IFNAME: u16 = 1;
const ATTR_IEEE: u16 = 13;
const IEEE_PFC: u16 = 2;
const IEEE_APP_TABLE: u16 = 3;
const IEEE_APP: u16 = 1;
/// `IEEE_8021QAZ_APP_SEL_DSCP`.
const SELECTOR_DSCP: u8 = 5;
/// Heads of a netlink message and of a DCB message.
const HEAD: usize = 16;
const DCB_HEAD: usize = 4;
/// Bits of an attribute's type that are flags.
const FLAGS: u16 = 0xc000;
const PATIENCE: Duration = Duration::from_millis(500);

/// What an interface does with priorities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dcb {
    /// A bit per priority with priority flow control.
    pfc: u8,
    /// Priority by DSCP; empty when DSCP is not trusted.
    dscp: BTreeMap<u8, u8>,
}

impl Dcb {
    /// Facts as a test has them: flow control by priority, priority by DSCP.
    #[cfg(test)]
    pub(super) fn new(pfc: u8, dscp: impl IntoIterator<Item = (u8, u8)>) -> Self {
        Self {
            pfc,
            dscp: dscp.into_iter().collect(),
        }
    }

    /// Priorities with flow control.
    pub fn lossless(&self) -> impl Iterator<Item = u8> + use<> {
        let pfc = self.pfc;
        (0..8).filter(move |priority| pfc >> priority & 1 == 1)
    }

    /// Whether the DSCP of a packet chooses its priority. Drivers trust it once one is mapped.
    pub fn trusts_dscp(&self) -> bool {
        !self.dscp.is_empty()
    }

    /// Where packets with this DSCP go; `None` when that is not set.
    pub fn priority(&self, dscp: u8) -> Option<u8> {
        self.dscp.get(&dscp).copied()
    }
}

/// Asks the kernel; `None` where the interface has no DCB or does not answer.
pub(super) fn query(netdev: &str) -> Option<Dcb> {
    let mut socket = Socket::new(NETLINK_ROUTE).ok()?;
    socket.bind_auto().ok()?;
    let patience = TimeVal::new(0, i64::from(PATIENCE.subsec_micros()));
    setsockopt(&socket, ReceiveTimeout, &patience).ok()?;
    socket
        .send_to(&request(netdev), &SocketAddr::new(0, 0), 0)
        .ok()?;
    let (answer, _) = socket.recv_from_full().ok()?;
    parse(&answer)
}

fn request(netdev: &str) -> Vec<u8> {
    let mut name = netdev.as_bytes().to_vec();
    name.push(0);
    let attribute = 4 + name.len();
    name.resize(name.len().next_multiple_of(4), 0);
    let length = HEAD + DCB_HEAD + 4 + name.len();
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(RTM_GETDCB.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    // Family unspecified, command, padding.
    message.extend([0, CMD_IEEE_GET, 0, 0]);
    message.extend(u16::try_from(attribute).unwrap_or(u16::MAX).to_ne_bytes());
    message.extend(ATTR_IFNAME.to_ne_bytes());
    message.extend(name);
    message
}

fn parse(message: &[u8]) -> Option<Dcb> {
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    if kind == NLMSG_ERROR {
        return None;
    }
    let ieee = attributes(message.get(HEAD + DCB_HEAD..)?).find(|(kind, _)| *kind == ATTR_IEEE);
    let mut dcb = Dcb::default();
    for (kind, content) in attributes(ieee?.1) {
        match kind {
            // struct ieee_pfc: capability, enabled, …
            IEEE_PFC => dcb.pfc = content.get(1).copied().unwrap_or(0),
            IEEE_APP_TABLE => {
                let entries = attributes(content).filter(|(kind, _)| *kind == IEEE_APP);
                dcb.dscp
                    .extend(entries.filter_map(|(_, app)| dscp_entry(app)));
            }
            _ => {}
        }
    }
    Some(dcb)
}

/// struct dcb_app: selector, priority, protocol; DSCP and priority of an entry about DSCP.
fn dscp_entry(app: &[u8]) -> Option<(u8, u8)> {
    let [selector, priority, low, high, ..] = *app else {
        return None;
    };
    let dscp = u8::try_from(u16::from_ne_bytes([low, high])).ok()?;
    (selector == SELECTOR_DSCP).then_some((dscp, priority))
}

/// Attributes one after the other, as far as they are whole.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & !FLAGS;
        let content = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, content))
    })
}

#[cfg(test)]
mod tests;
