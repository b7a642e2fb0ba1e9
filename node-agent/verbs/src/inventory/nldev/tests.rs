//! Netlink answers as the kernel writes them, and bytes that it never would.

use proptest::prelude::*;

use super::*;

fn text(kind: u16, value: &str) -> Attribute {
    let value = [value.as_bytes(), &[0]].concat();
    Attribute { kind, value }
}

fn number(kind: u16, value: u32) -> Attribute {
    Attribute {
        kind,
        value: value.to_ne_bytes().to_vec(),
    }
}

fn message(sequence: u32, payload: NetlinkPayload<Nldev>) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn answer(sequence: u32, attributes: Vec<Attribute>) -> Vec<u8> {
    let body = Nldev {
        command: CMD_GET,
        attributes,
    };
    message(sequence, NetlinkPayload::InnerMessage(body))
}

#[test]
fn a_dump_of_two_devices_is_read_to_its_end() {
    let first = answer(
        7,
        vec![number(ATTR_DEV_INDEX, 3), text(ATTR_DEV_NAME, "mlx5_0")],
    );
    let second = answer(
        7,
        vec![number(ATTR_DEV_INDEX, 4), text(ATTR_DEV_NAME, "rxe0")],
    );
    let mut answers = Vec::new();
    let done = collect(&[first, second].concat(), 7, &mut answers).expect("well formed");
    assert!(!done, "no end was said");
    let names: Vec<_> = answers
        .iter()
        .filter_map(|a| a.text(ATTR_DEV_NAME))
        .collect();
    assert_eq!(names, ["mlx5_0", "rxe0"]);
    assert_eq!(answers[1].number::<u32>(ATTR_DEV_INDEX), Some(4));
    assert_eq!(answers[1].number::<u32>(ATTR_NDEV_INDEX), None, "not sent");
}

#[test]
fn the_late_answer_to_another_request_is_not_taken() {
    let mut answers = Vec::new();
    let stale = answer(6, vec![number(ATTR_DEV_INDEX, 3)]);
    assert!(!collect(&stale, 7, &mut answers).expect("well formed"));
    assert!(answers.is_empty());
}

#[test]
fn an_error_of_the_kernel_is_an_error() {
    // NLMSG_ERROR with -ENODEV, then the header of the request it is about.
    let mut bytes = vec![0; 36];
    bytes[..4].copy_from_slice(&36_u32.to_ne_bytes());
    bytes[4..6].copy_from_slice(&2_u16.to_ne_bytes());
    bytes[8..12].copy_from_slice(&7_u32.to_ne_bytes());
    bytes[16..20].copy_from_slice(&(-libc::ENODEV).to_ne_bytes());
    let error = collect(&bytes, 7, &mut Vec::new()).expect_err("the device is gone");
    assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
}

#[test]
fn numbers_come_in_three_widths_and_must_fit() {
    let attribute = |value: &[u8]| Nldev {
        command: CMD_GET,
        attributes: vec![Attribute {
            kind: ATTR_PORT_INDEX,
            value: value.to_vec(),
        }],
    };
    assert_eq!(attribute(&[9]).number::<u8>(ATTR_PORT_INDEX), Some(9));
    assert_eq!(
        attribute(&300_u32.to_ne_bytes()).number::<u16>(ATTR_PORT_INDEX),
        Some(300)
    );
    assert_eq!(
        attribute(&300_u32.to_ne_bytes()).number::<u8>(ATTR_PORT_INDEX),
        None
    );
    assert_eq!(
        attribute(&14_u64.to_ne_bytes()).number::<u32>(ATTR_PORT_INDEX),
        Some(14)
    );
    assert_eq!(attribute(&[1, 2]).number::<u32>(ATTR_PORT_INDEX), None);
}

#[test]
fn drivers_are_named_by_the_kernels_numbers() {
    assert_eq!(driver_name(1), Some("mlx5"));
    assert_eq!(driver_name(12), Some("hns"));
    assert_eq!(driver_name(14), Some("rxe"));
    assert_eq!((driver_name(0), driver_name(4711)), (None, None));
}

proptest! {
    #[test]
    fn no_bytes_can_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        // Either answer is fine; it must be one.
        collect(&bytes, 0, &mut Vec::new()).ok();
    }

    #[test]
    fn damaged_answers_cannot_make_the_reader_panic(at in 0_usize..64, byte: u8, cut in 0_usize..64) {
        let mut bytes = answer(7, vec![number(ATTR_DEV_INDEX, 3), text(ATTR_DEV_NAME, "mlx5_0")]);
        let index = at % bytes.len();
        bytes[index] = byte;
        bytes.truncate(bytes.len().saturating_sub(cut % 16));
        collect(&bytes, 7, &mut Vec::new()).ok();
    }
}
