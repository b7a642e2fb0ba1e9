//! `rig in-vm`: runs one program in a VM of its own. The Makefile makes it cargo's runner for tests that need root, network
//! namespaces and a kernel with soft-RoCE: `cargo test` then runs them inside without knowing of it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::inside;
use crate::channel::Program;
use crate::child::Lifetime;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::tools;
use crate::vm::{Machine, Vm};

/// Memory of the VM, MiB: a program, its namespaces and devices.
const MEMORY_MIB: u32 = 2048;

/// Run a program in a VM of its own, without fabric or control plane; the VM ends with it.
#[derive(Debug, Args)]
pub(super) struct InVm {
    /// How long the program may take.
    #[arg(long, default_value = "30m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// The program and its arguments. Variables that begin with `RDMAMESH_` go with it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

impl InVm {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let layout = Layout::of_workspace()?;
        // What is said here goes between the lines of the program, which a tally reads: nothing on success.
        let progress = Progress::quiet();
        let artefacts = tools::ensure_guest(&layout, &progress).await?;
        let name = format!("in-vm-{}", std::process::id());
        let folder = layout.run(&name);
        std::fs::create_dir_all(folder.join("logs"))
            .with_context(|| format!("create {}", folder.display()))?;
        let machine = Machine {
            memory_mib: MEMORY_MIB,
            lifetime: Lifetime::Tied,
            forward: None,
        };
        let vm = Vm::boot(&layout, &artefacts, &name, machine, &progress).await?;
        let program = Program {
            env: std::env::vars()
                .filter(|(name, _)| name.starts_with("RDMAMESH_"))
                .collect(),
            ..Program::new(self.command)
        };
        let outcome = vm.guest().run(program, "", self.timeout).await;
        vm.stop().await?;
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        inside::finish(&outcome?, self.timeout)
    }
}
