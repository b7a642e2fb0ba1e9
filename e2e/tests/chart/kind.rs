//! `kind-config/`, as far as it goes without Docker: the configuration in kind's own parser, the script against
//! stand-ins of the programs that it calls.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use rdmamesh_e2e::progress::Progress;
use rdmamesh_e2e::suite::SharedPlane;
use rdmamesh_e2e::tools::{Tool, go};
use serde_json::Value;
use tempfile::TempDir;

/// kind reads its configuration before it looks for Docker, and says then what it does not like.
pub fn the_configuration_is_read(shared: &SharedPlane) -> Result<()> {
    shared.wait(go::ensure(&shared.layout, &Progress::new(), &[Tool::Kind]))?;
    let good = shared.layout.workspace().join("kind-config/kind.yaml");
    let text = std::fs::read_to_string(&good)?;
    let folder = tempfile::tempdir()?;
    let bad = folder.path().join("kind.yaml");
    std::fs::write(&bad, text.replace("containerPath:", "containrPath:"))?;
    let read = |path: &Path| -> Result<String> {
        // A stand-in of docker that has no clusters and makes none.
        let host = Host::new()?;
        host.program(
            "docker",
            "case $1 in info) echo '{}';; ps) ;; *) echo 'docker is asked' >&2; exit 1;; esac",
        )?;
        let output = Command::new(Tool::Kind.path(&shared.layout))
            .args(["create", "cluster", "--config"])
            .arg(path)
            .env("PATH", host.path())
            .env("KIND_EXPERIMENTAL_PROVIDER", "docker")
            .env("KUBECONFIG", host.folder.path().join("kubeconfig"))
            .output()
            .context("run kind")?;
        ensure!(
            !output.status.success(),
            "kind made a cluster without docker"
        );
        Ok(text_of(&output))
    };
    let said = read(&bad)?;
    ensure!(
        said.contains("containrPath"),
        "kind does not notice a misspelt field: {said}"
    );
    let said = read(&good)?;
    ensure!(
        said.contains("Ensuring node image") && !said.contains("unmarshal"),
        "kind does not get past its configuration: {said}"
    );
    Ok(())
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A machine made of stand-ins: programs that log how they are called, kernel files in a folder.
struct Host {
    folder: TempDir,
}

impl Host {
    fn new() -> Result<Self> {
        let host = Self {
            folder: tempfile::tempdir()?,
        };
        std::fs::create_dir_all(host.folder.path().join("bin"))?;
        Ok(host)
    }

    /// A machine that has everything.
    fn complete() -> Result<Self> {
        let host = Self::new()?;
        std::fs::create_dir_all(host.folder.path().join("sys/module/rdma_rxe"))?;
        std::fs::create_dir_all(host.folder.path().join("images"))?;
        for image in ["rdmamesh-operator.tar", "rdmamesh-agent.tar"] {
            std::fs::write(host.folder.path().join("images").join(image), "")?;
        }
        host.program(
            "rdma",
            "case $1 in system) echo 'netns exclusive copy-on-fork on';; esac",
        )?;
        host.program("docker", "case $1 in inspect) echo 4242;; esac")?;
        host.program("kind", "case \"$1 $2\" in 'get nodes') printf '%s\\n' rdmamesh-control-plane rdmamesh-worker rdmamesh-worker2;; esac")?;
        host.program("kubectl", ":")?;
        host.program("helm", ":")?;
        host.program("nsenter", ":")?;
        host.program("modinfo", "exit 1")?;
        Ok(host)
    }

    fn program(&self, name: &str, script: &str) -> Result<()> {
        let path = self.folder.path().join("bin").join(name);
        let log = self.folder.path().join("calls");
        let text = format!(
            "#!/bin/sh\necho \"{name} $*\" >>{}\n{script}\n",
            log.display()
        );
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn without(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.folder.path().join("bin").join(name)).context("it was there")
    }

    /// The stand-ins, then what every machine has, without what may be installed on this one.
    fn path(&self) -> String {
        let base = self.folder.path().join("base");
        std::fs::create_dir_all(&base).ok(); // Seen at once when the links below fail.
        for tool in [
            "bash", "sh", "env", "sed", "sort", "head", "grep", "id", "mkdir", "dirname", "uname",
            "cat",
        ] {
            for folder in ["/usr/bin", "/bin"] {
                let from = Path::new(folder).join(tool);
                if from.exists() && !base.join(tool).exists() {
                    std::os::unix::fs::symlink(from, base.join(tool)).ok(); // The script says what it lacks.
                }
            }
        }
        format!(
            "{}:{}",
            self.folder.path().join("bin").display(),
            base.display()
        )
    }

    fn run(&self, shared: &SharedPlane, verb: &str, kernel: &str) -> Result<(bool, String)> {
        let output = Command::new("/bin/bash")
            .arg(shared.layout.workspace().join("kind-config/setup.sh"))
            .arg(verb)
            .env_clear()
            .env("PATH", self.path())
            .env("RDMAMESH_ROOT", self.folder.path())
            .env("RDMAMESH_IMAGES", self.folder.path().join("images"))
            .env("RDMAMESH_KERNEL", kernel)
            .output()
            .context("run setup.sh")?;
        Ok((output.status.success(), text_of(&output)))
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default()
    }
}

const NEW: &str = "7.1.3-amd64";

/// Every state of the host that it tells apart: what is missing, what to do, and that nothing was changed.
pub fn the_script_says_what_is_missing(shared: &SharedPlane) -> Result<()> {
    let (well, said) = Host::complete()?.run(shared, "check", NEW)?;
    ensure!(
        well && said.contains("this host can run RdmaMesh on kind"),
        "{said}"
    );

    type Break = fn(&Host) -> Result<()>;
    let cases: &[(&str, Break, &str, &[&str])] = &[
        (
            "an old kernel",
            |_| Ok(()),
            "6.12.5",
            &[
                "kernel 6.12.5 is older than 7.1",
                "do: boot a kernel of 7.1 or later",
            ],
        ),
        (
            "no module",
            |host| {
                std::fs::remove_dir(host.folder.path().join("sys/module/rdma_rxe"))
                    .context("it was there")
            },
            NEW,
            &[
                "this kernel has no module rdma_rxe",
                "do: install the kernel's extra modules",
            ],
        ),
        (
            "shared devices",
            |host| host.program("rdma", "echo netns shared"),
            NEW,
            &["netns shared", "do: sudo rdma system set netns exclusive"],
        ),
        (
            "no docker",
            |host| host.without("docker"),
            NEW,
            &["the program docker is not installed"],
        ),
        (
            "docker that does not answer",
            |host| host.program("docker", "exit 1"),
            NEW,
            &["docker does not answer", "do: start it"],
        ),
        (
            "no kind",
            |host| host.without("kind"),
            NEW,
            &[
                "the program kind is not installed",
                "do: go install sigs.k8s.io/kind@v",
            ],
        ),
        (
            "no images",
            |host| {
                std::fs::remove_file(host.folder.path().join("images/rdmamesh-agent.tar"))
                    .context("it was there")
            },
            NEW,
            &["rdmamesh-agent.tar", "do: make images"],
        ),
    ];
    for (what, damage, kernel, wanted) in cases {
        let host = Host::complete()?;
        damage(&host)?;
        let (well, said) = host.run(shared, "up", kernel)?;
        ensure!(
            !well && said.contains("1 missing: nothing was changed"),
            "{what}: {said}"
        );
        for part in *wanted {
            ensure!(said.contains(part), "{what}: {part:?} is not in: {said}");
        }
        for change in ["kind create", "nsenter", "helm upgrade"] {
            ensure!(!host.calls().contains(change), "{what}: {}", host.calls());
        }
    }
    Ok(())
}

/// On a host that has everything: what is called, in order.
pub fn the_script_sets_everything_up(shared: &SharedPlane) -> Result<()> {
    let host = Host::complete()?;
    let (well, said) = host.run(shared, "up", NEW)?;
    ensure!(well, "{said}");
    let calls = host.calls();
    let mut rest = calls.as_str();
    for call in [
        "kind create cluster --name rdmamesh --config",
        "nsenter --target 4242 --net rdma link add rxe0 type rxe netdev eth0",
        "nsenter --target 4242 --net rdma link add rxe0 type rxe netdev eth0",
        "kind load image-archive --name rdmamesh",
        "helm upgrade --install rdmamesh",
        "kubectl --context kind-rdmamesh apply -f",
    ] {
        let (_, after) = rest
            .split_once(call)
            .with_context(|| format!("{call:?} does not follow in: {calls}"))?;
        rest = after;
    }
    ensure!(
        !rest.contains("rxe0"),
        "the control plane got a device: {calls}"
    );
    let (well, said) = host.run(shared, "bogus", NEW)?;
    ensure!(!well && said.contains("usage: setup.sh"), "{said}");
    Ok(())
}

/// The workflow for users is YAML, and the files, make targets and commands that it uses are there.
pub fn the_workflow_calls_what_exists(shared: &SharedPlane) -> Result<()> {
    let root = shared.layout.workspace();
    let text = std::fs::read_to_string(root.join("kind-config/github-workflow.yaml"))?;
    let workflow: Value = serde_saphyr::from_str(&text).context("the workflow is YAML")?;
    let steps = workflow["jobs"]["fabric"]["steps"]
        .as_array()
        .context("it has steps")?;
    let commands: Vec<&str> = steps
        .iter()
        .filter_map(|step| step["run"].as_str())
        .collect();
    let makefile = std::fs::read_to_string(root.join("Makefile"))?;
    let mut targets = 0;
    for line in commands.iter().flat_map(|command| command.lines()) {
        if let Some(target) = line.trim().strip_prefix("make ") {
            ensure!(
                makefile.contains(&format!("\n{target}:")),
                "make has no target {target}"
            );
            targets += 1;
        }
        if let Some(scenario) = line
            .split_whitespace()
            .find(|word| word.starts_with("e2e/scenarios/"))
        {
            ensure!(root.join(scenario).is_file(), "there is no {scenario}");
        }
    }
    ensure!(targets > 0, "it makes nothing: {commands:?}");
    Ok(())
}
