//! The rig: a real RoCE fabric, a real control plane and the product's own processes on one machine.
//!
//! ```text
//!  host machine                                     QEMU guest (own kernel, host's user space over 9p)
//!  etcd ── kube-apiserver ── controller-manager     netns leaf1 spine1 ...  veth cables, ECMP
//!            ▲        ▲                              netns host1: rail1 + rxe1, mgmt0, rdmamesh-agent
//!       rig ─┘   rdmamesh-operator                        │ API, OTLP over 10.0.2.2
//!  OpenTelemetry Collector ── metrics sink (JSON lines) ◄─┘
//! ```
//!
//! World fabric is the picture above; in world cluster ([`cluster`]) every host is a Kubernetes node, and operator and
//! agents are pods that Helm installed.
//!
//! [`rig::Rig`] is the handle the scenario runner and the tests work with: it brings all of this up, applies and
//! clears [`fault::Fault`]s, and restarts single processes. [`control_plane::ControlPlane`] also works alone, for
//! tests that need a real API server and no fabric. The programs that are not ours come from [`tools`].
#![forbid(unsafe_code)]

pub mod bench;
pub mod channel;
pub mod chart;
pub mod child;
pub mod cli;
pub mod cluster;
pub mod control_plane;
pub mod demo;
pub mod fabric;
pub mod fault;
pub mod images;
pub mod judge;
pub mod layout;
pub mod progress;
pub mod report;
pub mod rig;
pub mod rungs;
pub mod runner;
pub mod scenario;
pub mod score;
pub mod suite;
pub mod telemetry;
pub mod tools;
pub mod vm;
