//! The judge's rules, one test each, and the laws that hold whatever is reported.

mod health;
mod hysteresis;
mod laws;
mod links;
mod over_time;
mod paths;
mod ports;
mod rails;
mod restart;
mod summary;
mod traced;
mod world;
