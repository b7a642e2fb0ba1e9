//! The cluster of the tests: control plane, operator processes, and waiting for what must become true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use rdmamesh_api::{RdmaMesh, RdmaNode, RdmaProbeAssignment};
use rdmamesh_e2e::child::{Child, Lifetime, Spec, free_port};
use rdmamesh_e2e::control_plane::ControlPlane;
use rdmamesh_e2e::control_plane::credentials::{self, Credential, NAMESPACE};
use rdmamesh_e2e::layout::Layout;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Most things take a debounce of half a second and a request; the machine may be busy.
pub const SOON: Duration = Duration::from_secs(20);
const LEASE: &str = "rdmamesh-operator";
/// Field manager of everything that a person would write.
const PERSON: &str = "person";

/// Control plane and operators.
pub struct Cluster {
    pub plane: ControlPlane,
    pub layout: Layout,
    pub client: Client,
    folder: PathBuf,
    pub operators: Vec<Operator>,
}

/// An operator process.
pub struct Operator {
    pub process: Child,
}

impl Cluster {
    pub async fn start() -> Result<Self> {
        let layout = Layout::of_workspace()?;
        let plane = ControlPlane::start().await?;
        let client = plane.client().await?;
        let folder = layout.run(&format!("operator-t1-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            plane,
            layout,
            client,
            folder,
            operators: Vec::new(),
        })
    }

    /// Ends the operators and removes everything that a test left.
    pub async fn clear(&mut self) -> Result<()> {
        for operator in self.operators.drain(..) {
            operator.process.kill().await?;
        }
        let all = ListParams::default();
        let gone = DeleteParams::background();
        self.api::<RdmaMesh>()
            .delete_collection(&gone, &all)
            .await?;
        self.api::<RdmaProbeAssignment>()
            .delete_collection(&gone, &all)
            .await?;
        self.api::<RdmaNode>()
            .delete_collection(&gone, &all)
            .await?;
        self.api::<Node>().delete_collection(&gone, &all).await?;
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        leases.delete_collection(&gone, &all).await?;
        let client = self.client.clone();
        until("the cluster is empty", SOON, async || {
            let all = ListParams::default();
            let left = Api::<RdmaProbeAssignment>::all(client.clone())
                .list(&all)
                .await?
                .items
                .len()
                + Api::<Node>::all(client.clone())
                    .list(&all)
                    .await?
                    .items
                    .len()
                + Api::<RdmaMesh>::all(client.clone())
                    .list(&all)
                    .await?
                    .items
                    .len();
            Ok(if left == 0 {
                Ok(())
            } else {
                Err(format!("{left} objects are left"))
            })
        })
        .await
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::ClusterResourceScope, DynamicType = ()>,
    {
        Api::all(self.client.clone())
    }

    /// Starts an operator with the rights of the product.
    pub async fn operator(&mut self, identity: &str) -> Result<&Operator> {
        let kubeconfig = self.folder.join("operator.kubeconfig");
        let token = credentials::operator_token(&self.client).await?;
        let server = format!("https://127.0.0.1:{}", self.plane.api_port());
        let authority = self.plane.authority_certificate()?;
        credentials::write_kubeconfig(&kubeconfig, &server, &authority, &Credential::Token(token))?;
        let http = free_port()?;
        let spec = Spec {
            argv: vec![
                self.layout
                    .product("rdmamesh-operator")?
                    .display()
                    .to_string(),
                "run".to_owned(),
                format!("--http-listen=127.0.0.1:{http}"),
                format!("--lease-namespace={NAMESPACE}"),
                format!("--lease-name={LEASE}"),
                format!("--identity={identity}"),
            ],
            env: vec![
                ("KUBECONFIG".to_owned(), kubeconfig.display().to_string()),
                (
                    "RUST_LOG".to_owned(),
                    "info,rdmamesh_operator=debug".to_owned(),
                ),
            ],
            log: self.folder.join(format!("operator-{identity}.log")),
            lifetime: Lifetime::Tied,
        };
        // What an earlier test wrote there explains nothing.
        std::fs::remove_file(&spec.log).ok();
        let process = Child::start("operator", &spec)?;
        self.operators.push(Operator { process });
        self.operators
            .last()
            .context("an operator was just started")
    }

    /// Kills every operator, as a crash would.
    pub async fn kill_operators(&mut self) -> Result<()> {
        for operator in self.operators.drain(..) {
            operator.process.kill().await?;
        }
        Ok(())
    }

    /// Creates or changes a mesh, as `kubectl apply` would.
    pub async fn mesh(&self, name: &str, spec: Value) -> Result<()> {
        let mesh = json!({"apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaMesh",
            "metadata": {"name": name}, "spec": spec});
        let params = PatchParams::apply(PERSON).force();
        let applied = self
            .api::<RdmaMesh>()
            .patch(name, &params, &Patch::Apply(&mesh))
            .await;
        applied
            .map(drop)
            .with_context(|| format!("apply the mesh {name}"))
    }

    /// Deletes a mesh.
    pub async fn delete_mesh(&self, name: &str) -> Result<()> {
        let deleted = self
            .api::<RdmaMesh>()
            .delete(name, &DeleteParams::background())
            .await;
        deleted
            .map(drop)
            .with_context(|| format!("delete the mesh {name}"))
    }

    /// What every assignment holds: node → meshes.
    pub async fn entries(&self) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let list = self
            .api::<RdmaProbeAssignment>()
            .list(&ListParams::default())
            .await?;
        Ok(list
            .items
            .into_iter()
            .map(|item| {
                let meshes = item
                    .spec
                    .meshes
                    .iter()
                    .map(|entry| entry.name.clone())
                    .collect();
                (item.name_any(), meshes)
            })
            .collect())
    }

    /// Waits until the assignments are exactly these: (node, meshes).
    pub async fn entries_become(&self, wanted: &[(&str, &[&str])]) -> Result<()> {
        let wanted: BTreeMap<String, BTreeSet<String>> = wanted
            .iter()
            .map(|(node, meshes)| {
                (
                    (*node).to_owned(),
                    meshes.iter().map(|mesh| (*mesh).to_owned()).collect(),
                )
            })
            .collect();
        until(
            &format!("the assignments are {wanted:?}"),
            SOON,
            async || {
                let entries = self.entries().await?;
                Ok(if entries == wanted {
                    Ok(())
                } else {
                    Err(format!("{entries:?}"))
                })
            },
        )
        .await
    }

    /// Waits until a condition of a mesh is so; its message.
    pub async fn condition(&self, mesh: &str, type_: &str, status: &str) -> Result<String> {
        self.condition_within(mesh, type_, status, SOON).await
    }

    /// Like [`Self::condition`], with a limit of one's own.
    pub async fn condition_within(
        &self,
        mesh: &str,
        type_: &str,
        status: &str,
        within: Duration,
    ) -> Result<String> {
        let api = self.api::<RdmaMesh>();
        until(
            &format!("{type_} of {mesh} is {status}"),
            within,
            async || {
                let conditions = api.get(mesh).await?.status.unwrap_or_default().conditions;
                let found = conditions.iter().find(|condition| condition.type_ == type_);
                Ok(match found {
                    Some(found) if found.status == status => {
                        Ok(format!("{}: {}", found.reason, found.message))
                    }
                    _ => Err(format!("{conditions:#?}")),
                })
            },
        )
        .await
    }

    /// Who holds the lease.
    pub async fn leader(&self) -> Result<Option<String>> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let lease = leases.get_opt(LEASE).await?;
        Ok(lease
            .and_then(|lease| lease.spec?.holder_identity)
            .filter(|holder| !holder.is_empty()))
    }

    /// Waits until this replica leads.
    pub async fn leader_becomes(&self, identity: &str, within: Duration) -> Result<()> {
        until(&format!("{identity} leads"), within, async || {
            let leader = self.leader().await?;
            Ok(if leader.as_deref() == Some(identity) {
                Ok(())
            } else {
                Err(format!("{leader:?} leads"))
            })
        })
        .await
    }

    /// What the meshes say and the operators' last log lines, for a failure.
    pub async fn account(&self) -> String {
        let mut text = String::new();
        let meshes = self.api::<RdmaMesh>().list(&ListParams::default()).await;
        for mesh in meshes.map(|list| list.items).unwrap_or_default() {
            let conditions = mesh.status.as_ref().map(|status| &status.conditions);
            for said in conditions.into_iter().flatten() {
                let line = format!(
                    "{} {} {}: {}",
                    said.type_, said.status, said.reason, said.message
                );
                text += &format!("mesh {}: {line}\n", mesh.name_any());
            }
        }
        for operator in &self.operators {
            text += &format!("operator:\n{}\n", operator.process.log_tail(25));
        }
        text
    }
}

/// Waits until `check` says `Ok`; the inner `Err` says what is still in the way.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut check: impl AsyncFnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let in_the_way = match check().await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(in_the_way)) => in_the_way,
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() >= deadline {
            bail!("waited {within:?} until {what}; last: {in_the_way}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
