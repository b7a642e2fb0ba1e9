//! The API through kubectl: what an on-call engineer types.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use kube::api::{Api, Patch, PatchParams};
use rdmamesh_api::RdmaMesh;
use rdmamesh_e2e::suite::SharedPlane;
use rdmamesh_e2e::tools::Tool;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::objects::with_mesh;

/// What a kubectl call printed.
struct Printed {
    ok: bool,
    out: String,
    err: String,
}

async fn kubectl(shared: &SharedPlane, arguments: &[&str], input: &str) -> Result<Printed> {
    let mut child = Command::new(Tool::Kubectl.path(&shared.layout))
        .args(arguments)
        .env("KUBECONFIG", shared.plane()?.admin_kubeconfig())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("start kubectl")?;
    let mut stdin = child.stdin.take().context("standard input is piped")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    Ok(Printed {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

async fn printed(shared: &SharedPlane, arguments: &[&str]) -> Result<String> {
    let printed = kubectl(shared, arguments, "").await?;
    ensure!(
        printed.ok,
        "kubectl {}: {}",
        arguments.join(" "),
        printed.err
    );
    Ok(printed.out)
}

/// The documentation is there, with type and meaning of each field.
pub fn explain_describes_the_probes(shared: &SharedPlane) -> Result<()> {
    shared.plane()?;
    shared.wait(async {
        let text = printed(shared, &["explain", "rdmamesh.spec.probes"]).await?;
        for wanted in [
            "torMesh, interTor, rail, hostMesh",
            "interval",
            "timeout",
            "coverage",
            "<string>",
        ] {
            ensure!(text.contains(wanted), "\"{wanted}\" is missing in:\n{text}");
        }
        let whole = printed(shared, &["explain", "rdmamesh", "--recursive"]).await?;
        for wanted in ["maxProbesPerSecond", "lossRatio", "suspects", "evidence"] {
            ensure!(
                whole.contains(wanted),
                "\"{wanted}\" is missing in:\n{whole}"
            );
        }
        for kind in [
            "rdmaprobeassignment.status.meshes.anomalies",
            "rdmanode.status.ports",
        ] {
            printed(shared, &["explain", kind]).await?;
        }
        Ok(())
    })
}

fn ill() -> Value {
    let now = "2026-01-02T03:04:05Z";
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind, "status": status, "reason": "Test", "message": "set by a test",
            "lastTransitionTime": now, "observedGeneration": 1,
        })
    };
    json!({"status": {
        "observedGeneration": 1, "nodes": 4, "rnics": 8,
        "conditions": [condition("Ready", "True"), condition("FabricHealthy", "False")],
        "summary": {"loss": "0.3%", "lossRatio": 0.003, "p99": "412us", "suspect": "host1/rxe1", "agentsReporting": 4},
        "suspects": [{
            "kind": "Rnic", "name": "host1/rxe1", "confidence": 90, "since": now, "lastSeen": now,
            "evidence": "the port is down",
        }],
    }})
}

/// The promised columns, filled from the status.
pub fn get_shows_the_columns(shared: &SharedPlane) -> Result<()> {
    let client = shared.client()?;
    let api: Api<RdmaMesh> = Api::all(client.clone());
    shared.wait(with_mesh(&client, "columns", json!({}), async |_| {
        api.patch_status("columns", &PatchParams::default(), &Patch::Merge(&ill()))
            .await?;
        let table = printed(shared, &["get", "rdmamesh", "columns"]).await?;
        let mut lines = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let header = lines.next().context("a header")?;
        let wanted = [
            "NAME", "READY", "HEALTHY", "NODES", "RNICS", "LOSS", "P99", "SUSPECT", "AGE",
        ];
        ensure!(header == wanted, "{table}");
        let row = lines.next().context("a row")?;
        ensure!(
            row[..8]
                == [
                    "columns",
                    "True",
                    "False",
                    "4",
                    "8",
                    "0.3%",
                    "412us",
                    "host1/rxe1"
                ],
            "{table}"
        );
        Ok(())
    }))
}

/// `rmesh`, `rpa`, `rnode`, and all of them as category `rdma`.
pub fn knows_the_short_names(shared: &SharedPlane) -> Result<()> {
    shared.plane()?;
    shared.wait(async {
        for short in ["rmesh", "rpa", "rnode", "rdma"] {
            printed(shared, &["get", short]).await?;
        }
        let wide = printed(
            shared,
            &["api-resources", "--api-group=rdmamesh.io", "--no-headers"],
        )
        .await?;
        for (short, kind) in [
            ("rmesh", "RdmaMesh"),
            ("rpa", "RdmaProbeAssignment"),
            ("rnode", "RdmaNode"),
        ] {
            let row = wide
                .lines()
                .find(|line| line.split_whitespace().any(|word| word == short));
            let row = row.with_context(|| format!("{short} in\n{wide}"))?;
            ensure!(
                row.contains(kind) && row.contains("false"),
                "cluster-scoped {kind}: {row}"
            );
        }
        Ok(())
    })
}

/// `kubectl wait --for=condition=…` ends when the status says so, and fails when it does not.
pub fn wait_sees_the_conditions(shared: &SharedPlane) -> Result<()> {
    let client = shared.client()?;
    let api: Api<RdmaMesh> = Api::all(client.clone());
    shared.wait(with_mesh(&client, "waited", json!({}), async |_| {
        let arguments = [
            "wait",
            "--for=condition=FabricHealthy=False",
            "rdmamesh/waited",
            "--timeout=30s",
        ];
        let waiting = kubectl(shared, &arguments, "");
        let write = async {
            api.patch_status("waited", &PatchParams::default(), &Patch::Merge(&ill()))
                .await
        };
        let (waited, written) = tokio::join!(waiting, write);
        written?;
        let waited = waited?;
        ensure!(
            waited.ok && waited.out.contains("condition met"),
            "{}{}",
            waited.out,
            waited.err
        );
        let other = [
            "wait",
            "--for=condition=FabricHealthy",
            "rdmamesh/waited",
            "--timeout=1s",
        ];
        let missed = kubectl(shared, &other, "").await?;
        ensure!(
            !missed.ok && missed.err.contains("timed out"),
            "{}{}",
            missed.out,
            missed.err
        );
        Ok(())
    }))
}

/// The generated definitions and a mesh go in without a warning.
pub fn apply_warns_about_nothing(shared: &SharedPlane) -> Result<()> {
    shared.plane()?;
    shared.wait(async {
        let folder = shared
            .layout
            .workspace()
            .join("crds/yaml")
            .display()
            .to_string();
        let arguments = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "-f",
            &folder,
        ];
        let definitions = kubectl(shared, &arguments, "").await?;
        ensure!(
            definitions.ok && definitions.err.is_empty(),
            "{}",
            definitions.err
        );
        let mesh =
            "apiVersion: rdmamesh.io/v1alpha1\nkind: RdmaMesh\nmetadata: {name: quiet}\nspec: {}\n";
        let applied = kubectl(shared, &["apply", "--dry-run=server", "-f", "-"], mesh).await?;
        ensure!(applied.ok && applied.err.is_empty(), "{}", applied.err);
        Ok(())
    })
}
