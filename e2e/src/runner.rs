//! Plays a scenario's steps in a world: the fabric VM, a cluster on it, or the simulator.
//!
//! Nothing here sleeps for a fixed time. The world hands over a [`View`] that changes when something was observed;
//! every step waits on it, on the counters and on the next fault that mends itself, up to its own bound.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use rdmamesh_api::GoDuration;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::progress::Progress;
use crate::report::{ScenarioReport, StepReport};
use crate::scenario::{Action, Expectation, Fault, Goal, Hold, Scenario, Status, Step};

pub mod command;
pub mod counters;
pub mod exposition;
pub mod fabric;
mod goal;
pub mod observe;
pub mod sim;
pub mod view;

use counters::{AgentCounters, CounterLog, Outcomes};
use goal::{Evidence, Judgement, Mark, judge};
use view::{SuspectView, View};

/// How often counters are read while a step is about them, and otherwise.
const COUNTERS_EVERY: Duration = Duration::from_secs(1);
const COUNTERS_BESIDES_EVERY: Duration = Duration::from_secs(5);

/// Where a scenario is played.
pub trait World {
    /// What `--world` calls it.
    fn name(&self) -> &'static str;

    /// Whether it can break this at all.
    ///
    /// # Errors
    /// A sentence for the person who wrote the scenario.
    fn can(&self, fault: &Fault) -> Result<(), String>;

    /// Puts a fault in force.
    ///
    /// # Errors
    /// When the world refuses or breaks.
    fn inject(&mut self, fault: &Fault) -> impl Future<Output = Result<()>>;

    /// Ends a fault.
    ///
    /// # Errors
    /// When the world refuses or breaks.
    fn clear(&mut self, id: &str) -> impl Future<Output = Result<()>>;

    /// What is observed; changes whenever something new was.
    fn view(&self) -> watch::Receiver<View>;

    /// Reads the mesh anew, so that the view is of now.
    ///
    /// # Errors
    /// When it cannot be read.
    fn refresh(&mut self) -> impl Future<Output = Result<()>>;

    /// Reads the counters of all agents that answer.
    fn counters(&mut self) -> impl Future<Output = Vec<AgentCounters>>;

    /// Conditions, statuses and last log lines of every part, for a person who has to find out what went wrong.
    fn diagnostics(&mut self) -> impl Future<Output = String>;
}

/// Whether the world can do everything that a scenario asks for.
///
/// # Errors
/// Names the first step that it cannot do, with its line.
pub fn check(scenario: &Scenario, world: &impl World) -> Result<(), String> {
    for step in &scenario.steps {
        if let Action::Fault(fault) = &step.action {
            world.can(fault).map_err(|why| {
                format!(
                    "line {}: the {} world cannot do this: {why}",
                    step.line,
                    world.name()
                )
            })?;
        }
    }
    Ok(())
}

/// Plays all steps up to the first that fails; then says what the world looks like, and mends what is broken still.
pub async fn play(
    world: &mut impl World,
    scenario: &Scenario,
    progress: &Progress,
) -> ScenarioReport {
    let mut play = Play::begin(world, progress).await;
    let mut steps = Vec::with_capacity(scenario.steps.len());
    let mut passed = true;
    for step in &scenario.steps {
        if !passed {
            steps.push(not_reached(step));
            continue;
        }
        let report = play.step(step).await;
        passed = report.passed;
        steps.push(report);
    }
    if !passed {
        let state = play.world.diagnostics().await;
        progress.say(format!(
            "what the {} world looks like:\n{state}",
            play.world.name()
        ));
    }
    play.mend_all().await;
    ScenarioReport {
        scenario: scenario.name.clone(),
        world: play.world.name().to_owned(),
        passed,
        elapsed_s: play.start.elapsed().as_secs_f64(),
        steps,
        fault_to_condition_s: play.fault_to_condition,
        clear_to_condition_s: play.clear_to_condition,
    }
}

/// Waits until the fabric is called healthy and nobody is suspected.
///
/// # Errors
/// When it does not come to that in time; says what is wrong.
pub async fn expect_healthy(
    world: &mut impl World,
    within: Duration,
    progress: &Progress,
) -> Result<()> {
    let goal = Goal::Condition {
        condition: rdmamesh_api::condition::FABRIC_HEALTHY.to_owned(),
        status: Status::True,
        suspects: Some(Vec::new()),
    };
    let mut play = Play::begin(world, progress).await;
    let outcome = play.expect(&Expectation { goal, within }).await;
    match outcome {
        Ok(_) => Ok(()),
        Err(why) => {
            let state = play.world.diagnostics().await;
            anyhow::bail!("{why}\n{state}")
        }
    }
}

fn not_reached(step: &Step) -> StepReport {
    StepReport {
        line: step.line,
        step: describe(&step.action),
        started_s: None,
        elapsed_s: 0.0,
        passed: false,
        detail: "not reached".to_owned(),
    }
}

fn describe(action: &Action) -> String {
    match action {
        Action::Expect(Expectation { goal, within }) => {
            format!("expect {goal} within {}", GoDuration(*within))
        }
        Action::Hold(Hold { goal, lasts, .. }) => format!("hold {goal} for {}", GoDuration(*lasts)),
        Action::Fault(fault) => format!("fault {}: {fault}", fault.id),
        Action::Clear(id) => format!("clear {id}"),
    }
}

/// How a step ended: what was found, or why it failed.
type Outcome = Result<String, String>;

struct Play<'a, W> {
    world: &'a mut W,
    progress: &'a Progress,
    view: watch::Receiver<View>,
    start: Instant,
    log: CounterLog,
    /// Totals at the start: an environment may have been up before.
    counted_before: Outcomes,
    counters_read: Instant,
    /// What goals without `since` count from: the start, or the begin of a hold.
    begin: Mark,
    faults: BTreeMap<String, Mark>,
    in_force: Vec<String>,
    mending: BTreeMap<String, Instant>,
    /// Faults put in force, and faults cleared, since the last condition that was waited for.
    waiting_for_verdict: BTreeMap<String, Instant>,
    waiting_for_all_clear: BTreeMap<String, Instant>,
    fault_to_condition: BTreeMap<String, f64>,
    clear_to_condition: BTreeMap<String, f64>,
}

impl<'a, W: World> Play<'a, W> {
    async fn begin(world: &'a mut W, progress: &'a Progress) -> Self {
        let mut log = CounterLog::default();
        log.record(world.counters().await);
        let view = world.view();
        let start = Instant::now();
        Self {
            world,
            progress,
            view,
            start,
            counted_before: log.totals(),
            log,
            counters_read: start,
            begin: Mark {
                at: start,
                counted: Outcomes::new(),
            },
            faults: BTreeMap::new(),
            in_force: Vec::new(),
            mending: BTreeMap::new(),
            waiting_for_verdict: BTreeMap::new(),
            waiting_for_all_clear: BTreeMap::new(),
            fault_to_condition: BTreeMap::new(),
            clear_to_condition: BTreeMap::new(),
        }
    }

    async fn step(&mut self, step: &Step) -> StepReport {
        let text = describe(&step.action);
        self.progress.say(&text);
        let begin = Instant::now();
        let outcome = match &step.action {
            Action::Expect(expect) => self.expect(expect).await,
            Action::Hold(hold) => self.hold(hold).await,
            Action::Fault(fault) => self.inject(fault).await,
            Action::Clear(id) => self.clear(id).await,
        };
        let elapsed_s = begin.elapsed().as_secs_f64();
        let (passed, detail) = match outcome {
            Ok(found) => (true, found),
            Err(why) => (false, why),
        };
        let mark = if passed { "ok" } else { "FAILED" };
        self.progress
            .say(format!("  {mark} after {elapsed_s:.1} s: {detail}"));
        StepReport {
            line: step.line,
            step: text,
            started_s: Some((begin - self.start).as_secs_f64()),
            elapsed_s,
            passed,
            detail,
        }
    }

    async fn expect(&mut self, expect: &Expectation) -> Outcome {
        let deadline = Instant::now() + expect.within;
        let found = self.reach(&expect.goal, deadline).await?;
        self.note_verdict(&expect.goal);
        Ok(found)
    }

    /// Waits until a goal is reached.
    async fn reach(&mut self, goal: &Goal, deadline: Instant) -> Outcome {
        loop {
            self.read_counters_for(goal).await;
            let Judgement { reached, found } = self.judge(goal);
            if reached {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                return Err(format!("in time it did not come to that: {found}"));
            }
            self.pause(deadline).await?;
        }
    }

    async fn hold(&mut self, hold: &Hold) -> Outcome {
        self.read_counters().await;
        let here = self.mark();
        let start = std::mem::replace(&mut self.begin, here);
        let outcome = self.hold_from_here(hold).await;
        self.begin = start;
        outcome
    }

    async fn hold_from_here(&mut self, hold: &Hold) -> Outcome {
        self.reach(&hold.goal, Instant::now() + hold.within).await?;
        self.note_verdict(&hold.goal);
        let known = self.suspects();
        let transition = self.transition(&hold.goal);
        let end = Instant::now() + hold.lasts;
        loop {
            let over = Instant::now() >= end;
            if over {
                // A view that nothing has refreshed for a while proves nothing.
                self.refresh().await?;
            }
            self.read_counters_for(&hold.goal).await;
            let Judgement { reached, found } = self.judge(&hold.goal);
            if !reached {
                return Err(format!("it did not last: {found}"));
            }
            let new = self
                .suspects()
                .into_iter()
                .find(|now| !known.iter().any(|was| was.same_element(now)));
            if let Some(new) = new {
                return Err(format!(
                    "a suspect appeared: {}: {}",
                    new.label(),
                    new.evidence
                ));
            }
            if self.transition(&hold.goal) != transition {
                return Err(format!("it changed and changed back meanwhile: {found}"));
            }
            if over {
                return Ok(found);
            }
            self.pause(end).await?;
        }
    }

    async fn inject(&mut self, fault: &Fault) -> Outcome {
        // What a process that is about to be killed has counted would be gone afterwards.
        self.read_counters().await;
        let mark = Mark {
            at: Instant::now(),
            counted: self.counted(),
        };
        self.world
            .inject(fault)
            .await
            .map_err(|error| format!("{error:#}"))?;
        self.in_force.push(fault.id.clone());
        self.waiting_for_verdict.insert(fault.id.clone(), mark.at);
        self.faults.insert(fault.id.clone(), mark);
        if let Some(time) = fault.lasts {
            self.mending.insert(fault.id.clone(), Instant::now() + time);
        }
        Ok("in force".to_owned())
    }

    async fn clear(&mut self, id: &str) -> Outcome {
        self.mending.remove(id);
        if !self.in_force.iter().any(|open| open == id) {
            return Ok("had mended itself".to_owned());
        }
        self.in_force.retain(|open| open != id);
        self.waiting_for_all_clear
            .insert(id.to_owned(), Instant::now());
        self.world
            .clear(id)
            .await
            .map_err(|error| format!("{error:#}"))?;
        Ok("mended".to_owned())
    }

    /// Waits until something may have changed, but not beyond `until`; mends what is due.
    async fn pause(&mut self, until: Instant) -> Result<(), String> {
        let next_mending = self.mending.values().min().copied();
        let wake = until.min(Instant::now() + COUNTERS_EVERY);
        let wake = next_mending.map_or(wake, |mending| wake.min(mending));
        tokio::select! {
            changed = self.view.changed() => {
                changed.map_err(|_| "nothing is observed any more: the world has ended".to_owned())?;
            }
            () = tokio::time::sleep_until(wake) => {}
        }
        let now = Instant::now();
        let due: Vec<String> = self
            .mending
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.progress.say(format!("  {id} mends itself"));
            self.clear(&id)
                .await
                .map_err(|why| format!("{id} could not be mended: {why}"))?;
        }
        Ok(())
    }

    async fn refresh(&mut self) -> Result<(), String> {
        self.world
            .refresh()
            .await
            .map_err(|error| format!("the mesh cannot be read: {error:#}"))
    }

    async fn read_counters_for(&mut self, goal: &Goal) {
        let every = match goal {
            Goal::Counters { .. } => COUNTERS_EVERY,
            Goal::Condition { .. } | Goal::ApiWrites { .. } | Goal::Named { .. } => {
                COUNTERS_BESIDES_EVERY
            }
        };
        if self.counters_read.elapsed() >= every {
            self.read_counters().await;
        }
    }

    async fn read_counters(&mut self) {
        self.log.record(self.world.counters().await);
        self.counters_read = Instant::now();
    }

    fn mark(&self) -> Mark {
        Mark {
            at: Instant::now(),
            counted: self.counted(),
        }
    }

    fn counted(&self) -> Outcomes {
        counters::since(&self.log.totals(), &self.counted_before)
    }

    fn judge(&mut self, goal: &Goal) -> Judgement {
        let counted = self.counted();
        let view = self.view.borrow_and_update();
        let evidence = Evidence {
            view: &view,
            counted: &counted,
            faults: &self.faults,
            begin: &self.begin,
        };
        judge(goal, &evidence)
    }

    fn suspects(&self) -> Vec<SuspectView> {
        let view = self.view.borrow();
        view.mesh
            .as_ref()
            .map(|mesh| mesh.suspects.clone())
            .unwrap_or_default()
    }

    /// When the condition that a goal is about last changed, as its status says.
    fn transition(&self, goal: &Goal) -> Option<String> {
        let Goal::Condition { condition, .. } = goal else {
            return None;
        };
        let view = self.view.borrow();
        Some(view.mesh.as_ref()?.condition(condition)?.transition.clone())
    }

    /// A condition that was waited for has come: how long after the faults, or the clearings, before it? Where all is
    /// well in spite of a fault there is no verdict on it.
    fn note_verdict(&mut self, goal: &Goal) {
        let Goal::Condition { status, .. } = goal else {
            return;
        };
        let seconds = |(id, at): (String, Instant)| (id, at.elapsed().as_secs_f64());
        let faults = std::mem::take(&mut self.waiting_for_verdict);
        let cleared = std::mem::take(&mut self.waiting_for_all_clear);
        if *status != Status::True {
            self.fault_to_condition
                .extend(faults.into_iter().map(seconds));
        }
        self.clear_to_condition
            .extend(cleared.into_iter().map(seconds));
    }

    async fn mend_all(&mut self) {
        for id in std::mem::take(&mut self.in_force) {
            if let Err(error) = self.world.clear(&id).await {
                self.progress
                    .say(format!("{id} could not be mended: {error:#}"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
