//! The `rig` program.
fn main() {}
