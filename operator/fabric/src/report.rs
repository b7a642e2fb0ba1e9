//! What an agent makes of its windows: which paths are ill, what its links met, what fits into a status
//! and when that is written. Pure, so that the agent and the simulator run the very same rules and the
//! judge ([`crate::diagnose`]) sees in the simulator just what it would see in a cluster.

mod content;
mod find;
mod latency;
mod links;
mod loss;
mod news;
mod pacer;
mod unanswered;
mod window;

pub use content::{Content, MAX_ANOMALIES, MAX_LINKS, MAX_LOSSY_PATHS, OfPort, Quantiles, fit};

pub use find::{Finding, FindingKey, Findings, Kind, Limit, Limits, find};
pub use links::{HopTally, Links, Path, Paths, Untraced, links};
pub use news::News;
pub use pacer::{Change, Pacer, Pacing};
pub use unanswered::{MAX_UNANSWERED, Unanswered};
pub use window::{
    FlowWindow, LocalPort, RttSummary, Rtts, Tally, TargetKey, TimestampMode, Window, rnic_name,
};
