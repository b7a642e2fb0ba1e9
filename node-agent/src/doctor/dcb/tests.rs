use super::*;

fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + content.len()).expect("short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn answer(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0; HEAD + DCB_HEAD];
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes.extend(attributes.concat());
    bytes
}

fn app(selector: u8, priority: u8, protocol: u16) -> Vec<u8> {
    let [low, high] = protocol.to_ne_bytes();
    attribute(IEEE_APP, &[selector, priority, low, high])
}

#[test]
fn flow_control_and_dscp_priorities_are_read() {
    let mut pfc = vec![8, 0b0000_1000, 0, 0];
    pfc.resize(136, 0);
    let table = [app(SELECTOR_DSCP, 3, 26), app(1, 5, 35093)].concat();
    let ieee = [
        attribute(1, &[0; 60]),
        attribute(IEEE_PFC, &pfc),
        // Nested attributes may carry a flag that says so.
        attribute(IEEE_APP_TABLE | 0x8000, &table),
    ];
    let message = answer(
        RTM_GETDCB,
        &[
            attribute(ATTR_IFNAME, b"ens1\0"),
            attribute(ATTR_IEEE, &ieee.concat()),
        ],
    );
    let dcb = parse(&message).expect("an answer");
    assert_eq!(dcb.lossless().collect::<Vec<_>>(), [3]);
    assert!(dcb.trusts_dscp());
    assert_eq!((dcb.priority(26), dcb.priority(0)), (Some(3), None));
}

#[test]
fn errors_and_cut_off_answers_are_no_facts() {
    assert_eq!(parse(&answer(NLMSG_ERROR, &[])), None);
    assert_eq!(parse(&answer(RTM_GETDCB, &[])), None);
    let whole = answer(
        RTM_GETDCB,
        &[attribute(ATTR_IEEE, &attribute(IEEE_PFC, &[8, 1]))],
    );
    assert!(parse(&whole).is_some());
    for length in 0..whole.len() {
        // No panic; what is there of it may be used.
        parse(&whole[..length]);
    }
}

#[test]
fn the_request_is_well_formed() {
    let bytes = request("eth0");
    assert_eq!(bytes.len(), 32);
    assert_eq!(
        u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        32
    );
    let name = attributes(&bytes[HEAD + DCB_HEAD..]).next();
    assert_eq!(name, Some((ATTR_IFNAME, &b"eth0\0"[..])));
}

#[test]
fn an_interface_without_dcb_has_none() {
    // The loopback interface has no priorities; a machine that refuses netlink does not answer either.
    assert_eq!(query("lo"), None);
}
