//! The laws of the planner, checked on made-up fabrics.

mod budget;
mod churn;
mod coverage;
mod fabric;
mod laws;
mod pairing;
mod reasons;
