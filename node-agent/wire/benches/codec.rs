//! Cost of writing and reading one datagram, MAC included.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rdmamesh_wire::{
    Control, Datagram, Epoch, Header, KeyRing, NodeId, Resolve, ReturnFlow, RnicId, decode, encode,
    encode_control,
};

fn codec(c: &mut Criterion) {
    let keys = KeyRing::new([(1, [7u8; 32].as_slice())], None).expect("32 bytes are enough");
    let header = Header {
        mesh_id: 1,
        sender: RnicId::of("a", "mlx5_0", 1),
        receiver: RnicId::of("b", "mlx5_0", 1),
        sender_epoch: Epoch(1),
        receiver_epoch: Epoch(2),
        sequence: 3,
    };
    let probe = Datagram::Probe(header, ReturnFlow::default());
    let bytes = encode(&probe, &keys);
    c.bench_function("encode_probe", |b| {
        b.iter(|| encode(black_box(&probe), &keys));
    });
    c.bench_function("decode_probe", |b| {
        b.iter(|| decode(black_box(&bytes), &keys));
    });
    let mut forged = bytes;
    forged[40] ^= 1;
    c.bench_function("refuse_forged", |b| {
        b.iter(|| decode(black_box(&forged), &keys));
    });
    let me = (NodeId::of("a"), Epoch(1));
    let request = Control::Resolve(Resolve::new(me, NodeId::of("b"), 1, 2, (0..16).map(RnicId)));
    let mut buffer = [0; rdmamesh_wire::CONTROL_MAX_LEN];
    c.bench_function("encode_resolve_16_ports", |b| {
        b.iter(|| encode_control(black_box(&request), &keys, &mut buffer).len());
    });
}

criterion_group!(benches, codec);
criterion_main!(benches);
