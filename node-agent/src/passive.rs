//! What the devices count by themselves: error counters of every local port out of sysfs, and how much they grew lately.
//!
//! They accuse nobody: a counter says that something was wrong at this port, not who did it. They join the evidence of those
//! who judge. `hw_counters` differ from driver to driver; those that are not there are not reported. Pause frames and
//! priority flow control are only in ethtool's statistics and stay out.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rdmamesh_api::RdmaNodeStatus;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::dataplane::Mono;
use crate::model::{LocalPort, PortHealth};

/// Counters are read this often.
const EVERY: Duration = Duration::from_secs(1);
/// What a counter grew by within this time is "lately".
pub const LATELY: Duration = Duration::from_secs(30);

/// Counters of errors that are worth a mention, by the kernel's names. The first folder has those of the InfiniBand standard,
/// the second the driver's own.
const COUNTERS: [(&str, &[&str]); 2] = [
    (
        "counters",
        &[
            "excessive_buffer_overrun_errors",
            "link_downed",
            "link_error_recovery",
            "local_link_integrity_errors",
            "port_rcv_errors",
            "port_rcv_remote_physical_errors",
            "port_xmit_discards",
            "symbol_error",
        ],
    ),
    (
        "hw_counters",
        &[
            "duplicate_request",
            "implied_nak_seq_err",
            "link_downed",
            "local_ack_timeout_err",
            "np_cnp_sent",
            "np_ecn_marked_roce_packets",
            "out_of_buffer",
            "out_of_seq_request",
            "out_of_sequence",
            "packet_seq_err",
            "rcvd_seq_err",
            "retry_exceeded_err",
            "rnr_nak_retry_err",
            "rp_cnp_handled",
            "rx_icrc_encapsulated",
            "send_err",
        ],
    ),
];
/// Times that the network interface lost its carrier.
const CARRIER_DOWN: &str = "carrier_down_count";

/// Values of counters by the kernel's names.
pub type Counters = BTreeMap<Arc<str>, u64>;

/// The counters of all local ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortErrors {
    /// As the kernel counts them.
    pub total: BTreeMap<LocalPort, Counters>,
    /// By how much they grew lately; only those that did.
    pub grown: BTreeMap<LocalPort, Counters>,
}

/// Reads the error counters of a port; those that are not there are left out.
pub fn read(sysfs: &Path, local: &LocalPort, netdev: Option<&str>) -> Counters {
    let device = sysfs.join("class/infiniband").join(&*local.device);
    let port = device.join("ports").join(local.port.to_string());
    let mut found = Counters::new();
    for (folder, names) in COUNTERS {
        for name in names {
            if let Some(value) = number(&port.join(folder).join(name)) {
                found.entry(Arc::from(*name)).or_insert(value);
            }
        }
    }
    let carrier = netdev.map(|netdev| sysfs.join("class/net").join(netdev).join(CARRIER_DOWN));
    if let Some(value) = carrier.as_deref().and_then(number) {
        found.insert(Arc::from(CARRIER_DOWN), value);
    }
    found
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Past values of one port's counters.
#[derive(Debug, Default)]
struct Past(VecDeque<(Mono, Counters)>);

impl Past {
    /// Takes new values; says by how much they grew lately. A counter that fell was reset with its device: it begins anew.
    fn take(&mut self, values: &Counters, now: Mono) -> Counters {
        let fell = |old: &Counters| {
            values
                .iter()
                .any(|(name, value)| old.get(name).is_some_and(|was| was > value))
        };
        if self.0.back().is_some_and(|(_, old)| fell(old)) {
            self.0.clear();
        }
        while self.0.len() > 1
            && self
                .0
                .get(1)
                .is_some_and(|(at, _)| now.since(*at) >= LATELY)
        {
            self.0.pop_front();
        }
        let oldest = self.0.front().map(|(_, old)| old);
        let growth = |(name, value): (&Arc<str>, &u64)| {
            let by = value.checked_sub(*oldest?.get(name)?)?;
            (by > 0).then(|| (Arc::clone(name), by))
        };
        let grown = values.iter().filter_map(growth).collect();
        self.0.push_back((now, values.clone()));
        grown
    }
}

/// Where the facts come from.
#[derive(Debug)]
pub struct Sources {
    /// Where sysfs is.
    pub sysfs: PathBuf,
    /// The local ports.
    pub ports: watch::Receiver<Vec<PortHealth>>,
    /// Their network interfaces.
    pub inventory: watch::Receiver<Option<Arc<RdmaNodeStatus>>>,
}

/// Keeps `out` up to date until `stop`.
pub async fn run(sources: Sources, out: watch::Sender<Arc<PortErrors>>, stop: CancellationToken) {
    let mut past: BTreeMap<LocalPort, Past> = BTreeMap::new();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let ports: Vec<(LocalPort, Option<String>)> = {
            let inventory = sources.inventory.borrow().clone();
            let ports = sources.ports.borrow();
            let named = |port: &PortHealth| {
                (
                    port.local.clone(),
                    netdev(inventory.as_deref(), &port.local),
                )
            };
            ports.iter().map(named).collect()
        };
        let sysfs = sources.sysfs.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let read = |(local, netdev): (LocalPort, Option<String>)| {
                let counters = read(&sysfs, &local, netdev.as_deref());
                (local, counters)
            };
            ports.into_iter().map(read).collect::<BTreeMap<_, _>>()
        });
        let Ok(total) = reading.await else {
            tracing::error!("reading error counters panicked");
            continue;
        };
        past.retain(|local, _| total.contains_key(local));
        let now = Mono::now();
        let grown = total.iter().map(|(local, values)| {
            let past = past.entry(local.clone()).or_default();
            (local.clone(), past.take(values, now))
        });
        let grown = grown.filter(|(_, grown)| !grown.is_empty()).collect();
        out.send_replace(Arc::new(PortErrors { total, grown }));
    }
}

/// The network interface of a port, as the inventory has it.
pub fn netdev(inventory: Option<&RdmaNodeStatus>, local: &LocalPort) -> Option<String> {
    let mut ports = inventory?.ports.iter();
    let port = ports.find(|port| *port.device == *local.device && port.port == local.port)?;
    port.netdev.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Mono {
        Mono(Duration::from_secs(s))
    }

    fn values(symbol_error: u64, link_downed: u64) -> Counters {
        [("symbol_error", symbol_error), ("link_downed", link_downed)]
            .map(|(name, value)| (Arc::from(name), value))
            .into()
    }

    #[test]
    fn counters_are_read_where_they_are_and_others_are_not_missed() {
        let root = tempfile::tempdir().expect("a folder");
        let port = root.path().join("class/infiniband/mlx5_0/ports/1");
        for (path, value) in [
            ("counters/symbol_error", "7\n"),
            ("counters/port_xmit_data", "123\n"),
            ("hw_counters/out_of_sequence", "12"),
            ("hw_counters/rnr_nak_retry_err", "N/A (no PMA)\n"),
        ] {
            let path = port.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, value).expect("written");
        }
        let net = root.path().join("class/net/eth0");
        fs::create_dir_all(&net).expect("made");
        fs::write(net.join(CARRIER_DOWN), "2\n").expect("written");
        let local = LocalPort::new("mlx5_0", 1);
        let found = read(root.path(), &local, Some("eth0"));
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| (&**name, *value))
            .collect();
        let expected = [
            ("carrier_down_count", 2),
            ("out_of_sequence", 12),
            ("symbol_error", 7),
        ];
        assert_eq!(found, expected);
        assert!(read(root.path(), &LocalPort::new("mlx5_9", 1), None).is_empty());
    }

    #[test]
    fn only_what_grew_lately_is_told_and_what_was_there_before_is_not() {
        let mut past = Past::default();
        assert_eq!(past.take(&values(5, 1), at(100)), Counters::new());
        assert_eq!(past.take(&values(5, 1), at(101)), Counters::new());
        let grown = past.take(&values(9, 1), at(102));
        assert_eq!(grown, Counters::from([(Arc::from("symbol_error"), 4)]));
        for second in 103..132 {
            assert_eq!(past.take(&values(9, 1), at(second)), grown, "{second}");
        }
        assert_eq!(past.take(&values(9, 1), at(132)), Counters::new());
    }

    #[test]
    fn a_counter_that_was_reset_begins_anew() {
        let mut past = Past::default();
        past.take(&values(5, 1), at(100));
        assert_eq!(past.take(&values(0, 1), at(101)), Counters::new());
        let grown = past.take(&values(2, 1), at(102));
        assert_eq!(grown, Counters::from([(Arc::from("symbol_error"), 2)]));
    }
}
