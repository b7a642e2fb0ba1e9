//! The worlds of a [`Rig`] with operator and agents: fabric, where they are processes, and cluster, where they are pods.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::join_all;
use kube::api::{Api, DeleteParams, ListParams};
use rdmamesh_api::{RdmaMesh, RdmaNode, RdmaProbeAssignment};
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::World;
use super::counters::AgentCounters;
use super::exposition;
use super::observe::Observer;
use super::view::View;
use crate::child;
use crate::control_plane::manifests;
use crate::rig::Rig;
use crate::scenario::Fault;

/// Name of the RdmaMesh that is made from a scenario's `mesh`.
pub const MESH: &str = "fabric";
const LOG_LINES: usize = 12;
const REFRESH_WITHIN: Duration = Duration::from_secs(10);
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(60);

/// A rig with a mesh in it.
pub struct FabricWorld<'a> {
    rig: &'a mut Rig,
    observer: Observer,
}

impl<'a> FabricWorld<'a> {
    /// Applies the mesh and begins to watch it.
    ///
    /// # Errors
    /// When the API server refuses the mesh.
    pub async fn with_mesh(rig: &'a mut Rig, spec: &serde_json::Value) -> Result<Self> {
        let observer = Observer::start(&rig.client(), MESH);
        let spec = rig.fabric().with_switch_names(spec);
        let mesh = json!({
            "apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaMesh", "metadata": {"name": MESH}, "spec": spec,
        });
        let mesh = serde_json::from_value(mesh).context("make the mesh")?;
        manifests::apply(&rig.client(), &mesh)
            .await
            .context("apply the scenario's mesh")?;
        Ok(Self { rig, observer })
    }

    /// The rig, for what a test does besides playing a scenario.
    pub fn rig(&self) -> &Rig {
        self.rig
    }

    /// Deletes the mesh and waits until no assignment carries it any more.
    ///
    /// # Errors
    /// When the operator does not withdraw it in time.
    pub async fn remove_mesh(self) -> Result<()> {
        let client = self.rig.client();
        let meshes: Api<RdmaMesh> = Api::all(client.clone());
        meshes
            .delete(MESH, &DeleteParams::default())
            .await
            .context("delete the mesh")?;
        let assignments: Api<RdmaProbeAssignment> = Api::all(client);
        let deadline = Instant::now() + WITHDRAWN_WITHIN;
        loop {
            let all = assignments.list(&ListParams::default()).await?;
            let left = all
                .iter()
                .filter(|one| one.spec.meshes.iter().any(|mesh| mesh.name == MESH));
            let left = left.count();
            if left == 0 {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "{left} assignments still carry the mesh {} s after it was deleted",
                WITHDRAWN_WITHIN.as_secs()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn agent(&self, host: &str) -> Option<AgentCounters> {
        // An agent that is dead or away counts nothing at this moment.
        let process = self.rig.agent_pid(host).await.ok()??;
        let exposition = self.rig.agent_http(host, "/metrics").await.ok()?;
        Some(AgentCounters {
            host: host.to_owned(),
            process: process.to_string(),
            outcomes: exposition::outcomes(&exposition),
        })
    }
}

impl World for FabricWorld<'_> {
    fn name(&self) -> &'static str {
        if self.rig.is_cluster() {
            "cluster"
        } else {
            "fabric"
        }
    }

    fn can(&self, _fault: &Fault) -> Result<(), String> {
        // Whatever the rig's fault table knows; names were checked against the fabric when the file was read.
        Ok(())
    }

    async fn inject(&mut self, fault: &Fault) -> Result<()> {
        self.rig.apply_fault(&fault.id, fault.fault.clone()).await
    }

    async fn clear(&mut self, id: &str) -> Result<()> {
        self.rig.clear_fault(id).await
    }

    fn view(&self) -> watch::Receiver<View> {
        self.observer.view()
    }

    async fn refresh(&mut self) -> Result<()> {
        let api: Api<RdmaMesh> = Api::all(self.rig.client());
        let deadline = Instant::now() + REFRESH_WITHIN;
        loop {
            match api.get(MESH).await {
                Ok(mesh) => {
                    self.observer.saw(&mesh);
                    return Ok(());
                }
                Err(error) if Instant::now() >= deadline => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    async fn counters(&mut self) -> Vec<AgentCounters> {
        let hosts = self.rig.fabric().hosts();
        let readings = join_all(hosts.iter().map(|host| self.agent(&host.name))).await;
        readings.into_iter().flatten().collect()
    }

    async fn diagnostics(&mut self) -> String {
        let mut text = String::new();
        let client = self.rig.client();
        show(
            &mut text,
            "RdmaMesh",
            &list::<RdmaMesh>(&client, |mesh| json!(mesh.status)).await,
        );
        show(
            &mut text,
            "RdmaProbeAssignment",
            &list::<RdmaProbeAssignment>(&client, |one| json!(one.status)).await,
        );
        show(
            &mut text,
            "RdmaNode",
            &list::<RdmaNode>(&client, |node| json!(node.status)).await,
        );
        let ended = match self.rig.ended().await {
            Ok(ended) if ended.is_empty() => "nothing".to_owned(),
            Ok(ended) => ended.join(", "),
            Err(error) => format!("{error:#}"),
        };
        writeln!(text, "-- not running: {ended}").ok();
        for (part, path) in self.rig.logs() {
            let tail = child::tail(&path, LOG_LINES).unwrap_or_else(|error| error.to_string());
            writeln!(text, "-- last lines of {part} ({})\n{tail}", path.display()).ok();
        }
        text
    }
}

async fn list<K>(
    client: &kube::Client,
    status: impl Fn(&K) -> serde_json::Value,
) -> Vec<serde_json::Value>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    match api.list(&ListParams::default()).await {
        Ok(all) => all
            .iter()
            .map(|one| json!({"name": one.meta().name, "status": status(one)}))
            .collect(),
        Err(error) => vec![json!(format!("cannot be listed: {error}"))],
    }
}

fn show(text: &mut String, kind: &str, objects: &[impl Serialize]) {
    writeln!(text, "-- {kind}").ok();
    for object in objects {
        let yaml = serde_saphyr::to_string(object).unwrap_or_else(|error| error.to_string());
        writeln!(text, "{}", yaml.trim_end()).ok();
    }
}
