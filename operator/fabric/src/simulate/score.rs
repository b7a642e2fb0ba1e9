//! Plays cases and adds up how right the verdicts were.
//!
//! * A *verdict* is a suspect that is named in a case, counted once.
//! * It is *true* if the fabric's fault that it names, or is next to, was in force; or if it names a host that is off. All others are *false
//!   verdicts*: of the noise, of hosts that are busy or away, of nothing.
//! * *Precision*: true verdicts among all. *Recall*: faults of the fabric with a true verdict while they were in force,
//!   among those that count (loss of 2 % or more, delay of 3 round trips or more, anything that is down).
//! * *Right element*: faults for which what was named last is the broken element, or cannot be told from it, and
//!   nothing but that, among the faults with a true verdict.
//! * *Time to verdict*: from a fault's begin to the first verdict that names the right element.

mod figures;
mod history;
mod summary;
mod table;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::cluster::Cluster;
use super::fabric::Size;
use super::fault::{Fault, Harm, Place};
use super::population::{Case, Kind, Planted, Population};
use super::rtt;
use super::setup::{Mesh, Setup};
use super::truth::{Named, Relation, relation};

pub use figures::{Share, quantile};
pub use history::{History, Opened};
pub use summary::{Calibration, Row, Summary};

/// Agents begin, resolve each other and fill their windows before a case begins.
const WARM_UP: Duration = Duration::from_secs(12);
/// So long after a fault's end a verdict may still be about it: a window, and the time that it takes to clear.
const GRACE: Duration = Duration::from_secs(15);
/// Loss from which on a fault counts for recall.
const COUNTED_LOSS: f64 = 0.02;
/// Delay from which on a fault counts for recall, in round trips of a fabric in order.
const COUNTED_DELAY: u32 = 3;

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Number of the case.
    pub number: u64,
    /// Its fabric.
    pub size: Size,
    /// Its faults.
    pub faults: Vec<FaultOutcome>,
    /// What was named.
    pub verdicts: Vec<Judged>,
    /// Time without a fault of the fabric.
    pub healthy: Duration,
    /// Reports written.
    pub writes: u64,
}

/// What came of a fault.
#[derive(Clone, Debug)]
pub struct FaultOutcome {
    /// The fault.
    pub planted: Planted,
    /// As a person reads it.
    pub text: String,
    /// Whether it is the fabric's and strong enough for recall.
    pub counts: bool,
    /// A true verdict named it, or something next to it.
    pub found: bool,
    /// What was named last is right, and nothing else was named then.
    pub right: bool,
    /// From its begin to the first verdict that names it rightly.
    pub took: Option<Duration>,
}

/// A verdict, and what it is about.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What was named, when.
    pub opened: Opened,
    /// Position of the fault that it is about.
    pub fault: Option<usize>,
    /// How it stands to that fault.
    pub relation: Relation,
    /// Whether it is true.
    pub is_true: bool,
}

/// Plays cases `0..cases` of `seed` on `workers` threads; the outcomes are the same for any number of them.
///
/// `progress` is called with the number of cases played so far.
pub fn play_all<M: Sync>(
    population: &Population<M>,
    mesh: &Mesh,
    (seed, cases): (u64, u64),
    workers: usize,
    progress: impl Fn(u64) + Sync,
) -> Vec<Outcome> {
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        let mut outcomes = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= cases {
                return outcomes;
            }
            if let Ok(case) = population.case(seed, number) {
                outcomes.push(play(&case, number, mesh));
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    let mut outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers.max(1)).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().ok())
            .flatten()
            .collect()
    });
    outcomes.sort_by_key(|outcome| outcome.number);
    outcomes
}

/// Plays one case.
#[must_use]
pub fn play(case: &Case, number: u64, mesh: &Mesh) -> Outcome {
    let mut cluster = Cluster::new(Setup::of_case(case, mesh.clone()));
    let mut history = History::default();
    let fabric = case.fabric;
    let mut run = |cluster: &mut Cluster, until: Duration| {
        cluster.run_until(WARM_UP + until, |now, verdict| {
            history.note(&fabric, now.saturating_sub(WARM_UP), verdict);
        });
    };
    for (at, id, change) in changes(case) {
        run(&mut cluster, at);
        match change {
            Some(fault) => cluster.inject(&id, fault),
            None => cluster.clear(&id),
        }
    }
    run(&mut cluster, case.duration);
    judge(
        case,
        number,
        &history.finish(case.duration),
        cluster.writes().len() as u64,
    )
}

/// Everything that happens in a case, in order: what begins, or what of this name ends.
fn changes(case: &Case) -> Vec<(Duration, String, Option<Fault>)> {
    let mut changes = Vec::new();
    for (number, planted) in case.faults.iter().enumerate() {
        let id = format!("fault{number}");
        changes.push((planted.begin, id.clone(), Some(planted.fault)));
        if planted.end < case.duration {
            changes.push((planted.end, id, None));
        }
    }
    for (host, gone, back) in &case.restarts {
        let id = format!("restart{host}");
        let fault = Fault {
            place: Place::Host(*host),
            harm: Harm::AgentDead,
        };
        changes.push((*gone, id.clone(), Some(fault)));
        changes.push((*back, id, None));
    }
    changes.sort_by_key(|(at, ..)| *at);
    changes
}

/// Holds what was named against what was broken.
fn judge(case: &Case, number: u64, opened: &[Opened], writes: u64) -> Outcome {
    let verdicts: Vec<Judged> = opened
        .iter()
        .map(|one| attribute(case, one, opened))
        .collect();
    let faults = case
        .faults
        .iter()
        .enumerate()
        .map(|(at, planted)| fault_outcome(case, at, planted, &verdicts))
        .collect();
    Outcome {
        number,
        size: case.fabric.size(),
        faults,
        verdicts,
        healthy: healthy(case),
        writes,
    }
}

/// Finds the fault that a verdict is about: the one in force that it names best.
fn attribute(case: &Case, one: &Opened, all: &[Opened]) -> Judged {
    let also: BTreeSet<Named> = all
        .iter()
        .filter(|other| other.overlaps(one))
        .map(|other| other.named)
        .collect();
    let best = case
        .faults
        .iter()
        .enumerate()
        .filter(|(_, planted)| planted.begin <= one.at && one.at <= planted.end + GRACE)
        .map(|(at, planted)| (relation(&case.fabric, &planted.fault, one.named, &also), at))
        .filter(|(relation, _)| *relation > Relation::Unrelated)
        .max_by_key(|(relation, at)| (*relation, case.faults[*at].kind.is_fabric()));
    let is_true = best.is_some_and(|(relation, at)| {
        relation == Relation::Right || case.faults[at].kind.is_fabric()
    });
    Judged {
        opened: one.clone(),
        fault: best.map(|(_, at)| at),
        relation: best.map_or(Relation::Unrelated, |(relation, _)| relation),
        is_true,
    }
}

fn fault_outcome(case: &Case, at: usize, planted: &Planted, verdicts: &[Judged]) -> FaultOutcome {
    let about: Vec<&Judged> = verdicts
        .iter()
        .filter(|judged| judged.fault == Some(at) && judged.is_true)
        .filter(|judged| judged.opened.at <= planted.end)
        .collect();
    let first_right = about
        .iter()
        .filter(|judged| judged.relation == Relation::Right)
        .map(|judged| judged.opened.at)
        .min();
    // What was named when the fault, or its last verdict, ended.
    let last = about
        .iter()
        .map(|judged| judged.opened.until.min(planted.end))
        .max();
    let right = last.is_some_and(|last| {
        about
            .iter()
            .filter(|judged| judged.opened.until.min(planted.end) == last)
            .all(|judged| judged.relation == Relation::Right)
    });
    FaultOutcome {
        planted: *planted,
        text: format!(
            "{} {} {} from {:.1} s to {:.1} s",
            planted.kind,
            planted.fault.place.name(&case.fabric),
            planted.fault.harm,
            planted.begin.as_secs_f64(),
            planted.end.as_secs_f64()
        ),
        counts: counts(planted),
        found: !about.is_empty(),
        right,
        took: first_right.map(|first| first.saturating_sub(planted.begin)),
    }
}

/// Whether a fault is strong enough for recall.
fn counts(planted: &Planted) -> bool {
    planted.kind.is_fabric()
        && match planted.fault.harm {
            Harm::Loss(share, _) => share >= COUNTED_LOSS,
            Harm::Delay { delay, .. } => delay >= rtt::one_way(3) * 2 * COUNTED_DELAY,
            _ => true,
        }
}

/// Time of a case in which no fault of the fabric was in force.
fn healthy(case: &Case) -> Duration {
    let mut spans: Vec<(Duration, Duration)> = case
        .faults
        .iter()
        .filter(|planted| planted.kind.is_fabric())
        .map(|planted| (planted.begin, (planted.end + GRACE).min(case.duration)))
        .collect();
    spans.sort_unstable();
    let (mut healthy, mut at) = (Duration::ZERO, Duration::ZERO);
    for (begin, end) in spans {
        healthy += begin.saturating_sub(at);
        at = at.max(end);
    }
    healthy + case.duration.saturating_sub(at)
}

/// Whether this kind of fault has "not the fabric" for an answer.
pub(super) const fn is_innocent(kind: Kind) -> bool {
    !kind.is_fabric()
}

impl Outcome {
    /// A line per fault and verdict, for whoever wants to know why.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for fault in &self.faults {
            let result = match (fault.planted.kind.is_fabric(), fault.found, fault.right) {
                (false, ..) => "not the fabric",
                (true, false, _) if fault.counts => "MISSED",
                (true, false, _) => "missed (weak)",
                (true, true, true) => "right",
                (true, true, false) => "WRONG ELEMENT",
            };
            let took = fault.took.map_or(String::new(), |took| {
                format!(" after {:.1} s", took.as_secs_f64())
            });
            lines.push(format!(
                "case {} {} fault {}: {result}{took}",
                self.number, self.size, fault.text
            ));
        }
        for judged in &self.verdicts {
            let opened = &judged.opened;
            lines.push(format!(
                "case {}   named {} at {:.1} s until {:.1} s, {} %, {}: {}",
                self.number,
                opened.text,
                opened.at.as_secs_f64(),
                opened.until.as_secs_f64(),
                opened.confidence,
                match (judged.is_true, judged.relation) {
                    (false, _) => "FALSE",
                    (true, Relation::Right) => "right",
                    (true, _) => "touching",
                },
                opened.evidence
            ));
        }
        lines
    }
}
