//! Path tracing: which routers does each flow of probes cross?
//!
//! Two processes, because only one of them needs `CAP_NET_RAW`:
//!
//! * the **tracer** ([`tracer`], `rdmamesh-agent trace`) sends UDP datagrams to port 4791 with the five-tuple of a flow and a TTL
//!   that ends at a router, so that ECMP sends them where the flow's probes go, and matches the ICMP answers. It knows no plan
//!   and no verdict; it sends what it is asked for, within its own budget;
//! * the **prober** asks it ([`client`]) over a unix socket ([`protocol`]) and keeps the last good path of every flow ([`book`]).
//!
//! No traced packet may reach the peer's RNIC. The number of routers of a flow is known without sending anything there: peers
//! report the hop limit that our probes arrive with, and the tracer is asked for routers only. Should a path get shorter in
//! between, the datagram is no valid RoCE packet ([`packet`]) and an RNIC drops it.
//!
//! A router that does not answer is unknown, not absent. Without a tracer everything else goes on.

pub mod book;
pub mod client;
pub mod packet;
pub mod protocol;
pub mod tracer;
