//! Sends probes when they fall due and books how they end.
//!
//! A probe ends in one of three ways: both answers are in; its post failed; or its timeout has passed. After a timeout without an
//! answer the peer is asked over IP, and only a peer that was there, in the same process, with the same queue pairs and
//! not starved makes the probe *lost* (see [`Prober::verdict`]). The same answer says whether the probe has arrived there, so
//! that loss on the way there is told from loss on the way back.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use rdmamesh_wire::{
    Ack2, CONTROL_MAX_QUESTIONS, Datagram, DropReason, Header, NodeId, ReplayWindow, ReturnFlow,
    RnicId, encode,
};

use super::flows::share;
use super::pending::{Pending, PendingRing, Phase};
use super::target::{PeerState, Session, TargetRef, Targets};
use super::window::{AMEND_FOR, Outcome};
use super::{Answer, Inquiry, Route, Shared, Token, Transmit};
use crate::dataplane::counters::DataplaneCounters;
use crate::dataplane::mono::Mono;
use crate::model::{LostProbe, Series, SeriesKey, TargetKey};

mod accounts;
mod outcome;
mod plan;

/// So long after its timeout a probe is judged at the earliest: an answer on its way makes it late, not lost.
const JUDGE_AFTER: Duration = Duration::from_millis(250);
/// A flow's probes are this share of its interval apart at least, and as much above it at most. Even ones could keep step
/// with something else that is periodic, above all with the 100 ms in which a CPU quota is given out: a flow would then
/// meet the same part of that period for ever, and be slow or lossy for ever because of it.
const SHORTEST_STEP: f64 = 0.9;
/// Probes that wait for a send slot.
const MAX_QUEUE: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A flow's next probe is due.
    Flow { target: TargetRef, flow: usize },
    /// Something about this probe is to be decided.
    Probe { seq: u64 },
    /// A peer may be asked again.
    Ask { peer: RnicId },
}

/// The probing half of an engine.
#[derive(Debug)]
pub(super) struct Prober {
    pub(super) queue: VecDeque<Transmit>,
    pub(super) asks: Vec<Inquiry>,
    pub(super) lost: Vec<LostProbe>,
    targets: Targets,
    by_key: HashMap<TargetKey, TargetRef>,
    peers: HashMap<RnicId, PeerState>,
    pending: PendingRing,
    timers: BinaryHeap<Reverse<(Mono, Timer)>>,
    seen_acks: (ReplayWindow, ReplayWindow),
    series: Vec<(SeriesKey, Series)>,
    rate: f64,
    link_up: bool,
    stopped: bool,
    scratch: Vec<u32>,
    unevenness: u64,
}

impl Default for Prober {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            asks: Vec::new(),
            lost: Vec::new(),
            targets: Targets::default(),
            by_key: HashMap::new(),
            peers: HashMap::new(),
            pending: PendingRing::default(),
            timers: BinaryHeap::new(),
            seen_acks: (ReplayWindow::default(), ReplayWindow::default()),
            series: Vec::new(),
            rate: 1.0,
            link_up: true,
            stopped: false,
            scratch: Vec::new(),
            unevenness: 0,
        }
    }
}

impl Prober {
    pub(super) fn advance(&mut self, shared: &mut Shared, now: Mono) {
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            match timer {
                Timer::Flow { target, flow } => self.fire(shared, target, flow, at, now),
                Timer::Probe { seq } => self.overdue(shared, seq, now),
                Timer::Ask { peer } => self.ask(shared, peer, now),
            }
        }
        self.pending.forget(now, AMEND_FOR);
    }

    pub(super) fn next_deadline(&mut self) -> Option<Mono> {
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            let stale = match timer {
                Timer::Probe { seq } => self.pending.get(seq).is_none(),
                Timer::Flow { .. } | Timer::Ask { .. } => false,
            };
            if !stale {
                return Some(at);
            }
            self.timers.pop();
        }
        None
    }

    pub(super) fn outstanding(&self) -> usize {
        self.pending.open()
    }

    /// The next probe of a flow is due.
    fn fire(&mut self, shared: &mut Shared, target: TargetRef, flow: usize, at: Mono, now: Mono) {
        let sending = shared.facts.is_some() && self.link_up && !self.stopped;
        let rate = self.rate;
        let Some(state) = self
            .targets
            .get_mut(target)
            .filter(|t| sending && !t.retired)
        else {
            return;
        };
        let uneven = SHORTEST_STEP + 2.0 * (1.0 - SHORTEST_STEP) * share(&mut self.unevenness);
        let step = state
            .plan
            .interval
            .mul_f64(uneven / rate)
            .max(Duration::from_millis(1));
        // After a pause the flow goes on from now: what was missed is not sent in a burst.
        let next = if at.plus(step) > now {
            at.plus(step)
        } else {
            now.plus(step)
        };
        self.timers
            .push(Reverse((next, Timer::Flow { target, flow })));
        let (peer, timeout) = (state.rnic, state.plan.timeout);
        if self.peers.get(&peer).is_some_and(PeerState::unheard) {
            // Its first exchange is under way: nothing can be sent, and nothing can be said about it yet.
            self.want(shared, peer, now, now);
            return;
        }
        state.windows.sent(now.second(), flow);
        let Some(session) = self.peers.get(&peer).and_then(|p| p.session) else {
            state.windows.ended(now.second(), flow, Outcome::Unresolved);
            self.want(shared, peer, now, now);
            return;
        };
        let seq = self.pending.next();
        let Some(transmit) = self.compose(shared, target, flow, seq, session) else {
            return;
        };
        let Some(state) = self.targets.get_mut(target) else {
            return;
        };
        if self.queue.len() >= MAX_QUEUE {
            state.windows.ended(now.second(), flow, Outcome::SendError);
            return;
        }
        self.pending.push(Pending {
            target,
            flow,
            peer,
            mesh_id: state.plan.mesh_id,
            epoch: session.epoch,
            generation: session.generation,
            due: now,
            deadline: now.plus(timeout),
            phase: Phase::Waiting,
            t1: None,
            t2: None,
            t5: None,
            ack2: None,
            untrusted: false,
            arrived: None,
        });
        self.timers
            .push(Reverse((now.plus(timeout), Timer::Probe { seq })));
        self.queue.push_back(transmit);
    }

    fn compose(
        &self,
        shared: &Shared,
        target: TargetRef,
        flow: usize,
        seq: u64,
        session: Session,
    ) -> Option<Transmit> {
        let state = self.targets.get(target)?;
        let flow = state.flows.get(flow)?;
        let (dscp, service_level) = (
            state.plan.traffic_class.dscp,
            state.plan.traffic_class.service_level,
        );
        let header = Header {
            mesh_id: state.plan.mesh_id,
            sender: shared.rnic,
            receiver: state.rnic,
            sender_epoch: shared.config.epoch,
            receiver_epoch: session.epoch,
            sequence: seq,
        };
        let back = ReturnFlow {
            qp_index: flow.qp_index % session.qps.max(1),
            flow_label: flow.flow_label,
            dscp,
            service_level,
        };
        let flow_label = flow.flow_label;
        Some(Transmit {
            token: Token::Probe(seq).raw(),
            route: Route {
                address: state.plan.peer.address,
                flow_label,
                dscp,
                service_level,
            },
            qp_index: flow.qp_index,
            qpn: session.qpn,
            payload: encode(&Datagram::Probe(header, back), &shared.keys),
        })
    }

    /// Whether probe `seq` is still to be sent.
    pub(super) fn waits(&self, seq: u64) -> bool {
        self.pending
            .get(seq)
            .is_some_and(|probe| probe.phase == Phase::Waiting)
    }

    pub(super) fn posted(&mut self, shared: &mut Shared, seq: u64, ok: bool, stamp: Mono) {
        if !ok {
            self.end(shared, seq, Outcome::SendError);
            return;
        }
        DataplaneCounters::add(&shared.counters.probes_sent, 1);
        if let Some(probe) = self.pending.get_mut(seq) {
            probe.t1 = Some(stamp);
            if shared.software() {
                probe.t2 = Some(stamp.0);
            }
        }
    }

    /// The device is done with the datagram of probe `seq`.
    pub(super) fn sent(
        &mut self,
        shared: &mut Shared,
        seq: u64,
        ok: bool,
        stamp: Duration,
        now: Mono,
    ) {
        if !ok {
            self.end(shared, seq, Outcome::SendError);
        } else if !shared.software() {
            if let Some(probe) = self.pending.get_mut(seq) {
                probe.t2 = Some(stamp);
            }
            self.complete(shared, seq, now);
        }
    }

    pub(super) fn ack1(
        &mut self,
        shared: &mut Shared,
        header: &Header,
        stamp: Duration,
        now: Mono,
    ) -> Result<(), DropReason> {
        let seq = header.sequence;
        self.expected(header)?;
        if !self.seen_acks.0.accept(seq) {
            return Err(DropReason::Replay);
        }
        let Some(probe) = self.pending.get_mut(seq) else {
            return Ok(());
        };
        probe.t5 = Some(stamp);
        probe.untrusted |= shared.late_wake && shared.software();
        self.complete(shared, seq, now);
        Ok(())
    }

    pub(super) fn ack2(
        &mut self,
        shared: &mut Shared,
        header: &Header,
        stamps: Ack2,
        now: Mono,
    ) -> Result<(), DropReason> {
        let seq = header.sequence;
        self.expected(header)?;
        if !self.seen_acks.1.accept(seq) {
            return Err(DropReason::Replay);
        }
        let Some(probe) = self.pending.get_mut(seq) else {
            DataplaneCounters::add(&shared.counters.late_acks, 1);
            return Ok(());
        };
        probe.ack2 = Some(stamps);
        let (target, flow) = (probe.target, probe.flow);
        if let Some(state) = self.targets.get_mut(target) {
            state.arrived_with(flow, stamps.hop_limit);
        }
        self.complete(shared, seq, now);
        Ok(())
    }

    /// Whether an answer fits what was asked.
    fn expected(&self, header: &Header) -> Result<(), DropReason> {
        if !self.pending.gave(header.sequence) {
            return Err(DropReason::Unsolicited);
        }
        let Some(probe) = self.pending.get(header.sequence) else {
            return Ok(());
        };
        if header.sender != probe.peer {
            Err(DropReason::Sender)
        } else if header.sender_epoch != probe.epoch {
            Err(DropReason::Epoch)
        } else if header.mesh_id != probe.mesh_id {
            Err(DropReason::Field)
        } else {
            Ok(())
        }
    }

    pub(super) fn answered(&mut self, shared: &mut Shared, answer: &Answer, now: Mono) {
        let Some(peer) = self.peers.get_mut(&answer.rnic) else {
            return;
        };
        if peer.answered(answer, now) {
            tracing::debug!(
                port = %shared.config.local, peer = %answer.rnic.0, session = ?peer.session, "peer resolved"
            );
        }
        let rnic = answer.rnic;
        for (seq, arrived) in &answer.sightings {
            if let Some(probe) = self.pending.get_mut(*seq).filter(|p| p.peer == rnic) {
                probe.arrived = Some(*arrived);
            }
        }
        let ripe = |probe: &Pending| {
            probe.peer == rnic
                && probe.phase == Phase::Unjudged
                && probe.deadline.plus(JUDGE_AFTER) <= now
        };
        for seq in self.pending.select(ripe) {
            if let Some(outcome) = self.verdict(seq) {
                self.end(shared, seq, outcome);
            }
        }
        self.ask(shared, rnic, now);
    }

    /// Wants an answer of `peer` no older than `since`, and asks if that is possible now.
    fn want(&mut self, shared: &Shared, peer: RnicId, since: Mono, now: Mono) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.want(since);
        }
        self.ask(shared, peer, now);
    }

    fn ask(&mut self, shared: &Shared, peer: RnicId, now: Mono) {
        let Some(state) = self.peers.get_mut(&peer) else {
            return;
        };
        match state.due_ask(now) {
            Ok(ask) => {
                let open = |probe: &Pending| probe.peer == peer && probe.phase == Phase::Unjudged;
                let mut unanswered = self.pending.select(open);
                unanswered.truncate(CONTROL_MAX_QUESTIONS);
                self.asks.push(Inquiry {
                    ask,
                    from: shared.rnic,
                    unanswered,
                });
            }
            Err(Some(later)) => self.timers.push(Reverse((later, Timer::Ask { peer }))),
            Err(None) => {}
        }
    }

    pub(super) fn answered_nodes(&self) -> impl Iterator<Item = (NodeId, Mono)> + '_ {
        self.peers
            .values()
            .filter_map(|peer| Some((peer.node, peer.answered_probe?)))
    }
}
