//! RDMA netlink: the kernel's own answer to "whose netdev is behind this port, as seen from our
//! network namespace", which is what `rdma link` shows. Also the number of the driver, which no
//! sysfs file has for virtual devices.
//!
//! Needs no privileges. The attribute numbers are kernel ABI (`rdma/rdma_netlink.h`).

use std::collections::BTreeMap;
use std::io;

use netlink_packet_core::{
    DecodeError, Emitable, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, Nla, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};

/// `NETLINK_RDMA`.
const PROTOCOL: isize = 20;
/// `RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, 0)`.
const TYPE_BASE: u16 = 5 << 10;
const CMD_GET: u16 = 1;
const CMD_PORT_GET: u16 = 5;
const CMD_GET_CHARDEV: u16 = 15;

const ATTR_DEV_INDEX: u16 = 1;
const ATTR_DEV_NAME: u16 = 2;
const ATTR_PORT_INDEX: u16 = 3;
const ATTR_NDEV_INDEX: u16 = 50;
const ATTR_NDEV_NAME: u16 = 51;
const ATTR_CHARDEV_TYPE: u16 = 69;
const ATTR_UVERBS_DRIVER_ID: u16 = 73;

/// `enum rdma_driver_id` in `rdma/ib_user_ioctl_verbs.h`, by number.
const DRIVERS: [&str; 21] = [
    "",
    "mlx5",
    "mlx4",
    "cxgb3",
    "cxgb4",
    "mthca",
    "bnxt_re",
    "ocrdma",
    "nes",
    "irdma",
    "vmw_pvrdma",
    "qedr",
    "hns",
    "usnic",
    "rxe",
    "hfi1",
    "qib",
    "efa",
    "siw",
    "erdma",
    "mana",
];

/// What netlink says of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LinkFacts {
    /// Kernel driver, `None` for one that is newer than our list.
    pub(super) driver: Option<&'static str>,
    /// By port number: index and name of its netdev, for the ports whose netdev is in our network
    /// namespace.
    pub(super) netdevs: BTreeMap<u8, (u32, String)>,
}

/// Facts by device name.
pub(super) type Links = BTreeMap<String, LinkFacts>;

/// Asks the kernel about every device that our network namespace may see.
pub(super) fn links() -> io::Result<Links> {
    let mut client = Client::connect()?;
    let mut links = Links::new();
    for device in client.request(CMD_GET, NLM_F_DUMP, &[])? {
        let (Some(index), Some(name)) = (device.number(ATTR_DEV_INDEX), device.text(ATTR_DEV_NAME))
        else {
            continue;
        };
        // A device may vanish between the dump and these questions: then it has no facts.
        let facts = client.facts(index).unwrap_or_default();
        links.insert(name, facts);
    }
    Ok(links)
}

/// A netlink socket and the number of its last request.
struct Client {
    socket: Socket,
    sequence: u32,
}

impl Client {
    fn connect() -> io::Result<Self> {
        let mut socket = Socket::new(PROTOCOL)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(1))?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    fn facts(&mut self, index: u32) -> io::Result<LinkFacts> {
        let device = Attribute {
            kind: ATTR_DEV_INDEX,
            value: index.to_ne_bytes().to_vec(),
        };
        let uverbs = Attribute {
            kind: ATTR_CHARDEV_TYPE,
            value: b"uverbs\0".to_vec(),
        };
        let driver = self
            .request(CMD_GET_CHARDEV, 0, &[device.clone(), uverbs])
            .ok()
            .and_then(|answers| answers.first()?.number(ATTR_UVERBS_DRIVER_ID))
            .and_then(driver_name);

        let mut netdevs = BTreeMap::new();
        for port in self.request(CMD_PORT_GET, NLM_F_DUMP, &[device])? {
            let number = port.number(ATTR_PORT_INDEX);
            let ifindex = port.number(ATTR_NDEV_INDEX);
            if let (Some(number), Some(ifindex), Some(name)) =
                (number, ifindex, port.text(ATTR_NDEV_NAME))
            {
                netdevs.insert(number, (ifindex, name));
            }
        }
        Ok(LinkFacts { driver, netdevs })
    }

    /// Sends one request and collects its answers.
    fn request(
        &mut self,
        command: u16,
        flags: u16,
        attributes: &[Attribute],
    ) -> io::Result<Vec<Nldev>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let body = Nldev {
            command,
            attributes: attributes.to_vec(),
        };
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(body));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let done = collect(&datagram, self.sequence, &mut answers)?;
            let single = flags & NLM_F_DUMP == 0 && !answers.is_empty();
            if done || single {
                return Ok(answers);
            }
        }
    }
}

/// Name of a driver by its number; `None` for 0 (unknown) and for numbers newer than our list.
fn driver_name(id: u32) -> Option<&'static str> {
    DRIVERS
        .get(usize::try_from(id).ok()?)
        .copied()
        .filter(|name| !name.is_empty())
}

/// Adds the messages of one datagram that answer request `sequence`; true when there will be no
/// more.
fn collect(datagram: &[u8], sequence: u32, answers: &mut Vec<Nldev>) -> io::Result<bool> {
    let invalid =
        |error: DecodeError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkMessage::<Nldev>::deserialize(rest).map_err(invalid)?;
        let length = usize::try_from(message.header.length)
            .unwrap_or(usize::MAX)
            .next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
        if message.header.sequence_number != sequence {
            // The late answer to a request that timed out.
            continue;
        }
        match message.payload {
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            NetlinkPayload::InnerMessage(answer) => answers.push(answer),
            _ => {}
        }
    }
    Ok(false)
}

/// An nldev message: flat attributes after the netlink header.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Nldev {
    command: u16,
    attributes: Vec<Attribute>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Attribute {
    kind: u16,
    value: Vec<u8>,
}

impl Nldev {
    fn value(&self, kind: u16) -> Option<&[u8]> {
        self.attributes
            .iter()
            .find(|a| a.kind == kind)
            .map(|a| a.value.as_slice())
    }

    /// An unsigned number that fits `T`, sent as one, four or eight bytes in host order.
    fn number<T: TryFrom<u64>>(&self, kind: u16) -> Option<T> {
        let value = self.value(kind)?;
        let wide = match value.len() {
            1 => value.first().map(|&byte| u64::from(byte))?,
            4 => u64::from(u32::from_ne_bytes(value.try_into().ok()?)),
            8 => u64::from_ne_bytes(value.try_into().ok()?),
            _ => return None,
        };
        T::try_from(wide).ok()
    }

    fn text(&self, kind: u16) -> Option<String> {
        let value = self.value(kind)?;
        let text = value.strip_suffix(&[0]).unwrap_or(value);
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

impl Nla for Attribute {
    fn value_len(&self) -> usize {
        self.value.len()
    }

    fn kind(&self) -> u16 {
        self.kind
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.value);
    }
}

impl NetlinkSerializable for Nldev {
    fn message_type(&self) -> u16 {
        TYPE_BASE | self.command
    }

    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

impl NetlinkDeserializable for Nldev {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        let mut attributes = Vec::new();
        for nla in NlasIterator::new(payload) {
            let nla = nla?;
            attributes.push(Attribute {
                kind: nla.kind(),
                value: nla.value().to_vec(),
            });
        }
        Ok(Self {
            command: header.message_type & 0x3ff,
            attributes,
        })
    }
}

#[cfg(test)]
mod tests;
