//! Creating and changing objects: rules, defaults, subresources, list maps, watches by name.

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::DynamicObject;
use rdmamesh_api::{RdmaMesh, RdmaProbeAssignment};
use serde_json::{Value, json};

use crate::coverage::cel_rules;
use crate::rules::{Case, Kind};
use rdmamesh_e2e::suite::SharedPlane;

/// The accepted example is accepted, the rejected one is rejected with the rule's own sentence.
pub fn rule_holds(shared: &SharedPlane, case: &Case) -> Result<()> {
    let client = shared.client()?;
    shared.wait(async {
        let accepted = case.object(case.accepted, true);
        create_dry(&client, case.kind, &accepted)
            .await
            .with_context(|| format!("refused although it is right: {accepted}"))?;
        let rejected = case.object(case.rejected, false);
        let answer = match create_dry(&client, case.kind, &rejected).await {
            Ok(()) => bail!("accepted although it is wrong: {rejected}"),
            Err(error) => error.to_string(),
        };
        let wanted = if case.answer.is_empty() {
            full_message(case)?
        } else {
            case.answer.to_owned()
        };
        ensure!(
            answer.contains(&wanted),
            "the answer\n  {answer}\ndoes not say\n  {wanted}"
        );
        Ok(())
    })
}

fn full_message(case: &Case) -> Result<String> {
    cel_rules()
        .into_iter()
        .find(|(kind, path, message)| {
            *kind == case.kind && path == case.path && message.starts_with(case.rule)
        })
        .map(|(_, _, message)| message)
        .with_context(|| format!("no rule at {} begins \"{}\"", case.path, case.rule))
}

/// As `kubectl apply --server-side --dry-run=server` does: unknown fields are an error.
async fn create_dry(client: &kube::Client, kind: Kind, object: &Value) -> kube::Result<()> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let params = PatchParams::apply("test").dry_run().validation_strict();
    let patch = Patch::Apply(object);
    match kind {
        Kind::RdmaMesh => {
            let api: Api<RdmaMesh> = Api::all(client.clone());
            api.patch(name, &params, &patch).await.map(drop)
        }
        Kind::RdmaProbeAssignment => {
            let api: Api<RdmaProbeAssignment> = Api::all(client.clone());
            api.patch(name, &params, &patch).await.map(drop)
        }
    }
}

/// Creates a mesh, hands it to the test as the API server returned it, and deletes it.
pub async fn with_mesh<T>(
    client: &kube::Client,
    name: &str,
    spec: Value,
    test: impl AsyncFnOnce(Value) -> Result<T>,
) -> Result<T> {
    let types = kube::api::ApiResource::erase::<RdmaMesh>(&());
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &types);
    let object = DynamicObject::new(name, &types).data(json!({ "spec": spec }));
    let created = api.create(&PostParams::default(), &object).await?;
    let outcome = test(serde_json::to_value(&created)?).await;
    api.delete(name, &DeleteParams::default()).await?;
    outcome
}

/// What is promised to whoever writes nothing.
pub fn defaults_are_filled_in(shared: &SharedPlane) -> Result<()> {
    let client = shared.client()?;
    let wanted = json!({
        "devices": {},
        "gid": {"type": "Auto", "family": "Auto", "index": "Auto"},
        "topology": {"groupLabel": "topology.kubernetes.io/rack", "railOptimized": false, "parallelPaths": 16},
        "trafficClasses": [{"name": "default", "dscp": 0, "serviceLevel": 0}],
        "budget": {"maxProbesPerSecond": 500, "maxPeersPerRnic": 16},
        "thresholds": {"lossRatio": 0.02, "p99": "500us", "rnicTimeoutRatio": 0.1, "window": "5s"},
        "tolerance": {"maxUnhealthyPercent": 0, "raiseAfter": 1, "clearAfter": 2},
        "actions": {"nodeCondition": true, "events": true, "taint": "Off", "maxTaintedPercent": 10},
        "suspend": false,
    });
    shared.wait(with_mesh(&client, "defaults", json!({}), async |created| {
        let found = created["spec"].as_object().context("the mesh has a spec")?;
        for (key, value) in wanted.as_object().context("an object")? {
            ensure!(
                found.get(key) == Some(value),
                "spec.{key} is {:?}, not {value}",
                found.get(key)
            );
        }
        let unexpected: Vec<&String> = found
            .keys()
            .filter(|key| wanted.get(key.as_str()).is_none())
            .collect();
        // An empty map of probes says the same as none: which classes are on is the operator's table.
        ensure!(
            unexpected.is_empty() || unexpected == ["probes"],
            "unexpected defaults: {unexpected:?}"
        );
        Ok(())
    }))
}

/// A class that is named without settings gets the schema's, and an interval only where it was given.
pub fn class_defaults_are_filled_in(shared: &SharedPlane) -> Result<()> {
    let client = shared.client()?;
    let spec = json!({"probes": {"torMesh": {"interval": "50ms"}, "rail": {}}});
    shared.wait(with_mesh(
        &client,
        "class-defaults",
        spec,
        async |created| {
            let probes = &created["spec"]["probes"];
            let tor_mesh = json!({"interval": "50ms", "timeout": "500ms", "enabled": true});
            ensure!(
                probes["torMesh"] == tor_mesh,
                "torMesh: {}",
                probes["torMesh"]
            );
            ensure!(
                probes["rail"] == json!({"timeout": "500ms", "enabled": true}),
                "rail: {}",
                probes["rail"]
            );
            Ok(())
        },
    ))
}

/// Writing the object leaves the status alone, writing the status leaves the spec alone.
pub fn status_is_isolated(shared: &SharedPlane) -> Result<()> {
    let client = shared.client()?;
    let api: Api<RdmaMesh> = Api::all(client.clone());
    shared.wait(with_mesh(&client, "isolated", json!({}), async |_| {
        let both = json!({"spec": {"suspend": true}, "status": {"nodes": 7, "rnics": 7}});
        let params = PatchParams::default();
        let after_main = api.patch("isolated", &params, &Patch::Merge(&both)).await?;
        ensure!(after_main.spec.suspend, "the spec was not written");
        ensure!(
            after_main.status.is_none(),
            "the status was written through the object"
        );
        let generation = after_main.metadata.generation;
        let other = json!({"spec": {"suspend": false}, "status": {"nodes": 7}});
        let after_status = api
            .patch_status("isolated", &params, &Patch::Merge(&other))
            .await?;
        ensure!(
            after_status.spec.suspend,
            "the spec was written through the status"
        );
        ensure!(
            after_status.status.is_some_and(|status| status.nodes == 7),
            "the status was not written"
        );
        ensure!(
            after_status.metadata.generation == generation,
            "a status moved the generation"
        );
        Ok(())
    }))
}

fn entry(mesh: &str) -> Value {
    json!({
        "apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaProbeAssignment", "metadata": {"name": "shared"},
        "spec": {"meshes": [{
            "name": mesh, "planHash": "1", "group": "g", "window": "5s", "lossRatio": 0.02, "p99": "500us",
            "classes": [], "trafficClasses": [{"name": "default"}], "rnics": [],
        }]},
    })
}

/// Two meshes on one node: each owns its entry, and giving up one leaves the other.
pub fn meshes_share_an_assignment(shared: &SharedPlane) -> Result<()> {
    let client = shared.client()?;
    let api: Api<RdmaProbeAssignment> = Api::all(client);
    shared.wait(async {
        for mesh in ["a", "b"] {
            let manager = PatchParams::apply(&format!("rdmamesh-mesh-{mesh}"));
            api.patch("shared", &manager, &Patch::Apply(&entry(mesh)))
                .await?;
        }
        let names = |object: &RdmaProbeAssignment| -> Vec<String> {
            object
                .spec
                .meshes
                .iter()
                .map(|mesh| mesh.name.clone())
                .collect()
        };
        let both = names(&api.get("shared").await?);
        ensure!(both == ["a", "b"], "both entries are there: {both:?}");
        let mut nothing = entry("a");
        nothing["spec"] = json!({"meshes": []});
        let given_up = api
            .patch(
                "shared",
                &PatchParams::apply("rdmamesh-mesh-a"),
                &Patch::Apply(&nothing),
            )
            .await?;
        ensure!(
            names(&given_up) == ["b"],
            "only b is left: {:?}",
            names(&given_up)
        );
        api.delete("shared", &DeleteParams::default()).await?;
        Ok(())
    })
}

/// What an agent does: a watch on its own name sees no other node's object.
pub fn assignment_is_watched_by_name(shared: &SharedPlane) -> Result<()> {
    let client = shared.client()?;
    let api: Api<RdmaProbeAssignment> = Api::all(client);
    shared.wait(async {
        let params = PatchParams::apply("test");
        let named = |name: &str| {
            let mut object = entry("m");
            object["metadata"]["name"] = json!(name);
            object
        };
        for name in ["node-a", "node-b", "node-c"] {
            api.patch(name, &params, &Patch::Apply(&named(name)))
                .await?;
        }
        let own = WatchParams::default()
            .fields("metadata.name=node-b")
            .timeout(5);
        let events: Vec<WatchEvent<RdmaProbeAssignment>> =
            api.watch(&own, "0").await?.take(2).try_collect().await?;
        let mut seen = Vec::new();
        for event in &events {
            if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event {
                seen.push(object.metadata.name.clone().unwrap_or_default());
            }
        }
        ensure!(seen == ["node-b"], "the watch saw {seen:?}");
        for name in ["node-a", "node-b", "node-c"] {
            api.delete(name, &DeleteParams::default()).await?;
        }
        Ok(())
    })
}
