//! The agent's numbers, by OTLP and on `/metrics`.
//!
//! One table ([`table::TABLE`]) says what there is; [`sample`] fills it from the
//! state of the agent; [`otlp`] and [`prometheus`] both export exactly that. Nothing is computed while
//! nobody asks: a sample is made when a reader comes, at most twice a second.

pub use counters::AgentCounters;
pub use otlp::{Otlp, OtlpConfig, OtlpError};
pub use source::{Source, State};

mod counters;
mod feed;
pub mod otlp;
pub mod prometheus;
pub mod sample;
mod source;
pub mod table;

#[cfg(test)]
pub(crate) mod tests;
