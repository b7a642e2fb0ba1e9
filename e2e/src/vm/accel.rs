//! Whether the guest can run natively. `/dev/kvm` alone says little: it exists on machines that cannot run a stock
//! kernel in it, so the guest's own kernel is tried first.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::layout::Layout;
use crate::tools::Artefacts;

/// Natively a boot to the probe's end takes about a second.
const PROBE_WITHIN: Duration = Duration::from_secs(15);
/// What initramfs.sh prints when it was booted for a probe.
const PROBE_WORD: &str = "rig-guest: probe passed";

/// How QEMU executes the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Accelerator {
    /// On the processor itself.
    Kvm,
    /// In software.
    Tcg,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "software emulation, this machine has no usable KVM",
        })
    }
}

impl Accelerator {
    /// KVM where the processor offers it and a probe boot succeeds, else software. The answer is kept per kernel.
    ///
    /// # Errors
    /// When the answer cannot be kept.
    pub async fn of_machine(layout: &Layout, artefacts: &Artefacts) -> Result<Self> {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if !offers_virtualisation(&cpu) || !std::path::Path::new("/dev/kvm").exists() {
            return Ok(Self::Tcg);
        }
        let record = layout.kernel().join("accelerator.json");
        if let Ok(text) = std::fs::read(&record)
            && let Ok((release, accelerator)) = serde_json::from_slice::<(String, Self)>(&text)
            && release == artefacts.kernel.release
        {
            return Ok(accelerator);
        }
        let accelerator = if kvm_boots(artefacts).await {
            Self::Kvm
        } else {
            Self::Tcg
        };
        let text = serde_json::to_vec(&(&artefacts.kernel.release, accelerator))
            .context("serialise the accelerator")?;
        std::fs::write(&record, text).context("keep the accelerator")?;
        Ok(accelerator)
    }

    /// QEMU's options for it.
    pub(super) fn arguments(self) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => &["-accel", "tcg,thread=multi", "-cpu", "max"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

fn offers_virtualisation(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| {
            line.split_ascii_whitespace()
                .any(|flag| flag == "vmx" || flag == "svm")
        })
}

async fn kvm_boots(artefacts: &Artefacts) -> bool {
    let run = Command::new("qemu-system-x86_64")
        .args(Accelerator::Kvm.arguments())
        .args(["-m", "256", "-nographic", "-no-reboot", "-nic", "none"])
        .arg("-kernel")
        .arg(artefacts.kernel.image())
        .arg("-initrd")
        .arg(&artefacts.initramfs)
        .args(["-append", "console=ttyS0 quiet panic=-1 rig.probe"])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(PROBE_WITHIN, run).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).contains(PROBE_WORD),
        Ok(Err(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtualisation_is_read_from_whole_words_of_the_flags() {
        assert!(offers_virtualisation(
            "model name: x\nflags\t\t: fpu vmx sse\n"
        ));
        assert!(offers_virtualisation("flags\t\t: svm\n"));
        assert!(!offers_virtualisation(
            "flags\t\t: fpu svm_lock\nvmx flags\t: vnmi\n"
        ));
    }
}
