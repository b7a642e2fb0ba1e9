//! The command line, and what it means.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use opentelemetry::KeyValue;

use crate::dataplane::{Budget, DataplaneConfig};
use crate::device_plugin::DevicePluginArgs;
use crate::doctor::command::DoctorArgs;
use crate::logging::LogFormat;
use crate::metrics::OtlpConfig;
use crate::metrics::otlp::HistogramForm;
use crate::trace::tracer::TracerConfig;

/// A flow of three routers is traced in 15 ms, and ten thousand packets of a re-trace take under a minute.
const DEFAULT_PACKETS_PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("not zero");

/// Node agent of RdmaMesh: UD pings on every RNIC, status and telemetry.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Probe, answer and report until told to stop.
    Run(Box<RunArgs>),
    /// Give containers the node's RDMA devices, as a device plugin of the kubelet.
    DevicePlugin(Box<DevicePluginArgs>),
    /// Examine whether this node can probe, and say what to do where it cannot.
    Doctor(DoctorArgs),
    /// Trace the paths of flows for the prober, over a unix socket. Needs CAP_NET_RAW.
    Trace(TraceArgs),
}

/// Flags of `trace`.
#[derive(Debug, Clone, Args)]
pub struct TraceArgs {
    /// Unix socket to serve; whoever may open it may ask.
    #[arg(long, default_value = "/run/rdmamesh/trace/trace.sock")]
    pub socket: PathBuf,
    /// Most packets sent per second.
    #[arg(long, default_value_t = DEFAULT_PACKETS_PER_SECOND)]
    pub packets_per_second: NonZeroU32,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

impl TraceArgs {
    /// How to run the tracer.
    pub fn tracer(&self) -> TracerConfig {
        TracerConfig {
            socket: self.socket.clone(),
            packets_per_second: self.packets_per_second,
        }
    }
}

impl Command {
    /// How its log lines look.
    pub fn log_format(&self) -> LogFormat {
        match self {
            Self::Run(args) => args.log_format,
            Self::Trace(args) => args.log_format,
            Self::DevicePlugin(args) => args.log_format,
            Self::Doctor(args) => args.log_format,
        }
    }
}

/// Flags of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Name of the Node that this agent runs on.
    #[arg(long, env = "NODE_NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub node_name: String,
    /// Where /metrics, /livez and /readyz are served.
    #[arg(long, default_value = "0.0.0.0:9464")]
    pub http_listen: SocketAddr,
    /// Where peers resolve this agent, over plain UDP.
    #[arg(long, default_value = "0.0.0.0:7475")]
    pub control_listen: SocketAddr,
    /// Address that peers are told to resolve this agent at [default: the Node's InternalIP].
    #[arg(long)]
    pub control_address: Option<IpAddr>,
    /// Folder with the probe keys: files named 1 to 255 with base64 of at least 32 bytes.
    #[arg(long, default_value = "/etc/rdmamesh/probe-keys")]
    pub probe_keys: PathBuf,
    /// Where sysfs is mounted.
    #[arg(long, default_value = "/sys")]
    pub sysfs_root: PathBuf,
    /// Unix socket of the tracer, which finds the paths of flows [default: none: paths are not traced].
    #[arg(long)]
    pub trace_socket: Option<PathBuf>,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Most UD queue pairs per port where the queue pair makes the flow (soft-RoCE).
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_qps: u16,
    /// CPU budget in cores; over it probing slows down by steps [default: none].
    #[arg(long, value_parser = positive)]
    pub cpu_budget: Option<f64>,
    /// Memory budget in MiB; over it probing slows down by steps [default: none].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub memory_budget: Option<u64>,
    /// Lag in milliseconds from which this host counts as starved and its timeouts are not judged.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub starved_after_ms: u64,
    /// URL of the OTLP/gRPC collector; none means no export. Headers, compression and timeout come from
    /// the standard OTEL_EXPORTER_OTLP_* variables.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = url)]
    pub otlp_endpoint: Option<String>,
    /// Milliseconds between two exports.
    #[arg(long, env = "OTEL_METRIC_EXPORT_INTERVAL", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub otlp_interval_ms: u64,
    /// Form of exported histograms.
    #[arg(long, value_enum, default_value_t)]
    pub otlp_histograms: HistogramForm,
    /// PEM file with the CA of the collector.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CERTIFICATE")]
    pub otlp_certificate: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(cores) if cores.is_finite() && cores > 0.0 => Ok(cores),
        _ => Err("write a positive number of cores, for example 0.1".to_owned()),
    }
}

fn url(text: &str) -> Result<String, String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        Ok(text.to_owned())
    } else {
        Err("write a URL, for example http://otel-collector:4317".to_owned())
    }
}

impl RunArgs {
    /// How to run the data path.
    pub fn dataplane(&self) -> DataplaneConfig {
        DataplaneConfig {
            node: Arc::from(self.node_name.as_str()),
            control_listen: self.control_listen,
            max_qps: self.max_qps,
            budget: Budget {
                cpu_cores: self.cpu_budget,
                memory_bytes: self.memory_budget.map(|mib| mib << 20),
            },
            starved_after: Duration::from_millis(self.starved_after_ms),
        }
    }

    /// The address that peers are told, once one is known.
    pub fn advertised(&self, internal_ip: Option<IpAddr>) -> Option<SocketAddr> {
        let address = self.control_address.or(internal_ip)?;
        Some(SocketAddr::new(address, self.control_listen.port()))
    }

    /// How to export metrics; `None` without an endpoint. `variable` reads the environment.
    pub fn otlp(&self, variable: impl Fn(&str) -> Option<String>) -> Option<OtlpConfig> {
        let own = variable("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").filter(|url| !url.is_empty());
        let endpoint = own.or_else(|| self.otlp_endpoint.clone())?;
        let mut resource = vec![
            KeyValue::new("service.name", "rdmamesh-agent"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("k8s.node.name", self.node_name.clone()),
        ];
        let pod = |name, key| variable(name).map(|value| KeyValue::new(key, value));
        resource.extend(pod("POD_NAME", "k8s.pod.name"));
        resource.extend(pod("POD_NAMESPACE", "k8s.namespace.name"));
        resource.extend(pod("POD_UID", "k8s.pod.uid"));
        // Without an instance the series of all agents would be one.
        let instance = variable("POD_UID").unwrap_or_else(|| self.node_name.clone());
        resource.push(KeyValue::new("service.instance.id", instance));
        Some(OtlpConfig {
            endpoint,
            interval: Duration::from_millis(self.otlp_interval_ms),
            histograms: self.otlp_histograms,
            resource,
            certificate: self.otlp_certificate.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(flags: &[&str]) -> Result<RunArgs, clap::Error> {
        let line = ["rdmamesh-agent", "run", "--node-name", "host1"];
        match Cli::try_parse_from(line.iter().chain(flags))?.command {
            Command::Run(args) => Ok(*args),
            other => unreachable!("{other:?} is not run"),
        }
    }

    #[test]
    fn the_command_line_of_the_rig_is_understood() {
        let args = args(&[
            "--http-listen=0.0.0.0:9464",
            "--control-listen=0.0.0.0:7476",
            "--control-address=10.12.0.2",
            "--probe-keys=/keys",
            "--log-format=json",
        ])
        .expect("valid flags");
        assert_eq!(args.advertised(None), "10.12.0.2:7476".parse().ok());
        assert_eq!(args.dataplane().control_listen.port(), 7476);
    }

    #[test]
    fn the_advertised_address_is_the_nodes_unless_told_otherwise() {
        let args = args(&[]).expect("valid flags");
        assert_eq!(args.advertised(None), None);
        let internal = "fd00::7".parse().ok();
        assert_eq!(args.advertised(internal), "[fd00::7]:7475".parse().ok());
    }

    #[test]
    fn bad_values_are_refused_with_an_example() {
        for (flags, advice) in [
            (["--cpu-budget", "0"], "for example 0.1"),
            (
                ["--otlp-endpoint", "collector:4317"],
                "http://otel-collector:4317",
            ),
            (["--control-listen", "7475"], "invalid socket address"),
        ] {
            let error = args(&flags).expect_err("refused").to_string();
            assert!(error.contains(advice), "{error}");
        }
    }

    #[test]
    fn metrics_go_nowhere_without_an_endpoint_and_to_the_more_specific_one() {
        let plain = args(&[]).expect("valid flags");
        assert!(plain.otlp(|_| None).is_none());
        let args = args(&["--otlp-endpoint", "http://general:4317"]).expect("valid flags");
        let endpoint = |name: &str| {
            args.otlp(|asked| (asked == name).then(|| "http://metrics:4317".to_owned()))
                .map(|otlp| otlp.endpoint)
        };
        let specific = endpoint("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT");
        assert_eq!(specific.as_deref(), Some("http://metrics:4317"));
        assert_eq!(endpoint("none").as_deref(), Some("http://general:4317"));
    }
}
