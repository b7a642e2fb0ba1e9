//! Two hosts on one cable: network namespaces, a veth pair and a soft-RoCE device on each end.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use rdmamesh_verbs::{EndpointConfig, Gid, PortInfo, PortNum, SysfsRoot, devices};

/// Longest that anything a test waits for may take under emulation.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const QKEY: u32 = 0x1234_5678;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Runs a command and fails with its output.
pub(crate) fn run(command: &str) {
    let output = Command::new("sh")
        .args(["-c", command])
        .output()
        .expect("a shell");
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// One end of the cable.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) netns: String,
    pub(crate) device: String,
    pub(crate) ipv4: String,
    pub(crate) ipv6: String,
}

/// Name of the netdev in every host: the same everywhere, as on real machines.
pub(crate) const NETDEV: &str = "rail1";

/// Two hosts; taken down when dropped.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) a: Host,
    pub(crate) b: Host,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let host = |end: &str, number: u8| Host {
            netns: format!("verbs{id}{end}"),
            device: format!("rxv{id}{end}"),
            ipv4: format!("10.77.{id}.{number}"),
            ipv6: format!("fd77:{id}::{number}"),
        };
        let pair = Self {
            a: host("a", 1),
            b: host("b", 2),
        };
        let (a, b) = (&pair.a, &pair.b);
        for host in [a, b] {
            // Without duplicate address detection, which would keep IPv6 silent for seconds.
            run(&format!(
                "ip netns add {0} && ip -n {0} link set lo up \
                 && ip netns exec {0} sysctl -qw net.ipv6.conf.default.accept_dad=0",
                host.netns
            ));
        }
        run(&format!(
            "ip -n {} link add {NETDEV} type veth peer name {NETDEV} netns {}",
            a.netns, b.netns
        ));
        for host in [a, b] {
            run(&format!(
                "ip -n {0} addr add {1}/24 dev {NETDEV} && ip -n {0} addr add {2}/64 dev {NETDEV} nodad \
                 && ip -n {0} link set {NETDEV} up",
                host.netns, host.ipv4, host.ipv6
            ));
            host.add_link();
        }
        pair
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for host in [&self.a, &self.b] {
            // What the test took away already is gone: that is no failure.
            Command::new("sh")
                .args([
                    "-c",
                    &format!(
                        "rdma link delete {} 2>/dev/null; ip netns delete {}",
                        host.device, host.netns
                    ),
                ])
                .status()
                .ok();
        }
    }
}

impl Host {
    pub(crate) fn add_link(&self) {
        run(&format!(
            "ip netns exec {} rdma link add {} type rxe netdev {NETDEV}",
            self.netns, self.device
        ));
    }

    /// The device's only port, as the inventory shows it from inside this host.
    pub(crate) fn port(&self) -> PortInfo {
        let device = self.device.clone();
        self.enter(move || {
            let found = devices(&SysfsRoot::system()).expect("sysfs is readable");
            let device = found
                .into_iter()
                .find(|d| d.name == device)
                .expect("the device is listed");
            device.ports.into_iter().next().expect("one port")
        })
    }

    fn gid_index(&self, gid: Gid) -> u16 {
        self.port()
            .gids
            .iter()
            .find(|entry| entry.gid == gid)
            .expect("the address is in the GID table")
            .index
    }

    pub(crate) fn ipv4_config(&self, qps: u16) -> EndpointConfig {
        self.config(self.gid_index(self.ipv4.parse().expect("an address")), qps)
    }

    pub(crate) fn ipv6_config(&self, qps: u16) -> EndpointConfig {
        self.config(self.gid_index(self.ipv6.parse().expect("an address")), qps)
    }

    pub(crate) fn config(&self, gid_index: u16, qps: u16) -> EndpointConfig {
        EndpointConfig {
            device: self.device.clone(),
            port: PortNum::FIRST,
            gid_index,
            qps,
            send_slots: 32,
            recv_slots: 64,
            max_payload: 128,
            qkey: QKEY,
        }
    }

    /// Runs a function on a thread of its own inside this host's network namespace.
    pub(crate) fn enter<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.spawn(function)
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// As [`Self::enter`], without waiting.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let netns = self.netns.clone();
        std::thread::spawn(move || {
            let namespace =
                File::open(format!("/run/netns/{netns}")).expect("the namespace exists");
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter it");
            // A sysfs of its own, as every container has: it shows the netdevs of the namespace it
            // was mounted in.
            unshare(CloneFlags::CLONE_NEWNS).expect("root may have a mount namespace");
            run("mount --make-rslave / && mount -t sysfs sysfs /sys");
            function()
        })
    }

    /// Runs a future inside this host, on a runtime of its own.
    pub(crate) fn block_on<T, F>(&self, future: impl FnOnce() -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        self.enter(move || runtime().block_on(future()))
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
