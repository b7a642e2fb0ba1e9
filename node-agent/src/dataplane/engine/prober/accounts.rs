//! What a prober reports: windows per target each second, cumulative numbers per series.

use std::sync::Arc;
use std::time::SystemTime;

use super::Prober;
use crate::dataplane::engine::Shared;
use crate::dataplane::engine::target::TargetRef;
use crate::dataplane::mono::Mono;
use crate::model::{Series, SeriesTable, TargetWindow, TimestampMode};

impl Prober {
    pub(super) fn series_of(&mut self, seq: u64) -> Option<&mut Series> {
        let target = self.pending.get(seq)?.target;
        let index = self.targets.get(target)?.series;
        self.series.get_mut(index).map(|(_, series)| series)
    }

    pub(in super::super) fn report(
        &mut self,
        shared: &mut Shared,
        now: Mono,
        wall: SystemTime,
        series: &mut SeriesTable,
        out: &mut Vec<TargetWindow>,
    ) {
        let timestamps = if shared.software() {
            TimestampMode::Software
        } else {
            TimestampMode::Hardware
        };
        for (_, state) in self.targets.iter_mut() {
            let window = state.windows.report(now, &mut self.scratch);
            if let Some((_, series)) = self.series.get_mut(state.series) {
                state.windows.book(now, false, &mut series.tally);
            }
            if state.retired {
                continue;
            }
            out.push(TargetWindow {
                local: shared.config.local.clone(),
                target: Arc::clone(&state.plan),
                end: window.end.on_wall(now, wall),
                covered: window.covered,
                timestamps,
                flows: window.flow_windows(|flow| state.flow_now(flow)),
                tally: window.tally(),
                rtt: window.rtt,
            });
        }
        self.drop_retired(now);
        self.settle(series);
    }

    pub(in super::super) fn flush(
        &mut self,
        shared: &mut Shared,
        now: Mono,
        series: &mut SeriesTable,
    ) {
        tracing::debug!(port = %shared.config.local, open = self.pending.open(), "windows flushed");
        for (_, state) in self.targets.iter_mut() {
            // Past the current second too: nothing more will be sent.
            let end = Mono::of_second(now.second() + 1);
            state.windows.report(end, &mut self.scratch);
            if let Some((_, series)) = self.series.get_mut(state.series) {
                state.windows.book(end, true, &mut series.tally);
            }
        }
        self.settle(series);
    }

    /// Forgets targets that left the plan once their last probe has ended.
    fn drop_retired(&mut self, now: Mono) {
        let retired: Vec<TargetRef> = self
            .targets
            .iter()
            .filter(|(_, t)| t.retired)
            .map(|(at, _)| at)
            .collect();
        for target in retired {
            let probes = self.pending.select(|probe| probe.target == target);
            if !probes.is_empty() {
                continue;
            }
            if let Some(mut state) = self.targets.remove(target)
                && let Some((_, series)) = self.series.get_mut(state.series)
            {
                let end = Mono::of_second(now.second() + 1);
                state.windows.report(end, &mut self.scratch);
                state.windows.book(end, true, &mut series.tally);
            }
        }
    }

    /// Moves what has gathered since the last time into the shared table.
    fn settle(&mut self, table: &mut SeriesTable) {
        for (key, gathered) in &mut self.series {
            let gathered = std::mem::take(gathered);
            let total = table.entry(key.clone()).or_default();
            total.tally += gathered.tally;
            total.rtt.merge(&gathered.rtt);
            total.prober_delay.merge(&gathered.prober_delay);
            total.responder_delay.merge(&gathered.responder_delay);
        }
    }
}
