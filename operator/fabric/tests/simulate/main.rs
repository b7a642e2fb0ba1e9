//! What the simulator promises: drops as often as it says, harmless things harm nobody, the same seed gives the same case.

mod cases;
mod probes;
