//! The fabric in the guest: a leaf–spine network of network namespaces and veth cables, with ECMP, and a soft-RoCE
//! device per host and rail.
//!
//! Naming: `host1 … `, `leaf1 …`, `spine1 …`; a cable is named by its two ends, `leaf1-spine2`, `host1-leaf1`, and
//! from rail 2 on `host1.2-leaf3`. An interface is named after what is at the other end, a host's own RNIC netdevs
//! `rail1`, `rail2` …; the RNIC of host 1's rail 1 is `rxe1`, of its rail 2 `rxe1.2`.
//!
//! Rails: the fabric is rail-optimised. `leaves` counts the leaves *of one rail*: rail *r* of a host of group *g*
//! (both from 1) hangs on leaf (*r* − 1) × leaves + *g*, and every leaf has a cable to every spine.

pub mod address;
pub mod script;
pub mod spec;
pub mod topology;

pub use spec::FabricSpec;
pub use topology::{Direction, End, Fabric, Host, HostRail, Link};
