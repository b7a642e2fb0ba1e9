//! What is written is read back, and what is read back is written the same.

use std::num::NonZeroU8;
use std::time::Duration;

use proptest::prelude::*;
use rdmamesh_wire::{
    Ack2, CONTROL_MAX_LEN, CONTROL_MAX_PORTS, CONTROL_MAX_QUESTIONS, Control, DATAGRAM_LEN,
    Datagram, DropReason, Epoch, Header, KeyRing, NodeId, PortEntry, PortStatus, Question, Resolve,
    ReturnFlow, RnicId, Sighting, control_len, decode, decode_control, encode, encode_control,
};

fn ring(id: u8, fill: u8) -> KeyRing {
    KeyRing::new([(id, [fill; 32].as_slice())], None).expect("32 bytes are enough")
}

prop_compose! {
    fn header()(mesh_id: u32, sender: u64, receiver: u64, sender_epoch in 1u64.., receiver_epoch in 1u64.., sequence: u64) -> Header {
        Header {
            mesh_id, sequence,
            sender: RnicId(sender), receiver: RnicId(receiver),
            sender_epoch: Epoch(sender_epoch), receiver_epoch: Epoch(receiver_epoch),
        }
    }
}

fn datagram() -> impl Strategy<Value = Datagram> {
    let back = (any::<u16>(), 0u32..1 << 20, 0u8..64, 0u8..16).prop_map(
        |(qp_index, flow_label, dscp, service_level)| ReturnFlow {
            qp_index,
            flow_label,
            dscp,
            service_level,
        },
    );
    let stamps = (any::<u64>(), any::<u64>(), any::<bool>(), any::<u8>()).prop_map(
        |(received, replied, hardware, hop_limit)| Ack2 {
            received: Duration::from_nanos(received),
            replied: Duration::from_nanos(replied),
            hardware,
            hop_limit: NonZeroU8::new(hop_limit),
        },
    );
    prop_oneof![
        (header(), back).prop_map(|(h, b)| Datagram::Probe(h, b)),
        header().prop_map(Datagram::Ack1),
        (header(), stamps).prop_map(|(h, s)| Datagram::Ack2(h, s)),
    ]
}

fn entry() -> impl Strategy<Value = PortEntry> {
    let status = prop_oneof![Just(PortStatus::Answering), Just(PortStatus::LinkDown)];
    (
        any::<u64>(),
        1u32..1 << 24,
        1u16..,
        status,
        any::<u32>(),
        any::<u32>(),
    )
        .prop_map(
            |(rnic, qpn, qps, status, generation, starved_ms_ago)| PortEntry {
                rnic: RnicId(rnic),
                qpn,
                qps,
                status,
                generation,
                starved_ms_ago,
            },
        )
}

fn resolve(rnics: Vec<u64>) -> Resolve {
    Resolve::new(
        (NodeId(5), Epoch(6)),
        NodeId(7),
        8,
        9,
        rnics.into_iter().map(RnicId),
    )
}

/// Questions about the `ports` ports of an exchange, and their answers.
fn sightings(ports: usize) -> impl Strategy<Value = Vec<(Question, Sighting)>> {
    let sighting = prop_oneof![
        Just(Sighting::Unknown),
        Just(Sighting::Seen),
        Just(Sighting::Unseen)
    ];
    let port = 0..u8::try_from(ports.max(1)).expect("few ports");
    let most = if ports == 0 { 0 } else { CONTROL_MAX_QUESTIONS };
    let one = (any::<u64>(), any::<u64>(), port, sighting).prop_map(
        |(from, sequence, port, sighting)| {
            let from = RnicId(from);
            (
                Question {
                    from,
                    sequence,
                    port,
                },
                sighting,
            )
        },
    );
    prop::collection::vec(one, 0..=most)
}

fn ports_and_sightings() -> impl Strategy<Value = (Vec<u64>, Vec<(Question, Sighting)>)> {
    prop::collection::vec(any::<u64>(), 0..=CONTROL_MAX_PORTS)
        .prop_flat_map(|rnics| sightings(rnics.len()).prop_map(move |told| (rnics.clone(), told)))
}

proptest! {
    #[test]
    fn a_datagram_is_read_back_as_written(sent in datagram()) {
        let keys = ring(1, 1);
        let bytes = encode(&sent, &keys);
        let read = decode(&bytes, &keys);
        prop_assert_eq!(read, Ok(sent));
    }

    #[test]
    fn whatever_is_accepted_is_written_the_same_again(mut bytes in prop::collection::vec(any::<u8>(), DATAGRAM_LEN)) {
        let keys = ring(1, 1);
        bytes[0] = rdmamesh_wire::VERSION;
        bytes[1] = bytes[1] % 3 + 1;
        bytes[2] = 1;
        keys.sign(&mut bytes);
        if let Ok(read) = decode(&bytes, &keys) {
            prop_assert_eq!(encode(&read, &keys).to_vec(), bytes);
        }
    }

    #[test]
    fn a_request_is_read_back_and_its_reply_is_as_long((rnics, told) in ports_and_sightings(), entries in prop::collection::vec(entry(), CONTROL_MAX_PORTS)) {
        let keys = ring(1, 1);
        let request = resolve(rnics.clone()).asking(told.iter().map(|(question, _)| *question));
        let (mut first, mut second) = ([0; CONTROL_MAX_LEN], [0; CONTROL_MAX_LEN]);
        let asked = encode_control(&Control::Resolve(request), &keys, &mut first);
        prop_assert_eq!(decode_control(asked, &keys), Ok(Control::Resolve(request)));
        let mut entries = entries.into_iter();
        let reply = request.reply(Epoch(11), 12, |rnic| entries.next().unwrap_or(PortEntry::absent(rnic)));
        let mut answers = told.iter().map(|(_, sighting)| *sighting);
        let reply = reply.telling(|_, _| answers.next().expect("one question each"));
        let answered = encode_control(&Control::Reply(reply), &keys, &mut second);
        prop_assert_eq!(asked.len(), answered.len());
        prop_assert_eq!(decode_control(answered, &keys), Ok(Control::Reply(reply)));
        prop_assert!(reply.ports().iter().map(|p| p.rnic.0).eq(rnics.iter().copied()));
        let expected = told.iter().map(|(question, sighting)| (RnicId(rnics[usize::from(question.port)]), *question, *sighting));
        prop_assert!(reply.sightings().eq(expected));
    }

    #[test]
    fn no_random_bytes_are_accepted(bytes in prop::collection::vec(any::<u8>(), 0..CONTROL_MAX_LEN + 20)) {
        let keys = ring(1, 1);
        prop_assert!(decode(&bytes, &keys).is_err());
        prop_assert!(decode_control(&bytes, &keys).is_err());
    }
}

#[test]
fn each_kind_of_damage_has_its_own_reason() {
    let keys = ring(1, 1);
    let header = Header {
        mesh_id: 1,
        sender: RnicId(2),
        receiver: RnicId(3),
        sender_epoch: Epoch(4),
        receiver_epoch: Epoch(5),
        sequence: 6,
    };
    let good = encode(&Datagram::Ack1(header), &keys);
    let with = |at: usize, value: u8| {
        let mut bytes = good;
        bytes[at] = value;
        bytes
    };
    let signed = |mut bytes: [u8; DATAGRAM_LEN]| {
        keys.sign(&mut bytes);
        decode(&bytes, &keys)
    };
    assert_eq!(
        decode(&good[..DATAGRAM_LEN - 1], &keys),
        Err(DropReason::Length)
    );
    assert_eq!(decode(&[], &keys), Err(DropReason::Length));
    assert_eq!(decode(&with(0, 1), &keys), Err(DropReason::Version));
    assert_eq!(decode(&with(1, 4), &keys), Err(DropReason::Type));
    assert_eq!(decode(&with(2, 2), &keys), Err(DropReason::Key));
    assert_eq!(decode(&with(50, 1), &keys), Err(DropReason::Mac));
    assert_eq!(decode(&good, &ring(1, 2)), Err(DropReason::Mac));
    assert_eq!(
        signed(with(3, 1)),
        Err(DropReason::Field),
        "flags of a first answer"
    );
    assert_eq!(
        signed(with(50, 1)),
        Err(DropReason::Field),
        "stamps of a first answer"
    );
    assert_eq!(
        signed(with(65, 1)),
        Err(DropReason::Field),
        "return flow of a first answer"
    );
}

#[test]
fn two_keys_are_valid_while_one_replaces_the_other() {
    let (old, new) = ([1u8; 32], [2u8; 32]);
    let pairs = [(1u8, old.as_slice()), (2, new.as_slice())];
    let both_old = KeyRing::new(pairs, Some(1)).expect("both are long enough");
    let both_new = KeyRing::new(pairs, None).expect("both are long enough");
    let message = Control::Resolve(resolve(vec![1]));
    let mut buffer = [0; CONTROL_MAX_LEN];
    let from_old = encode_control(&message, &both_old, &mut buffer);
    assert_eq!(decode_control(from_old, &both_new), Ok(message));
    assert_eq!(decode_control(from_old, &ring(2, 2)), Err(DropReason::Key));
}

#[test]
fn lengths_are_what_the_documentation_says() {
    assert_eq!(
        (DATAGRAM_LEN, control_len(0, 0), CONTROL_MAX_LEN),
        (88, 80, 1232)
    );
}

#[test]
fn a_control_datagram_has_one_form_only() {
    let keys = ring(1, 1);
    let question = Question {
        from: RnicId(1),
        sequence: 2,
        port: 0,
    };
    let mut buffer = [0; CONTROL_MAX_LEN];
    let request = Control::Resolve(resolve(vec![1]).asking([question]));
    let good = encode_control(&request, &keys, &mut buffer).to_vec();
    let question_at = control_len(1, 0) - 16;
    for (at, value, what) in [
        (57, 1, "zeros after the number of questions"),
        (
            question_at + 16,
            1,
            "a question about a port that is not listed",
        ),
        (question_at + 17, 1, "a sighting in a request"),
        (question_at + 17, 3, "a sighting of an unknown kind"),
        (question_at + 23, 1, "zeros after a sighting"),
    ] {
        let mut bytes = good.clone();
        bytes[at] = value;
        keys.sign(&mut bytes);
        assert_eq!(
            decode_control(&bytes, &keys),
            Err(DropReason::Field),
            "{what}"
        );
    }
    for (at, value) in [(3, 2), (56, 2), (56, 33)] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert_eq!(decode_control(&bytes, &keys), Err(DropReason::Length));
    }
}
