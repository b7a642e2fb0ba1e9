//! Keeps the plugin registered. A kubelet that starts removes all sockets from its folder and knows no plugin any more,
//! so its socket and ours are looked at once a second.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::stream;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Endpoint, Server};

use super::api::device_plugin_server::DevicePluginServer;
use super::api::registration_client::RegistrationClient;
use super::api::{RegisterRequest, VERSION};
use super::nodes::Maker;
use super::service::{OPTIONS, Plugin};
use crate::logging::Repeats;

/// The kubelet's socket.
const KUBELET: &str = "kubelet.sock";
/// Longest time for a registration, which makes the kubelet call back.
const PATIENCE: Duration = Duration::from_secs(10);

/// The kubelet to register with.
#[derive(Debug, Clone)]
pub(super) struct Kubelet {
    /// Its folder of device plugin sockets.
    pub(super) folder: PathBuf,
    /// What the plugin offers.
    pub(super) resource: String,
    /// Between two looks.
    pub(super) poll: Duration,
}

/// How it stands with the kubelet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Registered with the kubelet that runs now, this many times since the start.
    Registered(u64),
    /// Not, and why.
    Waiting(String),
}

impl Default for State {
    fn default() -> Self {
        Self::Waiting("not tried yet".to_owned())
    }
}

/// Why the plugin is not registered.
#[derive(Debug, thiserror::Error)]
enum RegisterError {
    #[error("{0} is not there: is --kubelet-dir the kubelet's folder, and does the kubelet run?")]
    NoKubelet(PathBuf),
    #[error("cannot make the socket {path}: {source}")]
    Socket { path: PathBuf, source: io::Error },
    #[error("cannot reach the kubelet: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("the kubelet refuses the registration: {}", .0.message())]
    Refused(Box<tonic::Status>),
    #[error("the kubelet does not answer")]
    Silent,
}

/// Which file a path leads to: it differs after the file was made anew.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> Option<Identity> {
    let facts = path.symlink_metadata().ok()?;
    Some((facts.dev(), facts.ino(), facts.ctime(), facts.ctime_nsec()))
}

/// Registers, and again whenever the kubelet was restarted, until stopped.
pub(super) async fn keep_registered<M: Maker>(
    kubelet: Kubelet,
    plugin: Plugin<M>,
    state: watch::Sender<State>,
    stop: CancellationToken,
) {
    let (mut times, mut repeats) = (0, Repeats::default());
    while !stop.is_cancelled() {
        match register(&kubelet, &plugin).await {
            Ok(session) => {
                times += 1;
                repeats.recovered(|_| ());
                state.send_replace(State::Registered(times));
                tracing::info!(
                    resource = kubelet.resource,
                    times,
                    "registered with the kubelet"
                );
                let ended = session.watch(kubelet.poll, &stop).await;
                session.close().await;
                state.send_replace(State::Waiting(ended.to_owned()));
                if !stop.is_cancelled() {
                    tracing::warn!(reason = ended, "registering again");
                }
            }
            Err(error) => {
                repeats.failed(
                    |failures| tracing::warn!(failures, %error, "not registered with the kubelet"),
                );
                state.send_replace(State::Waiting(error.to_string()));
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(kubelet.poll) => {}
                }
            }
        }
    }
}

/// A plugin that a kubelet knows.
struct Session {
    kubelet: PathBuf,
    known: Identity,
    socket: PathBuf,
    ours: Option<Identity>,
    closing: CancellationToken,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

async fn register<M: Maker>(
    kubelet: &Kubelet,
    plugin: &Plugin<M>,
) -> Result<Session, RegisterError> {
    let path = kubelet.folder.join(KUBELET);
    let known = identity(&path).ok_or_else(|| RegisterError::NoKubelet(path.clone()))?;
    let name = socket_name(&kubelet.resource);
    let socket = kubelet.folder.join(&name);
    // Serving comes first: the kubelet calls back while it registers.
    let listener = bind(&socket).map_err(|source| RegisterError::Socket {
        path: socket.clone(),
        source,
    })?;
    let closing = CancellationToken::new();
    let session = Session {
        kubelet: path.clone(),
        known,
        ours: identity(&socket),
        socket,
        server: serve(listener, plugin.until(closing.clone()), closing.clone()),
        closing,
    };
    let request = RegisterRequest {
        version: VERSION.to_owned(),
        endpoint: name,
        resource_name: kubelet.resource.clone(),
        options: Some(OPTIONS),
    };
    let outcome = match tokio::time::timeout(PATIENCE, call(&path, request)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(RegisterError::Silent),
    };
    match outcome {
        Ok(()) => Ok(session),
        Err(error) => {
            session.close().await;
            Err(error)
        }
    }
}

async fn call(path: &Path, request: RegisterRequest) -> Result<(), RegisterError> {
    let channel = Endpoint::try_from(format!("unix://{}", path.display()))?
        .connect()
        .await?;
    let answer = RegistrationClient::new(channel).register(request).await;
    answer.map_err(|status| RegisterError::Refused(Box::new(status)))?;
    Ok(())
}

fn bind(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    UnixListener::bind(socket)
}

fn serve<M: Maker>(
    listener: UnixListener,
    plugin: Plugin<M>,
    closing: CancellationToken,
) -> JoinHandle<Result<(), tonic::transport::Error>> {
    let connections = stream::unfold(listener, |listener| async {
        let accepted: io::Result<UnixStream> = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let server = Server::builder()
        .add_service(DevicePluginServer::new(plugin))
        .serve_with_incoming_shutdown(connections, closing.cancelled_owned());
    tokio::spawn(server)
}

/// File name of our socket; resources differ in theirs.
fn socket_name(resource: &str) -> String {
    format!("{}.sock", resource.replace('/', "_"))
}

impl Session {
    /// Waits until the kubelet does not know the plugin any more, or for the end; says which.
    async fn watch(&self, poll: Duration, stop: &CancellationToken) -> &'static str {
        loop {
            tokio::select! {
                () = stop.cancelled() => return "stopped",
                () = tokio::time::sleep(poll) => {}
            }
            if identity(&self.kubelet) != Some(self.known) {
                return "the kubelet was restarted or has ended";
            }
            if identity(&self.socket) != self.ours {
                return "the kubelet has removed the socket";
            }
            if self.server.is_finished() {
                return "the server has ended";
            }
        }
    }

    async fn close(self) {
        self.closing.cancel();
        match self.server.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "server ended with an error"),
            Err(error) => tracing::error!(%error, "server broke"),
        }
        // Not what another instance has made meanwhile.
        if identity(&self.socket) == self.ours {
            std::fs::remove_file(&self.socket).ok();
        }
    }
}
