//! Flags of `device-plugin`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::nodes;
use crate::logging::LogFormat;

/// Flags of `device-plugin`.
#[derive(Debug, Clone, Args)]
pub struct DevicePluginArgs {
    /// Name of the resource that pods ask for.
    #[arg(long, default_value = "rdmamesh.io/rdma", value_parser = resource)]
    pub resource: String,
    /// Shares per RNIC, and as many for the node itself: how many containers can have the devices at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub shares: u16,
    /// Give containers the device nodes uverbs0 to uverbs(N − 1) even while there is no such device, so that one that
    /// comes (back) later works without a restart; 0 gives only those that are there.
    #[arg(long, default_value_t = nodes::FIXED, value_parser = clap::value_parser!(u16).range(0..=i64::from(nodes::FIXED)))]
    pub hotplug_nodes: u16,
    /// Also give /dev/infiniband/rdma_cm, which RdmaMesh itself does not need.
    #[arg(long)]
    pub rdma_cm: bool,
    /// The kubelet's folder of device plugin sockets.
    #[arg(long, default_value = "/var/lib/kubelet/device-plugins")]
    pub kubelet_dir: PathBuf,
    /// Folder for the device nodes of devices that are not there; the same path on the host and in the container.
    #[arg(long, default_value = "/run/rdmamesh/dev")]
    pub node_dir: PathBuf,
    /// Where /livez and /readyz are served.
    #[arg(long, default_value = "127.0.0.1:9466")]
    pub http_listen: SocketAddr,
    /// Where sysfs is mounted.
    #[arg(long, default_value = "/sys")]
    pub sysfs_root: PathBuf,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// The kubelet takes only names of extended resources.
fn resource(name: &str) -> Result<String, String> {
    let alnum = |c: char| c.is_ascii_alphanumeric();
    let inner = |c: char, also: &str| alnum(c) || also.contains(c);
    let ends = |part: &str| part.starts_with(alnum) && part.ends_with(alnum);
    let good = name.split_once('/').is_some_and(|(domain, own)| {
        let lower = !domain.contains(|c: char| c.is_ascii_uppercase());
        let domain_good = domain.chars().all(|c| inner(c, "-.")) && ends(domain) && lower;
        let own_good = own.chars().all(|c| inner(c, "-_.")) && ends(own) && own.len() <= 63;
        domain_good && own_good && domain.len() <= 200 && !reserved(domain)
    });
    if good {
        Ok(name.to_owned())
    } else {
        Err(
            "write <domain>/<name> with a domain of your own, for example rdmamesh.io/rdma"
                .to_owned(),
        )
    }
}

/// Domains that Kubernetes keeps for itself; `requests.` would clash with quotas.
fn reserved(domain: &str) -> bool {
    domain == "kubernetes.io"
        || domain.ends_with(".kubernetes.io")
        || domain.starts_with("requests.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_names_that_the_kubelet_would_refuse_are_refused_with_an_example() {
        for good in ["rdmamesh.io/rdma", "a/b", "example.com/hca_shared.1"] {
            assert_eq!(resource(good).as_deref(), Ok(good));
        }
        for bad in [
            "rdma",
            "/rdma",
            "rdmamesh.io/",
            "rdmamesh.io/a/b",
            "rdmamesh.io/-x",
            "Rdma.io/x",
            "kubernetes.io/rdma",
            "node.kubernetes.io/rdma",
            "rdmamesh io/rdma",
        ] {
            let error = resource(bad).expect_err(bad);
            assert!(error.contains("rdmamesh.io/rdma"), "{error}");
        }
    }
}
