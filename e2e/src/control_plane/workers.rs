//! What a control plane with real nodes needs besides: credentials of scheduler and kubelets, and the API server's way
//! to the kubelets (`kubectl logs` and `exec`), which leads through a unix socket into the guest.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::credentials;
use super::kubeconfig_path;
use super::pki::{Authority, HOST_AS_SEEN_BY_GUEST, write_secret};

pub(super) const SCHEDULER: &str = "system:kube-scheduler";
pub(super) const KUBELET_CLIENT_CERTIFICATE: &str = "kubelet-client.crt";
pub(super) const KUBELET_CLIENT_KEY: &str = "kubelet-client.key";

/// The nodes of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// None that is real.
    None,
    /// One kubelet each.
    Named(Vec<String>),
}

/// Kubeconfig of a node's kubelet, for the guest.
pub fn kubelet_kubeconfig(folder: &Path, node: &str) -> PathBuf {
    kubeconfig_path(folder, &format!("kubelet-{node}"))
}

/// The socket that the API server reaches the nodes through: something must listen there that speaks HTTP CONNECT.
pub fn egress_socket(folder: &Path) -> PathBuf {
    folder.join("egress")
}

pub(super) fn egress(folder: &Path) -> PathBuf {
    folder.join("egress.yaml")
}

/// Writes credentials and configuration; nothing to do without nodes.
pub(super) fn prepare(
    folder: &Path,
    authority: &Authority,
    api_port: u16,
    nodes: &Nodes,
) -> Result<()> {
    let Nodes::Named(nodes) = nodes else {
        return Ok(());
    };
    let local = format!("https://127.0.0.1:{api_port}");
    let scheduler = authority.client(SCHEDULER, None)?.into();
    let path = kubeconfig_path(folder, SCHEDULER);
    credentials::write_kubeconfig(&path, &local, &authority.certificate, &scheduler)?;
    let from_guest = format!("https://{HOST_AS_SEEN_BY_GUEST}:{api_port}");
    for node in nodes {
        let certificate = authority.client(&format!("system:node:{node}"), Some("system:nodes"))?;
        credentials::write_kubeconfig(
            &kubelet_kubeconfig(folder, node),
            &from_guest,
            &authority.certificate,
            &certificate.into(),
        )?;
    }
    // The API server's own identity towards kubelets, which ask it back whether that may read logs and run commands.
    let client = authority.client("kube-apiserver-kubelet-client", Some("system:masters"))?;
    std::fs::write(
        folder.join("pki").join(KUBELET_CLIENT_CERTIFICATE),
        client.certificate,
    )
    .context("write the kubelet client's certificate")?;
    write_secret(&folder.join("pki").join(KUBELET_CLIENT_KEY), &client.key)?;
    let socket = egress_socket(folder).display().to_string();
    let text = format!(
        "apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
  - name: cluster
    connection:
      proxyProtocol: HTTPConnect
      transport: {{uds: {{udsName: '{socket}'}}}}
"
    );
    std::fs::write(egress(folder), text).context("write the egress configuration")
}
