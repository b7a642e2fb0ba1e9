//! One local port under the supervisor: its engine outlives every endpoint.

use std::sync::Arc;

use rdmamesh_verbs::{EndpointConfig, PortNum, UdEndpoint};
use rdmamesh_wire::RnicId;
use tokio::sync::{mpsc, watch};

use super::choice::{Usable, queue_pairs};
use crate::dataplane::engine::{Engine, flows};
use crate::dataplane::mono::Mono;
use crate::dataplane::port::{PortIo, PortOrder, ProbePort, VerbsPort};
use crate::dataplane::registry::PublishedPort;
use crate::dataplane::senders::Heard;
use crate::model::{
    FlowSource, LocalPort, OpenPort, PortActivity, PortHealth, PortPlan, TimestampMode,
};

/// Queue key of all agents. Not a secret: the MAC of every datagram is what counts.
const QKEY: u32 = 0x5244_4D41;
/// Longer than any of ours, so that most foreign ones are seen and counted; the device drops what is longer still.
const MAX_PAYLOAD: usize = 256;
/// Datagrams in flight to the device over a single queue pair, and over several together: each of several gets a send
/// queue of this length, and soft-RoCE maps every queue into our memory.
const SEND_SLOTS: (u16, u16) = (1024, 128);
/// Receive buffers of a single queue pair, and of each of several.
const RECV_SLOTS: (u16, u16) = (2048, 256);

/// A port that is not open.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) engine: Box<Engine>,
    pub(super) io: Box<PortIo>,
    pub(super) activity: PortActivity,
    pub(super) retry_at: Mono,
}

/// A port with a running loop.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) orders: mpsc::UnboundedSender<PortOrder>,
    pub(super) usable: Usable,
    pub(super) qps: u16,
    pub(super) facts: OpenPort,
    /// `None` while the link is active.
    pub(super) waits_for: Option<String>,
    /// Told to close; until the loop has ended nothing more happens to it.
    pub(super) closing: bool,
}

impl Opened {
    pub(super) fn follow_link(&mut self, up: bool) {
        if up != self.waits_for.is_none() {
            // Fails only when the loop has ended, which is noticed elsewhere.
            self.orders.send(PortOrder::Link(up)).ok();
        }
        self.waits_for = (!up).then(|| "its link is down".to_owned());
    }
}

#[derive(Debug)]
pub(super) enum Activity {
    Closed(Closed),
    Opened(Opened),
}

/// One local port.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) plan: watch::Sender<Option<PortPlan>>,
    pub(super) activity: Activity,
}

impl Slot {
    pub(super) fn health(&self, local: &LocalPort) -> PortHealth {
        let (state, open) = match &self.activity {
            Activity::Closed(closed) => (closed.activity.clone(), None),
            Activity::Opened(opened) => {
                let state = match &opened.waits_for {
                    Some(reason) => PortActivity::Waiting {
                        reason: reason.clone(),
                    },
                    None => PortActivity::Probing,
                };
                (state, Some(opened.facts.clone()))
            }
        };
        PortHealth {
            local: local.clone(),
            state,
            open,
            planned: self.plan.borrow().is_some(),
        }
    }

    /// Whether this port needs the inventory to be looked at often.
    pub(super) fn missing(&self) -> bool {
        match &self.activity {
            Activity::Closed(_) => true,
            Activity::Opened(opened) => opened.waits_for.is_some(),
        }
    }

    /// Whether the open endpoint is no longer what it should be.
    pub(super) fn outdated(&self, usable: &Usable, most_qps: u16) -> Option<String> {
        let Activity::Opened(opened) = &self.activity else {
            return None;
        };
        let gid = (opened.usable.gid_index, opened.usable.gid);
        if gid != (usable.gid_index, usable.gid) {
            return Some(format!("its GID changed from {} to {}", gid.1, usable.gid));
        }
        let wanted = queue_pairs(usable.soft, self.plan.borrow().as_ref(), most_qps);
        (wanted > opened.qps).then(|| format!("the plan needs {wanted} queue pairs"))
    }
}

/// An endpoint that has just been opened.
pub(super) struct Fresh {
    pub(super) port: VerbsPort,
    pub(super) facts: OpenPort,
    pub(super) published: Arc<PublishedPort>,
}

/// Opens the endpoint of `local`.
pub(super) fn open(
    local: &LocalPort,
    usable: &Usable,
    qps: u16,
    (rnic, heard): (RnicId, Heard),
) -> Result<Fresh, String> {
    let number = PortNum::new(local.port).ok_or("ports are numbered from 1")?;
    let config = EndpointConfig {
        device: local.device.to_string(),
        port: number,
        gid_index: usable.gid_index,
        qps,
        send_slots: if qps == 1 { SEND_SLOTS.0 } else { SEND_SLOTS.1 },
        recv_slots: if qps == 1 { RECV_SLOTS.0 } else { RECV_SLOTS.1 },
        max_payload: MAX_PAYLOAD,
        qkey: QKEY,
    };
    let endpoint = UdEndpoint::open(&config).map_err(|error| error.to_string())?;
    let generation: u32 = rand::random();
    let qpns = endpoint.qpns().to_vec();
    let qpn = qpns
        .first()
        .copied()
        .ok_or("the endpoint has no queue pair")?;
    let count = u16::try_from(qpns.len()).unwrap_or(u16::MAX);
    let gid = endpoint.local_gid();
    let port = VerbsPort::new(endpoint);
    let facts = port.facts();
    let distinct_flows = flows::limit(&facts.flows);
    let facts = OpenPort {
        gid: (!gid.is_zero()).then(|| gid.bytes().into()),
        gid_index: usable.gid_index,
        flow_source: facts.flows.source,
        distinct_flows,
        qpns,
        timestamps: facts.timestamps,
        generation,
    };
    log_open(local, &facts);
    let published = Arc::new(PublishedPort::new(rnic, qpn, count, generation, heard));
    Ok(Fresh {
        port,
        facts,
        published,
    })
}

fn log_open(local: &LocalPort, facts: &OpenPort) {
    let flows = match facts.flow_source {
        FlowSource::QpNumber => "queue pair number",
        FlowSource::FlowLabel => "flow label",
        FlowSource::LidPath => "LID",
    };
    let stamps = match facts.timestamps {
        TimestampMode::Hardware => "hardware",
        TimestampMode::Software => "software",
    };
    tracing::info!(
        port = %local, gid_index = facts.gid_index, gid = ?facts.gid, flows, distinct = ?facts.distinct_flows,
        queue_pairs = facts.qpns.len(), stamps, "port open"
    );
}
