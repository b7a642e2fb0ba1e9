//! Where the rig keeps its things: everything lives below `target/rig` of the workspace.
//!
//! `bin/` and `kernel/` hold what is built or downloaded once, `run/<name>/` one environment's files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The rig's folders. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Layout {
    workspace: PathBuf,
    target: PathBuf,
}

impl Layout {
    /// The layout of the workspace this crate was compiled in; `CARGO_TARGET_DIR` moves the build folder.
    ///
    /// # Errors
    /// When the workspace is no longer where it was compiled.
    pub fn of_workspace() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = manifest
            .parent()
            .context("the e2e crate lies in the workspace's root")?;
        if !workspace.join("e2e/tools").is_dir() {
            bail!(
                "{} is not the RdmaMesh work tree any more: build `rig` again where the tree is now",
                workspace.display()
            );
        }
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| workspace.join("target"), PathBuf::from);
        std::fs::create_dir_all(target.join("rig"))
            .with_context(|| format!("create {}", target.join("rig").display()))?;
        let target = target
            .canonicalize()
            .with_context(|| format!("resolve {}", target.display()))?;
        Ok(Self {
            workspace: workspace.to_path_buf(),
            target,
        })
    }

    /// The root of the work tree.
    pub fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// Cargo's build folder; the guest sees it at the same path, read-only.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Everything of the rig; removing it costs only time.
    pub fn rig(&self) -> PathBuf {
        self.target.join("rig")
    }

    /// Programs built from the pinned Go modules.
    pub fn bin(&self) -> PathBuf {
        self.rig().join("bin")
    }

    /// The guest's kernel, unpacked.
    pub fn kernel(&self) -> PathBuf {
        self.rig().join("kernel")
    }

    /// The folder of all environments.
    pub fn runs(&self) -> PathBuf {
        self.rig().join("run")
    }

    /// One environment's folder; the guest sees it at the same path, writable.
    pub fn run(&self, name: &str) -> PathBuf {
        self.runs().join(name)
    }

    /// The Go module of a tool family, e.g. `kubernetes`.
    pub fn tool_module(&self, family: &str) -> PathBuf {
        self.workspace.join("e2e/tools").join(family)
    }

    /// One of this workspace's own programs: the build that `RDMAMESH_PROFILE` (`debug` or `release`) names, as the
    /// Makefile does; without it both compete by age and the newest wins.
    ///
    /// # Errors
    /// When it is not built; the message says how to build it.
    pub fn product(&self, program: &str) -> Result<PathBuf> {
        let chosen = std::env::var("RDMAMESH_PROFILE").ok();
        let profiles = ["debug", "release"];
        let newest = profiles
            .iter()
            .filter(|profile| chosen.as_deref().is_none_or(|chosen| chosen == **profile))
            .map(|profile| self.target.join(profile).join(program))
            .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
            .max();
        match newest {
            Some((_, path)) => Ok(path),
            None => bail!("{program} is not built: run `cargo build -p {program}` first"),
        }
    }

    /// Puts a program into a run folder under its own name there, so that a new build does not pull it away from those
    /// who run it: linkers write a new file. A hard link where the file system has them, for programs with their debug
    /// information fill a disk when every run copies them.
    ///
    /// # Errors
    /// When neither a link nor a copy can be made.
    pub fn place(program: &Path, at: &Path) -> Result<()> {
        // Who runs from there already must not take itself away.
        if program == at {
            return Ok(());
        }
        match std::fs::remove_file(at) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("replace {}", at.display()));
            }
            _ => {}
        }
        if std::fs::hard_link(program, at).is_err() {
            std::fs::copy(program, at)
                .with_context(|| format!("copy {} to {}", program.display(), at.display()))?;
        }
        Ok(())
    }

    /// The `rig` program itself, which also runs as guest agent and as metrics sink.
    ///
    /// # Errors
    /// When called from something else than `rig` (a test) while `rig` is not built.
    pub fn rig_program(&self) -> Result<PathBuf> {
        let own = std::env::current_exe().context("find the running program")?;
        if own.file_name().is_some_and(|name| name == "rig") {
            return Ok(own);
        }
        // Integration tests run from <profile>/deps; cargo has put the crate's binaries beside that folder.
        let beside = own
            .ancestors()
            .skip(1)
            .take(2)
            .map(|folder| folder.join("rig"))
            .find(|path| path.is_file());
        match beside {
            Some(path) => Ok(path),
            None => bail!("the rig program is not built: run `cargo build -p rdmamesh-e2e` first"),
        }
    }
}
