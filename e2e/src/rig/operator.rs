//! The operator, a process of the host machine.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::Rig;
use crate::child::{Child, Lifetime, Spec, free_port};
use crate::control_plane::credentials::{self, Credential};
use crate::layout::Layout;

const PROGRAM: &str = "rdmamesh-operator";
/// Without KVM and on two busy cores.
const ALIVE_WITHIN: Duration = Duration::from_secs(30);

/// The operator's process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Operator {
    pub(super) process: Child,
    pub(super) http_port: u16,
}

pub(super) fn check_built(layout: &Layout) -> Result<()> {
    layout.product(PROGRAM).map(|_| ())
}

impl Rig {
    /// Starts the operator; from its own folder, so that a new build does not disturb it.
    pub(super) async fn start_operator(&mut self) -> Result<()> {
        let program = self.folder().join("bin").join(PROGRAM);
        Layout::place(&self.layout.product(PROGRAM)?, &program)?;
        let kubeconfig = self.folder().join("operator.kubeconfig");
        let token = credentials::operator_token(&self.client).await?;
        let server = format!("https://127.0.0.1:{}", self.state.plane.api_port());
        let authority = self.state.plane.authority_certificate()?;
        credentials::write_kubeconfig(&kubeconfig, &server, &authority, &Credential::Token(token))?;
        let http_port = free_port()?;
        let process = self.spawn_operator(&program, http_port)?;
        self.state.operator = Some(Operator { process, http_port });
        self.save()?;
        self.wait_operator().await
    }

    /// Kills the operator, as a crash would.
    pub(super) async fn kill_operator(&self) -> Result<()> {
        match &self.state.operator {
            Some(operator) => operator.process.kill().await,
            None => bail!("the operator was not started in this environment"),
        }
    }

    /// Starts a killed operator again.
    pub(super) async fn restart_operator(&mut self) -> Result<()> {
        let Some(operator) = &self.state.operator else {
            bail!("the operator was not started in this environment");
        };
        let http_port = operator.http_port;
        if !operator.process.is_alive() {
            let program = self.folder().join("bin").join(PROGRAM);
            let process = self.spawn_operator(&program, http_port)?;
            self.state.operator = Some(Operator { process, http_port });
            self.save()?;
        }
        self.wait_operator().await
    }

    fn spawn_operator(&self, program: &Path, http_port: u16) -> Result<Child> {
        let endpoint = format!("http://127.0.0.1:{}", self.state.telemetry.port());
        let kubeconfig = self
            .folder()
            .join("operator.kubeconfig")
            .display()
            .to_string();
        let spec = Spec {
            argv: vec![
                program.display().to_string(),
                "run".to_owned(),
                format!("--http-listen=127.0.0.1:{http_port}"),
                format!("--lease-namespace={}", credentials::NAMESPACE),
                "--lease-name=rdmamesh-operator".to_owned(),
                "--identity=rig".to_owned(),
            ],
            env: vec![
                ("KUBECONFIG".to_owned(), kubeconfig),
                ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint),
                ("RUST_LOG".to_owned(), super::agents::log_filter()),
            ],
            log: self.folder().join("logs/operator.log"),
            lifetime: self.lifetime(),
        };
        Child::start("operator", &spec)
    }

    async fn wait_operator(&self) -> Result<()> {
        let Some(Operator { process, http_port }) = &self.state.operator else {
            return Ok(());
        };
        let deadline = tokio::time::Instant::now() + ALIVE_WITHIN;
        while tokio::net::TcpStream::connect(("127.0.0.1", *http_port))
            .await
            .is_err()
        {
            if !process.is_alive() {
                bail!("the operator ended at start:\n{}", process.log_tail(15));
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("the operator does not listen:\n{}", process.log_tail(15));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn lifetime(&self) -> Lifetime {
        self.state.lifetime
    }
}
