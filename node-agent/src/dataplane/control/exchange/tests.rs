//! Exchanges: one in flight per peer, tries, answers.

use std::sync::Arc;

use rdmamesh_wire::{Epoch, PortStatus};

use super::*;
use crate::dataplane::counters::DataplaneCounters;
use crate::dataplane::engine::{Ask, Inquiry};

struct Rig {
    exchanges: Exchanges,
    identity: Identity,
    to: mpsc::UnboundedSender<Answer>,
    answers: mpsc::UnboundedReceiver<Answer>,
}

fn rig() -> Rig {
    let (to, answers) = mpsc::unbounded_channel();
    let identity = Identity::new(NodeId(1), Epoch(11), Arc::new(DataplaneCounters::default()));
    Rig {
        exchanges: Exchanges::default(),
        identity,
        to,
        answers,
    }
}

fn at(ms: u64) -> Mono {
    Mono(Duration::from_millis(ms))
}

impl Rig {
    fn ask(&mut self, rnic: u64, ms: u64) {
        let control = SocketAddr::from(([10, 0, 0, 2], 7475));
        let ask = Ask {
            control,
            node: NodeId(2),
            rnic: RnicId(rnic),
        };
        self.exchanges.ask(
            AskFrom {
                inquiry: Inquiry {
                    ask,
                    from: RnicId(100 + rnic),
                    unanswered: vec![rnic * 10, rnic * 10 + 1],
                },
                reply: self.to.clone(),
            },
            at(ms),
        );
    }

    fn send(&mut self, ms: u64) -> Option<Resolve> {
        self.exchanges
            .next_request(&mut self.identity, at(ms))
            .ok()
            .map(|(_, request)| request)
    }
}

fn answering(rnic: RnicId) -> PortEntry {
    let status = PortStatus::Answering;
    PortEntry {
        qpn: 17,
        qps: 1,
        status,
        generation: 3,
        starved_ms_ago: NEVER,
        rnic,
    }
}

#[test]
fn two_who_ask_at_once_share_one_request_and_both_are_told() {
    let mut rig = rig();
    rig.ask(5, 0);
    let first = rig.send(0).expect("asked");
    rig.ask(6, 1);
    assert_eq!(rig.send(1), None, "one exchange in flight per peer");
    let reply = first.reply(Epoch(22), NEVER, answering);
    let reply = reply.telling(|rnic, question| {
        assert_eq!((rnic, question.from), (RnicId(5), RnicId(105)));
        match question.sequence {
            50 => Sighting::Seen,
            _ => Sighting::Unknown,
        }
    });
    assert_eq!(rig.exchanges.reply(&reply, at(2)), Ok(()));
    let told = rig.answers.try_recv().expect("the first is told");
    assert_eq!(told.sightings, [(50, true)], "only what the peer can tell");
    assert_eq!((told.rnic, told.asked_at), (RnicId(5), at(0)));
    assert_eq!(told.present.expect("answered").epoch, Epoch(22));
    let second = rig.send(2).expect("the second's turn");
    assert!(second.rnics().eq([RnicId(6)]));
}

#[test]
fn a_lost_request_is_tried_again_and_the_answer_counts_from_its_own_try() {
    let mut rig = rig();
    rig.ask(5, 0);
    rig.send(0).expect("first try");
    assert_eq!(rig.send(100), None);
    let again = rig.send(250).expect("second try");
    let reply = again.reply(Epoch(22), 40, answering);
    assert_eq!(rig.exchanges.reply(&reply, at(260)), Ok(()));
    let told = rig.answers.try_recv().expect("told");
    assert_eq!(told.asked_at, at(250));
    assert_eq!(told.present.expect("answered").starved_until, Some(at(220)));
    assert_eq!(
        rig.exchanges.reply(&reply, at(261)),
        Err(DropReason::Unsolicited)
    );
}

#[test]
fn a_silent_peer_is_given_up_within_about_a_second() {
    let mut rig = rig();
    rig.ask(5, 0);
    for ms in [0, 250, 500, 750] {
        rig.send(ms).expect("a try");
    }
    assert_eq!(rig.send(1000), None);
    let told = rig.answers.try_recv().expect("told");
    assert_eq!(told.present, None);
    assert_eq!(
        rig.exchanges.next_request(&mut rig.identity, at(1000)),
        Err(None)
    );
}

#[test]
fn a_reply_with_a_wrong_nonce_or_node_answers_nothing() {
    let mut rig = rig();
    rig.ask(5, 0);
    let request = rig.send(0).expect("asked");
    let mut forged = request.reply(Epoch(22), NEVER, answering);
    forged.nonce ^= 1;
    assert_eq!(
        rig.exchanges.reply(&forged, at(1)),
        Err(DropReason::Unsolicited)
    );
    let mut stranger = request.reply(Epoch(22), NEVER, answering);
    stranger.sender = NodeId(9);
    assert_eq!(
        rig.exchanges.reply(&stranger, at(1)),
        Err(DropReason::Unsolicited)
    );
    assert!(rig.answers.try_recv().is_err());
}

#[test]
fn more_ports_than_fit_in_a_request_take_turns() {
    let mut rig = rig();
    rig.ask(0, 0);
    rig.send(0).expect("first alone");
    for rnic in 0..CONTROL_MAX_PORTS as u64 + 4 {
        rig.ask(rnic, 0);
    }
    for ms in [250, 500, 750] {
        rig.send(ms).expect("a try");
    }
    let second = rig.send(1000).expect("the next exchange follows at once");
    assert_eq!(second.rnics().count(), CONTROL_MAX_PORTS);
    let reply = second.reply(Epoch(22), NEVER, answering);
    assert_eq!(rig.exchanges.reply(&reply, at(1001)), Ok(()));
    assert_eq!(rig.send(1001).expect("the rest").rnics().count(), 4);
}
