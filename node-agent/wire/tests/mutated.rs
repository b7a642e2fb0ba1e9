//! A million damaged, spliced, truncated and random datagrams: none is accepted.
//!
//! The same property as the fuzz target, with a fixed seed and without a fuzzer.

use std::num::NonZeroU8;
use std::time::Duration;

use rdmamesh_wire::{
    Ack2, CONTROL_MAX_LEN, Control, Datagram, DropReason, Epoch, Header, KeyRing, NodeId,
    PortEntry, PortStatus, Question, Resolve, ReturnFlow, RnicId, Sighting, decode, decode_control,
    encode, encode_control,
};

const CASES: usize = 1_000_000;

/// Marsaglia's xorshift64: reproducible and good enough to choose damage.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound as u64).max(1)).expect("below a usize")
    }
}

fn ring(fill: u8) -> KeyRing {
    KeyRing::new(
        [
            (1, [fill; 32].as_slice()),
            (2, [fill ^ 0xFF; 32].as_slice()),
        ],
        Some(1),
    )
    .expect("32 bytes are enough")
}

fn valid(keys: &KeyRing) -> Vec<Vec<u8>> {
    let header = Header {
        mesh_id: 9,
        sender: RnicId::of("host1", "rxe0", 1),
        receiver: RnicId::of("host2", "rxe0", 1),
        sender_epoch: Epoch(77),
        receiver_epoch: Epoch(88),
        sequence: 1234,
    };
    let back = ReturnFlow {
        qp_index: 3,
        flow_label: 0xABCDE,
        dscp: 26,
        service_level: 3,
    };
    let stamps = Ack2 {
        received: Duration::from_nanos(1_000_000),
        replied: Duration::from_nanos(1_050_000),
        hardware: true,
        hop_limit: NonZeroU8::new(61),
    };
    let ids = [RnicId(1), RnicId(2), RnicId(3)];
    let request =
        Resolve::new((NodeId(1), Epoch(2)), NodeId(3), 4, 5, ids).asking((0..5).map(|n| {
            Question {
                from: RnicId(9),
                sequence: 1000 + n,
                port: 1,
            }
        }));
    let reply = request.reply(Epoch(6), 7, |rnic| PortEntry {
        rnic,
        qpn: 17,
        qps: 4,
        status: PortStatus::Answering,
        generation: 5,
        starved_ms_ago: 100,
    });
    let reply = reply.telling(|_, question| match question.sequence % 2 {
        0 => Sighting::Seen,
        _ => Sighting::Unseen,
    });
    let mut buffer = [0; CONTROL_MAX_LEN];
    let mut all: Vec<Vec<u8>> = [
        Datagram::Probe(header, back),
        Datagram::Ack1(header),
        Datagram::Ack2(header, stamps),
    ]
    .iter()
    .map(|d| encode(d, keys).to_vec())
    .collect();
    for message in [Control::Resolve(request), Control::Reply(reply)] {
        all.push(encode_control(&message, keys, &mut buffer).to_vec());
    }
    all
}

/// One damaged datagram in `case`; it differs from every valid one.
fn damage(random: &mut Random, valid: &[Vec<u8>], forged: &[Vec<u8>], case: &mut Vec<u8>) {
    let which = random.below(valid.len());
    case.clear();
    case.extend_from_slice(&valid[which]);
    match random.below(6) {
        0 => {
            for _ in 0..=random.below(8) {
                let at = random.below(case.len());
                case[at] ^= 1 << random.below(8);
            }
        }
        1 => case.truncate(random.below(case.len())),
        2 => {
            let extra = random.below(64) + 1;
            case.extend((0..extra).map(|_| 0));
        }
        3 => {
            let other = &valid[random.below(valid.len())];
            let at = random.below(case.len().min(other.len()));
            case.truncate(at);
            case.extend_from_slice(&other[at..]);
        }
        4 => case
            .iter_mut()
            .skip(3)
            .for_each(|byte| *byte = random.next().to_be_bytes()[3]),
        _ => {
            case.clear();
            case.extend_from_slice(&forged[which]);
            let at = 4 + random.below(case.len() - 4);
            case[at] = random.next().to_be_bytes()[3];
        }
    }
}

#[test]
fn none_of_a_million_damaged_datagrams_is_accepted() {
    let keys = ring(0x11);
    let (valid, forged) = (valid(&keys), valid(&ring(0x22)));
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut case = Vec::with_capacity(CONTROL_MAX_LEN * 2);
    let mut reasons = [0u64; DropReason::ALL.len()];
    let mut refused = 0;
    while refused < CASES {
        damage(&mut random, &valid, &forged, &mut case);
        if valid.contains(&case) {
            continue;
        }
        let probe = decode(&case, &keys).expect_err("damaged probe datagram");
        let control = decode_control(&case, &keys).expect_err("damaged control datagram");
        reasons[probe.index()] += 1;
        reasons[control.index()] += 1;
        refused += 1;
    }
    for reason in [
        DropReason::Length,
        DropReason::Version,
        DropReason::Type,
        DropReason::Key,
        DropReason::Mac,
    ] {
        assert!(
            reasons[reason.index()] > 0,
            "no case was refused for its {reason}"
        );
    }
    assert_eq!(
        reasons[DropReason::Field.index()],
        0,
        "fields are read only behind a right MAC"
    );
}
