//! The host's hand in the guest: run a program, start a lasting one, signal it, open a shell.
//!
//! One TCP connection per request, to a port of the loopback address that QEMU forwards into the guest. A request is
//! one JSON line; the answer is a line per event ([`protocol::Event`]). [`server`] runs in the guest as
//! `rig guest-agent`, [`client::Guest`] is what the host uses.

pub mod client;
pub mod protocol;
pub mod server;
mod spawn;

pub use client::{Guest, Outcome};
pub use protocol::{Program, UnitState};
