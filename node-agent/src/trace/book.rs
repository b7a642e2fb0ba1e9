//! What the prober knows of the paths of its flows, and what it wants to know next. No I/O, no clock.
//!
//! * Every flow's **last good path** is kept: traced when the flow appears or its number of routers changes, and slowly from
//!   then on. A router that does not answer this time keeps the address it answered from before, unless the others moved.
//! * A flow that lost a probe on its way there, or that is slow, is **hot**: packets that end at each of its routers in turn
//!   show from which router on they get lost. They go out from the first loss on, so that the numbers are there when the
//!   window with the loss is judged.
//! * A path that changes counts for windows that begin after the change was seen: what was lost before was lost on the path
//!   before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::protocol::{Flow, FromTracer, Hop, MAX_ROUTERS, Request};
use crate::dataplane::Mono;
use crate::model::{
    FabricAddress, FlowWindow, LocalPort, LostProbe, ProbeClass, TargetKey, TargetWindow, Way,
};
use flow::{FlowState, Path};

mod flow;
mod view;

pub use view::{HopCount, LinkStart, Links, Listed};

/// Requests under way at once: enough to use the tracer's budget, few enough that a new loss need not wait.
const MAX_IN_FLIGHT: usize = 24;
/// A tracer answers every request within this; one that does not is broken.
pub const OVERDUE_AFTER: Duration = Duration::from_secs(20);
/// A path is traced again at most this often while nothing happens,
const RETRACE_EVERY: Duration = Duration::from_secs(60);
/// and with no more than one in so many packets of the budget.
const RETRACE_SHARE: u64 = 5;
/// A window has settled so long after its end.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);
/// After a request that the tracer refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
/// Packets per router in one round on a hot flow.
const HOT_EACH: u8 = 2;

/// A local port as the tracer must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalRoute {
    /// Address that its probes come from.
    pub source: IpAddr,
    /// Its network interface.
    pub netdev: Option<String>,
}

/// The local ports that have an IP address.
pub type LocalRoutes = HashMap<LocalPort, LocalRoute>;

/// How many flows there are and how many of their paths are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Flows over IP whose source port is known.
    pub flows: usize,
    /// Those with a path, unknown routers included.
    pub traced: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Book {
    flows: HashMap<Arc<Flow>, FlowState>,
    /// How each target of the newest report is reached, without the source port.
    routes: HashMap<(LocalPort, TargetKey), Flow>,
    /// When each flow is to be traced next.
    due: BTreeSet<(Mono, Arc<Flow>)>,
    /// When each hot flow's next round is due.
    hot: BTreeSet<(Mono, Arc<Flow>)>,
    in_flight: BTreeMap<u64, InFlight>,
    next_id: u64,
    generation: u64,
    packets_per_second: u32,
    /// The longest window of the newest report.
    window: Duration,
}

#[derive(Debug)]
struct InFlight {
    flow: Arc<Flow>,
    purpose: Purpose,
    asked: Mono,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Path,
    Round,
}

impl Book {
    /// Follows the flows of the newest report.
    pub fn follow(&mut self, windows: &[TargetWindow], locals: &LocalRoutes, now: Mono) {
        self.generation += 1;
        let lengths = windows.iter().map(|window| window.target.window);
        self.window = lengths.max().unwrap_or_default();
        self.routes.clear();
        let distances = distances(windows);
        for window in windows {
            let Some(route) = route(window, locals) else {
                continue;
            };
            let near = (&window.local, &*window.target.peer.group);
            let fallback = distances.get(&near).copied();
            for flow in &window.flows {
                if let (Some(port), Some(routers)) = (flow.source_port, flow.routers.or(fallback)) {
                    let tuple = with_port(&route, port);
                    self.keep(tuple, &window.local, routers.min(MAX_ROUTERS), now);
                }
            }
            let key = (window.local.clone(), window.target.key());
            self.routes.insert(key, route);
        }
        let generation = self.generation;
        self.flows.retain(|_, state| state.generation == generation);
        let flows = &self.flows;
        self.due.retain(|(_, flow)| flows.contains_key(flow));
        self.hot.retain(|(_, flow)| flows.contains_key(flow));
    }

    fn keep(&mut self, flow: Flow, local: &LocalPort, routers: u8, now: Mono) {
        let generation = self.generation;
        if let Some(state) = self.flows.get_mut(&flow) {
            state.generation = generation;
            if state.routers != routers {
                state.routers = routers;
                self.retrace(&Arc::new(flow), now);
            }
            return;
        }
        let flow = Arc::new(flow);
        let mut state = FlowState::new(local.clone(), routers, generation);
        if routers == 0 {
            // Nothing to ask about: the two RNICs are on one network.
            state.traced(&[], now);
        } else {
            state.due = Some(now);
            self.due.insert((now, Arc::clone(&flow)));
        }
        self.flows.insert(flow, state);
    }

    /// A probe was lost: unless on its way back, its flow is hot.
    pub fn lost(&mut self, lost: &LostProbe, source_port: Option<u16>, now: Mono) {
        if lost.way != Way::Return {
            let key = (lost.local.clone(), lost.target.key());
            self.heat(&key, source_port, lost.target.window, now);
        }
    }

    /// The flow of `target` with this source port is ill: find out where, for a window and a bit.
    pub fn heat(
        &mut self,
        target: &(LocalPort, TargetKey),
        source_port: Option<u16>,
        window: Duration,
        now: Mono,
    ) {
        let (Some(route), Some(port)) = (self.routes.get(target), source_port) else {
            return;
        };
        let flow = with_port(route, port);
        let Some(state) = self.flows.get_mut(&flow) else {
            return;
        };
        state.heat(now, now.plus(window).plus(Duration::from_secs(1)));
        if state.round.is_none() && state.routers > 0 {
            state.round = Some(now);
            self.hot.insert((now, Arc::new(flow)));
        }
    }

    fn retrace(&mut self, flow: &Arc<Flow>, at: Mono) {
        let Some(state) = self.flows.get_mut(flow) else {
            return;
        };
        if let Some(due) = state.due.take() {
            self.due.remove(&(due, Arc::clone(flow)));
        }
        state.due = Some(at);
        self.due.insert((at, Arc::clone(flow)));
    }

    /// The next request to send now, rounds on hot flows first.
    pub fn next_request(&mut self, now: Mono) -> Option<Request> {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        while let Some((at, flow)) = self.hot.first().cloned().filter(|(at, _)| *at <= now) {
            self.hot.remove(&(at, Arc::clone(&flow)));
            let Some(state) = self.flows.get_mut(&flow) else {
                continue;
            };
            state.round = None;
            if state.routers > 0 && state.is_hot(now) {
                let next = now.plus(state.round_every(now));
                state.round = Some(next);
                self.hot.insert((next, Arc::clone(&flow)));
                return self.request(flow, Purpose::Round, now);
            }
        }
        while let Some((at, flow)) = self.due.first().cloned().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, Arc::clone(&flow)));
            if let Some(state) = self.flows.get_mut(&flow) {
                state.due = None;
                if state.routers > 0 {
                    return self.request(flow, Purpose::Path, now);
                }
                state.traced(&[], now);
            }
        }
        None
    }

    fn request(&mut self, flow: Arc<Flow>, purpose: Purpose, now: Mono) -> Option<Request> {
        let last = self.flows.get(&flow)?.routers;
        let id = self.next_id;
        self.next_id += 1;
        let request = Request {
            id,
            flow: Flow::clone(&flow),
            first: 1,
            last,
            each: match purpose {
                Purpose::Path => 1,
                Purpose::Round => HOT_EACH,
            },
        };
        let asked = now;
        self.in_flight.insert(
            id,
            InFlight {
                flow,
                purpose,
                asked,
            },
        );
        Some(request)
    }

    /// When [`Book::next_request`] has something next; `None` when nothing is due or an answer must come first.
    pub fn next_due(&self) -> Option<Mono> {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        let first = |queue: &BTreeSet<(Mono, Arc<Flow>)>| queue.first().map(|(at, _)| *at);
        first(&self.hot).into_iter().chain(first(&self.due)).min()
    }

    /// Takes what the tracer says.
    pub fn told(&mut self, message: &FromTracer, now: Mono) {
        match message {
            FromTracer::Hello {
                packets_per_second, ..
            } => self.packets_per_second = *packets_per_second,
            FromTracer::Traced { id, hops } => {
                if let Some(asked) = self.in_flight.remove(id) {
                    self.traced(&asked, hops, now);
                }
            }
            FromTracer::Refused { id, .. } => {
                if let Some(asked) = self.in_flight.remove(id)
                    && asked.purpose == Purpose::Path
                {
                    self.retrace(&asked.flow, now.plus(REFUSED_PAUSE));
                }
            }
        }
    }

    fn traced(&mut self, asked: &InFlight, hops: &[Hop], now: Mono) {
        let retrace_every = self.retrace_every();
        let Some(state) = self.flows.get_mut(&asked.flow) else {
            return;
        };
        if asked.purpose == Purpose::Round {
            state.count(hops, now);
        }
        // The peer itself spoke: the path has become shorter, its own answers will say so soon.
        let reached = hops
            .iter()
            .find(|hop| hop.address == Some(asked.flow.target));
        let routers = reached.map_or(state.routers, |hop| hop.ttl.saturating_sub(1));
        state.routers = routers;
        let found: Vec<Option<IpAddr>> = (1..=routers)
            .map(|ttl| hops.iter().find(|hop| hop.ttl == ttl)?.address)
            .collect();
        state.traced(&found, now);
        if asked.purpose == Purpose::Path {
            let pause = state.pause(retrace_every);
            self.retrace(&asked.flow, now.plus(pause));
        }
    }

    /// Between two traces of one flow when nothing happens.
    fn retrace_every(&self) -> Duration {
        let packets: u64 = self.flows.values().map(|f| u64::from(f.routers)).sum();
        let share = u64::from(self.packets_per_second / RETRACE_SHARE as u32).max(1);
        RETRACE_EVERY.max(Duration::from_secs(packets / share))
    }

    /// The tracer is gone: what was asked will not be answered.
    pub fn disconnected(&mut self, now: Mono) {
        for (_, asked) in std::mem::take(&mut self.in_flight) {
            if asked.purpose == Purpose::Path {
                self.retrace(&asked.flow, now);
            }
        }
    }

    /// Whether a request has waited for longer than any tracer needs.
    pub fn is_overdue(&self, now: Mono) -> bool {
        let oldest = self.in_flight.values().next();
        oldest.is_some_and(|asked| now.since(asked.asked) > OVERDUE_AFTER)
    }

    /// When the windows began that are reported `now`.
    pub fn begin(&self, now: Mono) -> Mono {
        let ago = self.window.saturating_add(SETTLES_WITHIN);
        Mono(now.0.saturating_sub(ago))
    }

    /// How much is known.
    pub fn extent(&self) -> Extent {
        Extent {
            flows: self.flows.len(),
            traced: self.flows.values().filter(|f| f.path.is_some()).count(),
        }
    }

    /// The path that was in force during a window that began at `begin`.
    pub fn path(
        &self,
        local: &LocalPort,
        target: &TargetKey,
        flow: &FlowWindow,
        begin: Mono,
    ) -> Option<Path> {
        // A key that is borrowed only: the map is asked once per flow and report.
        let route = self.routes.get(&(local.clone(), target.clone()))?;
        let state = self.flows.get(&with_port(route, flow.source_port?))?;
        state.path_at(begin)
    }
}

fn with_port(route: &Flow, source_port: u16) -> Flow {
    Flow {
        source_port,
        ..route.clone()
    }
}

/// The flow of a target without its source port; `None` when it does not go over IP.
fn route(window: &TargetWindow, locals: &LocalRoutes) -> Option<Flow> {
    if window.target.class == ProbeClass::Control {
        return None;
    }
    let FabricAddress::Gid(gid) = window.target.peer.address else {
        return None;
    };
    let local = locals.get(&window.local)?;
    let target = gid.to_canonical();
    (local.source.is_ipv4() == target.is_ipv4()).then(|| Flow {
        source: local.source,
        target,
        source_port: 0,
        dscp: window.target.traffic_class.dscp,
        netdev: local.netdev.clone(),
    })
}

/// The fewest routers from each local port to each group: for flows that were never answered. Peers of one group are equally far.
fn distances(windows: &[TargetWindow]) -> BTreeMap<(&LocalPort, &str), u8> {
    let mut fewest = BTreeMap::new();
    for window in windows {
        for routers in window.flows.iter().filter_map(|flow| flow.routers) {
            let near = (&window.local, &*window.target.peer.group);
            let known = fewest.entry(near).or_insert(routers);
            *known = routers.min(*known);
        }
    }
    fewest
}

#[cfg(test)]
pub(crate) mod tests;
