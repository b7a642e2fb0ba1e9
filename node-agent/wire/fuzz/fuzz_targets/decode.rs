//! Any bytes: no panic and nothing accepted without the key. The same bytes with a right MAC: what
//! is accepted must be written back the same, so that there is one encoding of each message only.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rdmamesh_wire::{
    CONTROL_MAX_LEN, KeyRing, decode, decode_control, encode, encode_control,
};

static KEYS: LazyLock<KeyRing> = LazyLock::new(|| {
    let secret = std::array::from_fn::<u8, 32, _>(|i| i as u8 ^ 0x5A);
    KeyRing::new([(1, secret.as_slice())], None).expect("32 bytes are enough")
});

fuzz_target!(|data: &[u8]| {
    assert!(decode(data, &KEYS).is_err(), "a probe datagram was forged");
    assert!(decode_control(data, &KEYS).is_err(), "a control datagram was forged");

    let mut signed = data.to_vec();
    if let Some(key_id) = signed.get_mut(2) {
        *key_id = 1;
    }
    KEYS.sign(&mut signed);
    if let Ok(message) = decode(&signed, &KEYS) {
        assert_eq!(encode(&message, &KEYS).as_slice(), signed);
    }
    if let Ok(message) = decode_control(&signed, &KEYS) {
        let mut buffer = [0; CONTROL_MAX_LEN];
        assert_eq!(encode_control(&message, &KEYS, &mut buffer), signed);
    }
});
