//! Kubernetes, etcd, containerd and the OpenTelemetry Collector, built from the Go modules pinned in
//! `e2e/tools/<family>`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::{lock, stamp};
use crate::layout::Layout;
use crate::progress::Progress;

/// A program that the rig builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The object store of the control plane.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// Garbage collection, namespaces, service accounts.
    KubeControllerManager,
    /// For people: what the demo tells them to type.
    Kubectl,
    /// Receives the agents' metrics.
    Otelcol,
    /// Gives pods a node; world cluster.
    KubeScheduler,
    /// Runs a node's pods; world cluster.
    Kubelet,
    /// Runs a node's containers.
    Containerd,
    /// Stays beside each pod's containers.
    ContainerdShim,
    /// Brings images into containerd.
    Ctr,
    /// Starts containers.
    Runc,
    /// Holds a pod's namespaces.
    Pause,
    /// Installs the chart.
    Helm,
    /// Checks what the chart renders.
    Kubeconform,
    /// Reads the configuration in `kind-config/`.
    Kind,
}

impl Tool {
    /// Everything this version of the rig uses, the ones that share most packages beside each other.
    pub const ALL: &'static [Self] = &[
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::Kubectl,
        Self::Otelcol,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::Containerd,
        Self::ContainerdShim,
        Self::Ctr,
        Self::Runc,
        Self::Pause,
        Self::Helm,
        Self::Kubeconform,
        Self::Kind,
    ];

    /// What the fabric world needs.
    pub const FABRIC: &'static [Self] = &[
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::Kubectl,
        Self::Otelcol,
    ];

    /// What a control plane alone needs.
    pub const CONTROL_PLANE: &'static [Self] =
        &[Self::Etcd, Self::KubeApiserver, Self::KubeControllerManager];

    /// File name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Otelcol => "otelcol",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::Containerd => "containerd",
            Self::ContainerdShim => "containerd-shim-runc-v2",
            Self::Ctr => "ctr",
            Self::Runc => "runc",
            Self::Pause => "pause",
            Self::Helm => "helm",
            Self::Kubeconform => "kubeconform",
            Self::Kind => "kind",
        }
    }

    /// Where the built program is.
    pub fn path(self, layout: &Layout) -> PathBuf {
        layout.bin().join(self.program())
    }

    fn family(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::Kubectl
            | Self::KubeScheduler
            | Self::Kubelet => "kubernetes",
            Self::Otelcol => "otelcol",
            Self::Containerd | Self::ContainerdShim | Self::Ctr => "containerd",
            Self::Runc => "runc",
            Self::Pause => "pause",
            Self::Helm => "helm",
            Self::Kubeconform => "kubeconform",
            Self::Kind => "kind",
        }
    }

    fn package(self) -> String {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3".to_owned(),
            Self::Otelcol | Self::Pause => ".".to_owned(),
            Self::Containerd | Self::ContainerdShim | Self::Ctr => {
                format!("github.com/containerd/containerd/v2/cmd/{}", self.program())
            }
            Self::Runc => "github.com/opencontainers/runc".to_owned(),
            Self::Helm => "helm.sh/helm/v4/cmd/helm".to_owned(),
            Self::Kubeconform => "github.com/yannh/kubeconform/cmd/kubeconform".to_owned(),
            Self::Kind => "sigs.k8s.io/kind".to_owned(),
            kubernetes => format!("k8s.io/kubernetes/cmd/{}", kubernetes.program()),
        }
    }

    /// Build tags: runc with seccomp, which pods with `RuntimeDefault` need; containerd without the file systems that
    /// nobody here has.
    fn tags(self) -> &'static str {
        match self {
            Self::Runc => "seccomp",
            Self::Containerd | Self::ContainerdShim | Self::Ctr => "no_btrfs,no_zfs,no_devmapper",
            _ => "",
        }
    }

    /// Whether it is linked with C code.
    fn cgo(self) -> bool {
        self == Self::Runc
    }
}

/// Builds what is not there or not current.
///
/// # Errors
/// When Go is missing or older than the modules ask for, or a build fails.
pub async fn ensure(layout: &Layout, progress: &Progress, tools: &[Tool]) -> Result<()> {
    let _lock = lock(&layout.bin()).await?;
    for tool in tools {
        let recipe = Recipe::read(layout, *tool)?;
        let program = tool.path(layout);
        let hash = recipe.hash();
        if stamp::is_current(&program, &hash) {
            continue;
        }
        progress.say(format!("building {} (first time: minutes)", tool.program()));
        recipe.build(layout).await?;
        stamp::write(&program, &hash)?;
    }
    Ok(())
}

/// Everything that decides what a built program is like.
struct Recipe {
    tool: Tool,
    go_mod: String,
    go_sum: String,
    main_go: String,
    flags: Vec<String>,
}

impl Recipe {
    fn read(layout: &Layout, tool: Tool) -> Result<Self> {
        let module = layout.tool_module(tool.family());
        let read = |file: &str| {
            let path = module.join(file);
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        let go_mod = read("go.mod")?;
        let main_go = if tool.package() == "." {
            read("main.go")?
        } else {
            String::new()
        };
        let ld_flags = match tool.family() {
            "kubernetes" => kubernetes_version_flags(&go_mod)?,
            _ => "-s -w".to_owned(),
        };
        let mut flags = vec![
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            &ld_flags,
        ];
        if !tool.tags().is_empty() {
            flags.extend(["-tags", tool.tags()]);
        }
        Ok(Self {
            tool,
            go_sum: read("go.sum")?,
            go_mod,
            main_go,
            flags: flags.into_iter().map(str::to_owned).collect(),
        })
    }

    fn hash(&self) -> String {
        stamp::recipe([
            ("package", self.tool.package().as_bytes()),
            ("go.mod", self.go_mod.as_bytes()),
            ("go.sum", self.go_sum.as_bytes()),
            ("main.go", self.main_go.as_bytes()),
            ("flags", self.flags.join(" ").as_bytes()),
        ])
    }

    /// Builds to a temporary name first: what stands under the final name is always whole.
    async fn build(&self, layout: &Layout) -> Result<()> {
        let program = self.tool.path(layout);
        let unfinished = layout
            .bin()
            .join(format!(".{}.unfinished", self.tool.program()));
        let output = Command::new("go")
            .arg("build")
            .args(&self.flags)
            .arg("-o")
            .arg(&unfinished)
            .arg(self.tool.package())
            .current_dir(layout.tool_module(self.tool.family()))
            .env("CGO_ENABLED", if self.tool.cgo() { "1" } else { "0" })
            .env("GOFLAGS", "")
            .kill_on_drop(true)
            .output()
            .await
            .context("run `go`: install Go 1.26 or later")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("`go build` of {} failed:\n{text}", self.tool.program());
        }
        std::fs::rename(&unfinished, &program)
            .with_context(|| format!("rename to {}", program.display()))
    }
}

/// Linker flags that make the programs report the pinned version; without them clients see v0.0.0.
fn kubernetes_version_flags(go_mod: &str) -> Result<String> {
    let version = go_mod
        .lines()
        .map(|line| line.trim().trim_start_matches("require "))
        .find_map(|line| line.strip_prefix("k8s.io/kubernetes "))
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .context("e2e/tools/kubernetes/go.mod requires no k8s.io/kubernetes")?;
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    let stamps = [
        ("gitVersion", version),
        ("gitMajor", major),
        ("gitMinor", minor),
    ];
    let flags = [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ]
    .iter()
    .flat_map(|package| stamps.map(|(name, value)| format!(" -X {package}.{name}={value}")));
    Ok(format!("-s -w{}", flags.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_programs_are_stamped_with_the_pinned_version() {
        let flags =
            kubernetes_version_flags("module x\n\n\tk8s.io/kubernetes v1.36.3 // indirect\n")
                .expect("the version is found");
        assert!(
            flags.contains("-X k8s.io/component-base/version.gitVersion=v1.36.3"),
            "{flags}"
        );
        assert!(
            flags.contains("-X k8s.io/client-go/pkg/version.gitMinor=36"),
            "{flags}"
        );
    }

    #[test]
    fn every_tool_has_a_recipe_in_the_work_tree() {
        let layout = Layout::of_workspace().expect("the work tree is here");
        let mut hashes: Vec<String> = Tool::ALL
            .iter()
            .map(|tool| {
                Recipe::read(&layout, *tool)
                    .expect("the recipe reads")
                    .hash()
            })
            .collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(
            hashes.len(),
            Tool::ALL.len(),
            "recipes differ from each other"
        );
    }
}
