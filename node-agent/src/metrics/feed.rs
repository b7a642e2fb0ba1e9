//! Turns the data path's cumulative distributions into recordings of an OTLP histogram, by recording what
//! has been added since the last time.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;

use super::sample::{Sample, Value};
use super::table::{Metric, TABLE};

/// Values with their counts, ascending by value.
type Counts = Vec<(Duration, u64)>;

/// Remembers what has been recorded. Bounded by the series of the newest sample.
#[derive(Debug, Default)]
pub(super) struct Feed {
    seen: HashMap<(Metric, Vec<KeyValue>), Counts>,
}

impl Feed {
    /// Records everything that `sample` has more than the one before it.
    pub(super) fn record(&mut self, sample: &Sample, histograms: &[(Metric, Histogram<f64>)]) {
        let mut before = std::mem::take(&mut self.seen);
        for row in TABLE.iter().filter(|row| super::sample::is_histogram(row)) {
            let Some((_, histogram)) = histograms.iter().find(|(metric, _)| *metric == row.metric)
            else {
                continue;
            };
            for point in sample.points(row.metric) {
                let Value::Distribution(distribution) = &point.value else {
                    continue;
                };
                let key = (row.metric, point.attributes.clone());
                let now: Counts = distribution.recorded().collect();
                let then = before.remove(&key).unwrap_or_default();
                for (value, count) in added(&then, &now) {
                    for _ in 0..count {
                        histogram.record(value.as_secs_f64(), &point.attributes);
                    }
                }
                self.seen.insert(key, now);
            }
        }
    }
}

/// What `now` has more than `then`. A series that began anew (fewer values than before) counts whole.
fn added(then: &Counts, now: &Counts) -> Counts {
    let mut old = then.iter().peekable();
    let mut more = Vec::new();
    for (value, count) in now {
        while old.next_if(|(other, _)| other < value).is_some() {}
        let had = old
            .next_if(|(other, _)| other == value)
            .map_or(0, |(_, count)| *count);
        match count.checked_sub(had) {
            Some(0) => {}
            Some(new) => more.push((*value, new)),
            None => return now.clone(),
        }
    }
    let total = |counts: &Counts| counts.iter().map(|(_, count)| count).sum::<u64>();
    if total(now) < total(then) {
        now.clone()
    } else {
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: fn(u64) -> Duration = Duration::from_micros;

    #[test]
    fn only_what_was_added_is_recorded() {
        let then = vec![(US(1), 5), (US(3), 2)];
        let now = vec![(US(1), 7), (US(2), 1), (US(3), 2), (US(9), 4)];
        assert_eq!(added(&then, &now), [(US(1), 2), (US(2), 1), (US(9), 4)]);
        assert_eq!(added(&now, &now), []);
        assert_eq!(added(&Vec::new(), &now), now);
    }

    #[test]
    fn a_series_that_began_anew_counts_whole() {
        let then = vec![(US(1), 5), (US(3), 2)];
        assert_eq!(added(&then, &vec![(US(1), 1)]), [(US(1), 1)]);
        assert_eq!(added(&then, &vec![(US(2), 1)]), [(US(2), 1)]);
    }
}
