//! An apt root of the rig's own: reads trixie-backports from any Debian or Ubuntu machine without touching it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::super::package;
use crate::child::checked;
use crate::layout::Layout;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Names a Debian mirror where the machine's own apt has none (Ubuntu).
const MIRROR_VARIABLE: &str = "RDMAMESH_DEBIAN_MIRROR";

/// The prepared apt root.
pub(super) struct Apt {
    root: PathBuf,
}

impl Apt {
    /// Sets the root up with the Debian mirror that this machine uses itself.
    pub(super) fn of_machine(layout: &Layout) -> Result<Self> {
        let mirror = mirror()?;
        if !Path::new(KEYRING).is_file() {
            bail!("{KEYRING} is missing: install the package debian-archive-keyring");
        }
        let root = layout.rig().join("apt");
        for folder in ["etc", "lists/partial", "cache/archives/partial", "state"] {
            std::fs::create_dir_all(root.join(folder)).context("create the apt root")?;
        }
        let source = format!("deb [signed-by={KEYRING}] {mirror} trixie-backports main\n");
        std::fs::write(root.join("etc/sources.list"), source).context("write sources.list")?;
        // An empty list of installed packages: nothing of this machine's matters here.
        std::fs::write(root.join("state/status"), "").context("write the package status")?;
        Ok(Self { root })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |folder: &str| self.root.join(folder).display().to_string();
        for (option, value) in [
            ("Dir::Etc::sourcelist", at("etc/sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
            ("Dir::Etc::preferencesparts", "/dev/null".to_owned()),
            ("Dir::State", at("state")),
            ("Dir::State::lists", at("lists")),
            ("Dir::State::status", at("state/status")),
            ("Dir::Cache", at("cache")),
            ("APT::Architecture", "amd64".to_owned()),
            // The package files land in a folder of root's: without this apt warns about its own user.
            ("APT::Sandbox::User", "root".to_owned()),
            ("Acquire::Retries", "3".to_owned()),
        ] {
            command.arg("-o").arg(format!("{option}={value}"));
        }
        command.kill_on_drop(true);
        command
    }

    /// Fetches the package lists.
    pub(super) async fn update(&self) -> Result<()> {
        let output = self
            .command("apt-get")
            .arg("update")
            .output()
            .await
            .context("run apt-get")?;
        checked("`apt-get update` on trixie-backports", &output)
    }

    /// Names of all packages that begin with `prefix`.
    pub(super) async fn package_names(&self, prefix: &str) -> Result<Vec<String>> {
        let output = self
            .command("apt-cache")
            .args(["pkgnames", prefix])
            .output()
            .await
            .context("run apt-cache")?;
        checked("`apt-cache pkgnames`", &output)?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Downloads packages and unpacks them to a folder.
    pub(super) async fn unpack(&self, packages: &[String], folder: &Path) -> Result<()> {
        package::unpack(self.command("apt-get"), packages, (&self.root, folder)).await
    }
}

fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var(MIRROR_VARIABLE) {
        return Ok(mirror);
    }
    let output = std::process::Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)"])
        .output()
        .context("run apt-get: the rig needs a Debian or Ubuntu machine")?;
    find_mirror(&String::from_utf8_lossy(&output.stdout)).with_context(|| {
        format!(
            "this machine's apt knows no Debian archive: run `apt-get update`, or set {MIRROR_VARIABLE} to the \
             address of a Debian mirror and install the package debian-archive-keyring"
        )
    })
}

/// The Debian archive itself among apt's targets, not its security or third-party archives.
fn find_mirror(targets: &str) -> Option<String> {
    targets
        .lines()
        .filter_map(|line| line.strip_suffix(" Debian Debian"))
        .map(|address| address.trim().to_owned())
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_debian_archive_and_no_other() {
        let targets = "http://a.example/security/ Debian Debian-Security\n\
                       http://b.example/tools/ Tools Tools\n\
                       http://c.example/debian/ Debian Debian\n";
        assert_eq!(
            find_mirror(targets).as_deref(),
            Some("http://c.example/debian/")
        );
        assert_eq!(
            find_mirror("http://u.example/ubuntu/ Ubuntu Ubuntu\n"),
            None
        );
    }
}
