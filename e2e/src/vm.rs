//! The virtual machine that holds the fabric: QEMU with the rig's kernel, the host's root file system read-only over
//! 9p below a writable layer, and the guest agent as its only service.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::channel::Guest;
use crate::child::{Child, Lifetime, Spec, free_port};
use crate::layout::Layout;
use crate::progress::Progress;
use crate::tools::Artefacts;

pub mod accel;

pub use accel::Accelerator;

const BOOT_SCRIPT: &str = include_str!("../guest/boot.sh");
/// Port of the guest agent inside the guest.
const AGENT_PORT: u16 = 7000;
/// Software emulation takes 5 s on an idle machine; a busy one much longer.
const BOOT_WITHIN: Duration = Duration::from_secs(180);
const CPUS: u32 = 2;
const CONSOLE: &str = "logs/console.log";

/// How the report of a kernel that cannot go on begins.
const TROUBLE: [&str; 5] = [
    "Oops",
    "BUG:",
    "divide error",
    "general protection",
    "Kernel panic",
];
/// Lines of such a report.
const REPORT: usize = 40;

/// The last words of the guest of this name, where its kernel has said that it cannot go on.
pub fn kernel_died(layout: &Layout, name: &str) -> Option<String> {
    let console = std::fs::read(layout.run(name).join(CONSOLE)).ok()?;
    last_words(&String::from_utf8_lossy(&console))
}

fn last_words(console: &str) -> Option<String> {
    if !console.contains("Kernel panic") {
        return None;
    }
    let report = console
        .lines()
        .skip_while(|line| !TROUBLE.iter().any(|trouble| line.contains(trouble)));
    Some(report.take(REPORT).collect::<Vec<_>>().join("\n"))
}

/// What a VM is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Its memory, MiB.
    pub memory_mib: u32,
    /// Whether it ends with this process.
    pub lifetime: Lifetime,
    /// A port of this machine's loopback address, and the guest's port that it leads to.
    pub forward: Option<(u16, u16)>,
}

/// A running VM.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vm {
    /// Its folder, which the guest sees writable at the same path.
    pub folder: PathBuf,
    /// Whether it runs natively or emulated.
    pub accelerator: Accelerator,
    port: u16,
    qemu: Child,
}

impl Vm {
    /// Boots one and waits until its guest agent answers.
    ///
    /// # Errors
    /// When QEMU is missing or the guest does not come up; the message has the console's last lines.
    pub async fn boot(
        layout: &Layout,
        artefacts: &Artefacts,
        name: &str,
        machine: Machine,
        progress: &Progress,
    ) -> Result<Self> {
        let folder = layout.run(name);
        let port = free_port()?;
        prepare(layout, artefacts, name)?;
        let accelerator = Accelerator::of_machine(layout, artefacts).await?;
        progress.say(format!(
            "booting kernel {} ({accelerator})",
            artefacts.kernel.release
        ));
        let spec = Spec {
            argv: qemu(layout, artefacts, &folder, machine, accelerator, port),
            env: Vec::new(),
            log: folder.join(CONSOLE),
            lifetime: machine.lifetime,
        };
        let qemu = Child::start("qemu", &spec)?;
        let vm = Self {
            folder,
            accelerator,
            port,
            qemu,
        };
        if let Err(error) = vm.wait_up().await {
            vm.stop().await?;
            return Err(error);
        }
        Ok(vm)
    }

    /// The way into the guest.
    pub fn guest(&self) -> Guest {
        Guest::at_port(self.port)
    }

    /// Whether QEMU still runs.
    pub fn is_alive(&self) -> bool {
        self.qemu.is_alive()
    }

    /// Where the guest's console goes.
    pub fn console(&self) -> &Path {
        &self.qemu.log
    }

    /// Switches it off; nothing in it needs saving.
    ///
    /// # Errors
    /// When QEMU does not end even when killed.
    pub async fn stop(&self) -> Result<()> {
        self.qemu.kill().await
    }

    /// Asks QEMU to end and does not wait for it.
    pub fn request_end(&self) {
        // Failing here leaves it to whoever looks at the process next.
        self.qemu.signal(nix::sys::signal::Signal::SIGTERM).ok();
    }

    async fn wait_up(&self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + BOOT_WITHIN;
        let guest = self.guest();
        while !guest.is_up().await {
            if !self.qemu.is_alive() {
                bail!("the VM ended at boot:\n{}", self.qemu.log_tail(15));
            }
            if tokio::time::Instant::now() >= deadline {
                let tail = self.qemu.log_tail(15);
                bail!(
                    "the guest agent does not answer after {} s:\n{tail}",
                    BOOT_WITHIN.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

/// Puts what the guest starts with into the run folder: script, settings, and this program, which a new build
/// cannot pull away from under it there.
fn prepare(layout: &Layout, artefacts: &Artefacts, name: &str) -> Result<()> {
    let folder = layout.run(name);
    std::fs::create_dir_all(folder.join("bin")).context("create the run folder")?;
    std::fs::create_dir_all(folder.join("logs")).context("create the run folder")?;
    let agent = folder.join("bin/rig");
    Layout::place(&layout.rig_program()?, &agent)?;
    std::fs::write(folder.join("boot.sh"), BOOT_SCRIPT).context("write boot.sh")?;
    let settings = format!(
        "RIG_BINARY='{}'\nRIG_MODULES='{}'\nRIG_PORT={AGENT_PORT}\nRIG_NAME='{name}'\n",
        agent.display(),
        artefacts.kernel.modules().display(),
    );
    std::fs::write(folder.join("guest.env"), settings).context("write guest.env")
}

fn qemu(
    layout: &Layout,
    artefacts: &Artefacts,
    folder: &Path,
    machine: Machine,
    accelerator: Accelerator,
    port: u16,
) -> Vec<String> {
    let share = |path: &Path, tag: &str, options: &str| {
        let path = path.display();
        format!("local,path={path},mount_tag={tag},security_model=none,multidevs=remap{options}")
    };
    let target = layout.target();
    let kernel_command_line = format!(
        "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable clocksource=tsc rig.target={} rig.run={}",
        target.display(),
        folder.display(),
    );
    let mut nic = "user,model=virtio-net-pci".to_owned();
    for (host, guest) in [(port, AGENT_PORT)].into_iter().chain(machine.forward) {
        nic.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
    }
    let mut argv = vec!["qemu-system-x86_64".to_owned()];
    argv.extend(accelerator.arguments());
    let rest = [
        ("-smp", CPUS.to_string()),
        ("-m", machine.memory_mib.to_string()),
        ("-kernel", artefacts.kernel.image().display().to_string()),
        ("-initrd", artefacts.initramfs.display().to_string()),
        ("-append", kernel_command_line),
        ("-virtfs", share(Path::new("/"), "hostroot", ",readonly=on")),
        ("-virtfs", share(target, "target", ",readonly=on")),
        ("-virtfs", share(folder, "run", "")),
        ("-nic", nic),
    ];
    argv.extend(
        rest.into_iter()
            .flat_map(|(option, value)| [option.to_owned(), value]),
    );
    argv.extend(["-nographic".to_owned(), "-no-reboot".to_owned()]);
    argv
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_kernel_begin_where_its_trouble_began() {
        let console = "booted in 6 s\n[ 715.9] Oops: divide error: 0000 [#1] SMP\n[ 715.9] RIP: 0010:x+0x1/0x2\n\
                       [ 716.0] Kernel panic - not syncing: Fatal exception in interrupt\n";
        let words = last_words(console).expect("it died");
        assert!(words.starts_with("[ 715.9] Oops: divide error"), "{words}");
        assert!(words.ends_with("Fatal exception in interrupt"), "{words}");
    }

    #[test]
    fn a_kernel_that_only_complains_lives() {
        assert_eq!(
            last_words("[ 1.0] WARNING: CPU: 0\n[ 2.0] BUG: soft lockup\n"),
            None
        );
    }
}
