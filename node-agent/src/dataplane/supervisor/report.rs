//! Puts the windows of all ports together into one report per second.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use crate::dataplane::mono::Mono;
use crate::dataplane::port::{PortTick, TICK_PHASE, TickSource};
use crate::model::{LocalPort, TickReport};

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

/// A loop that has not reported for so long says nothing any more.
const STALE_AFTER: Duration = Duration::from_secs(3);

/// The newest windows of every loop. A loop that is late with a tick is represented by its last one: a target that
/// disappears for a second and comes back twice would look like news.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    newest: BTreeMap<TickSource, (Mono, PortTick)>,
}

impl Gathered {
    /// Takes what has come in and makes one report of it.
    pub(super) fn report(
        &mut self,
        ticks: &mut mpsc::UnboundedReceiver<PortTick>,
        now: Mono,
        at: SystemTime,
    ) -> TickReport {
        while let Ok(tick) = ticks.try_recv() {
            self.newest.insert(tick.source.clone(), (now, tick));
        }
        self.newest
            .retain(|_, (came, _)| now.since(*came) < STALE_AFTER);
        let newest = self.newest.values();
        let targets: Vec<_> = newest
            .flat_map(|(_, tick)| tick.targets.iter().cloned())
            .collect();
        let settled = targets
            .iter()
            .all(|window| window.covered >= window.target.window);
        TickReport {
            at,
            targets,
            settled,
        }
    }

    /// A port has been let go of: it has nothing to say any more.
    pub(super) fn forget(&mut self, local: &LocalPort) {
        self.newest.remove(&TickSource::Port(local.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(source: TickSource) -> PortTick {
        PortTick {
            source,
            targets: Vec::new(),
        }
    }

    #[test]
    fn a_loop_counts_once_per_report_and_its_last_word_stands_for_a_while() {
        let (to, mut ticks) = mpsc::unbounded_channel();
        let local = LocalPort::new("rxe0", 1);
        let mut gathered = Gathered::default();
        let at = |s| Mono(Duration::from_secs(s));
        let mut count = |gathered: &mut Gathered, s| {
            gathered.report(&mut ticks, at(s), SystemTime::UNIX_EPOCH);
            gathered.newest.len()
        };
        to.send(tick(TickSource::Port(local.clone())))
            .expect("open");
        to.send(tick(TickSource::Port(local.clone())))
            .expect("open");
        to.send(tick(TickSource::Control)).expect("open");
        assert_eq!(count(&mut gathered, 1), 2);
        assert_eq!(count(&mut gathered, 2), 2, "late by a tick");
        gathered.forget(&local);
        assert_eq!(count(&mut gathered, 3), 1);
        assert_eq!(count(&mut gathered, 4), 0);
    }
}
