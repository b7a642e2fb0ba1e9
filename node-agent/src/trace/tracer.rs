//! The tracer process (`rdmamesh-agent trace`): serves requests of the prober over a unix socket, with raw sockets for its
//! packets and nothing else. It needs `CAP_NET_RAW` and the host's network namespace; no file, no API server, no port.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{SinkExt, StreamExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use super::packet::Quote;
use super::protocol::{FromTracer, PROTOCOL, Request, codec};
use crate::dataplane::Mono;
use pace::Pace;
use sockets::Sockets;
use work::{Asker, Work};

mod pace;
mod sockets;
mod work;

/// Connections at once: the prober's, and its next one while the last is not yet seen to be gone.
const MAX_CONNECTIONS: usize = 4;
/// Answers that wait for a slow asker; past it the asker is dropped.
const MAX_ANSWERS: usize = 4096;
/// The loop runs at least this often.
const IDLE: Duration = Duration::from_secs(60);
/// A wake-up later than this: answers may have been missed, or come late for reasons of this host.
const STOOD_STILL: Duration = Duration::from_millis(100);

/// How to run the tracer.
#[derive(Debug, Clone)]
pub struct TracerConfig {
    /// Where to listen.
    pub socket: PathBuf,
    /// Budget.
    pub packets_per_second: NonZeroU32,
}

/// Serves until `stop`.
///
/// # Errors
/// When the raw sockets or the unix socket cannot be made.
pub async fn run(config: &TracerConfig, stop: CancellationToken) -> Result<()> {
    let sockets = Sockets::open()
        .context("cannot open raw sockets: the tracer needs the capability CAP_NET_RAW")?;
    let listener = listen(&config.socket)?;
    tracing::info!(
        socket = %config.socket.display(), packets_per_second = config.packets_per_second, "tracer started"
    );
    let (news, inbox) = mpsc::channel(256);
    let served = Served {
        work: Work::new(Pace::new(config.packets_per_second), rand::random()),
        sockets,
        budget: config.packets_per_second.get(),
        askers: HashMap::new(),
        next_asker: 0,
        news,
    };
    let ended = served.serve(listener, inbox, stop).await;
    // Whoever comes next makes it anew; a file without a listener only looks like a tracer.
    std::fs::remove_file(&config.socket).ok();
    ended
}

/// Listens at `path`, in the place of a tracer that has ended. Group members may connect.
fn listen(path: &Path) -> Result<UnixListener> {
    let left_over = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if left_over {
        std::fs::remove_file(path)
            .with_context(|| format!("cannot replace the old socket {}", path.display()))?;
    }
    let listener = UnixListener::bind(path).with_context(|| {
        let path = path.display();
        format!("cannot listen on {path}: does its folder exist, and may this user write to it?")
    })?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    Ok(listener)
}

/// What a connection says.
enum News {
    Asked(Asker, Request),
    Gone(Asker),
}

struct Served {
    work: Work,
    sockets: Sockets,
    budget: u32,
    askers: HashMap<Asker, mpsc::Sender<FromTracer>>,
    next_asker: Asker,
    news: mpsc::Sender<News>,
}

impl Served {
    async fn serve(
        mut self,
        listener: UnixListener,
        mut inbox: mpsc::Receiver<News>,
        stop: CancellationToken,
    ) -> Result<()> {
        let mut quotes = Vec::new();
        let mut planned = Mono::now();
        loop {
            if Mono::now().since(planned) > STOOD_STILL {
                self.work.stood_still();
            }
            // What waits in the sockets was in time: it must not expire first.
            self.sockets.drain(&mut quotes);
            self.take(&mut quotes);
            self.work.expire(Mono::now());
            self.send_due();
            self.tell();
            let now = Mono::now();
            let due = self.work.next_due(now).unwrap_or(now.plus(IDLE));
            planned = due.min(now.plus(IDLE)).max(now);
            let wait = planned.since(now);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                received = self.sockets.receive(&mut quotes) => {
                    received.context("cannot receive ICMP")?;
                    self.take(&mut quotes);
                }
                Some(news) = inbox.recv() => match news {
                    News::Asked(asker, request) => self.work.submit(asker, request),
                    News::Gone(asker) => {
                        self.askers.remove(&asker);
                        self.work.forget(asker);
                    }
                },
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.greet(stream),
                    Err(error) => {
                        tracing::warn!(%error, "connection not accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn take(&mut self, quotes: &mut Vec<Quote>) {
        for quote in quotes.drain(..) {
            self.work.answered(&quote, Mono::now());
        }
    }

    fn send_due(&mut self) {
        while let Some(send) = self.work.next_send(Mono::now()) {
            if let Err(error) = self.sockets.send(&send.flow, send.ttl, send.token) {
                tracing::debug!(%error, flow = ?send.flow, "packet not sent");
                self.work.failed(send.token, &format!("not sent: {error}"));
            }
        }
    }

    fn tell(&mut self) {
        for (asker, messages) in self.work.drain_done() {
            let Some(to) = self.askers.get(&asker) else {
                continue;
            };
            let mut told = messages.into_iter().map(|message| to.try_send(message));
            if let Some(error) = told.find_map(Result::err) {
                if matches!(error, mpsc::error::TrySendError::Full(_)) {
                    tracing::warn!(asker, "asker does not take its answers");
                }
                self.askers.remove(&asker);
                self.work.forget(asker);
            }
        }
    }

    fn greet(&mut self, stream: UnixStream) {
        if self.askers.len() >= MAX_CONNECTIONS {
            tracing::warn!("too many connections");
            return;
        }
        let asker = self.next_asker;
        self.next_asker += 1;
        let (answers, to_tell) = mpsc::channel(MAX_ANSWERS);
        let hello = FromTracer::Hello {
            protocol: PROTOCOL,
            packets_per_second: self.budget,
        };
        // The channel is empty: there is room.
        answers.try_send(hello).ok();
        self.askers.insert(asker, answers);
        let news = self.news.clone();
        tokio::spawn(async move {
            converse(stream, asker, &news, to_tell).await;
            // Fails only when the tracer ends.
            news.send(News::Gone(asker)).await.ok();
        });
    }
}

/// Carries messages both ways until either side ends or says nonsense.
async fn converse(
    stream: UnixStream,
    asker: Asker,
    news: &mpsc::Sender<News>,
    mut to_tell: mpsc::Receiver<FromTracer>,
) {
    let mut frames = Framed::new(stream, codec());
    loop {
        tokio::select! {
            frame = frames.next() => {
                let Some(Ok(frame)) = frame else { return };
                match serde_json::from_slice(&frame) {
                    Ok(request) => {
                        if news.send(News::Asked(asker, request)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "request not understood");
                        return;
                    }
                }
            }
            message = to_tell.recv() => {
                let Some(message) = message else { return };
                let Ok(json) = serde_json::to_vec(&message) else { return };
                if frames.send(Bytes::from(json)).await.is_err() {
                    return;
                }
            }
        }
    }
}
