//! Command lines of the control plane's programs.

use std::path::Path;

use super::{Ports, audit, workers};
use crate::layout::Layout;

/// What a cluster without nodes needs.
const CONTROLLERS: &[&str] = &[
    "garbage-collector-controller",
    "namespace-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
];

/// What nodes and workloads need besides.
const WORKLOAD_CONTROLLERS: &[&str] = &[
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "job-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "taint-eviction-controller",
];

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

pub(super) fn etcd(folder: &Path, ports: &Ports) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", ports.etcd_client);
    let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
    vec![
        flag("data-dir", folder.join("etcd").display()),
        flag("listen-client-urls", &client),
        flag("advertise-client-urls", &client),
        flag("listen-peer-urls", &peer),
        flag("initial-advertise-peer-urls", &peer),
        flag("initial-cluster", format!("default={peer}")),
        // Losing the data with the machine is fine here; waiting for the disk is not.
        "--unsafe-no-fsync".to_owned(),
        flag("log-level", "warn"),
    ]
}

pub(super) fn api_server(
    layout: &Layout,
    folder: &Path,
    ports: &Ports,
    with_nodes: bool,
) -> Vec<String> {
    let pki = |file: &str| folder.join("pki").join(file).display().to_string();
    let mut flags = vec![
        flag(
            "etcd-servers",
            format!("http://127.0.0.1:{}", ports.etcd_client),
        ),
        flag("bind-address", "127.0.0.1"),
        flag("secure-port", ports.api),
        // How the guest sees this machine; also what the `kubernetes` service points at.
        flag("advertise-address", super::pki::HOST_AS_SEEN_BY_GUEST),
        flag("tls-cert-file", pki("apiserver.crt")),
        flag("tls-private-key-file", pki("apiserver.key")),
        flag("client-ca-file", pki("ca.crt")),
        flag("service-account-issuer", "https://kubernetes.default.svc"),
        flag("service-account-key-file", pki("service-accounts.pub")),
        flag(
            "service-account-signing-key-file",
            pki("service-accounts.key"),
        ),
        flag("service-cluster-ip-range", "10.96.0.0/16"),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("allow-privileged", true),
        flag("profiling", false),
        flag("audit-policy-file", audit::policy(folder).display()),
        flag("audit-log-path", audit::log(layout, folder).display()),
    ];
    if with_nodes {
        flags.extend([
            flag(
                "egress-selector-config-file",
                workers::egress(folder).display(),
            ),
            flag(
                "kubelet-client-certificate",
                pki(workers::KUBELET_CLIENT_CERTIFICATE),
            ),
            flag("kubelet-client-key", pki(workers::KUBELET_CLIENT_KEY)),
            flag("kubelet-preferred-address-types", "InternalIP"),
        ]);
    }
    flags
}

pub(super) fn scheduler(kubeconfig: &Path) -> Vec<String> {
    vec![
        flag("kubeconfig", kubeconfig.display()),
        flag("leader-elect", false),
        flag("secure-port", 0),
    ]
}

pub(super) fn controller_manager(
    folder: &Path,
    kubeconfig: &Path,
    with_nodes: bool,
) -> Vec<String> {
    let pki = |file: &str| folder.join("pki").join(file).display().to_string();
    let mut controllers = CONTROLLERS.to_vec();
    if with_nodes {
        controllers.extend(WORKLOAD_CONTROLLERS);
    }
    vec![
        flag("kubeconfig", kubeconfig.display()),
        flag("controllers", controllers.join(",")),
        flag(
            "service-account-private-key-file",
            pki("service-accounts.key"),
        ),
        flag("root-ca-file", pki("ca.crt")),
        // Each controller with its own rights, as everywhere.
        flag("use-service-account-credentials", with_nodes),
        flag("leader-elect", false),
        // It serves nothing that anybody here reads.
        flag("secure-port", 0),
    ]
}
