//! Attacks an agent: random, damaged, truncated, foreign and replayed datagrams over UD and over the control socket, and counts
//! the answers. The only answers allowed are those to the few genuine datagrams that it needs for its replays. Prints JSON; fails
//! when there was any other answer.
//!
//! `forge --device rxe1 --gid-index 1 --target host3/rxe3=10.10.2.2@10.12.0.4:7475 --count 10000`
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "prints its results")]

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use rand::{Rng, SeedableRng, rngs::StdRng};
use rdmamesh_agent::keys;
use rdmamesh_verbs::{
    AddressHandle, Completion, EndpointConfig, Gid, PeerAddress, PeerRoute, PortNum, UdEndpoint,
};
use rdmamesh_wire::{
    CONTROL_MAX_LEN, Control, Datagram, Epoch, Header, KeyRing, NodeId, Resolve, ReturnFlow,
    RnicId, decode_control, encode, encode_control,
};
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Command line.
#[derive(Parser)]
struct Args {
    /// Local device to send from.
    #[arg(long)]
    device: String,
    /// Its GID table index.
    #[arg(long, default_value_t = 1)]
    gid_index: u16,
    /// `<node>/<device>=<fabric address>@<control address>:<port>`
    #[arg(long)]
    target: String,
    /// Datagrams over UD, and as many over the control socket.
    #[arg(long, default_value_t = 10_000)]
    count: u64,
    /// Folder of the target's probe keys, for the few genuine datagrams; without it the key of the `mesh` example.
    #[arg(long)]
    probe_keys: Option<PathBuf>,
    /// Chooses the damage.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

struct Victim {
    keys: KeyRing,
    node: NodeId,
    rnic: RnicId,
    gid: Gid,
    control: SocketAddr,
    epoch: Epoch,
    qpn: u32,
}

/// What the target takes for genuine: its own keys, or the one that the `mesh` example uses when it is given none.
fn genuine(args: &Args) -> Result<KeyRing> {
    match &args.probe_keys {
        Some(folder) => Ok(keys::load(folder)?),
        None => Ok(KeyRing::new([(1, [0x42; 32].as_slice())], None)?),
    }
}

fn wrong() -> Result<KeyRing> {
    Ok(KeyRing::new([(1, [0x43; 32].as_slice())], None)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut random = StdRng::seed_from_u64(args.seed);
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    let (victim, request) = resolve(&args.target, genuine(&args)?, &socket).await?;
    let over_ud = attack_ud(&args, &victim, &mut random).await?;
    let over_udp = attack_udp(args.count, &victim, &request, &socket, &mut random).await?;
    println!(
        "{}",
        json!({"sent": args.count, "udAnswers": over_ud, "udpAnswers": over_udp})
    );
    ensure!(
        over_ud == 2,
        "{over_ud} answers over UD instead of the two to the one genuine probe"
    );
    ensure!(over_udp == 0, "{over_udp} answers over the control socket");
    Ok(())
}

/// One genuine exchange, to learn where to send; its request serves for replays.
async fn resolve(target: &str, keys: KeyRing, socket: &UdpSocket) -> Result<(Victim, Vec<u8>)> {
    let form = "write <node>/<device>=<fabric address>@<control address>:<port>";
    let (name, addresses) = target.split_once('=').context(form)?;
    let (node, device) = name.split_once('/').context(form)?;
    let (fabric, control) = addresses.split_once('@').context(form)?;
    let (gid, control): (IpAddr, SocketAddr) = (fabric.parse()?, control.parse()?);
    let (node, rnic) = (NodeId::of(node), RnicId::of(node, device, 1));
    let me = (
        NodeId::of("forger"),
        Epoch(rand::random_range(1..=u64::MAX)),
    );
    let request = Control::Resolve(Resolve::new(me, node, 1, rand::random(), [rnic]));
    let mut buffer = [0; CONTROL_MAX_LEN];
    let bytes = encode_control(&request, &keys, &mut buffer).to_vec();
    let mut answer = [0; CONTROL_MAX_LEN];
    let mut received = None;
    for _ in 0..20 {
        // The same bytes again after the first answer would be a replay, so only until then.
        socket.send_to(&bytes, control).await?;
        if let Ok(got) = timeout(Duration::from_secs(1), socket.recv_from(&mut answer)).await {
            received = Some(got?);
            break;
        }
    }
    let (len, _) = received.context("the target does not answer")?;
    let Ok(Control::Reply(reply)) = decode_control(&answer[..len], &keys) else {
        bail!("the target answers with another key");
    };
    let entry = reply.ports().first().context("an answer about the port")?;
    let (epoch, qpn) = (reply.sender_epoch, entry.qpn);
    Ok((
        Victim {
            keys,
            node,
            rnic,
            gid: gid.into(),
            control,
            epoch,
            qpn,
        },
        bytes,
    ))
}

async fn attack_ud(args: &Args, victim: &Victim, random: &mut StdRng) -> Result<u64> {
    let mut endpoint = UdEndpoint::open(&EndpointConfig {
        device: args.device.clone(),
        port: PortNum::FIRST,
        gid_index: args.gid_index,
        qps: 1,
        send_slots: 64,
        recv_slots: 1024,
        max_payload: UD_MAX_LEN,
        qkey: 0x5244_4D41,
    })?;
    let to = endpoint.address(&PeerAddress {
        route: PeerRoute::Gid(victim.gid),
        flow_label: 0,
        dscp: 0,
        service_level: 0,
        hop_limit: PeerAddress::DEFAULT_HOP_LIMIT,
    })?;
    let header = Header {
        mesh_id: 1,
        sender: RnicId::of("forger", "rxe", 1),
        receiver: victim.rnic,
        sender_epoch: Epoch(7),
        receiver_epoch: victim.epoch,
        sequence: 1,
    };
    let good = encode(
        &Datagram::Probe(header, ReturnFlow::default()),
        &victim.keys,
    );
    let mut answers = send(&mut endpoint, &to, victim.qpn, &good).await?;
    answers += drain(&mut endpoint, Duration::from_millis(500)).await?;
    for number in 0..args.count {
        let forged = ud_case(number, header, &good, &victim.keys, random)?;
        answers += send(&mut endpoint, &to, victim.qpn, &forged).await?;
    }
    Ok(answers + drain(&mut endpoint, Duration::from_secs(2)).await?)
}

/// One datagram that must not be answered.
fn ud_case(
    number: u64,
    header: Header,
    good: &[u8],
    genuine: &KeyRing,
    random: &mut StdRng,
) -> Result<Vec<u8>> {
    let fresh = Header {
        sequence: number + 10,
        ..header
    };
    let signed = |header, keys: &KeyRing| {
        encode(&Datagram::Probe(header, ReturnFlow::default()), keys).to_vec()
    };
    Ok(match number % 8 {
        0 => (0..random.random_range(0..200))
            .map(|_| random.random())
            .collect(),
        1 => good[..random.random_range(0..good.len())].to_vec(),
        2 => good.to_vec(),
        3 => signed(fresh, &wrong()?),
        4 => signed(
            Header {
                receiver: RnicId(random.random()),
                ..fresh
            },
            genuine,
        ),
        5 => signed(
            Header {
                receiver_epoch: Epoch(random.random_range(1..9)),
                ..fresh
            },
            genuine,
        ),
        6 => encode(&Datagram::Ack1(fresh), genuine).to_vec(),
        _ => {
            let mut flipped = signed(fresh, genuine);
            let at = random.random_range(0..flipped.len());
            flipped[at] ^= 1 << random.random_range(0..8);
            flipped
        }
    })
}

/// Longer than any datagram sent over UD, and within the MTU of every port.
const UD_MAX_LEN: usize = 256;
/// Longest time until a datagram has left.
const SENT_WITHIN: Duration = Duration::from_secs(1);

/// Posts one datagram; gives the answers that came in meanwhile.
async fn send(
    endpoint: &mut UdEndpoint,
    to: &AddressHandle,
    qpn: u32,
    payload: &[u8],
) -> Result<u64> {
    endpoint.post(0, to, qpn, payload, 0)?;
    let posted = Instant::now();
    let mut answers = 0;
    // One at a time: what is to be counted at the other side must not be lost in a full queue.
    loop {
        let mut out = Vec::new();
        endpoint.poll(&mut out)?;
        answers += out
            .iter()
            .filter(|c| matches!(c, Completion::Received { .. }))
            .count() as u64;
        if out.iter().any(|c| matches!(c, Completion::Sent { .. })) {
            tokio::time::sleep(Duration::from_micros(200)).await;
            return Ok(answers);
        }
        ensure!(posted.elapsed() < SENT_WITHIN, "no send completion");
        // A finished send need not notify.
        if let Ok(ready) = timeout(Duration::from_millis(1), endpoint.ready()).await {
            ready?;
        }
    }
}

async fn drain(endpoint: &mut UdEndpoint, span: Duration) -> Result<u64> {
    let mut answers = 0;
    let until = tokio::time::Instant::now() + span;
    while let Ok(ready) = tokio::time::timeout_at(until, endpoint.ready()).await {
        ready?;
        let mut out = Vec::new();
        endpoint.poll(&mut out)?;
        answers += out
            .iter()
            .filter(|c| matches!(c, Completion::Received { .. }))
            .count() as u64;
    }
    Ok(answers)
}

async fn attack_udp(
    count: u64,
    victim: &Victim,
    request: &[u8],
    socket: &UdpSocket,
    random: &mut StdRng,
) -> Result<u64> {
    let mut answers = 0;
    let mut buffer = [0; CONTROL_MAX_LEN];
    for number in 0..count {
        let forged = udp_case(number, victim, request, random)?;
        socket.send_to(&forged, victim.control).await?;
        if number % 8 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while socket.try_recv_from(&mut buffer).is_ok() {
            answers += 1;
        }
    }
    while timeout(Duration::from_secs(1), socket.recv_from(&mut buffer))
        .await
        .is_ok()
    {
        answers += 1;
    }
    Ok(answers)
}

fn udp_case(number: u64, victim: &Victim, request: &[u8], random: &mut StdRng) -> Result<Vec<u8>> {
    let mut buffer = [0; CONTROL_MAX_LEN];
    let me = (NodeId::of("forger"), Epoch(99));
    let made = |to: NodeId| Resolve::new(me, to, number + 10, number, [victim.rnic]);
    Ok(match number % 6 {
        0 => (0..random.random_range(0..600))
            .map(|_| random.random())
            .collect(),
        1 => request[..random.random_range(0..request.len())].to_vec(),
        2 => request.to_vec(),
        3 => encode_control(&Control::Resolve(made(victim.node)), &wrong()?, &mut buffer).to_vec(),
        4 => {
            let other = made(NodeId(random.random()));
            encode_control(&Control::Resolve(other), &victim.keys, &mut buffer).to_vec()
        }
        _ => {
            let mut flipped = request.to_vec();
            let at = random.random_range(0..flipped.len());
            flipped[at] ^= 1 << random.random_range(0..8);
            flipped
        }
    })
}
