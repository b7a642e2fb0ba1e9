//! Opens a device step by step. Whatever fails, ownership takes back what was made before.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::clock::StampClock;
use super::queues::Queues;
use super::slots::SendSlots;
use super::wake::WakeCell;
use super::{EndpointConfig, Flows, NotificationFd, UdEndpoint};
use crate::completion::TimestampMode;
use crate::error::{Result, VerbsError};
use crate::events::EventSource;
use crate::flow::{FlowSource, folds_flow_label, rxe_source_port};
use crate::gid::Gid;
use crate::inventory::{SysfsRoot, driver_of, provider_gap};
use crate::port::LinkLayer;
use crate::sys::address::AddressTable;
use crate::sys::completion_queue::CompletionQueue;
use crate::sys::context::{Context, OpenError, ProtectionDomain};
use crate::sys::queue_pair::{QueuePair, QueuePairConfig};
use crate::sys::region::{Region, SlotLayout};

/// `IBV_LINK_LAYER_INFINIBAND`; 0 (unspecified) means InfiniBand too, from drivers older than the
/// field.
const LINK_LAYER_ETHERNET: u32 = 2;

pub(super) fn open(config: &EndpointConfig) -> Result<UdEndpoint> {
    let gid_index = checked(config)?;
    let context = Arc::new(open_context(config)?);
    let gid = gid(&context, config)?;
    let driver = driver_of(&SysfsRoot::system(), &config.device);
    let flows = flows(&context, config, driver.as_deref())?;
    let has_clock = TimestampMode::driver_has_clock(driver.as_deref());
    let sizes = Sizes::of(&context, config)?;

    let verb = |verb| {
        move |source| VerbsError::Verb {
            verb,
            device: config.device.clone(),
            source,
        }
    };
    let pd = Arc::new(ProtectionDomain::new(Arc::clone(&context)).map_err(verb("ibv_alloc_pd"))?);
    let cq = Arc::new(
        CompletionQueue::new(&context, sizes.cq, has_clock).map_err(verb("ibv_create_cq"))?,
    );
    let qps = queue_pairs(&pd, &cq, config, &sizes, flows).map_err(verb("ibv_create_qp"))?;
    let region = register(&pd, config, &sizes, qps.len())?;

    // SAFETY: the descriptor belongs to the queue's channel, which `NotificationFd` keeps open and
    // never replaces.
    let notifications = unsafe {
        AsyncFd::register_with_interest(NotificationFd(Arc::clone(&cq)), Interest::READABLE)
    }
    .map_err(|error| verb("epoll_ctl")(io::Error::from(error)))?;
    let events = EventSource::new(Arc::clone(&context)).map_err(verb("epoll_ctl"))?;
    let mut endpoint = UdEndpoint {
        qpns: qps.iter().map(QueuePair::number).collect(),
        queues: Queues::new(qps, sizes.recv),
        region,
        sends: SendSlots::new(sizes.send),
        early: Vec::new(),
        notifications,
        clock: StampClock::new(cq.stamps()),
        cq,
        addresses: Arc::new(AddressTable::new(pd, config.port, gid_index)),
        events,
        wake: WakeCell::default(),
        more: AtomicBool::new(false),
        device: config.device.clone(),
        gid,
        qkey: config.qkey,
        flows,
    };
    let refused = endpoint.queues.post_all(&endpoint.region);
    if refused > 0 {
        let source = io::Error::other(format!("{refused} receive buffers refused"));
        return Err(verb("ibv_post_recv")(source));
    }
    tracing::info!(
        device = config.device,
        port = %config.port,
        %gid,
        qpns = ?endpoint.qpns,
        flows = ?flows.source,
        stamps = ?endpoint.cq.stamps(),
        "endpoint open"
    );
    Ok(endpoint)
}

/// Refuses what no device can do; returns the GID index as address handles want it.
fn checked(config: &EndpointConfig) -> Result<u8> {
    let refuse = |reason: &str| Err(VerbsError::Config(reason.to_owned()));
    if config.qps == 0 || config.send_slots == 0 || config.recv_slots == 0 {
        return refuse("qps, send_slots and recv_slots must be at least 1");
    }
    if config.max_payload == 0 || config.max_payload > 4096 {
        return refuse("max_payload must be between 1 and 4096 bytes, the largest MTU");
    }
    if config.qkey >> 31 != 0 {
        return refuse("the highest bit of qkey must be 0");
    }
    u8::try_from(config.gid_index).map_err(|_| {
        VerbsError::Config(
            "gid_index must be at most 255: address handles have 8 bits for it".to_owned(),
        )
    })
}

fn open_context(config: &EndpointConfig) -> Result<Context> {
    let device = config.device.clone();
    match Context::open(&device) {
        Ok(context) => Ok(context),
        Err(OpenError::NotListed) => {
            // Two very different reasons: there is no such device, or its provider is not
            // installed.
            match provider_gap(&SysfsRoot::system()) {
                Err(VerbsError::ProviderMissing { devices, package })
                    if devices.contains(&device) =>
                {
                    Err(VerbsError::ProviderMissing { devices, package })
                }
                _ => Err(VerbsError::DeviceNotFound { device }),
            }
        }
        Err(OpenError::Refused(source)) => {
            let hint = match source.kind() {
                io::ErrorKind::NotFound => {
                    "its node under /dev/infiniband is missing here; mount it"
                }
                io::ErrorKind::PermissionDenied => {
                    "no access to its node under /dev/infiniband; it must be readable and writable"
                }
                _ => "the kernel refused",
            };
            Err(VerbsError::Open {
                device,
                hint,
                source,
            })
        }
    }
}

fn gid(context: &Context, config: &EndpointConfig) -> Result<Gid> {
    let gid = context
        .gid(config.port, config.gid_index)
        .unwrap_or(Gid::ZERO);
    if gid.is_zero() {
        return Err(VerbsError::GidEmpty {
            device: config.device.clone(),
            port: config.port,
            index: config.gid_index,
        });
    }
    Ok(gid)
}

fn flows(context: &Context, config: &EndpointConfig, driver: Option<&str>) -> Result<Flows> {
    let verb = "ibv_query_port";
    let port = context
        .query_port(config.port)
        .map_err(|source| VerbsError::Verb {
            verb,
            device: config.device.clone(),
            source,
        })?;
    // A port that is down may have no MTU yet; the device checks again when it sends.
    let mtu = usize::try_from(port.active_mtu_bytes).unwrap_or(0);
    if mtu > 0 && config.max_payload > mtu {
        return Err(VerbsError::Config(format!(
            "max_payload of {} bytes is over the port's MTU of {mtu}",
            config.max_payload
        )));
    }
    let ethernet = port.link_layer == LINK_LAYER_ETHERNET;
    let link_layer = if ethernet {
        LinkLayer::Ethernet
    } else {
        LinkLayer::InfiniBand
    };
    let source = FlowSource::of(&link_layer, driver);
    Ok(Flows {
        source,
        folds_label: folds_flow_label(driver),
    })
}

/// Queue sizes after the device's limits.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    send: usize,
    recv: usize,
    cq: u32,
}

impl Sizes {
    fn of(context: &Context, config: &EndpointConfig) -> Result<Self> {
        let verb = "ibv_query_device";
        let (max_wr, max_cqe) = context.limits().map_err(|source| VerbsError::Verb {
            verb,
            device: config.device.clone(),
            source,
        })?;
        Self::within(config, max_wr, max_cqe).ok_or_else(|| {
            VerbsError::Config(format!(
                "{} queue pairs need more than the {max_cqe} completions that the device can \
                 queue: ask for fewer queue pairs or slots",
                config.qps
            ))
        })
    }

    /// Queues are cut to what the device can do; the completion queue must hold everything, for its
    /// overrun is fatal.
    fn within(config: &EndpointConfig, max_wr: u32, max_cqe: u32) -> Option<Self> {
        let send = u32::from(config.send_slots).min(max_wr);
        let recv = u32::from(config.recv_slots).min(max_wr);
        let cq = u32::from(config.qps).checked_mul(recv)?.checked_add(send)?;
        (cq <= max_cqe).then_some(Self {
            send: usize::try_from(send).ok()?,
            recv: usize::try_from(recv).ok()?,
            cq,
        })
    }
}

/// Makes the queue pairs. Where the number decides the UDP source port, some more are tried and
/// those whose port is taken already are dropped; if the ports still do not suffice there are fewer
/// distinct flows, and the ports say so.
fn queue_pairs(
    pd: &Arc<ProtectionDomain>,
    cq: &Arc<CompletionQueue>,
    config: &EndpointConfig,
    sizes: &Sizes,
    flows: Flows,
) -> io::Result<Vec<QueuePair>> {
    let qp_config = QueuePairConfig {
        port: config.port,
        qkey: config.qkey,
        send_slots: u32::try_from(sizes.send).unwrap_or(u32::MAX),
        recv_slots: u32::try_from(sizes.recv).unwrap_or(u32::MAX),
        max_payload: u32::try_from(config.max_payload).unwrap_or(u32::MAX),
    };
    let wanted = usize::from(config.qps);
    let mut chosen: Vec<QueuePair> = Vec::with_capacity(wanted);
    let mut twins = Vec::new();
    while chosen.len() < wanted {
        let qp = QueuePair::new(pd, cq, &qp_config)?;
        let port = rxe_source_port(qp.number());
        let taken = flows.source == FlowSource::QpNumber
            && chosen
                .iter()
                .any(|other| rxe_source_port(other.number()) == port);
        if !taken {
            chosen.push(qp);
        } else if twins.len() < wanted {
            // Kept until the end: dropped now, its number might be given out again at once.
            twins.push(qp);
        } else {
            break;
        }
    }
    Ok(chosen)
}

fn register(
    pd: &Arc<ProtectionDomain>,
    config: &EndpointConfig,
    sizes: &Sizes,
    qps: usize,
) -> Result<Region> {
    let layout = SlotLayout {
        max_payload: config.max_payload,
        send_slots: sizes.send,
        recv_slots: sizes.recv * qps,
    };
    let bytes = layout.bytes().unwrap_or(usize::MAX);
    Region::register(pd, layout).map_err(|source| match source.raw_os_error() {
        Some(libc::ENOMEM) => VerbsError::MemoryLock { bytes, source },
        _ => VerbsError::Verb {
            verb: "ibv_reg_mr",
            device: config.device.clone(),
            source,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::PortNum;

    fn config() -> EndpointConfig {
        EndpointConfig {
            device: "mlx5_0".to_owned(),
            port: PortNum::FIRST,
            gid_index: 3,
            qps: 4,
            send_slots: 64,
            recv_slots: 256,
            max_payload: 128,
            qkey: 0x1111,
        }
    }

    #[test]
    fn impossible_configurations_are_refused_with_a_reason() {
        assert_eq!(checked(&config()).expect("possible"), 3);
        for (broken, word) in [
            (EndpointConfig { qps: 0, ..config() }, "at least 1"),
            (
                EndpointConfig {
                    max_payload: 5000,
                    ..config()
                },
                "4096",
            ),
            (
                EndpointConfig {
                    max_payload: 0,
                    ..config()
                },
                "between 1",
            ),
            (
                EndpointConfig {
                    qkey: 0x8000_0000,
                    ..config()
                },
                "qkey",
            ),
            (
                EndpointConfig {
                    gid_index: 256,
                    ..config()
                },
                "255",
            ),
        ] {
            let refused = checked(&broken).expect_err("impossible").to_string();
            assert!(refused.contains(word), "{refused}");
        }
    }

    #[test]
    fn the_completion_queue_has_room_for_every_slot() {
        let sizes = Sizes::within(&config(), 1 << 15, 1 << 20).expect("fits");
        assert_eq!((sizes.send, sizes.recv, sizes.cq), (64, 256, 4 * 256 + 64));
    }

    #[test]
    fn slots_are_cut_to_the_devices_queues() {
        let sizes = Sizes::within(&config(), 100, 1 << 20).expect("fits");
        assert_eq!((sizes.send, sizes.recv, sizes.cq), (64, 100, 464));
    }

    #[test]
    fn a_device_that_cannot_queue_all_completions_is_refused() {
        assert!(Sizes::within(&config(), 1 << 15, 1000).is_none());
    }
}
