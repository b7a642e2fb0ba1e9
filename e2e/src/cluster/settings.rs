//! Configuration files of a cluster's parts, written where the guest can read them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Ground, PROGRAMS, PROXY_PORT};
use crate::control_plane::pki::HOST_AS_SEEN_BY_GUEST;
use crate::control_plane::workers;
use crate::fabric::{Fabric, Host};
use crate::fault::transition::cgroup;
use crate::images::PAUSE;

const NODE_SCRIPT: &str = include_str!("../../guest/node.sh");

/// Addresses of a node's own pods.
pub fn pod_range(host: &Host) -> String {
    format!("10.244.{}.0/24", host.number)
}

pub(super) fn folder(environment: &Path, node: &str) -> PathBuf {
    environment.join("nodes").join(node)
}

/// Where a node's containers log, on this machine and in the guest.
pub fn pod_logs(environment: &Path, node: &str) -> PathBuf {
    folder(environment, node).join("pods")
}

pub(super) fn script(environment: &Path) -> PathBuf {
    environment.join("nodes/node.sh")
}

pub(super) fn proxy(environment: &Path) -> PathBuf {
    environment.join("nodes/proxy.conf")
}

/// Ways of the guest's own namespace to the pods, as a script.
pub(super) fn pod_routes(fabric: &Fabric) -> String {
    let lines = fabric.hosts().iter().map(|host| {
        format!(
            "ip route replace {} via {} dev mgmt",
            pod_range(host),
            host.management
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

pub(super) fn write(ground: &Ground<'_>) -> Result<()> {
    let put = |path: PathBuf, text: String| {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("create {}", folder.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    put(script(ground.folder), NODE_SCRIPT.to_owned())?;
    put(
        proxy(ground.folder),
        format!(
            "Port {PROXY_PORT}\nListen 0.0.0.0\nTimeout 3600\nMaxClients 200\nLogLevel Warning\n"
        ),
    )?;
    for host in ground.fabric.hosts() {
        let folder = folder(ground.folder, &host.name);
        let logs = pod_logs(ground.folder, &host.name);
        std::fs::create_dir_all(&logs).with_context(|| format!("create {}", logs.display()))?;
        put(folder.join("containerd.toml"), containerd())?;
        put(folder.join("kubelet.yaml"), kubelet(ground, host))?;
        put(folder.join("pods.conflist"), network(host))?;
        put(folder.join("node.nft"), nft(ground, host))?;
        put(folder.join("kubelet.args"), kubelet_arguments(ground, host))?;
    }
    Ok(())
}

fn containerd() -> String {
    format!(
        "version = 3
root = '/var/lib/containerd'
state = '/run/containerd'
[grpc]
  address = '/run/containerd/containerd.sock'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{PAUSE}'
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/usr/lib/cni']
  conf_dir = '/etc/cni/net.d'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = '{PROGRAMS}/runc'
  SystemdCgroup = false
"
    )
}

/// The store is memory: what it holds is no reason to evict a pod. A killed container is back within seconds.
fn kubelet(ground: &Ground<'_>, host: &Host) -> String {
    let authority = ground.folder.join("control-plane/pki/ca.crt");
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: '{}'}}
authorization: {{mode: Webhook}}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /{}
failSwapOn: false
makeIPTablesUtilChains: false
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
runtimeRequestTimeout: 10m
syncFrequency: 15s
podCIDR: {}
resolvConf: ''
volumeStatsAggPeriod: 10m
healthzPort: 0
localStorageCapacityIsolation: false
evictionHard: {{memory.available: '0%', nodefs.available: '0%', imagefs.available: '0%', nodefs.inodesFree: '0%', imagefs.inodesFree: '0%', pid.available: '0%'}}
imageGCHighThresholdPercent: 100
featureGates: {{KubeletCrashLoopBackOffMax: true}}
crashLoopBackOff: {{maxContainerRestartPeriod: 2s}}
",
        authority.display(),
        cgroup(&host.name),
        pod_range(host),
    )
}

fn kubelet_arguments(ground: &Ground<'_>, host: &Host) -> String {
    let folder = folder(ground.folder, &host.name);
    let kubeconfig = workers::kubelet_kubeconfig(&ground.folder.join("control-plane"), &host.name);
    [
        format!("--config={}", folder.join("kubelet.yaml").display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={}", host.name),
        format!("--node-ip={}", host.management),
        // Figures of containers that nobody reads here, at a price under software emulation.
        "--housekeeping-interval=60s".to_owned(),
        "--v=1".to_owned(),
    ]
    .join("\n")
}

fn network(host: &Host) -> String {
    serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": pod_range(host)}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
    .to_string()
}

/// The service address of the API server, for pods and for what shares the node's namespace, and the pods' way out.
/// What passes the fabric's interfaces is not tracked: probes must cost what they cost without a cluster.
fn nft(ground: &Ground<'_>, host: &Host) -> String {
    let mut text = "table ip cluster\ndelete table ip cluster\ntable ip cluster {\n".to_owned();
    let service = format!(
        "ip daddr 10.96.0.1 tcp dport 443 dnat to {HOST_AS_SEEN_BY_GUEST}:{}",
        ground.api_port
    );
    let pods = pod_range(host);
    for (chain, hook, rule) in [
        (
            "into",
            "type filter hook prerouting priority raw",
            "iifname \"rail*\" notrack",
        ),
        (
            "out",
            "type filter hook output priority raw",
            "oifname \"rail*\" notrack",
        ),
        ("output", "type nat hook output priority -100", &service),
        (
            "prerouting",
            "type nat hook prerouting priority dstnat",
            &service,
        ),
        (
            "postrouting",
            "type nat hook postrouting priority srcnat",
            &format!("ip saddr {pods} oifname mgmt0 ip daddr != 10.12.0.0/16 masquerade"),
        ),
    ] {
        // Writing to a String cannot fail.
        writeln!(text, "  chain {chain} {{\n    {hook}\n    {rule}\n  }}").ok();
    }
    text.push_str("}\n");
    text
}
