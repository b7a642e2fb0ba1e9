//! Wires the parts together and supervises them: whatever ends unasked ends the process with an error.
//!
//! ```text
//! API server ─► watch ─► planner ─► data path ─► reporter ─► API server (assignment status)
//!                                     │  └► inventory ─► API server (RdmaNode)
//!                                     └► metrics source ─► OTLP, /metrics
//! ```

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use rdmamesh_api::RdmaNodeStatus;
use rdmamesh_verbs::SysfsRoot;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::{
    Assigned, HostNode, NodeInputs, StatusApi, connect, publish_node, watch_assignment, watch_host,
};
use crate::config::{RunArgs, TraceArgs};
use crate::dataplane::{self, DataplaneHandle};
use crate::http::{Pages, listen, serve};
use crate::metrics::{AgentCounters, Otlp, Source, State};
use crate::passive::PortErrors;
use crate::plan::{AgentPlan, translate};

use crate::reporter::Tick;
use crate::trace::client::{self, Paths, TracingState};
use crate::trace::tracer;
use crate::{inventory, keys, passive, reporter};

mod end;

/// Runs the tracer until SIGTERM or SIGINT.
///
/// # Errors
/// When its sockets cannot be made.
pub async fn trace(args: TraceArgs) -> Result<()> {
    let mut signals = end::Signals::new().context("cannot handle signals")?;
    let stop = CancellationToken::new();
    let config = args.tracer();
    let tracer = tracer::run(&config, stop.clone());
    tokio::pin!(tracer);
    tokio::select! {
        ended = &mut tracer => return ended,
        signal = signals.first() => tracing::info!(signal, "tracer stops"),
    }
    stop.cancel();
    tracer.await
}

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// When something needed is missing at the start, or a part ends unasked.
pub async fn run(args: RunArgs) -> Result<()> {
    let mut signals = end::Signals::new().context("cannot handle signals")?;
    let agent = Agent::start(&args).await?;
    agent.supervise(&mut signals).await
}

/// A running agent.
struct Agent {
    dataplane: DataplaneHandle,
    otlp: Option<Arc<Otlp>>,
    tasks: JoinSet<&'static str>,
    /// Ends by itself once the data path has ended its reports.
    reporter: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

/// What passes between the tasks.
struct Wires {
    assigned: watch::Sender<Assigned>,
    plan: watch::Sender<Arc<AgentPlan>>,
    host: watch::Sender<Option<HostNode>>,
    control: watch::Sender<Option<Arc<str>>>,
    inventory: watch::Sender<Option<Arc<RdmaNodeStatus>>>,
    tick: watch::Sender<Option<Arc<Tick>>>,
    tracing: watch::Sender<TracingState>,
    errors: watch::Sender<Arc<PortErrors>>,
    paths: Paths,
    recheck: Arc<Notify>,
    counters: Arc<AgentCounters>,
    epoch: Arc<str>,
}

impl Wires {
    fn new() -> Self {
        Self {
            assigned: watch::Sender::default(),
            plan: watch::Sender::default(),
            host: watch::Sender::default(),
            control: watch::Sender::default(),
            inventory: watch::Sender::default(),
            tick: watch::Sender::default(),
            tracing: watch::Sender::default(),
            errors: watch::Sender::default(),
            paths: Paths::default(),
            recheck: Arc::default(),
            counters: Arc::default(),
            epoch: Arc::from(format!("{:016x}", rand::random::<u64>())),
        }
    }
}

impl Agent {
    /// Starts everything. The data path comes first: it answers peers before the API server is reached.
    async fn start(args: &RunArgs) -> Result<Self> {
        let keys = keys::watch(&args.probe_keys)?;
        let sysfs = SysfsRoot::at(&args.sysfs_root);
        let listener = listen(args.http_listen).await?;
        let client = connect().await?;
        let dataplane = dataplane::spawn(args.dataplane(), sysfs.clone(), keys)?;
        let wires = Wires::new();
        let (node, stop): (Arc<str>, _) =
            (args.node_name.as_str().into(), CancellationToken::new());
        tracing::info!(
            node = %node, version = env!("CARGO_PKG_VERSION"), epoch = %wires.epoch, "agent started"
        );

        let source = Arc::new(Source::new(metrics_state(&node, &dataplane, &wires)));
        let otlp = match args.otlp(|name| std::env::var(name).ok()) {
            Some(config) => Some(Arc::new(Otlp::start(&config, &source, &wires.counters)?)),
            None => None,
        };
        let reports = dataplane
            .reports()
            .ok_or_else(|| anyhow!("the reports are taken already"))?;
        let api = StatusApi::new(client.clone(), Arc::clone(&node));
        let report_inputs = reporter::Inputs {
            reports,
            plan: wires.plan.subscribe(),
            ports: dataplane.ports(),
            tick: wires.tick.clone(),
            counters: Arc::clone(&wires.counters),
            node: args.node_name.as_str().into(),
            paths: Arc::new(wires.paths.clone()),
            errors: wires.errors.subscribe(),
            epoch: Arc::clone(&wires.epoch),
        };
        let reporter = tokio::spawn(reporter::run(
            Arc::new(api.clone()),
            report_inputs,
            stop.clone(),
        ));
        let mut agent = Self {
            dataplane,
            otlp,
            tasks: JoinSet::new(),
            reporter,
            stop,
        };
        let pages = Pages {
            metrics: source,
            inventory: wires.inventory.subscribe(),
            tick: wires.tick.subscribe(),
            paths: wires.paths.clone(),
            started: Instant::now(),
        };
        agent.spawn_observers(args, &wires)?;
        let stop = agent.stop.clone();
        agent.spawn("http", async move {
            if let Err(error) = serve(listener, pages, stop).await {
                tracing::error!(%error, "http server broke");
            }
        });
        agent.spawn_cluster(args, &node, client, api, sysfs, &wires);
        Ok(agent)
    }

    /// What looks at paths and devices beside the probes.
    fn spawn_observers(&mut self, args: &RunArgs, wires: &Wires) -> Result<()> {
        let tracing = client::Inputs {
            socket: args.trace_socket.clone(),
            tick: wires.tick.subscribe(),
            losses: self
                .dataplane
                .losses()
                .ok_or_else(|| anyhow!("the lost probes are taken already"))?,
            ports: self.dataplane.ports(),
            inventory: wires.inventory.subscribe(),
            state: wires.tracing.clone(),
        };
        let sources = passive::Sources {
            sysfs: args.sysfs_root.clone(),
            ports: self.dataplane.ports(),
            inventory: wires.inventory.subscribe(),
        };
        let traced = client::run(wires.paths.clone(), tracing, self.stop.clone());
        let counted = passive::run(sources, wires.errors.clone(), self.stop.clone());
        self.spawn("path tracing", traced);
        self.spawn("error counters", counted);
        Ok(())
    }

    /// The tasks between data path and API server.
    fn spawn_cluster(
        &mut self,
        args: &RunArgs,
        node: &Arc<str>,
        client: kube::Client,
        api: StatusApi,
        sysfs: SysfsRoot,
        wires: &Wires,
    ) {
        let stop = || self.stop.clone();
        let watch = watch_assignment(
            client.clone(),
            Arc::clone(node),
            wires.assigned.clone(),
            stop(),
        );
        let planner = plan_on_change(
            Arc::clone(node),
            wires.assigned.subscribe(),
            self.dataplane.clone(),
            wires.plan.clone(),
            stop(),
        );
        let host = watch_host(
            client,
            Arc::clone(node),
            wires.host.clone(),
            Arc::clone(&wires.recheck),
            stop(),
        );
        let address = advertise(
            args.clone(),
            wires.host.subscribe(),
            wires.control.clone(),
            stop(),
        );
        let sources = inventory::Sources {
            sysfs,
            epoch: Arc::clone(&wires.epoch),
            health: self.dataplane.ports(),
            plan: wires.plan.subscribe(),
            control: wires.control.subscribe(),
            tracing: wires.tracing.subscribe(),
        };
        let inventory = inventory::run(sources, wires.inventory.clone(), stop());
        let inputs = NodeInputs {
            host: wires.host.subscribe(),
            inventory: wires.inventory.subscribe(),
            recheck: Arc::clone(&wires.recheck),
            counters: Arc::clone(&wires.counters),
        };
        let publisher = publish_node(api, inputs, stop());
        self.spawn("assignment watch", watch);
        self.spawn("planner", planner);
        self.spawn("node watch", host);
        self.spawn("control address", address);
        self.spawn("inventory", inventory);
        self.spawn("node publisher", publisher);
    }

    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            task.await;
            name
        });
    }

    /// Waits for a signal or for a part to end unasked, then ends everything in order.
    async fn supervise(mut self, signals: &mut end::Signals) -> Result<()> {
        let reason = tokio::select! {
            signal = signals.first() => Ok(signal),
            ended = self.tasks.join_next() => Err(match ended {
                Some(Ok(name)) => anyhow!("part of the agent ended unasked: {name}"),
                Some(Err(error)) => anyhow!(error).context("part of the agent broke"),
                None => anyhow!("no part of the agent is left"),
            }),
            ended = &mut self.reporter => Err(match ended {
                Ok(()) => anyhow!("the data path ended unasked"),
                Err(error) => anyhow!(error).context("the reporter broke"),
            }),
        };
        let asked = reason.as_ref().ok().copied();
        tracing::info!(signal = asked, "agent stops");
        let _guard = end::HardLimit::arm();
        self.end(signals).await;
        reason.map(|_| ())
    }
}

fn metrics_state(node: &Arc<str>, dataplane: &DataplaneHandle, wires: &Wires) -> State {
    let (handle, counters) = (dataplane.clone(), dataplane.counters());
    State {
        node: Arc::clone(node),
        series: Box::new(move || handle.series()),
        dataplane: Box::new(move || counters.snapshot()),
        agent: Arc::clone(&wires.counters),
        ports: dataplane.ports(),
        inventory: wires.inventory.subscribe(),
        plan: wires.plan.subscribe(),
        tick: wires.tick.subscribe(),
        errors: wires.errors.subscribe(),
        tracing: wires.tracing.subscribe(),
        paths: wires.paths.clone(),
    }
}

/// Hands every new assignment to the data path. Until the API server has been reached there is none;
/// when it is lost again the last one stays.
async fn plan_on_change(
    node: Arc<str>,
    mut assigned: watch::Receiver<Assigned>,
    dataplane: DataplaneHandle,
    out: watch::Sender<Arc<AgentPlan>>,
    stop: CancellationToken,
) {
    loop {
        let plan = match &*assigned.borrow_and_update() {
            Assigned::Unknown => None,
            Assigned::Absent => Some(AgentPlan::default()),
            Assigned::Present {
                spec,
                generation,
                uid,
            } => Some(AgentPlan {
                uid: uid.clone(),
                ..translate(&node, spec, *generation)
            }),
        };
        if let Some(plan) = plan {
            let targets: usize = plan.meshes.iter().map(|mesh| mesh.targets).sum();
            let skipped: usize = plan.meshes.iter().map(|mesh| mesh.skipped.count).sum();
            tracing::info!(
                generation = plan.generation,
                meshes = plan.meshes.len(),
                targets,
                skipped,
                "plan taken"
            );
            dataplane.set_plan(plan.probes.clone());
            out.send_replace(Arc::new(plan));
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = assigned.changed() => if changed.is_err() {
                return stop.cancelled().await;
            },
        }
    }
}

/// Keeps the address that peers are told up to date.
async fn advertise(
    args: RunArgs,
    mut host: watch::Receiver<Option<HostNode>>,
    out: watch::Sender<Option<Arc<str>>>,
    stop: CancellationToken,
) {
    loop {
        let internal = host
            .borrow_and_update()
            .as_ref()
            .and_then(|host| host.internal_ip);
        let address = args
            .advertised(internal)
            .map(|address| Arc::from(address.to_string()));
        out.send_if_modified(|current| {
            let changed = *current != address;
            current.clone_from(&address);
            changed
        });
        tokio::select! {
            () = stop.cancelled() => return,
            changed = host.changed() => if changed.is_err() {
                return stop.cancelled().await;
            },
        }
    }
}
