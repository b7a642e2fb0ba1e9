//! `rig demo`: the product in one sitting, for somebody who sees it for the first time. Everything it shows is the
//! real thing: what is printed behind a `$` is run, and its output is printed as it comes. Ends with an error as
//! soon as something is not as it should be.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::child::Lifetime;
use crate::cluster::release::RELEASE;
use crate::control_plane::credentials::NAMESPACE;
use crate::fabric::FabricSpec;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::rig::{Options, Rig, World};
use crate::tools::Tool;

/// Everything of the chart runs and is ready; seconds on a machine that is not busy.
const INSTALL: [&str; 4] = ["--create-namespace", "--wait", "--timeout", "900s"];

const NAME: &str = "demo";
const LINK: &str = "leaf1-spine2";
const FAULT: &str = "{kind: loss, link: leaf1-spine2, percent: 30, direction: both}";

/// Bring a fabric and a cluster up, break a link, and show what RdmaMesh says.
#[derive(Debug, Args)]
pub struct Demo {
    /// Leave everything up at the end.
    #[arg(long)]
    keep: bool,
}

impl Demo {
    /// Runs the demo.
    ///
    /// # Errors
    /// When something cannot be brought up or a verdict is not what it should be.
    pub async fn run(self) -> Result<()> {
        let started = Instant::now();
        chapter(
            "A leaf-spine RoCE fabric (2 leaves, 2 spines) with four Kubernetes nodes on it comes up",
        );
        let options = Options {
            name: NAME.to_owned(),
            fabric: FabricSpec {
                leaves: 2,
                spines: 2,
                hosts_per_leaf: 2,
                rails: 1,
            },
            lifetime: if self.keep {
                Lifetime::Detached
            } else {
                Lifetime::Tied
            },
            product: false,
            world: World::Cluster,
        };
        let mut rig = Rig::up(options, Progress::new()).await?;
        let mut stage = Stage::new(&rig, started)?;
        stage.part("fabric and nodes come up");
        let shown = stage.play(&mut rig).await;
        if let Err(error) = shown {
            say("The demo did not go as it should; the logs are in:");
            say(rig.folder().display().to_string());
            if !self.keep {
                rig.stop().await?;
            }
            return Err(error);
        }
        closing(&rig, self.keep, &stage, started.elapsed());
        if !self.keep {
            rig.stop().await?;
        }
        Ok(())
    }
}

/// Runs the real helm and kubectl against the demo's API server.
struct Stage {
    layout: Layout,
    kubeconfig: PathBuf,
    last: Instant,
    parts: Vec<(&'static str, Duration)>,
}

impl Stage {
    fn new(rig: &Rig, started: Instant) -> Result<Self> {
        Ok(Self {
            layout: Layout::of_workspace()?,
            kubeconfig: rig.admin_kubeconfig(),
            last: started,
            parts: Vec::new(),
        })
    }

    /// Ends a part, whose time is told at the end.
    fn part(&mut self, name: &'static str) {
        let now = Instant::now();
        self.parts.push((name, now - self.last));
        self.last = now;
    }

    async fn install(&self, rig: &mut Rig) -> Result<()> {
        chapter("Helm installs RdmaMesh: operator, agents, device plugin");
        let tools = rig.tools();
        let values = tools.write_values(rig.collector_port())?;
        let chart = tools.chart();
        let (chart, values) = (path(&chart)?, path(&values)?);
        let install = [
            "install", RELEASE, chart, "-n", NAMESPACE, "--values", values,
        ];
        self.show(Tool::Helm, &[&install[..], &INSTALL[..]].concat(), None)
            .await?;
        rig.set_installed(true)?;
        self.kubectl(&["-n", NAMESPACE, "get", "pods", "-o", "wide"], None)
            .await
    }

    async fn play(&mut self, rig: &mut Rig) -> Result<()> {
        self.install(rig).await?;
        self.part("helm install, until everything is ready");
        chapter("Every agent reports the RNICs of its node");
        for host in ["host1", "host2", "host3", "host4"] {
            let node = format!("rdmanode/{host}");
            self.kubectl(&["wait", "--for=create", &node, "--timeout=180s"], None)
                .await?;
        }
        self.kubectl(
            &[
                "wait",
                "--for=jsonpath={.status.ports[0].usable}=true",
                "rdmanode",
                "--all",
                "--timeout=180s",
            ],
            None,
        )
        .await?;
        self.kubectl(&["get", "rdmanodes"], None).await?;

        chapter("One object says: probe everything");
        let mesh = mesh(rig)?;
        say(mesh.trim_end());
        self.kubectl(&["apply", "-f", "-"], Some(&mesh)).await?;
        self.healthy().await?;
        self.part("from the mesh to healthy");
        self.kubectl(&["get", "rdmamesh"], None).await?;

        chapter("Real probes cross both spines (tcpdump on both)");
        crossing(rig).await?;

        chapter(&format!(
            "A cable goes bad: {LINK} now drops 30 % of the packets, both ways"
        ));
        let broken = Instant::now();
        rig.apply_fault(
            "demo",
            serde_saphyr::from_str(FAULT).context("parse the fault")?,
        )
        .await?;
        self.kubectl(
            &[
                "wait",
                "--for=condition=FabricHealthy=False",
                "rdmamesh/fabric",
                "--timeout=90s",
            ],
            None,
        )
        .await?;
        self.part("from the fault to the verdict (with the look at the spines)");
        say(format!(
            "The verdict came {:.1} s after the cable went bad.",
            broken.elapsed().as_secs_f64()
        ));
        self.kubectl(&["get", "rdmamesh"], None).await?;
        self.kubectl(&["get", "rdmamesh", "fabric", "-o", EVIDENCE], None)
            .await?;

        chapter("The cable is replaced");
        rig.clear_fault("demo").await?;
        self.healthy().await?;
        self.part("from the new cable to healthy");
        self.kubectl(&["get", "rdmamesh"], None).await?;
        self.kubectl(&["events", "-A", "--for", "rdmamesh/fabric"], None)
            .await
    }

    async fn healthy(&self) -> Result<()> {
        self.kubectl(
            &[
                "wait",
                "--for=condition=FabricHealthy",
                "rdmamesh/fabric",
                "--timeout=180s",
            ],
            None,
        )
        .await
    }

    async fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<()> {
        self.show(Tool::Kubectl, arguments, input).await
    }

    /// Shows the command line, runs it, shows what it prints.
    async fn show(&self, tool: Tool, arguments: &[&str], input: Option<&str>) -> Result<()> {
        let line: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
        let line = format!("{} {}", tool.program(), line.join(" "));
        let program = tool.path(&self.layout);
        say(format!("$ {line}"));
        let mut child = Command::new(&program)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin
                .write_all(text.as_bytes())
                .await
                .context("write to the program")?;
        }
        let output = child
            .wait_with_output()
            .await
            .context("wait for the program")?;
        for text in [&output.stdout, &output.stderr] {
            String::from_utf8_lossy(text)
                .lines()
                .for_each(|line| say(format!("  {line}")));
        }
        if !output.status.success() {
            bail!("`{line}` ended with {}", output.status);
        }
        Ok(())
    }
}

/// The mesh that a newcomer would write, and the names of this fabric's switches: everything else is a default.
fn mesh(rig: &Rig) -> Result<String> {
    let spec = rig.fabric().with_switch_names(&serde_json::json!({}));
    let mesh = serde_json::json!({
        "apiVersion": "rdmamesh.io/v1alpha1", "kind": "RdmaMesh", "metadata": {"name": "fabric"}, "spec": spec,
    });
    serde_saphyr::to_string(&mesh).context("write the mesh")
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("the path is text")
}

/// Who is suspected, and why.
const EVIDENCE: &str =
    "jsonpath={range .status.suspects[*]}{.evidence} (confidence {.confidence} %){\"\\n\"}{end}";

/// An argument as a shell would need it.
fn quoted(argument: &str) -> String {
    if argument.contains([' ', '*', '{']) {
        format!("'{argument}'")
    } else {
        argument.to_owned()
    }
}

/// Counts RoCEv2 datagrams on each spine.
async fn crossing(rig: &Rig) -> Result<()> {
    let script = "\
for spine in spine1 spine2; do
  timeout 30 ip netns exec $spine tcpdump -i leaf1 -c 300 -nn -q udp dst port 4791 >/tmp/$spine.dump 2>/dev/null &
done
wait
for spine in spine1 spine2; do
  echo \"$spine $(wc -l </tmp/$spine.dump) $(grep -oE '\\.[0-9]+ >' /tmp/$spine.dump | sort -u | wc -l)\"
done";
    let counted = rig
        .guest()
        .script(
            "count probes on the spines",
            script,
            Duration::from_secs(60),
        )
        .await?;
    for line in counted.lines() {
        let [spine, datagrams, ports] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            bail!("unexpected line from the spines: {line:?}");
        };
        say(format!(
            "  {spine}: {datagrams} RoCEv2 datagrams from or to leaf1, {ports} distinct UDP source ports"
        ));
        if datagrams == "0" {
            bail!("no probe crossed {spine}");
        }
    }
    Ok(())
}

fn closing(rig: &Rig, keep: bool, stage: &Stage, took: Duration) {
    chapter(&format!(
        "That was it: healthy, broken, named, healthy again, in {:.0} s",
        took.as_secs_f64()
    ));
    for (part, time) in &stage.parts {
        say(format!("  {:6.1} s  {part}", time.as_secs_f64()));
    }
    if !keep {
        say("Everything is ended. To play with it yourself: KEEP=1 make demo");
        return;
    }
    let kubectl = Path::new("target/rig/bin/kubectl");
    say("It is still up. Try:");
    say(format!(
        "  export KUBECONFIG={}",
        rig.admin_kubeconfig().display()
    ));
    for line in [
        "get rdmamesh,rdmanodes,rdmaprobeassignments",
        "describe rdmamesh fabric",
        "get rdmamesh -w",
    ] {
        say(format!("  {} {line}", kubectl.display()));
    }
    say(format!(
        "  target/release/rig fault f1 --name {NAME} '{FAULT}'"
    ));
    say(format!("  target/release/rig clear f1 --name {NAME}"));
    if let Some(address) = rig.operator_address() {
        say(format!("  curl http://{address}/metrics"));
    }
    say("  make down    # ends it");
}

fn chapter(title: &str) {
    say("");
    say(format!("== {title}"));
}

#[expect(clippy::print_stdout, reason = "the demo is what is printed")]
fn say(line: impl AsRef<str>) {
    println!("{}", line.as_ref());
}
