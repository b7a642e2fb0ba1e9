//! The probes of one agent: when each is sent, which way it takes, how it ends.
//!
//! A probe whose way, prober and responder are all in order is only counted: that it is lost in the background or
//! meets a burst is drawn for the next such probe among all of them (geometric skips: exactly as if every one had
//! been tried). All other probes are drawn one by one. What ends otherwise than in time is an [`Event`].

mod outcome;
mod target;

use std::collections::VecDeque;
use std::time::Duration;

use super::draw::Draw;
use super::fabric::{Fabric, RnicId, Way};
use super::fault::{Ills, Toll};
use super::life::{Life, Time};
use super::rtt;
use crate::plan::AssignedTarget;

pub(super) use outcome::Pending;
pub(super) use target::Target;
use target::{Resolved, phase, same_but_interval, source_ports};

/// Seconds for which counts are kept beyond the window.
const KEPT: u64 = 10;
/// Everything around an agent that decides what becomes of its probes.
pub(super) struct World<'a> {
    pub fabric: &'a Fabric,
    pub ills: &'a Ills,
    /// By host.
    pub lives: &'a [Life],
    /// Share of packets that each cable loses in each direction without being ill.
    pub background: f64,
    /// Share of hops of traced paths that do not answer for no reason.
    pub unanswered: f64,
}

/// One flow.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub target: usize,
    pub source_port: u16,
    pub forth: Way,
    pub back: Way,
    next: Time,
    step: Duration,
    /// Probes have to be drawn one by one.
    special: bool,
}

/// A probe that did not simply end in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub second: u64,
    pub flow: usize,
    pub end: End,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In time, after an unusual time.
    Took(Duration),
    /// Lost on its way there.
    LostForward,
    /// Its answer was lost.
    LostReturn,
    /// Lost, and it is not known on which way.
    Lost,
    Late,
    HostDelayed,
    Unresolved,
}

/// Outcomes of all probes of a process.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sent: u64,
    lost: u64,
    late: u64,
    host_delayed: u64,
    unresolved: u64,
}

impl Counts {
    const fn add(&mut self, end: End) {
        match end {
            End::Took(_) => {}
            End::LostForward | End::LostReturn | End::Lost => self.lost += 1,
            End::Late => self.late += 1,
            End::HostDelayed => self.host_delayed += 1,
            End::Unresolved => self.unresolved += 1,
        }
    }
}

/// All probes of one agent's process.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    host: u32,
    pub targets: Vec<Target>,
    pub flows: Vec<Flow>,
    pub events: VecDeque<Event>,
    pending: Vec<Pending>,
    /// Probes sent, by flow and second (modulo `kept`).
    sent: Vec<u16>,
    kept: u64,
    /// Plain probes until the next that is not.
    skip: Option<u64>,
    until: Time,
    window: u64,
    /// Probes sent, and those of them that ended otherwise than in time.
    counts: Counts,
}

impl Traffic {
    /// No probes yet, from `now` on.
    pub fn new(host: u32, window: Duration, now: Time) -> Self {
        let window = window.as_secs().max(1);
        Self {
            host,
            targets: Vec::new(),
            flows: Vec::new(),
            events: VecDeque::new(),
            pending: Vec::new(),
            sent: Vec::new(),
            kept: window + KEPT,
            skip: None,
            until: now,
            window,
            counts: Counts::default(),
        }
    }

    /// Probes these targets from now on; those that were probed before go on as they are. Tells where each flow of
    /// before is now.
    pub fn assign(
        &mut self,
        fabric: &Fabric,
        wanted: Vec<(RnicId, RnicId, AssignedTarget)>,
    ) -> Vec<Option<usize>> {
        let now = self.until;
        let mut old: Vec<Option<Target>> = std::mem::take(&mut self.targets)
            .into_iter()
            .map(Some)
            .collect();
        let (old_flows, old_sent) = (
            std::mem::take(&mut self.flows),
            std::mem::take(&mut self.sent),
        );
        let mut places = vec![None; old_flows.len()];
        for (local, peer, assigned) in wanted {
            let same = old.iter_mut().find(|target| {
                target
                    .as_ref()
                    .is_some_and(|t| t.local == local && same_but_interval(&t.assigned, &assigned))
            });
            let target = self.targets.len();
            let first = self.flows.len();
            if let Some(mut kept) = same.and_then(Option::take) {
                for flow in kept.flows.clone() {
                    places[flow] = Some(self.flows.len());
                    let row = flow * self.kept as usize;
                    self.sent
                        .extend_from_slice(&old_sent[row..row + self.kept as usize]);
                    self.flows.push(Flow {
                        target,
                        step: assigned.interval,
                        ..old_flows[flow].clone()
                    });
                }
                kept.flows = first..self.flows.len();
                kept.assigned = assigned;
                self.targets.push(kept);
                continue;
            }
            for (index, source_port) in source_ports(assigned.flows, assigned.seed)
                .into_iter()
                .enumerate()
            {
                let phase = phase(assigned.seed, peer, index);
                self.flows.push(Flow {
                    target,
                    source_port,
                    forth: fabric.way(local, peer, source_port),
                    back: fabric.way(peer, local, source_port),
                    next: now + assigned.interval.mul_f64(phase),
                    step: assigned.interval,
                    special: true,
                });
            }
            self.sent.resize(self.flows.len() * self.kept as usize, 0);
            let flows = first..self.flows.len();
            self.targets
                .push(Target::new((local, peer), assigned, flows, now));
        }
        self.events
            .retain_mut(|event| moved(&places, &mut event.flow));
        self.pending
            .retain_mut(|pending| moved(&places, &mut pending.flow));
        places
    }

    /// Outcomes so far, by the agent's names.
    pub fn outcomes(&self) -> [(&'static str, u64); 8] {
        let Counts {
            sent,
            lost,
            late,
            host_delayed,
            unresolved,
        } = self.counts;
        let open = self.pending.len() as u64;
        let ok = sent.saturating_sub(lost + late + host_delayed + unresolved + open);
        [
            ("sent", sent),
            ("ok", ok),
            ("lost", lost),
            ("late", late),
            ("hostDelayed", host_delayed),
            ("unresolved", unresolved),
            ("invalid", 0),
            ("sendError", 0),
        ]
    }

    /// Flows of probes that have not ended yet.
    pub fn pending_flows(&self) -> impl Iterator<Item = usize> + '_ {
        self.pending.iter().map(|pending| pending.flow)
    }

    /// Marks the flows whose probes have to be drawn one by one, as things are now.
    pub fn look_around(&mut self, world: &World<'_>) {
        let own = !world.lives[self.host as usize].is_plain();
        for target in &self.targets {
            let ills = world.ills;
            let host = world.fabric.host_of(target.peer) as usize;
            let away = |rnic: RnicId| ills.port_down[rnic as usize] || ills.removed[rnic as usize];
            let uneasy = own
                || !target.is_resolved()
                || !world.lives[host].is_plain()
                || away(target.local)
                || away(target.peer);
            for flow in &mut self.flows[target.flows.clone()] {
                flow.special = uneasy
                    || ills.any()
                        && !(ills.on(world.fabric, flow.forth, None).is_free()
                            && ills.on(world.fabric, flow.back, None).is_free());
            }
        }
    }

    /// Sends all probes that fall due before `until`.
    pub fn send_until(&mut self, until: Time, world: &World<'_>, draw: &mut Draw) {
        while self.until < until {
            let second = self.until.as_secs();
            let end = until.min(Duration::from_secs(second + 1));
            self.send_in_second(second, end, world, draw);
            self.until = end;
        }
    }

    fn send_in_second(&mut self, second: u64, end: Time, world: &World<'_>, draw: &mut Draw) {
        let slot = (second % self.kept) as usize;
        let fresh = self.until == Duration::from_secs(second);
        let odds = Odds::of(world);
        for at in 0..self.flows.len() {
            let place = at * self.kept as usize + slot;
            if fresh {
                self.sent[place] = 0;
            }
            let flow = &mut self.flows[at];
            if flow.next >= end {
                continue;
            }
            if flow.special {
                while self.flows[at].next < end {
                    let sent = self.send_one(at, end, world, draw);
                    self.sent[place] += u16::from(sent);
                    self.counts.sent += u64::from(sent);
                }
                continue;
            }
            let due = (end - flow.next)
                .as_nanos()
                .div_ceil(flow.step.as_nanos().max(1)) as u64;
            flow.next += flow.step * due as u32;
            self.sent[place] += due as u16;
            self.counts.sent += due;
            self.plain(at, second, due, &odds, draw);
        }
    }

    /// `probes` of a flow in order were sent: the odd one is lost in the background or meets a burst.
    fn plain(&mut self, flow: usize, second: u64, probes: u64, odds: &Odds, draw: &mut Draw) {
        let mut left = probes;
        loop {
            let skip = *self.skip.get_or_insert_with(|| draw.failures(odds.either));
            if skip >= left {
                self.skip = Some(skip - left);
                return;
            }
            left -= skip + 1;
            self.skip = None;
            let switches = switches(self.flows[flow].forth);
            let end = match odds.pick(switches, draw) {
                None => continue,
                Some(None) => End::Took(rtt::round_trip(switches, draw) + rtt::burst(draw)),
                Some(Some(end)) => end,
            };
            match end {
                // Lost ones have to be noticed and judged first.
                End::LostForward | End::LostReturn => {
                    let due = self.flows[flow].next;
                    let step = self.flows[flow].step;
                    let back = step * (left as u32 + 1);
                    self.pending
                        .push(Pending::lost(flow, due.saturating_sub(back), end));
                }
                end => self.events.push_back(Event { second, flow, end }),
            }
        }
    }

    /// Ends what can be known `now` about probes without a timely answer, and forgets what no window holds. Tells the
    /// flows that lost a probe otherwise than on its way back.
    pub fn settle(&mut self, now: Time, world: &World<'_>) -> Vec<usize> {
        let mut lost = Vec::new();
        let own = &world.lives[self.host as usize];
        let (flows, targets, events) = (&self.flows, &self.targets, &mut self.events);
        self.pending.retain(|pending| {
            let target = &targets[flows[pending.flow].target];
            let peer = &world.lives[world.fabric.host_of(target.peer) as usize];
            let removed = world.ills.removed[target.peer as usize];
            let Some(end) = pending.outcome(now, (own, peer), target.assigned.timeout, removed)
            else {
                return true;
            };
            if matches!(end, End::LostForward | End::Lost) {
                lost.push(pending.flow);
            }
            let usual = rtt::one_way(switches(flows[pending.flow].forth)) * 2 + rtt::USUAL;
            if !matches!(end, End::Took(took) if took <= usual) {
                self.counts.add(end);
                events.push_back(Event {
                    second: pending.due.as_secs(),
                    flow: pending.flow,
                    end,
                });
            }
            false
        });
        let over = now.as_secs();
        for target in &mut self.targets {
            target.settled_until = over;
        }
        for pending in &self.pending {
            let target = &mut self.targets[self.flows[pending.flow].target];
            target.settled_until = target.settled_until.min(pending.due.as_secs());
        }
        for target in &mut self.targets {
            target.settled_until = target.settled_until.max(target.since);
        }
        let oldest = over.saturating_sub(self.kept);
        self.events.retain(|event| event.second >= oldest);
        lost
    }

    /// Whether some peer has not been resolved yet.
    pub fn unresolved(&self) -> bool {
        self.targets.iter().any(|target| !target.is_resolved())
    }

    /// Whether there is nothing to tell of any flow.
    pub fn is_quiet(&self) -> bool {
        self.events.is_empty() && self.pending.is_empty()
    }

    /// Seconds of a target that make up its window now.
    pub fn window(&self, target: &Target) -> std::ops::Range<u64> {
        target
            .settled_until
            .saturating_sub(self.window)
            .max(target.since)..target.settled_until
    }

    /// Probes of a flow that were sent in these seconds.
    pub fn sent(&self, flow: usize, seconds: std::ops::Range<u64>) -> u64 {
        let row = flow * self.kept as usize;
        seconds
            .map(|second| u64::from(self.sent[row + (second % self.kept) as usize]))
            .sum()
    }

    /// Sends the next probe of a flow; whether it counts as sent.
    fn send_one(&mut self, at: usize, end: Time, world: &World<'_>, draw: &mut Draw) -> bool {
        let own = &world.lives[self.host as usize];
        let flow = &mut self.flows[at];
        let due = own.runs_at(flow.next);
        if due != Duration::MAX && due >= end {
            flow.next = due;
            return false;
        }
        // After a pause the flow goes on from then: what was missed is not sent in a burst.
        let next = flow.next + flow.step;
        flow.next = if due == Duration::MAX {
            // Paused for nobody knows how long: whatever thaws the host comes back to this.
            flow.next + flow.step
        } else if next > due {
            next
        } else {
            due + flow.step
        };
        if due == Duration::MAX {
            return false;
        }
        let target = &mut self.targets[flow.target];
        let ills = world.ills;
        if ills.port_down[target.local as usize] || ills.removed[target.local as usize] {
            return false;
        }
        let second = due.as_secs();
        let peer = &world.lives[world.fabric.host_of(target.peer) as usize];
        match target.resolve(due, peer, draw) {
            Resolved::Unheard => return false,
            Resolved::Silent => {
                self.counts.add(End::Unresolved);
                self.events.push_back(Event {
                    second,
                    flow: at,
                    end: End::Unresolved,
                });
                return true;
            }
            Resolved::Session(born) => {
                let tolls = (
                    ills.on(world.fabric, flow.forth, None),
                    ills.on(world.fabric, flow.back, None),
                );
                let probe = Probe {
                    flow: at,
                    due,
                    born,
                    switches: switches(flow.forth),
                };
                self.fate(probe, tolls, world, draw);
            }
        }
        true
    }

    /// Draws what becomes of a probe on its way.
    fn fate(
        &mut self,
        probe: Probe,
        (forth, back): (Toll, Toll),
        world: &World<'_>,
        draw: &mut Draw,
    ) {
        let lanes = (probe.switches + 1) as i32;
        let background = 1.0 - (1.0 - world.background).powi(lanes);
        let lost =
            |toll: Toll, draw: &mut Draw| draw.chance(1.0 - (1.0 - toll.loss) * (1.0 - background));
        let lost_forth = lost(forth, draw);
        let lost_back = !lost_forth && lost(back, draw);
        let mut took =
            rtt::round_trip(probe.switches, draw) + extra(forth, draw) + extra(back, draw);
        if draw.chance(rtt::BURSTS) {
            took += rtt::burst(draw);
        }
        let pending = Pending::new(
            probe.flow,
            probe.due,
            probe.born,
            took,
            (lost_forth, lost_back),
            draw.bits(),
        );
        let plain = |rnic: RnicId| world.lives[world.fabric.host_of(rnic) as usize].is_plain();
        let target = &self.targets[self.flows[probe.flow].target];
        let in_time = took <= target.assigned.timeout;
        if lost_forth || lost_back || !in_time || !plain(target.local) || !plain(target.peer) {
            self.pending.push(pending);
        } else if took > rtt::one_way(probe.switches) * 2 + rtt::USUAL {
            let second = probe.due.as_secs();
            self.events.push_back(Event {
                second,
                flow: probe.flow,
                end: End::Took(took),
            });
        }
    }
}

#[derive(Clone, Copy)]
struct Probe {
    flow: usize,
    due: Time,
    born: Time,
    switches: u32,
}

fn extra(toll: Toll, draw: &mut Draw) -> Duration {
    if toll.jitter.is_zero() {
        return toll.delay;
    }
    let least = toll.delay.saturating_sub(toll.jitter);
    draw.time_between(least, toll.delay + toll.jitter)
}

/// Switches on a way.
pub(super) const fn switches(way: Way) -> u32 {
    if way.spine.is_some() { 3 } else { 1 }
}

/// Chances of what happens to a probe in a fabric in order.
struct Odds {
    /// That anything happens on the longest way.
    either: f64,
    /// That one way through 1 and through 3 switches loses it.
    lost: [f64; 2],
}

impl Odds {
    fn of(world: &World<'_>) -> Self {
        let lost = [2, 4].map(|lanes| 1.0 - (1.0 - world.background).powi(lanes));
        Self {
            either: 2.0 * lost[1] + rtt::BURSTS,
            lost,
        }
    }

    /// What happened to the one that was hit; nothing on a way shorter than the longest.
    fn pick(&self, switches: u32, draw: &mut Draw) -> Option<Option<End>> {
        let lost = self.lost[usize::from(switches > 1)];
        let at = draw.unit() * self.either;
        if at < rtt::BURSTS {
            Some(None)
        } else if at < rtt::BURSTS + lost {
            Some(Some(End::LostForward))
        } else if at < rtt::BURSTS + 2.0 * lost {
            Some(Some(End::LostReturn))
        } else {
            None
        }
    }
}

/// Moves an index to its new place; false where there is none.
fn moved(places: &[Option<usize>], flow: &mut usize) -> bool {
    match places.get(*flow).copied().flatten() {
        Some(place) => {
            *flow = place;
            true
        }
        None => false,
    }
}
