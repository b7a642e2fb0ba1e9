//! Puts the windows of all ports together into one report per second.

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use crate::dataplane::mono::Mono;
use crate::dataplane::port::{PortTick, TICK_PHASE};
use crate::model::TickReport;

/// So long after their tick all port loops have reported.
const GATHER_AFTER: Duration = Duration::from_millis(50);

/// When the next report is due.
pub(super) fn after(now: Mono) -> Mono {
    let this = Mono::of_second(now.second()).plus(TICK_PHASE + GATHER_AFTER);
    if now < this {
        this
    } else {
        this.plus(Duration::from_secs(1))
    }
}

/// Everything that has come in, as one report.
pub(super) fn gather(ticks: &mut mpsc::UnboundedReceiver<PortTick>, at: SystemTime) -> TickReport {
    let mut targets = Vec::new();
    while let Ok(tick) = ticks.try_recv() {
        targets.extend(tick.targets);
    }
    let settled = targets
        .iter()
        .all(|window| window.covered >= window.target.window);
    TickReport {
        at,
        targets,
        settled,
    }
}
