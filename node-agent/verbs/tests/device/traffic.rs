//! Datagrams between two hosts: none lost, on the predicted ports, without spinning and without
//! privileges.

use std::collections::{BTreeSet, HashMap};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rdmamesh_verbs::{
    AddressHandle, Completion, CompletionStatus, EndpointConfig, FlowSource, Gid, PeerAddress,
    PeerRoute, PostError, TimestampMode, UdEndpoint,
};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::child;
use super::fabric::{Host, NETDEV, PATIENCE, Pair, runtime};

pub(crate) fn peer(gid: Gid) -> PeerAddress {
    PeerAddress {
        route: PeerRoute::Gid(gid),
        flow_label: 0,
        dscp: 0,
        service_level: 0,
        hop_limit: PeerAddress::DEFAULT_HOP_LIMIT,
    }
}

/// A host that sends every datagram back to where it came from, by the queue pair it came in on.
pub(crate) struct Echo {
    pub(crate) qpns: Vec<u32>,
    pub(crate) gid: Gid,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Echo {
    pub(crate) fn start(host: &Host, config: EndpointConfig) -> Self {
        let (ready, opened) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = host.spawn(move || {
            runtime().block_on(async move {
                let mut endpoint = UdEndpoint::open(&config).expect("the device opens");
                ready
                    .send((endpoint.qpns().to_vec(), endpoint.local_gid()))
                    .expect("the test waits");
                echo(&mut endpoint, stopped).await
            })
        });
        let (qpns, gid) = opened.recv().expect("the endpoint opened");
        Self {
            qpns,
            gid,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Ends it; returns how many datagrams it answered.
    pub(crate) fn stop(mut self) -> u64 {
        self.stop.take().expect("stopped once").send(()).ok();
        self.thread
            .take()
            .expect("joined once")
            .join()
            .expect("the echo did not panic")
    }
}

async fn echo(endpoint: &mut UdEndpoint, mut stopped: oneshot::Receiver<()>) -> u64 {
    let mut peers: HashMap<Gid, AddressHandle> = HashMap::new();
    let mut completions = Vec::new();
    let mut answered = 0;
    loop {
        tokio::select! {
            _ = &mut stopped => return answered,
            ready = endpoint.ready() => ready.expect("the device is well"),
        }
        endpoint.poll(&mut completions).expect("the device is well");
        for completion in completions.drain(..) {
            let Completion::Received {
                qp_index,
                source_qpn,
                source_gid,
                payload,
                ..
            } = completion
            else {
                continue;
            };
            let gid = source_gid.expect("RoCE datagrams name their sender");
            let to = match peers.get(&gid) {
                Some(handle) => handle.clone(),
                None => peers
                    .entry(gid)
                    .or_insert(
                        endpoint
                            .address(&peer(gid))
                            .expect("the sender is reachable"),
                    )
                    .clone(),
            };
            endpoint
                .post(qp_index, &to, source_qpn, &payload, 0)
                .expect("a slot is free");
            answered += 1;
        }
    }
}

/// What became of a run of pings.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    pub(crate) answered: u64,
    pub(crate) lost: u64,
    pub(crate) failed_sends: u64,
    pub(crate) round_trips: Vec<Duration>,
}

/// An address handle. The kernel gives up a neighbour after a second, and what it asks on a cable that has just come up may be
/// lost: asked again, as the agent does.
fn reach(endpoint: &UdEndpoint, gid: Gid) -> AddressHandle {
    let asked = Instant::now();
    loop {
        match endpoint.address(&peer(gid)) {
            Ok(handle) => return handle,
            Err(error) => assert!(asked.elapsed() < PATIENCE, "not reachable: {error}"),
        }
    }
}

/// Sends pings one after another, round robin over the queue pairs, and waits for each answer.
pub(crate) async fn ping(
    endpoint: &mut UdEndpoint,
    gid: Gid,
    qpns: &[u32],
    count: u64,
    patience: Duration,
) -> Pings {
    let to = reach(endpoint, gid);
    let mut pings = Pings::default();
    let mut completions = Vec::new();
    for number in 0..count {
        let index = usize::try_from(number).expect("small") % endpoint.qpns().len();
        let payload = number.to_be_bytes();
        let started = Instant::now();
        endpoint
            .post(index, &to, qpns[index % qpns.len()], &payload, number)
            .expect("a slot is free");
        let answer = async {
            loop {
                endpoint.poll(&mut completions).expect("the device is well");
                for completion in completions.drain(..) {
                    match completion {
                        Completion::Received { payload: got, .. } if *got == payload => {
                            return started.elapsed();
                        }
                        Completion::Sent { status, .. } if status != CompletionStatus::Success => {
                            pings.failed_sends += 1;
                        }
                        Completion::Received { .. } | Completion::Sent { .. } => {}
                    }
                }
                endpoint.ready().await.expect("the device is well");
            }
        };
        match timeout(patience, answer).await {
            Ok(round_trip) => {
                pings.answered += 1;
                pings.round_trips.push(round_trip);
            }
            Err(_) => pings.lost += 1,
        }
    }
    pings.round_trips.sort_unstable();
    pings
}

fn ping_between(pair: &Pair, a: EndpointConfig, b: EndpointConfig, count: u64) -> Pings {
    let echo = Echo::start(&pair.b, b);
    let (gid, qpns) = (echo.gid, echo.qpns.clone());
    let pings = pair.a.block_on(move || async move {
        let mut endpoint = UdEndpoint::open(&a).expect("the device opens");
        assert_eq!(
            endpoint.timestamps(),
            TimestampMode::Software,
            "soft-RoCE has no clock"
        );
        ping(&mut endpoint, gid, &qpns, count, PATIENCE).await
    });
    assert_eq!(echo.stop(), count, "the echo answered each once");
    pings
}

fn assert_none_lost(pings: &Pings, count: u64) {
    assert_eq!(
        (pings.answered, pings.lost, pings.failed_sends),
        (count, 0, 0)
    );
    let median = pings.round_trips[pings.round_trips.len() / 2];
    println!(
        "{count} round trips, 0 lost, median {median:?}, min {:?}",
        pings.round_trips[0]
    );
}

pub(crate) fn five_thousand_round_trips_lose_nothing_over_ipv4() -> Result<(), Failed> {
    let pair = Pair::new();
    let pings = ping_between(&pair, pair.a.ipv4_config(4), pair.b.ipv4_config(2), 5000);
    assert_none_lost(&pings, 5000);
    Ok(())
}

pub(crate) fn round_trips_lose_nothing_over_ipv6() -> Result<(), Failed> {
    let pair = Pair::new();
    let pings = ping_between(&pair, pair.a.ipv6_config(1), pair.b.ipv6_config(1), 500);
    assert_none_lost(&pings, 500);
    Ok(())
}

pub(crate) fn queue_pairs_use_the_predicted_udp_ports() -> Result<(), Failed> {
    let pair = Pair::new();
    let echo = Echo::start(&pair.b, pair.b.ipv4_config(1));
    let (gid, qpns) = (echo.gid, echo.qpns.clone());
    let mut capture = Command::new("ip")
        .args([
            "netns",
            "exec",
            &pair.b.netns,
            "tcpdump",
            "-n",
            "-l",
            "--immediate-mode",
            "-i",
            NETDEV,
        ])
        .args([
            "-c",
            "16",
            "udp",
            "dst",
            "port",
            "4791",
            "and",
            "src",
            "host",
            &pair.a.ipv4,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // tcpdump says on stderr when it listens.
    let mut said = std::io::BufReader::new(capture.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        assert!(
            std::io::BufRead::read_line(&mut said, &mut line)? > 0,
            "tcpdump ended"
        );
    }

    let config = pair.a.ipv4_config(16);
    let predicted: BTreeSet<u16> = pair.a.block_on(move || async move {
        let mut endpoint = UdEndpoint::open(&config).expect("the device opens");
        assert_eq!(endpoint.flow_source(), FlowSource::QpNumber);
        assert_eq!(endpoint.qpns().len(), 16);
        assert_eq!(ping(&mut endpoint, gid, &qpns, 16, PATIENCE).await.lost, 0);
        (0..16)
            .map(|qp| {
                endpoint
                    .source_port(qp, 0)
                    .expect("soft-RoCE's ports are known")
            })
            .collect()
    });
    let output = capture.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let from = format!("IP {}.", pair.a.ipv4);
    let seen: BTreeSet<u16> = text
        .lines()
        .filter_map(|line| line.split_once(&from)?.1.split_once(' ')?.0.parse().ok())
        .collect();
    println!("on the wire: {seen:?}");
    assert_eq!(predicted.len(), 16, "every queue pair is a flow of its own");
    assert_eq!(seen, predicted);
    echo.stop();
    Ok(())
}

pub(crate) fn send_slots_run_out_and_come_back() -> Result<(), Failed> {
    let pair = Pair::new();
    let (config, gid) = (
        pair.a.ipv4_config(1),
        pair.b.ipv4.parse().expect("an address"),
    );
    pair.a.block_on(move || async move {
        let config = EndpointConfig {
            send_slots: 4,
            ..config
        };
        let mut endpoint = UdEndpoint::open(&config).expect("the device opens");
        let mut other = UdEndpoint::open(&config).expect("the device opens twice");
        let to = reach(&endpoint, gid);
        let mut completions = Vec::new();
        for round in 0..3 {
            // Nobody listens at that queue pair: a datagram into the void still leaves. What has left frees its slot with
            // the next post, so that it may take more posts than there are slots.
            let mut posted = 0;
            let refused = loop {
                match endpoint.post(0, &to, 0xff_fff0, &[0; 128], posted) {
                    Ok(()) => posted += 1,
                    Err(error) => break error,
                }
                assert!(posted < 100_000, "round {round}: slots never run out");
            };
            assert!(matches!(refused, PostError::NoSlot), "round {round}");
            assert!(posted >= 4, "round {round}: {posted} slots");
            let all = async {
                while (completions.len() as u64) < posted {
                    endpoint.ready().await.expect("the device is well");
                    endpoint.poll(&mut completions).expect("the device is well");
                }
            };
            timeout(PATIENCE, all).await.expect("every send completes");
            let sent = |c: &Completion| {
                matches!(
                    c,
                    Completion::Sent {
                        status: CompletionStatus::Success,
                        ..
                    }
                )
            };
            assert!(completions.drain(..).all(|completion| sent(&completion)));
        }
        assert!(matches!(
            endpoint.post(0, &to, 1, &[0; 129], 0),
            Err(PostError::TooLong { len: 129, max: 128 })
        ));
        assert!(matches!(
            endpoint.post(1, &to, 1, &[0], 0),
            Err(PostError::NoSuchQp { index: 1, count: 1 })
        ));
        assert!(matches!(
            other.post(0, &to, 1, &[0], 0),
            Err(PostError::ForeignAddress)
        ));
    });
    Ok(())
}

pub(crate) fn bursts_wake_the_sleeper_every_time() -> Result<(), Failed> {
    let pair = Pair::new();
    let echo = Echo::start(&pair.b, pair.b.ipv4_config(1));
    let (config, gid, qpn) = (pair.a.ipv4_config(2), echo.gid, echo.qpns[0]);
    pair.a.block_on(move || async move {
        let mut endpoint = UdEndpoint::open(&config).expect("the device opens");
        let to = reach(&endpoint, gid);
        let mut completions = Vec::new();
        for burst in 0..500_u64 {
            let size = 1 + burst % 16;
            for number in 0..size {
                endpoint
                    .post(
                        usize::from(number % 2 == 1),
                        &to,
                        qpn,
                        &burst.to_be_bytes(),
                        number,
                    )
                    .expect("a slot is free");
            }
            // Each datagram comes back; a lost wake-up would end in the time-out.
            let mut back = 0;
            let all = async {
                while back < size {
                    endpoint.ready().await.expect("the device is well");
                    endpoint.poll(&mut completions).expect("the device is well");
                    let received = |completion: &Completion| {
                        u64::from(matches!(completion, Completion::Received { .. }))
                    };
                    back += completions
                        .drain(..)
                        .map(|completion| received(&completion))
                        .sum::<u64>();
                }
            };
            let woken = timeout(PATIENCE, all).await.is_ok();
            assert!(woken, "burst {burst}: {back} of {size} woke us");
        }
    });
    echo.stop();
    Ok(())
}

pub(crate) fn unanswered_sends_free_their_slots_without_a_poll() -> Result<(), Failed> {
    let pair = Pair::new();
    let (config, gid) = (
        pair.a.ipv4_config(1),
        pair.b.ipv4.parse().expect("an address"),
    );
    pair.a.block_on(move || async move {
        let config = EndpointConfig {
            send_slots: 4,
            ..config
        };
        let mut endpoint = UdEndpoint::open(&config).expect("the device opens");
        let to = reach(&endpoint, gid);
        let all = async {
            for token in 0..100 {
                while let Err(error) = endpoint.post(0, &to, 0xff_fff0, &[0; 128], token) {
                    assert!(matches!(error, PostError::NoSlot), "{error}");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        timeout(PATIENCE, all).await.expect("slots come back");
        timeout(PATIENCE, endpoint.ready())
            .await
            .expect("what was taken early waits")
            .expect("the device is well");
        let mut completions = Vec::new();
        assert!(endpoint.poll(&mut completions).expect("the device is well") >= 96);
        let tokens = completions
            .iter()
            .filter_map(|completion| match completion {
                Completion::Sent { token, .. } => Some(*token),
                Completion::Received { .. } => None,
            });
        assert!(
            tokens
                .clone()
                .eq(0..u64::try_from(tokens.count()).expect("small")),
            "each once, in order"
        );
    });
    Ok(())
}

pub(crate) fn waiting_costs_no_cpu() -> Result<(), Failed> {
    let pair = Pair::new();
    let config = pair.a.ipv4_config(4);
    let used = pair.a.block_on(move || async move {
        let endpoint = UdEndpoint::open(&config).expect("the device opens");
        let mut events = endpoint.events();
        let mut wait = async |time| {
            let idle = async {
                loop {
                    endpoint.ready().await.expect("the device is well");
                }
            };
            let quiet = timeout(time, async { tokio::join!(idle, events.next()) }).await;
            assert!(quiet.is_err(), "nothing happens");
        };
        // The first round loads code and asks for the notification.
        wait(Duration::from_millis(600)).await;
        let before = cpu_time();
        wait(Duration::from_secs(4)).await;
        cpu_time() - before
    });
    println!("4 s of waiting used {used:?} of CPU");
    assert!(
        used < Duration::from_millis(200),
        "5 % of an emulated core; polling would use all of it"
    );
    Ok(())
}

fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("always allowed");
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(u64::try_from(micros).expect("not negative"))
}

pub(crate) fn no_privileges_are_needed() -> Result<(), Failed> {
    let pair = Pair::new();
    let echo = Echo::start(&pair.b, pair.b.ipv4_config(1));
    let config = pair.a.ipv4_config(4);
    let output = child::ping_unprivileged(&pair.a, &config, echo.gid, echo.qpns[0])?;
    print!("{output}");
    assert_eq!(echo.stop(), child::PINGS);
    Ok(())
}
