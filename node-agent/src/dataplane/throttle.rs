//! Keeps the agent within its budget: over it, probing slows down by steps, and never stops.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// Shares of the planned probe rate, fastest first.
const STEPS: [f64; 4] = [1.0, 0.5, 0.25, 0.1];
/// A faster step must fit into this share of the budget before it is tried.
const HEADROOM: f64 = 0.8;
/// So many measurements in a row must allow a faster step.
const PATIENCE: u32 = 3;

/// What the agent may use.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Budget {
    /// CPU in cores, user and system time of the whole process; `None` = unlimited.
    pub cpu_cores: Option<f64>,
    /// Resident memory in bytes; `None` = unlimited.
    pub memory_bytes: Option<u64>,
}

/// What the agent uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// CPU time since the start of the process.
    pub cpu: Duration,
    /// Resident memory in bytes, where it can be read.
    pub memory_bytes: Option<u64>,
}

impl Usage {
    /// Of this process, now; `None` where the kernel does not say.
    pub fn now() -> Option<Self> {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let cpu = duration(usage.user_time()) + duration(usage.system_time());
        Some(Self {
            cpu,
            memory_bytes: resident(),
        })
    }
}

fn duration(time: TimeVal) -> Duration {
    let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
    Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or(0)) + Duration::from_micros(micros)
}

/// Resident set size: the second number of `/proc/self/statm`, in pages.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    pages.checked_mul(u64::try_from(page).ok()?)
}

/// The ladder of steps.
#[derive(Debug)]
pub struct Throttle {
    budget: Budget,
    step: usize,
    calm: u32,
    last: Option<Duration>,
}

impl Throttle {
    /// At full rate.
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            step: 0,
            calm: 0,
            last: None,
        }
    }

    /// The share of the planned rate in force.
    pub fn rate(&self) -> f64 {
        STEPS.get(self.step).copied().unwrap_or(0.1)
    }

    /// Takes a measurement `elapsed` after the last. True when the rate has changed.
    pub fn measured(&mut self, usage: Usage, elapsed: Duration) -> bool {
        let Some(last) = self.last.replace(usage.cpu) else {
            return false;
        };
        let cores = usage.cpu.saturating_sub(last).as_secs_f64() / elapsed.as_secs_f64().max(1e-3);
        let before = self.step;
        if self.over(cores, usage.memory_bytes) {
            self.step = (self.step + 1).min(STEPS.len() - 1);
            self.calm = 0;
        } else if self.step > 0 && self.faster_fits(cores, usage.memory_bytes) {
            self.calm += 1;
            if self.calm >= PATIENCE {
                self.step -= 1;
                self.calm = 0;
            }
        } else {
            self.calm = 0;
        }
        before != self.step
    }

    fn over(&self, cores: f64, memory: Option<u64>) -> bool {
        self.budget.cpu_cores.is_some_and(|budget| cores > budget)
            || matches!((self.budget.memory_bytes, memory), (Some(budget), Some(used)) if used > budget)
    }

    /// Whether the next faster step would stay within the budget, if the use of CPU follows the rate.
    fn faster_fits(&self, cores: f64, memory: Option<u64>) -> bool {
        let faster = STEPS.get(self.step.wrapping_sub(1)).copied().unwrap_or(1.0);
        let expected = cores * faster / self.rate();
        let cpu = self
            .budget
            .cpu_cores
            .is_none_or(|budget| expected <= budget * HEADROOM);
        let memory_fits = match (self.budget.memory_bytes, memory) {
            (Some(budget), Some(used)) => used as f64 <= budget as f64 * HEADROOM,
            _ => true,
        };
        cpu && memory_fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Host {
        throttle: Throttle,
        cpu: Duration,
    }

    impl Host {
        fn new() -> Self {
            let budget = Budget {
                cpu_cores: Some(0.1),
                memory_bytes: Some(1000),
            };
            let mut throttle = Throttle::new(budget);
            throttle.measured(
                Usage {
                    cpu: Duration::ZERO,
                    memory_bytes: None,
                },
                SECOND,
            );
            Self {
                throttle,
                cpu: Duration::ZERO,
            }
        }

        fn second(&mut self, cores: f64, memory: u64) -> f64 {
            self.cpu += Duration::from_secs_f64(cores);
            self.throttle.measured(
                Usage {
                    cpu: self.cpu,
                    memory_bytes: Some(memory),
                },
                SECOND,
            );
            self.throttle.rate()
        }
    }

    #[test]
    fn over_budget_the_rate_goes_down_by_steps_and_never_to_zero() {
        let mut host = Host::new();
        let rates: Vec<f64> = (0..5).map(|_| host.second(0.5, 10)).collect();
        assert_eq!(rates, [0.5, 0.25, 0.1, 0.1, 0.1]);
    }

    #[test]
    fn the_rate_comes_back_only_when_the_faster_step_fits_for_a_while() {
        let mut host = Host::new();
        host.second(0.5, 10);
        let busy: Vec<f64> = (0..10).map(|_| host.second(0.06, 10)).collect();
        assert!(
            busy.iter().all(|rate| *rate == 0.5),
            "doubled, 0.06 would not fit into 0.08"
        );
        let calm: Vec<f64> = (0..3).map(|_| host.second(0.03, 10)).collect();
        assert_eq!(calm, [0.5, 0.5, 1.0]);
    }

    #[test]
    fn memory_counts_like_cpu() {
        let mut host = Host::new();
        assert_eq!(host.second(0.01, 2000), 0.5);
        assert_eq!(host.second(0.01, 900), 0.5);
    }

    #[test]
    fn without_a_budget_nothing_is_ever_slowed_down() {
        let mut throttle = Throttle::new(Budget::default());
        for second in 1..10 {
            let usage = Usage {
                cpu: SECOND * second * 8,
                memory_bytes: Some(u64::MAX),
            };
            assert!(!throttle.measured(usage, SECOND));
        }
        assert_eq!(throttle.rate(), 1.0);
    }

    #[test]
    fn this_process_can_be_measured() {
        let usage = Usage::now().expect("Linux says");
        assert!(usage.memory_bytes > Some(0));
    }
}
