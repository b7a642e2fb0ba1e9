//! Two replicas of the operator, one of which leads.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use rdmamesh_e2e::control_plane::credentials::NAMESPACE;
use rdmamesh_e2e::rig::Rig;
use tokio::time::Instant;

use crate::until;
use crate::watch::during;

const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(120);

/// The leader's pod is gone with its node's words; the other one goes on judging.
pub async fn the_second_operator_takes_over_when_the_leader_is_killed(rig: &mut Rig) -> Result<()> {
    let tools = rig.tools();
    let holder = async || -> Result<String> {
        let lease = [
            "-n",
            NAMESPACE,
            "get",
            "lease",
            "rdmamesh-operator",
            "-o",
            "jsonpath={.spec.holderIdentity}",
        ];
        Ok(tools.kubectl(&lease).await?.trim().to_owned())
    };
    let leader = holder().await?;
    let pods = tools
        .kubectl(&[
            "-n",
            NAMESPACE,
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/component=operator",
            "-o",
            r#"jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{"\n"}{end}"#,
        ])
        .await?;
    let (pod, host) = pods
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(pod, _)| leader.contains(pod))
        .with_context(|| format!("the leader {leader:?} is one of {pods}"))?;
    let killed = Instant::now();
    // Its object goes first: a container that its kubelet starts again would be the same leader.
    tools
        .kubectl(&[
            "-n",
            NAMESPACE,
            "delete",
            "pod",
            pod,
            "--force",
            "--grace-period=0",
        ])
        .await?;
    rig.with_node(host, async |node| match node.operator_pid().await? {
        Some(pid) => node.signal(pid, Signal::SIGKILL).await,
        None => Ok(()),
    })
    .await?;
    let taken_over = until("another operator leads", TAKEN_OVER_WITHIN, async || {
        let now = holder().await?;
        ensure!(!now.is_empty() && now != leader, "the leader is {now:?}");
        Ok(killed.elapsed())
    });
    let (took, seen) = during(rig, taken_over).await?;
    print_took(took);
    seen.quiet()
}

#[expect(clippy::print_stdout, reason = "a figure to read in the log")]
fn print_took(took: Duration) {
    println!(
        "time to take over after the leader was killed: {:.1} s",
        took.as_secs_f64()
    );
}
