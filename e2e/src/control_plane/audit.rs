//! What operator and agents really ask of the API server, recorded: the test that compares their roles with what they
//! use reads it. One file of audit events (JSON lines, level Metadata, API group `audit.k8s.io/v1`) per control plane,
//! kept when the control plane's own files are removed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::layout::Layout;

/// Requests of the product's service accounts, once each, whoever else asks for something is not recorded. Leases of
/// the leader election and access reviews are requests like any other.
const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    userGroups: ['system:serviceaccounts:rdmamesh-system']
  - level: None
";

/// The folder of all recordings: one file per control plane, named after its folder.
pub fn folder(layout: &Layout) -> PathBuf {
    layout.rig().join("audit")
}

/// The recording of the control plane that has its files in `plane`.
pub(super) fn log(layout: &Layout, plane: &Path) -> PathBuf {
    let name = plane
        .strip_prefix(layout.runs())
        .unwrap_or(plane)
        .display()
        .to_string();
    folder(layout).join(format!(
        "{}.jsonl",
        name.trim_matches('/').replace('/', "-")
    ))
}

pub(super) fn policy(plane: &Path) -> PathBuf {
    plane.join("audit-policy.yaml")
}

pub(super) fn prepare(layout: &Layout, plane: &Path) -> Result<()> {
    std::fs::create_dir_all(folder(layout)).context("create the folder of audit records")?;
    std::fs::write(policy(plane), POLICY).context("write the audit policy")
}
