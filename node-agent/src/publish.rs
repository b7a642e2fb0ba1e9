//! What the agent tells the API server, and when. Pure: the tasks that do the writing
//! ([`crate::reporter`], [`crate::cluster`]) hand in the clock and ask here.
//!
//! * [`Pacer`] decides whether a write is due now;
//! * [`Essence`] is the part of an assignment status whose change is news;
//! * [`assignment_status`] builds that status, never larger than the API allows.

pub use essence::Essence;
pub use rdmamesh_fabric::report::{Change, Pacer, Pacing};
pub use settled::{Idle, Settled};
pub use status::{View, assignment_status};

mod condition;
mod essence;
mod fit;
mod settled;
mod status;

pub(crate) use condition::{condition, kube_time};
pub(crate) use status::api_timestamps;

/// A random number from −1 to 1, to spread periodic writes.
pub(crate) fn jitter() -> f64 {
    rand::random_range(-1.0..=1.0)
}
