//! Which UDP source port, and so which ECMP path, a RoCE v2 flow takes.
//!
//! The port is not settable through verbs: each driver derives it from something that is. Used by the endpoint to predict the
//! ports of its flows, and by the path tracer to send along the same path.

/// What the driver derives a flow's path from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlowSource {
    /// The number of the sending queue pair (soft-RoCE): one flow per queue pair, the flow label is ignored.
    QpNumber,
    /// The flow label of the address handle (mlx5, hns and other hardware RoCE).
    FlowLabel,
    /// InfiniBand: the LIDs, no UDP port at all.
    LidPath,
}
