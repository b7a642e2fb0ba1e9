//! The baseline over IP: what an unanswered request means.

use rdmamesh_wire::{Epoch, NEVER, PortEntry};

use super::*;
use crate::dataplane::counters::DataplaneCounters;
use crate::model::{FabricAddress, GidIndex, Peer, PortPlan, Tally, TrafficClass};

const MS: fn(u64) -> Duration = Duration::from_millis;

struct Rig {
    baseline: Baseline,
    identity: Identity,
    starvation: Starvation,
    registry: Registry,
}

fn at(ms: u64) -> Mono {
    Mono(MS(ms))
}

fn plan() -> ProbePlan {
    let target = Target {
        mesh: "m".into(),
        mesh_id: 1,
        class: ProbeClass::Control,
        local_group: "r1".into(),
        peer: Peer {
            node: "b".into(),
            device: "rxe0".into(),
            port: 1,
            group: "r2".into(),
            address: FabricAddress::Lid(1),
            control: Some(([127, 0, 0, 1], 7475).into()),
        },
        traffic_class: TrafficClass {
            name: "default".into(),
            dscp: 0,
            service_level: 0,
        },
        flows: 1,
        seed: 1,
        interval: MS(1000),
        timeout: MS(500),
        window: MS(5000),
    };
    let local = LocalPort::new("rxe0", 1);
    let targets = vec![Arc::new(target)];
    ProbePlan {
        ports: vec![PortPlan {
            local,
            gid_index: GidIndex::Auto,
            targets,
        }],
    }
}

fn rig() -> Rig {
    let identity = Identity::new(
        NodeId::of("a"),
        Epoch(1),
        Arc::new(DataplaneCounters::default()),
    );
    let mut baseline = Baseline::default();
    baseline.set_plan(&plan(), at(0));
    let starvation = Starvation::new(MS(50));
    Rig {
        baseline,
        identity,
        starvation,
        registry: Registry::default(),
    }
}

impl Rig {
    /// Steps in milliseconds up to `until` and hands every request to `answer`.
    fn run(
        &mut self,
        from: u64,
        until: u64,
        mut answer: impl FnMut(&Resolve) -> Option<ResolveReply>,
    ) {
        for ms in from..until {
            while let Ok((_, request)) = self.baseline.next_request(
                &mut self.identity,
                &self.starvation,
                &self.registry,
                at(ms),
            ) {
                if let Some(reply) = answer(&request) {
                    self.baseline
                        .reply(&reply, at(ms).plus(MS(2)))
                        .expect("it was asked");
                }
            }
        }
    }

    fn tally(&mut self, ms: u64) -> Tally {
        let mut series = SeriesTable::new();
        let windows = self.baseline.report(at(ms), SystemTime::now(), &mut series);
        windows.first().map_or(Tally::default(), |w| w.tally)
    }
}

fn reply(request: &Resolve) -> Option<ResolveReply> {
    Some(request.reply(Epoch(2), NEVER, PortEntry::absent))
}

#[test]
fn answered_requests_are_ok_once_per_interval() {
    let mut rig = rig();
    rig.run(0, 8000, reply);
    let tally = rig.tally(8000);
    assert_eq!((tally.sent, tally.ok), (5, 5));
}

#[test]
fn silence_of_an_agent_that_may_be_gone_is_unresolved() {
    let mut rig = rig();
    rig.run(0, 10_000, |_| None);
    let tally = rig.tally(10_000);
    assert_eq!((tally.lost, tally.unresolved), (0, tally.sent));
    assert!(tally.sent > 0);
}

#[test]
fn silence_over_ip_of_a_peer_that_answers_over_rdma_is_loss() {
    let mut rig = rig();
    for second in 0..10 {
        rig.registry
            .note_answers([(NodeId::of("b"), at(second * 1000 + 999))].into_iter());
        rig.run(second * 1000, second * 1000 + 1000, |_| None);
    }
    let tally = rig.tally(10_000);
    assert_eq!((tally.lost, tally.unresolved), (tally.sent, 0));
}

#[test]
fn silence_while_this_host_was_starved_is_the_hosts() {
    let mut rig = rig();
    rig.starvation.woken(at(0), at(9000));
    rig.run(0, 10_000, |_| None);
    let tally = rig.tally(10_000);
    assert_eq!(
        (tally.lost, tally.unresolved, tally.host_delayed),
        (0, 0, tally.sent)
    );
}

#[test]
fn a_target_that_left_the_plan_is_not_asked_any_more() {
    let mut rig = rig();
    rig.run(0, 3000, |_| None);
    rig.baseline.set_plan(&ProbePlan::default(), at(3000));
    let mut asked = 0;
    rig.run(3000, 9000, |_| {
        asked += 1;
        None
    });
    assert_eq!((asked, rig.baseline.pending.len()), (0, 0));
}
