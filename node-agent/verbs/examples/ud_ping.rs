//! UD pings between two RDMA devices: by hand, in the rig, and to see what the endpoint itself
//! costs.
//!
//! `ud_ping serve --device rxe1` prints its GID and queue pair numbers and sends every datagram
//! back; `ud_ping ping --device rxe3 --peer GID --qpn N` sends pings one after another and prints
//! the round trips.
#![expect(clippy::print_stdout, reason = "a command-line program")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use rdmamesh_verbs::{
    Completion, DeviceEvent, EndpointConfig, Gid, PeerAddress, PeerRoute, PortNum, Stamp,
    SysfsRoot, UdEndpoint, devices,
};
use tokio::time::timeout;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the devices as the agent sees them.
    List,
    /// Sends every datagram back until the device goes away.
    Serve(Local),
    /// Pings a server.
    Ping {
        #[command(flatten)]
        local: Local,
        /// The server's GID.
        #[arg(long)]
        peer: Gid,
        /// The server's queue pair.
        #[arg(long)]
        qpn: u32,
        /// Pings to send.
        #[arg(long, default_value_t = 1000)]
        count: u64,
        /// Pause between two pings, in microseconds.
        #[arg(long, default_value_t = 0)]
        pause: u64,
    },
}

#[derive(Debug, Args)]
struct Local {
    /// Device, such as rxe1.
    #[arg(long)]
    device: String,
    /// GID index.
    #[arg(long, default_value_t = 1)]
    gid_index: u16,
    /// Queue pairs.
    #[arg(long, default_value_t = 1)]
    qps: u16,
}

impl Local {
    fn open(&self) -> Result<UdEndpoint, Box<dyn Error>> {
        let endpoint = UdEndpoint::open(&EndpointConfig {
            device: self.device.clone(),
            port: PortNum::FIRST,
            gid_index: self.gid_index,
            qps: self.qps,
            send_slots: 64,
            recv_slots: 64,
            max_payload: 128,
            qkey: 0x1111_1111,
        })?;
        let ports: Vec<_> = (0..endpoint.qpns().len())
            .map(|qp| endpoint.source_port(qp, 1))
            .collect();
        println!(
            "gid {} qpns {:?} ports {ports:?} stamps {:?}",
            endpoint.local_gid(),
            endpoint.qpns(),
            endpoint.timestamps()
        );
        Ok(endpoint)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    match Cli::parse().command {
        Command::List => {
            let started = Instant::now();
            let found = devices(&SysfsRoot::system())?;
            let took = started.elapsed();
            println!("{found:#?}\nread in {took:?}");
            Ok(())
        }
        Command::Serve(local) => serve(&local).await,
        Command::Ping {
            local,
            peer,
            qpn,
            count,
            pause,
        } => ping(&local, peer, qpn, count, Duration::from_micros(pause)).await,
    }
}

fn peer_address(gid: Gid) -> PeerAddress {
    PeerAddress {
        route: PeerRoute::Gid(gid),
        flow_label: 1,
        dscp: 0,
        service_level: 0,
        hop_limit: 64,
    }
}

async fn serve(local: &Local) -> Result<(), Box<dyn Error>> {
    let mut endpoint = local.open()?;
    let mut events = endpoint.events();
    let mut peers = HashMap::new();
    let mut completions = Vec::new();
    loop {
        tokio::select! {
            ready = endpoint.ready() => ready?,
            event = events.next() => {
                println!("{event:?}");
                if event.is_none_or(|event| event == DeviceEvent::DeviceFatal) {
                    return Ok(());
                }
            }
        }
        endpoint.poll(&mut completions)?;
        for completion in completions.drain(..) {
            let Completion::Received {
                qp_index,
                source_qpn,
                source_gid: Some(gid),
                payload,
                ..
            } = completion
            else {
                continue;
            };
            let to = match peers.entry(gid) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(endpoint.address(&peer_address(gid))?),
            };
            endpoint.post(qp_index, to, source_qpn, &payload, 0)?;
        }
    }
}

async fn ping(
    local: &Local,
    peer: Gid,
    qpn: u32,
    count: u64,
    pause: Duration,
) -> Result<(), Box<dyn Error>> {
    let mut endpoint = local.open()?;
    let to = endpoint.address(&peer_address(peer))?;
    let (mut round_trips, mut lost) = (Vec::new(), 0_u64);
    for number in 0..count {
        let sent = Stamp::monotonic();
        let qp = usize::try_from(number)? % endpoint.qpns().len();
        endpoint.post(qp, &to, qpn, &number.to_be_bytes(), number)?;
        match timeout(Duration::from_secs(1), answer(&mut endpoint, number)).await {
            Ok(received) => round_trips.push(received?.nanos_since(sent)),
            Err(_) => lost += 1,
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    round_trips.sort_unstable();
    let at = |percent: usize| {
        round_trips
            .get(round_trips.len() * percent / 100)
            .map_or(0, |nanos| nanos / 1000)
    };
    println!(
        "{count} sent, {lost} lost, µs: min {} p50 {} p90 {} p99 {}",
        at(0),
        at(50),
        at(90),
        at(99)
    );
    Ok(())
}

async fn answer(endpoint: &mut UdEndpoint, number: u64) -> Result<Stamp, Box<dyn Error>> {
    let mut completions = Vec::new();
    loop {
        endpoint.ready().await?;
        endpoint.poll(&mut completions)?;
        for completion in completions.drain(..) {
            if let Completion::Received { payload, stamp, .. } = completion
                && *payload == number.to_be_bytes()
            {
                return Ok(stamp);
            }
        }
    }
}
