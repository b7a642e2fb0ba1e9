//! The Helm release: install, upgrade, keys, uninstall.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdmamesh_e2e::cluster::release::{RELEASE, Tools};
use rdmamesh_e2e::control_plane::credentials::NAMESPACE;
use rdmamesh_e2e::rig::Rig;

use crate::until;
use crate::watch::during;

const AGENTS: &str = "daemonset/rdmamesh-agent";
const ROLLED_WITHIN: &str = "--timeout=600s";
/// What the upgrade changes.
const CHANGED: &str = "agent.starvedAfterMs=60";
/// Conditions and taints of nodes.
const MARKS: &str = "jsonpath={.items[*].status.conditions[*].type} {.items[*].spec.taints[*].key}";
const READY_WITHIN: Duration = Duration::from_secs(180);
/// Kubelet brings a changed Secret into a pod with its next sync.
const KEYS_WITHIN: Duration = Duration::from_secs(180);

async fn get(tools: &Tools, words: &[&str]) -> Result<String> {
    let arguments = [&["-n", NAMESPACE, "get"], words].concat();
    Ok(tools.kubectl(&arguments).await?.trim().to_owned())
}

/// What `kubectl get` shows after `helm install`, and what the pods may do.
pub async fn a_fresh_install_probes_every_node_without_more_rights_than_it_says(
    rig: &mut Rig,
) -> Result<()> {
    let tools = rig.tools();
    let hosts = rig.fabric().hosts().len().to_string();
    for daemon_set in ["rdmamesh-agent", "rdmamesh-device-plugin"] {
        until("all pods are ready", READY_WITHIN, async || {
            let number = "jsonpath={.status.numberReady}";
            let ready = get(&tools, &["daemonset", daemon_set, "-o", number]).await?;
            ensure!(
                ready == hosts,
                "{ready} of {hosts} pods of {daemon_set} are ready"
            );
            Ok(())
        })
        .await?;
    }
    let nodes = get(&tools, &["rdmanodes", "-o", "name"]).await?;
    ensure!(
        nodes.lines().count().to_string() == hosts,
        "inventories: {nodes}"
    );
    for host in rig.fabric().hosts() {
        let pid = rig.agent_pid(&host.name).await?.context("an agent runs")?;
        let script = format!("grep -E '^(Uid|CapEff|NoNewPrivs|Seccomp):' /proc/{pid}/status");
        let status = rig
            .guest()
            .script(
                "reading an agent's rights",
                &script,
                Duration::from_secs(60),
            )
            .await?;
        let words: Vec<&str> = status.split_whitespace().collect();
        let expected = [
            "Uid:",
            "65532",
            "65532",
            "65532",
            "65532",
            "CapEff:",
            "0000000000000000",
            "NoNewPrivs:",
            "1",
            "Seccomp:",
            "2",
        ];
        ensure!(words == expected, "{}: {status}", host.name);
    }
    let test = tools
        .helm(&["test", RELEASE, "-n", NAMESPACE, "--timeout", "300s"])
        .await?;
    ensure!(test.contains("Succeeded"), "{test}");
    Ok(())
}

/// The way from the API server to the kubelets.
pub async fn kubectl_logs_and_exec_reach_the_agents(rig: &mut Rig) -> Result<()> {
    let tools = rig.tools();
    let logs = tools
        .kubectl(&["-n", NAMESPACE, "logs", AGENTS, "-c", "prober", "--tail=5"])
        .await?;
    ensure!(!logs.trim().is_empty(), "an agent has logged something");
    let version = tools
        .kubectl(&[
            "-n",
            NAMESPACE,
            "exec",
            AGENTS,
            "-c",
            "prober",
            "--",
            "rdmamesh-agent",
            "--version",
        ])
        .await?;
    ensure!(version.starts_with("rdmamesh-agent "), "{version}");
    Ok(())
}

/// The agents are replaced one after the other, under probing.
pub async fn an_upgrade_with_a_changed_value_reaches_every_agent_without_a_false_loss(
    rig: &mut Rig,
) -> Result<()> {
    let tools = rig.tools();
    let generation = [
        "daemonset",
        "rdmamesh-agent",
        "-o",
        "jsonpath={.metadata.generation}",
    ];
    let before = get(&tools, &generation).await?;
    let upgrade = async {
        tools.install(&[CHANGED]).await?;
        tools
            .kubectl(&["-n", NAMESPACE, "rollout", "status", AGENTS, ROLLED_WITHIN])
            .await
    };
    let (_, seen) = during(rig, upgrade).await?;
    ensure!(
        get(&tools, &generation).await? != before,
        "nothing was changed"
    );
    for host in rig.fabric().hosts() {
        let pid = rig.agent_pid(&host.name).await?.context("an agent runs")?;
        let script = format!("tr '\\0' ' ' </proc/{pid}/cmdline");
        let line = rig
            .guest()
            .script(
                "reading an agent's command line",
                &script,
                Duration::from_secs(60),
            )
            .await?;
        ensure!(
            line.contains("--starved-after-ms=60"),
            "{}: {line}",
            host.name
        );
    }
    seen.quiet()
}

/// Waits until every prober has these key files, and this one signs.
async fn keys_have_arrived(rig: &Rig, wanted: &str) -> Result<()> {
    for host in rig.fabric().hosts() {
        until("the keys arrive", KEYS_WITHIN, async || {
            let pid = rig.agent_pid(&host.name).await?.context("an agent runs")?;
            let script = format!(
                "cd /proc/{pid}/root && cd etc/rdmamesh/probe-keys && echo $(ls) $(cat active)"
            );
            let found = rig
                .guest()
                .script("reading an agent's keys", &script, Duration::from_secs(60))
                .await?;
            ensure!(found.trim() == wanted, "{} has {found}", host.name);
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// As the chart's README says: a new key, then it signs, then the old one goes.
pub async fn probe_keys_are_rotated_without_a_lost_probe(rig: &mut Rig) -> Result<()> {
    let tools = rig.tools();
    let steps = [
        ("probeKeys.ids={1,2}", "1 2 active 1"),
        ("probeKeys.active=2", "1 2 active 2"),
        ("probeKeys.ids={2}", "2 active 2"),
    ];
    for (value, wanted) in steps {
        // With what the upgrade before has set, so that no agent is replaced for that.
        let (_, seen) = during(rig, tools.install(&[CHANGED, value])).await?;
        seen.quiet()?;
        keys_have_arrived(rig, wanted).await?;
        let (_, seen) = during(rig, async { Ok(()) }).await?;
        seen.quiet().with_context(|| format!("keys {wanted}"))?;
    }
    Ok(())
}

/// Nothing of the release stays but what the chart's README lists.
pub async fn uninstalling_leaves_what_is_documented_and_nothing_else(rig: &mut Rig) -> Result<()> {
    let tools = rig.tools();
    tools
        .kubectl(&["delete", "rdmamesh", "--all", "--timeout=120s"])
        .await?;
    until(
        "the operator takes back what it wrote",
        Duration::from_secs(120),
        async || {
            let left = get(&tools, &["rdmaprobeassignments", "-o", "name"]).await?;
            ensure!(left.is_empty(), "assignments: {left}");
            let marks = tools.kubectl(&["get", "nodes", "-o", MARKS]).await?;
            ensure!(!marks.contains("rdmamesh.io"), "on nodes: {marks}");
            Ok(())
        },
    )
    .await?;
    tools
        .helm(&[
            "uninstall",
            RELEASE,
            "-n",
            NAMESPACE,
            "--wait",
            "--timeout",
            "600s",
        ])
        .await?;
    rig.set_installed(false)?;
    let kinds = "pods,daemonsets,deployments,services,serviceaccounts,secrets,configmaps,roles,rolebindings,\
                 poddisruptionbudgets,networkpolicies,clusterroles,clusterrolebindings,priorityclasses,\
                 validatingadmissionpolicies,validatingadmissionpolicybindings";
    until("everything is gone", Duration::from_secs(180), async || {
        let left = get(
            &tools,
            &[
                kinds,
                "-A",
                "-l",
                "app.kubernetes.io/name=rdmamesh",
                "-o",
                "name",
            ],
        )
        .await?;
        ensure!(left.is_empty(), "left: {left}");
        Ok(())
    })
    .await?;
    let crds = tools
        .kubectl(&[
            "get",
            "crd",
            "-l",
            "app.kubernetes.io/name=rdmamesh",
            "-o",
            "name",
        ])
        .await?;
    ensure!(crds.lines().count() == 3, "the CRDs stay: {crds}");
    Ok(())
}
