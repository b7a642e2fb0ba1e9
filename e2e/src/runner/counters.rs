//! Outcomes of probes, as the agents count them, added up over agents and over restarts of an agent.

use std::collections::BTreeMap;

/// Numbers by outcome, for example `lost`.
pub type Outcomes = BTreeMap<String, u64>;

/// What one agent process has counted since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentCounters {
    /// Host the agent runs on.
    pub host: String,
    /// Tells one process of this host's agent from the next.
    pub process: String,
    /// Its counters.
    pub outcomes: Outcomes,
}

/// Adds up what agents count: a restarted agent begins at zero, and what its predecessor counted stays counted.
#[derive(Clone, Debug, Default)]
pub struct CounterLog {
    by_process: BTreeMap<(String, String), Outcomes>,
}

impl CounterLog {
    /// Takes in a reading.
    pub fn record(&mut self, readings: Vec<AgentCounters>) {
        for reading in readings {
            let known = self
                .by_process
                .entry((reading.host, reading.process))
                .or_default();
            for (name, number) in reading.outcomes {
                // A series that is planned no more is reported no more: what it had counted stays.
                let highest = known.entry(name).or_default();
                *highest = number.max(*highest);
            }
        }
    }

    /// Everything counted so far.
    pub fn totals(&self) -> Outcomes {
        let mut totals = Outcomes::new();
        for outcomes in self.by_process.values() {
            for (name, number) in outcomes {
                *totals.entry(name.clone()).or_default() += number;
            }
        }
        totals
    }
}

/// How much was counted since an earlier total.
pub fn since(now: &Outcomes, before: &Outcomes) -> Outcomes {
    now.iter()
        .map(|(name, number)| {
            let earlier = before.get(name).copied().unwrap_or_default();
            (name.clone(), number.saturating_sub(earlier))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(host: &str, process: &str, lost: u64) -> AgentCounters {
        AgentCounters {
            host: host.into(),
            process: process.into(),
            outcomes: [("lost".to_owned(), lost)].into(),
        }
    }

    #[test]
    fn a_restarted_agent_adds_to_what_its_predecessor_counted() {
        let mut log = CounterLog::default();
        log.record(vec![reading("host1", "a", 5), reading("host2", "b", 1)]);
        let before = log.totals();
        log.record(vec![reading("host1", "c", 2)]);
        log.record(vec![reading("host1", "c", 4), reading("host2", "b", 1)]);
        assert_eq!(log.totals()["lost"], 10);
        assert_eq!(since(&log.totals(), &before)["lost"], 4);
    }
}
