//! `rdmamesh-operator verify`, which `helm test` runs: looks at an installation and says in one line each what is in
//! place and what is not. It only reads.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client};
use rdmamesh_api::{RdmaMesh, RdmaNode};

use finding::{Finding, Level};

pub mod finding;

/// Between two looks while something is not in place yet.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Flags of `verify`.
#[derive(Clone, Debug, Parser)]
pub struct VerifyArgs {
    /// Namespace of the installation.
    #[arg(long, default_value = "rdmamesh-system")]
    pub namespace: String,

    /// Name of the operator's Lease.
    #[arg(long, default_value = "rdmamesh-operator")]
    pub lease_name: String,

    /// Extended resource that the agents ask for; none when they ask for none.
    #[arg(long)]
    pub resource_name: Option<String>,

    /// How many seconds it may take until everything is in place.
    #[arg(long, default_value_t = 120)]
    pub timeout_seconds: u64,
}

/// What was seen of an installation.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Why the meshes cannot be listed; `None` when they can.
    pub api_missing: Option<String>,
    /// The operator's Lease, where there is one.
    pub lease: Option<Lease>,
    /// Pods of the agents and of the device plugin.
    pub pods: Vec<Pod>,
    /// Events of the namespace.
    pub events: Vec<Event>,
    /// All nodes.
    pub nodes: Vec<Node>,
    /// All inventories.
    pub inventories: Vec<RdmaNode>,
}

/// Looks until everything is in place or the time is over; what was found at last.
///
/// # Errors
/// When there is no cluster to look at, or it refuses to show something.
pub async fn verify(args: &VerifyArgs) -> anyhow::Result<Vec<Finding>> {
    let client = Client::try_default().await.context(
        "failed to find a cluster: set KUBECONFIG, or run in a pod with a service account",
    )?;
    let deadline = Instant::now() + Duration::from_secs(args.timeout_seconds);
    loop {
        let seen = look(&client, args).await?;
        let findings = finding::findings(&seen, args.resource_name.as_deref(), Timestamp::now());
        let good = findings.iter().all(|finding| finding.level != Level::Fail);
        if good || Instant::now() >= deadline {
            return Ok(findings);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(client: &Client, args: &VerifyArgs) -> anyhow::Result<Seen> {
    let all = ListParams::default();
    let meshes = Api::<RdmaMesh>::all(client.clone());
    let api_missing = match meshes.list(&all).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) if status.code == 404 => Some(status.message),
        Err(error) => return Err(error).context("failed to list the meshes"),
    };
    let inventories = match &api_missing {
        Some(_) => Vec::new(),
        None => {
            let api = Api::<RdmaNode>::all(client.clone());
            let list = api
                .list(&all)
                .await
                .context("failed to list the RdmaNodes")?;
            list.items
        }
    };
    let leases = Api::<Lease>::namespaced(client.clone(), &args.namespace);
    let pods = Api::<Pod>::namespaced(client.clone(), &args.namespace);
    let ours = ListParams::default().labels("app.kubernetes.io/name=rdmamesh");
    let events = Api::<Event>::namespaced(client.clone(), &args.namespace);
    let nodes = Api::<Node>::all(client.clone());
    Ok(Seen {
        api_missing,
        inventories,
        lease: leases
            .get_opt(&args.lease_name)
            .await
            .context("failed to read the operator's Lease")?,
        pods: pods
            .list(&ours)
            .await
            .context("failed to list the pods")?
            .items,
        events: events
            .list(&all)
            .await
            .context("failed to list the events")?
            .items,
        nodes: nodes
            .list(&all)
            .await
            .context("failed to list the nodes")?
            .items,
    })
}
