//! Where packets go in a fabric without faults.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdmamesh_e2e::channel::Program;
use rdmamesh_e2e::rig::Rig;

const MINUTE: Duration = Duration::from_secs(60);

/// Ping-pong of UD datagrams between two RNICs with the verbs examples' own tool; its output.
pub async fn ping_pong(
    rig: &Rig,
    from: (&str, u16),
    to: (&str, u16),
    count: u32,
) -> Result<String> {
    let (local, remote) = (
        rig.fabric().rail(from.0, from.1)?,
        rig.fabric().rail(to.0, to.1)?,
    );
    let rendezvous = rig.fabric().host(to.0)?.management;
    let script = format!(
        "timeout 40 ip netns exec {} ibv_ud_pingpong -d {} -g 1 -n {count} >/tmp/server 2>&1 &
         until ip netns exec {} ss -Hltn 'sport = 18515' | grep -q .; do sleep 0.1; done
         timeout 30 ip netns exec {} ibv_ud_pingpong -d {} -g 1 -n {count} {rendezvous}
         wait",
        to.0, remote.rnic, to.0, from.0, local.rnic
    );
    rig.guest()
        .script(&format!("ping-pong {from:?} {to:?}"), &script, MINUTE)
        .await
}

/// Sends datagrams from ever new ports to a port of another host's rail 1 where nobody listens.
pub async fn send_datagrams(rig: &Rig, from: &str, to: &str, count: u32) -> Result<()> {
    let address = rig.fabric().rail(to, 1)?.address;
    let line = format!("for i in $(seq {count}); do echo x > /dev/udp/{address}/9; done");
    let program = Program::new(["bash", "-c", &line]).in_netns(from);
    rig.guest()
        .run(program, "", MINUTE)
        .await?
        .checked("sending datagrams")?;
    Ok(())
}

/// Packets that an interface has received.
pub async fn received(rig: &Rig, netns: &str, device: &str) -> Result<u64> {
    let file = format!("/sys/class/net/{device}/statistics/rx_packets");
    let program = Program::new(["cat", &file]).in_netns(netns);
    let text = rig
        .guest()
        .run(program, "", MINUTE)
        .await?
        .checked("reading a counter")?;
    text.trim()
        .parse()
        .with_context(|| format!("{file} holds {text:?}"))
}

pub async fn datagrams_cross_the_fabric_on_every_rail(rig: &mut Rig) -> Result<()> {
    for (from, to) in [("host1", "host2"), ("host1", "host3"), ("host4", "host2")] {
        for rail in [1, 2] {
            let leaf = rig.fabric().rail(from, rail)?.leaf.clone();
            let device = if rail == 1 {
                from.to_owned()
            } else {
                format!("{from}.{rail}")
            };
            let before = received(rig, &leaf, &device).await?;
            let text = ping_pong(rig, (from, rail), (to, rail), 100).await?;
            ensure!(
                text.contains("100 iters"),
                "{from} to {to} on rail {rail}: {text}"
            );
            let crossed = received(rig, &leaf, &device).await? - before;
            ensure!(
                crossed >= 100,
                "{from} rail {rail} left by another leaf: {crossed} packets"
            );
        }
    }
    Ok(())
}

pub async fn queue_pairs_spread_over_both_spines(rig: &mut Rig) -> Result<()> {
    let count = |spine: &'static str| received(rig, spine, "leaf1");
    let before = (count("spine1").await?, count("spine2").await?);
    // Each run has a new queue pair and with it another source port: sixteen of them on one of two spines by chance
    // happens once in 32,768.
    for _ in 0..16 {
        ping_pong(rig, ("host1", 1), ("host3", 1), 20).await?;
    }
    let after = (count("spine1").await?, count("spine2").await?);
    let crossed = (after.0 - before.0, after.1 - before.1);
    ensure!(
        crossed.0 >= 20 && crossed.1 >= 20,
        "packets over spine1 and spine2: {crossed:?}"
    );
    Ok(())
}

/// Path tracing depends on it: a datagram whose time to live ends at a hop gets that hop's answer.
pub async fn every_hop_answers_expired_datagrams(rig: &mut Rig) -> Result<()> {
    let address = rig.fabric().rail("host3", 1)?.address;
    // tcpdump sees the answers; socat sends with the wanted time to live.
    let script = format!(
        "timeout 20 ip netns exec host1 tcpdump -lnpi rail1 -c 3 'icmp[icmptype] == icmp-timxceed' >/tmp/hops 2>/tmp/tcpdump &
         until grep -q listening /tmp/tcpdump; do sleep 0.1; done
         for ttl in 1 2 3; do echo x | ip netns exec host1 socat - UDP4:{address}:4791,ip-ttl=$ttl; done
         wait
         cat /tmp/hops"
    );
    let text = rig.guest().script("tracing", &script, MINUTE).await?;
    for hop in ["10.10.1.1 > ", "10.11.1.", "10.11.2."] {
        ensure!(text.contains(hop), "no answer from {hop}: {text}");
    }
    Ok(())
}

pub async fn every_host_reaches_the_api_server(rig: &mut Rig) -> Result<()> {
    let config = std::fs::read_to_string(rig.admin_kubeconfig()).context("read the kubeconfig")?;
    let config: serde_json::Value = serde_json::from_str(&config).context("parse it")?;
    let server = config["clusters"][0]["cluster"]["server"]
        .as_str()
        .context("it names the server")?;
    let url = format!("{}/readyz", server.replace("127.0.0.1", "10.0.2.2"));
    for host in rig.fabric().hosts() {
        let curl = Program::new(["curl", "-sk", "--max-time", "10", &url]).in_netns(&host.name);
        let answer = rig
            .guest()
            .run(curl, "", MINUTE)
            .await?
            .checked("asking the API server")?;
        ensure!(answer == "ok", "{} is answered {answer:?}", host.name);
    }
    Ok(())
}
