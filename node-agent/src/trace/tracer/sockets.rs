//! The raw sockets of the tracer: whole IP packets out, ICMP in.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;

use crate::trace::packet::{self, Quote};
use crate::trace::protocol::Flow;

/// Longer than what any router quotes of our packets with headers of its own.
const MAX_ICMP: usize = 2048;
/// Messages read at once.
const BATCH: usize = 64;
/// Sending sockets: one per network interface that was asked for.
const MAX_NETDEVS: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Sockets {
    /// Raw sockets, driven as what they are alike to: they receive datagrams with an address.
    icmp_v4: UdpSocket,
    /// None on a host without IPv6.
    icmp_v6: Option<UdpSocket>,
    out: HashMap<(bool, Option<String>), Socket>,
}

impl Sockets {
    /// Opens what receives; what sends is opened when it is first needed.
    pub(super) fn open() -> io::Result<Self> {
        let icmp_v6 = raw(Domain::IPV6, Protocol::ICMPV6).and_then(readable);
        Ok(Self {
            icmp_v4: raw(Domain::IPV4, Protocol::ICMPV4).and_then(readable)?,
            icmp_v6: icmp_v6.ok(),
            out: HashMap::new(),
        })
    }

    /// Sends the packet of `flow` that ends after `ttl` routers.
    pub(super) fn send(&mut self, flow: &Flow, ttl: u8, token: u16) -> io::Result<()> {
        let packet = packet::probe(flow, ttl, token).map_err(io::Error::other)?;
        // A raw socket has no ports; the packet has its own.
        let to: SockAddr = SocketAddr::new(flow.target, 0).into();
        let key = (flow.target.is_ipv4(), flow.netdev.clone());
        if !self.out.contains_key(&key) {
            if self.out.len() >= MAX_NETDEVS {
                self.out.clear();
            }
            let socket = sender(flow)?;
            self.out.insert(key.clone(), socket);
        }
        let Some(socket) = self.out.get(&key) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let sent = socket.send_to(&packet, &to);
        if let Err(error) = &sent
            && error.raw_os_error() == Some(nix::libc::ENODEV)
        {
            // The interface has gone; a new one of the same name needs a new socket.
            self.out.remove(&key);
        }
        sent.map(drop)
    }

    /// Waits for ICMP and adds what routers say about packets like ours.
    pub(super) async fn receive(&self, quotes: &mut Vec<Quote>) -> io::Result<()> {
        let v6 = async {
            match &self.icmp_v6 {
                Some(socket) => socket.readable().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = self.icmp_v4.readable() => ready?,
            ready = v6 => ready?,
        }
        self.drain(quotes);
        Ok(())
    }

    /// Adds what routers have said so far, without waiting.
    pub(super) fn drain(&self, quotes: &mut Vec<Quote>) {
        // With IPv4 the message has its IP header before it, with IPv6 it has not.
        drain(&self.icmp_v4, quotes, |_, message| {
            packet::quote_v4(message)
        });
        if let Some(socket) = &self.icmp_v6 {
            drain(socket, quotes, packet::quote_v6);
        }
    }
}

fn raw(domain: Domain, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn readable(socket: Socket) -> io::Result<UdpSocket> {
    UdpSocket::from_std(socket.into())
}

/// A socket for whole packets of the flow's family, out of the flow's interface.
fn sender(flow: &Flow) -> io::Result<Socket> {
    // Protocol RAW: the packet brings its own IP header (raw(7)), with IPv6 as well.
    let whole = Protocol::from(nix::libc::IPPROTO_RAW);
    let socket = match flow.target {
        IpAddr::V4(_) => raw(Domain::IPV4, whole)?,
        IpAddr::V6(_) => raw(Domain::IPV6, whole)?,
    };
    if let Some(netdev) = &flow.netdev {
        socket.bind_device(Some(netdev.as_bytes()))?;
    }
    Ok(socket)
}

/// Reads what is there, up to a batch, and adds what `understand` makes of it.
fn drain(
    socket: &UdpSocket,
    quotes: &mut Vec<Quote>,
    understand: impl Fn(IpAddr, &[u8]) -> Option<Quote>,
) {
    let mut buffer = [0; MAX_ICMP];
    for _ in 0..BATCH {
        match socket.try_recv_from(&mut buffer) {
            Ok((length, from)) => {
                let message = buffer.get(..length).unwrap_or_default();
                quotes.extend(understand(from.ip(), message));
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    // Such as ENETDOWN of an interface that went: says nothing about the socket.
                    tracing::debug!(%error, "icmp not received");
                }
                return;
            }
        }
    }
}
