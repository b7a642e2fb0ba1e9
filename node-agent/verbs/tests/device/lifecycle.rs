//! Ports and devices that go and come back while an endpoint is open.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rdmamesh_verbs::{
    AsyncEvents, Completion, CompletionStatus, DeviceEvent, EndpointConfig, PortNum, UdEndpoint,
    VerbsError,
};
use tokio::time::timeout;

use super::fabric::{Host, NETDEV, PATIENCE, Pair, run};
use super::traffic::{Echo, peer, ping};

/// A removal may take this much longer than twice the time it takes while nobody uses the device,
/// which a busy machine can stretch.
const RELEASE: Duration = Duration::from_secs(2);

async fn expect(events: &mut AsyncEvents, wanted: DeviceEvent) {
    let found = async {
        loop {
            match events.next().await {
                Some(event) if event == wanted => return true,
                Some(_) => {}
                None => return false,
            }
        }
    };
    assert_eq!(timeout(PATIENCE, found).await, Ok(true), "no {wanted:?}");
}

pub(crate) fn port_down_and_up_are_events() -> Result<(), Failed> {
    let pair = Pair::new();
    let (config, netns) = (pair.a.ipv4_config(1), pair.a.netns.clone());
    pair.a.block_on(move || async move {
        let endpoint = UdEndpoint::open(&config).expect("the device opens");
        let mut events = endpoint.events();
        run(&format!("ip -n {netns} link set {NETDEV} down"));
        expect(
            &mut events,
            DeviceEvent::PortError {
                port: PortNum::FIRST,
            },
        )
        .await;
        run(&format!("ip -n {netns} link set {NETDEV} up"));
        expect(
            &mut events,
            DeviceEvent::PortActive {
                port: PortNum::FIRST,
            },
        )
        .await;
        drop(endpoint);
        assert_eq!(
            timeout(PATIENCE, events.next()).await.expect("at once"),
            None,
            "the stream ends with its endpoint"
        );
    });
    Ok(())
}

pub(crate) fn traffic_goes_on_after_a_port_was_down() -> Result<(), Failed> {
    let pair = Pair::new();
    let echo = Echo::start(&pair.b, pair.b.ipv4_config(1));
    let (config, netns) = (pair.a.ipv4_config(2), pair.a.netns.clone());
    let (gid, qpns) = (echo.gid, echo.qpns.clone());
    pair.a.block_on(move || async move {
        let mut endpoint = UdEndpoint::open(&config).expect("the device opens");
        let mut events = endpoint.events();
        assert_eq!(ping(&mut endpoint, gid, &qpns, 20, PATIENCE).await.lost, 0);
        let to = endpoint.address(&peer(gid)).expect("reachable");
        run(&format!("ip -n {netns} link set {NETDEV} down"));
        expect(
            &mut events,
            DeviceEvent::PortError {
                port: PortNum::FIRST,
            },
        )
        .await;
        let refused = endpoint.address(&peer(gid)).map(|_| ());
        println!("address handle while the port is down: {refused:?}");
        // Soft-RoCE fails the whole queue pair for a datagram without a route, and flushes it.
        for round in 0..3_u64 {
            let mut completions = Vec::new();
            for token in 0..8 {
                let posted = endpoint.post(usize::from(token % 2 == 1), &to, qpns[0], &[0; 64], token);
                posted.expect("the queue pairs are back");
            }
            let all = async {
                while completions.len() < 8 || endpoint.recoveries() < 2 * (round + 1) {
                    endpoint.ready().await.expect("the device is well");
                    endpoint.poll(&mut completions).expect("the device is well");
                }
            };
            timeout(PATIENCE, all).await.expect("every send ends and both queue pairs come back");
            let failed = |c: &Completion| {
                matches!(c, Completion::Sent { status, .. } if *status != CompletionStatus::Success)
            };
            assert!(completions.iter().all(failed), "{completions:?}");
        }
        run(&format!("ip -n {netns} link set {NETDEV} up"));
        expect(
            &mut events,
            DeviceEvent::PortActive {
                port: PortNum::FIRST,
            },
        )
        .await;
        // The same endpoint goes on; the first pings may fall to the neighbour being looked up
        // again.
        let back = async {
            while ping(&mut endpoint, gid, &qpns, 1, Duration::from_millis(200))
                .await
                .lost
                > 0
            {}
        };
        timeout(PATIENCE, back).await.expect("traffic comes back");
        assert_eq!(ping(&mut endpoint, gid, &qpns, 100, PATIENCE).await.lost, 0);
    });
    echo.stop();
    Ok(())
}

pub(crate) fn address_changes_are_gid_events() -> Result<(), Failed> {
    let pair = Pair::new();
    let (config, netns) = (pair.a.ipv4_config(1), pair.a.netns.clone());
    pair.a.block_on(move || async move {
        let endpoint = UdEndpoint::open(&config).expect("the device opens");
        let mut events = endpoint.events();
        for change in ["add", "del"] {
            run(&format!(
                "ip -n {netns} addr {change} 10.78.0.1/24 dev {NETDEV}"
            ));
            expect(
                &mut events,
                DeviceEvent::GidChange {
                    port: PortNum::FIRST,
                },
            )
            .await;
        }
    });
    Ok(())
}

fn delete_link(host: &Host) -> Child {
    Command::new("rdma")
        .args(["link", "delete", &host.device])
        .spawn()
        .expect("rdma is installed")
}

/// Waits for a child with a bound; how long it took since `started`.
async fn ended(child: &mut Child, started: Instant) -> Duration {
    let done = async {
        while child.try_wait().expect("our child").is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, done)
        .await
        .expect("rdma link delete never returned");
    started.elapsed()
}

pub(crate) fn a_deleted_link_is_let_go_within_two_seconds() -> Result<(), Failed> {
    let pair = Pair::new();
    let (config, host) = (pair.a.ipv4_config(4), pair.a.clone());
    let gid = pair.b.ipv4.parse().expect("an address");
    pair.a.block_on(move || async move {
        let unused = ended(&mut delete_link(&host), Instant::now()).await;
        host.add_link();
        let endpoint = UdEndpoint::open(&config).expect("the device opens");
        // All that a careless owner may still hold must not keep the device.
        let held = (endpoint.address(&peer(gid)).expect("reachable"), endpoint.address_maker());
        let mut events = endpoint.events();
        let started = Instant::now();
        let mut delete = delete_link(&host);
        expect(&mut events, DeviceEvent::DeviceFatal).await;
        let told = started.elapsed();
        let blocked = delete.try_wait().expect("our child").is_none();
        drop(endpoint);
        let released = started.elapsed();
        let gone = ended(&mut delete, started).await;
        println!(
            "DeviceFatal after {told:?} (delete still waiting: {blocked}), dropped by {released:?}, \
             deleted after {gone:?}, {unused:?} when unused"
        );
        assert!(gone < 2 * unused + RELEASE, "{gone:?}");
        assert!(held.1.create(&peer(gid)).is_err(), "no new handles from a closed endpoint");
        drop(held);
    });
    Ok(())
}

pub(crate) fn a_removed_device_fails_softly_until_it_is_dropped() -> Result<(), Failed> {
    let pair = Pair::new();
    let echo = Echo::start(&pair.b, pair.b.ipv4_config(1));
    let (config, host) = (pair.a.ipv4_config(2), pair.a.clone());
    let (gid, qpns) = (echo.gid, echo.qpns.clone());
    pair.a.block_on(move || async move {
        let mut endpoint = UdEndpoint::open(&config).expect("the device opens");
        let mut events = endpoint.events();
        assert_eq!(ping(&mut endpoint, gid, &qpns, 20, PATIENCE).await.lost, 0);
        let to = endpoint.address(&peer(gid)).expect("reachable");
        let mut delete = delete_link(&host);
        expect(&mut events, DeviceEvent::DeviceFatal).await;

        // An owner who is slow to notice goes on using it.
        let mut completions = Vec::new();
        let posted = endpoint.post(0, &to, qpns[0], &[0; 64], 1);
        let polled = endpoint.poll(&mut completions);
        let ready = timeout(PATIENCE, endpoint.ready()).await;
        let address = endpoint.address(&peer(gid)).map(|_| ());
        println!("held on: post {posted:?}, poll {polled:?}, ready {ready:?}, address {address:?}");
        assert!(
            matches!(ready, Ok(Err(VerbsError::DeviceGone { .. }))),
            "{ready:?}"
        );
        let held = timeout(Duration::from_secs(1), ended(&mut delete, Instant::now())).await;
        println!(
            "the delete waits as long as the endpoint is held: {}",
            held.is_err()
        );
        drop(endpoint);
        ended(&mut delete, Instant::now()).await;
    });
    echo.stop();
    Ok(())
}

pub(crate) fn a_device_that_is_back_is_taken_up_again() -> Result<(), Failed> {
    let pair = Pair::new();
    let echo = Echo::start(&pair.b, pair.b.ipv4_config(1));
    let (config, host) = (pair.a.ipv4_config(2), pair.a.clone());
    let (gid, qpns) = (echo.gid, echo.qpns.clone());
    pair.a.block_on(move || async move {
        for _ in 0..3 {
            let mut endpoint = UdEndpoint::open(&config).expect("the device opens");
            let mut events = endpoint.events();
            assert_eq!(ping(&mut endpoint, gid, &qpns, 20, PATIENCE).await.lost, 0);
            let mut delete = delete_link(&host);
            expect(&mut events, DeviceEvent::DeviceFatal).await;
            drop(endpoint);
            ended(&mut delete, Instant::now()).await;
            host.add_link();
        }
    });
    echo.stop();
    Ok(())
}

pub(crate) fn a_vanished_netdev_ends_the_endpoint() -> Result<(), Failed> {
    let delete_netdev = |host: &Host| {
        Command::new("ip")
            .args(["-n", &host.netns, "link", "delete", NETDEV])
            .spawn()
            .expect("ip")
    };
    let (unused, pair) = (Pair::new(), Pair::new());
    let (idle, config, host) = (unused.a.clone(), pair.a.ipv4_config(1), pair.a.clone());
    pair.a.block_on(move || async move {
        let unused = ended(&mut delete_netdev(&idle), Instant::now()).await;
        let endpoint = UdEndpoint::open(&config).expect("the device opens");
        let mut events = endpoint.events();
        let started = Instant::now();
        let mut delete = delete_netdev(&host);
        expect(&mut events, DeviceEvent::DeviceFatal).await;
        drop(endpoint);
        let gone = ended(&mut delete, started).await;
        println!("netdev gone after {gone:?}, {unused:?} when unused");
        assert!(gone < 2 * unused + RELEASE, "{gone:?}");
    });
    Ok(())
}

pub(crate) fn dropping_with_everything_in_flight_does_not_hang() -> Result<(), Failed> {
    let pair = Pair::new();
    let echo = Echo::start(
        &pair.b,
        EndpointConfig {
            send_slots: 256,
            ..pair.b.ipv4_config(1)
        },
    );
    let (config, gid, qpn) = (pair.a.ipv4_config(4), echo.gid, echo.qpns[0]);
    pair.a.block_on(move || async move {
        for _ in 0..50 {
            let mut endpoint = UdEndpoint::open(&config).expect("the device opens");
            let to = endpoint.address(&peer(gid)).expect("reachable");
            endpoint.ready().await.expect("arms");
            for token in 0..32 {
                endpoint
                    .post(usize::from(token % 2 == 0), &to, qpn, &[1; 100], token)
                    .expect("a slot is free");
            }
            // A notification is taken and not acknowledged, completions lie unread, sends are in
            // flight.
            timeout(PATIENCE, endpoint.ready())
                .await
                .expect("something completes")
                .expect("the device is well");
            let started = Instant::now();
            drop(endpoint);
            assert!(started.elapsed() < RELEASE, "{:?}", started.elapsed());
        }
    });
    echo.stop();
    Ok(())
}
