//! Wiring of `rdmamesh-operator run`: client, watches, election, loops, endpoints, shutdown.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Node;
use kube::core::DeserializeGuard;
use kube::{Api, Client, Config};
use rand::Rng;
use rdmamesh_api::{RdmaMesh, RdmaNode, RdmaProbeAssignment};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::actions::Acting;
use crate::apply::Applier;
use crate::args::RunArgs;
use crate::events::Publisher;
use crate::http::{Http, serve};
use crate::judging::{Judging, Neighbours};
use crate::lease::Timing;
use crate::lease::campaign::{Campaign, Leadership};
use crate::metrics::Metrics;
use crate::planning::Planner;
use crate::watch::{Caches, Signals, WatchHealth, Writer, feed};

/// After SIGTERM everything has this long to end.
const SHUTDOWN: Duration = Duration::from_secs(4);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the cluster's configuration cannot be read, the listener cannot be bound, or a task died.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let RunArgs {
        http_listen,
        lease_namespace,
        lease_name,
        identity,
        log_format: _,
    } = args;
    let identity = identity.unwrap_or_else(default_identity);
    info!(version = env!("CARGO_PKG_VERSION"), identity, "starting");

    let mut config = Config::infer().await.context(
        "failed to find a cluster: set KUBECONFIG, or run in a pod with a service account",
    )?;
    config.connect_timeout = Some(Duration::from_secs(5));
    let client =
        Client::try_from(config).context("failed to make a client of the configuration")?;
    let listener = TcpListener::bind(http_listen).await.with_context(|| {
        format!("failed to listen on {http_listen}: choose another --http-listen")
    })?;

    let (caches, signals, metrics) = (Caches::default(), Signals::default(), Metrics::default());
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();

    let (campaign, leadership) = Campaign::new(
        client.clone(),
        &lease_namespace,
        &lease_name,
        &identity,
        Timing::default(),
    );
    spawn_watches(&mut tasks, &client, &caches, &signals, &metrics);
    let http = Http {
        metrics: metrics.clone(),
        missing: Arc::new({
            let caches = caches.clone();
            move || caches.missing()
        }),
    };
    tasks.spawn(named("http", serve(listener, http, stop.child_token())));
    let publisher = Publisher::new(client.clone(), &identity, metrics.clone());
    let leader = Leader {
        client,
        caches,
        signals,
        leadership,
        publisher,
        metrics,
    };
    let mut leader = tokio::spawn(endless("leader", leader.run(stop.child_token())));
    let resign = CancellationToken::new();
    let mut campaign = tokio::spawn(endless("campaign", campaign.run(resign.clone())));

    let ended = tokio::select! {
        () = terminated() => Ok(()),
        died = tasks.join_next() => died.map_or(Ok(()), died_early),
        died = &mut leader => died_early(died),
        died = &mut campaign => died_early(died),
    };
    info!("stopping");
    stop.cancel();
    let wind_down = async {
        // Others may write once the lease is free, so the loops end first. A task that panicked was told
        // about above; its lease runs out by itself.
        leader.await.ok();
        resign.cancel();
        campaign.await.ok();
    };
    if ended.is_ok() {
        tokio::time::timeout(SHUTDOWN, wind_down).await.ok(); // Out of time: the lease runs out by itself.
    }
    tasks.shutdown().await;
    ended
}

fn default_identity() -> String {
    let host = std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    let host = host.as_deref().map_or("operator", str::trim);
    format!("{host}-{:08x}", rand::rng().random::<u32>())
}

type Ended = (&'static str, std::io::Result<()>);

async fn named(name: &'static str, task: impl Future<Output = std::io::Result<()>>) -> Ended {
    (name, task.await)
}

async fn endless(name: &'static str, task: impl Future<Output = ()>) -> Ended {
    task.await;
    (name, Ok(()))
}

/// Tasks run until they are told to stop: one that ends by itself takes the process with it, and whatever
/// restarts the process mends it.
fn died_early(died: Result<Ended, tokio::task::JoinError>) -> anyhow::Result<()> {
    match died {
        Ok((name, Err(error))) => Err(error).with_context(|| format!("the task {name} failed")),
        Ok((name, Ok(()))) => anyhow::bail!("the task {name} ended by itself"),
        Err(error) => Err(error).context("a task panicked"),
    }
}

async fn terminated() {
    let wait = async |kind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(error) => {
            tracing::warn!(%error, "cannot listen for a signal");
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
    }
}

struct Counted(Metrics);

impl WatchHealth for Counted {
    fn failed(&self, kind: &'static str) {
        self.0.watch_failed(kind);
    }
}

fn spawn_watches(
    tasks: &mut JoinSet<Ended>,
    client: &Client,
    caches: &Caches,
    signals: &Signals,
    metrics: &Metrics,
) {
    macro_rules! watch {
        ($kind:literal, $object:ty, $cache:ident) => {{
            let api = Api::<$object>::all(client.clone());
            let writer = Writer::new(Arc::clone(&caches.$cache));
            let (signals, health) = (signals.clone(), Counted(metrics.clone()));
            let signal = move |triggers| signals.raise(triggers);
            tasks.spawn(endless($kind, feed($kind, api, writer, signal, health)));
        }};
    }
    watch!("RdmaMesh", DeserializeGuard<RdmaMesh>, meshes);
    watch!("Node", Node, nodes);
    watch!("RdmaNode", DeserializeGuard<RdmaNode>, inventories);
    watch!(
        "RdmaProbeAssignment",
        DeserializeGuard<RdmaProbeAssignment>,
        assignments
    );
}

/// What the leader does, and only the leader.
struct Leader {
    client: Client,
    caches: Caches,
    signals: Signals,
    leadership: Leadership,
    publisher: Publisher,
    metrics: Metrics,
}

impl Leader {
    async fn run(mut self, stop: CancellationToken) {
        let applier = Applier::new(
            self.client.clone(),
            self.leadership.clone(),
            self.metrics.clone(),
        );
        let (mut planner, outcome) = Planner::new(
            self.caches.clone(),
            &self.signals,
            applier,
            self.metrics.clone(),
        );
        let (judgements, judged) = watch::channel(Arc::default());
        let (mut acting, told) = Acting::new(
            self.client.clone(),
            self.caches.clone(),
            &self.signals,
            judged,
            self.leadership.clone(),
            self.publisher.clone(),
            self.metrics.clone(),
        );
        let neighbours = Neighbours {
            outcome,
            judgements,
            told,
        };
        let mut judging = Judging::new(
            self.client.clone(),
            self.caches.clone(),
            &self.signals,
            neighbours,
            self.leadership.clone(),
            self.publisher.clone(),
            self.metrics.clone(),
        );
        let mut watched = self.leadership.clone();
        loop {
            tokio::select! {
                () = self.leadership.gained() => {}
                () = stop.cancelled() => return,
            }
            self.metrics.leads(true);
            // Dropping the loops ends every request that is under way.
            tokio::select! {
                () = async { tokio::join!(planner.run(), judging.run(), acting.run()); } => {}
                () = watched.lost() => {}
                () = stop.cancelled() => {}
            }
            self.metrics.leads(false);
            judging.resign();
            acting.resign();
        }
    }
}
