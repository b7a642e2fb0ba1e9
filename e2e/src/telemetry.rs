//! Where the agents' and the operator's metrics go: a real OpenTelemetry Collector takes OTLP over gRPC and forwards
//! it as OTLP/JSON to a small sink, which appends what it got to a file of JSON lines for tests to check.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::child::{Child, Lifetime, Spec, free_port};
use crate::layout::Layout;
use crate::tools::Tool;

pub mod sink;

const UP_WITHIN: Duration = Duration::from_secs(30);

/// Collector and sink of one environment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Telemetry {
    folder: PathBuf,
    lifetime: Lifetime,
    collector_port: u16,
    collector: Child,
    sink: Child,
}

impl Telemetry {
    /// Starts both and waits until the collector listens.
    ///
    /// # Errors
    /// When one of them ends at once or does not listen; the message has the last log lines.
    pub async fn start(layout: &Layout, folder: &Path, lifetime: Lifetime) -> Result<Self> {
        let (collector_port, sink_port) = (free_port()?, free_port()?);
        let configuration = configuration(collector_port, sink_port);
        std::fs::write(folder.join("collector.yaml"), configuration)
            .context("write the collector's configuration")?;
        // In its own place, so that a new build of the rig does not pull the running program away.
        let program = folder.join("bin/metrics-sink");
        std::fs::create_dir_all(folder.join("bin")).context("create the run folder")?;
        Layout::place(&layout.rig_program()?, &program)?;
        let sink = Spec {
            argv: vec![
                program.display().to_string(),
                "metrics-sink".to_owned(),
                format!("--listen=127.0.0.1:{sink_port}"),
                format!("--out={}", metrics_file(folder).display()),
            ],
            env: Vec::new(),
            log: folder.join("logs/metrics-sink.log"),
            lifetime,
        };
        let sink = Child::start("metrics-sink", &sink)?;
        if let Err(error) = wait_listening(&sink, sink_port).await {
            sink.kill().await?;
            return Err(error);
        }
        let collector = start_collector(layout, folder, lifetime)?;
        if let Err(error) = wait_listening(&collector, collector_port).await {
            collector.kill().await?;
            sink.kill().await?;
            return Err(error);
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            lifetime,
            collector_port,
            collector,
            sink,
        })
    }

    /// Port of the collector's OTLP/gRPC receiver.
    pub fn port(&self) -> u16 {
        self.collector_port
    }

    /// What the collector has forwarded so far: one JSON object per line, see [`sink`].
    pub fn metrics_file(&self) -> PathBuf {
        metrics_file(&self.folder)
    }

    /// Log files by program.
    pub fn logs(&self) -> Vec<(String, PathBuf)> {
        [&self.collector, &self.sink]
            .map(|child| (child.name.clone(), child.log.clone()))
            .to_vec()
    }

    /// Names of programs that should run and do not.
    pub fn ended(&self) -> Vec<&str> {
        [&self.collector, &self.sink]
            .iter()
            .filter(|child| !child.is_alive())
            .map(|child| child.name.as_str())
            .collect()
    }

    /// Ends the collector at once, as a crash would.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop_collector(&self) -> Result<()> {
        self.collector.kill().await
    }

    /// Starts the collector again at the same port.
    ///
    /// # Errors
    /// When it does not listen; the message has the last log lines.
    pub async fn start_collector(&mut self, layout: &Layout) -> Result<()> {
        if !self.collector.is_alive() {
            self.collector = start_collector(layout, &self.folder, self.lifetime)?;
        }
        wait_listening(&self.collector, self.collector_port).await
    }

    /// Asks both to end and does not wait for them.
    pub fn request_end(&self) {
        for child in [&self.collector, &self.sink] {
            // Failing here leaves it to whoever looks at the process next.
            child.signal(nix::sys::signal::Signal::SIGTERM).ok();
        }
    }

    /// Ends both.
    ///
    /// # Errors
    /// When one does not end even when killed.
    pub async fn stop(&self) -> Result<()> {
        self.collector.stop(Duration::from_secs(3)).await?;
        self.sink.kill().await
    }
}

fn metrics_file(folder: &Path) -> PathBuf {
    folder.join("metrics.jsonl")
}

fn start_collector(layout: &Layout, folder: &Path, lifetime: Lifetime) -> Result<Child> {
    let spec = Spec {
        argv: vec![
            Tool::Otelcol.path(layout).display().to_string(),
            format!("--config=file:{}", folder.join("collector.yaml").display()),
        ],
        env: Vec::new(),
        log: folder.join("logs/otelcol.log"),
        lifetime,
    };
    Child::start("otelcol", &spec)
}

async fn wait_listening(child: &Child, port: u16) -> Result<()> {
    let deadline = tokio::time::Instant::now() + UP_WITHIN;
    while tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .is_err()
    {
        if !child.is_alive() {
            bail!("{} ended at start:\n{}", child.name, child.log_tail(15));
        }
        if tokio::time::Instant::now() >= deadline {
            bail!("{} does not listen:\n{}", child.name, child.log_tail(15));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn configuration(collector_port: u16, sink_port: u16) -> String {
    format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{collector_port}'}}
exporters:
  otlp_http:
    endpoint: http://127.0.0.1:{sink_port}
    encoding: json
    compression: none
    sending_queue: {{enabled: false}}
service:
  telemetry:
    logs: {{level: warn}}
    metrics: {{level: none}}
  pipelines:
    metrics: {{receivers: [otlp], exporters: [otlp_http]}}
"
    )
}
