//! The kubelet's device plugin protocol, generated from `proto/deviceplugin.proto`.

pub(super) use generated::*;

/// Version of the protocol.
pub(super) const VERSION: &str = "v1beta1";
/// A share that can be given out.
pub(super) const HEALTHY: &str = "Healthy";
/// A share that is not given out.
pub(super) const UNHEALTHY: &str = "Unhealthy";

#[expect(
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "the generator writes so"
)]
mod generated {
    tonic::include_proto!("v1beta1");
}
