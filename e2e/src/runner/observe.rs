//! Watches the mesh, the RdmaNodes and the assignments, and keeps a [`View`] of them up to date. An API server that is
//! away for a while is waited for: the watches go on from where they were.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{Api, ResourceExt as _};
use kube::runtime::watcher::{self, Event};
use rdmamesh_api::{RdmaMesh, RdmaNode, RdmaProbeAssignment};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::view::{ApiWrite, MeshView, View};
use crate::scenario::ApiWriters;

/// How soon a broken watch is tried again: much less than what scenarios wait for.
const RETRY: Duration = Duration::from_millis(300);

/// Runs until dropped.
pub struct Observer {
    view: watch::Sender<View>,
    _watches: JoinSet<()>,
}

/// Who wrote which part of an object, and when.
type Managers = HashMap<(String, Option<String>), String>;

/// Last known writers by object, shared by the watches.
#[derive(Clone, Default)]
struct Writers(Arc<Mutex<HashMap<String, Managers>>>);

impl Observer {
    /// Begins to watch.
    pub fn start(client: &kube::Client, mesh: &str) -> Self {
        let (view, _) = watch::channel(View::default());
        let writers = Writers::default();
        let mut watches = JoinSet::new();
        watches.spawn(watch_mesh(client.clone(), mesh.to_owned(), view.clone()));
        watches.spawn(watch_writes::<RdmaNode>(
            client.clone(),
            "RdmaNode",
            view.clone(),
            writers.clone(),
        ));
        watches.spawn(watch_writes::<RdmaProbeAssignment>(
            client.clone(),
            "RdmaProbeAssignment",
            view.clone(),
            writers,
        ));
        Self {
            view,
            _watches: watches,
        }
    }

    /// The view, which changes with every observation.
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// Takes in a mesh that was read besides the watch.
    pub fn saw(&self, mesh: &RdmaMesh) {
        see(&self.view, Some(mesh));
    }
}

/// Only a change wakes those who wait.
fn see(view: &watch::Sender<View>, mesh: Option<&RdmaMesh>) {
    let now = mesh.map(MeshView::from);
    view.send_if_modified(|view| view.saw(now));
}

async fn watch_mesh(client: kube::Client, name: String, view: watch::Sender<View>) {
    let api: Api<RdmaMesh> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = pin!(watcher::watcher(api, config));
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::InitApply(mesh) | Event::Apply(mesh)) => see(&view, Some(&mesh)),
            Ok(Event::Delete(_)) => see(&view, None),
            Ok(Event::Init | Event::InitDone) => {}
            Err(error) => retry_later(&error).await,
        }
    }
}

async fn watch_writes<K>(
    client: kube::Client,
    kind: &'static str,
    view: watch::Sender<View>,
    writers: Writers,
) where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    let api: Api<K> = Api::all(client);
    let mut events = pin!(watcher::watcher(api, watcher::Config::default()));
    let mut listed_once = false;
    while let Some(event) = events.next().await {
        match event {
            // What was there before the watch began was not written under its eyes.
            Ok(Event::InitApply(object)) if !listed_once => drop(writers.take_in(kind, &object)),
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                let node = object.name_any();
                let writes = writers
                    .take_in(kind, &object)
                    .into_iter()
                    .map(|by| ApiWrite {
                        at: Instant::now(),
                        by,
                        object: format!("{kind}/{node}"),
                        node: node.clone(),
                    });
                let writes: Vec<ApiWrite> = writes.collect();
                if !writes.is_empty() {
                    view.send_modify(|view| view.writes.extend(writes));
                }
            }
            Ok(Event::InitDone) => listed_once = true,
            Ok(Event::Init | Event::Delete(_)) => {}
            Err(error) => retry_later(&error).await,
        }
    }
}

/// The stream goes on with its next poll; an API server that is away is not asked in a tight loop.
async fn retry_later(error: &watcher::Error) {
    tracing::debug!(%error, "watch interrupted");
    tokio::time::sleep(RETRY).await;
}

impl Writers {
    /// Remembers who wrote an object, and returns those who have written since it was last seen.
    fn take_in<K: kube::Resource>(&self, kind: &str, object: &K) -> Vec<ApiWriters> {
        let now = managers(object.meta().managed_fields.as_deref().unwrap_or_default());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = format!("{kind}/{}", object.name_any());
        let before = known.insert(key, now.clone()).unwrap_or_default();
        let mut writers: Vec<ApiWriters> = now
            .iter()
            .filter(|(manager, time)| before.get(*manager) != Some(*time))
            .filter_map(|((manager, _), _)| writer(manager))
            .collect();
        writers.sort_by_key(|writer| *writer as u8);
        writers.dedup();
        writers
    }
}

fn managers(entries: &[ManagedFieldsEntry]) -> Managers {
    entries
        .iter()
        .filter_map(|entry| {
            let time = entry.time.as_ref()?.0.to_string();
            Some(((entry.manager.clone()?, entry.subresource.clone()), time))
        })
        .collect()
}

fn writer(manager: &str) -> Option<ApiWriters> {
    match manager {
        "rdmamesh-agent" => Some(ApiWriters::Agents),
        "rdmamesh-operator" => Some(ApiWriters::Operator),
        _ if manager.starts_with("rdmamesh-mesh-") => Some(ApiWriters::Operator),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn assignment(entries: &[(&str, &str)]) -> RdmaProbeAssignment {
        let fields: Vec<_> = entries
            .iter()
            .map(|(manager, time)| json!({"manager": manager, "time": time, "operation": "Apply"}))
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaProbeAssignment",
            "metadata": {"name": "host1", "managedFields": fields}, "spec": {"meshes": []},
        }))
        .expect("an assignment")
    }

    #[test]
    fn a_write_is_attributed_to_the_manager_whose_time_moved() {
        let writers = Writers::default();
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:07Z");
        let seen =
            |entries: &[(&str, &str)]| writers.take_in("RdmaProbeAssignment", &assignment(entries));
        let both = [("rdmamesh-agent", early), ("rdmamesh-mesh-a", early)];
        assert_eq!(seen(&both), [ApiWriters::Agents, ApiWriters::Operator]);
        assert_eq!(
            seen(&both),
            [],
            "seen again after a new list, not written again"
        );
        assert_eq!(
            seen(&[("rdmamesh-agent", late), ("rdmamesh-mesh-a", early)]),
            [ApiWriters::Agents]
        );
        assert_eq!(seen(&[("rdmamesh-agent", late), ("kubectl", late)]), []);
    }
}
