//! The prober's side against a tracer that is a few lines of this file.

use std::time::{Instant, SystemTime};

use tokio::net::UnixListener;

use super::super::protocol::{Hop, Request};
use super::*;
use crate::model::TickReport;

const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    folder: tempfile::TempDir,
    paths: Paths,
    tick: watch::Sender<Option<Arc<Tick>>>,
    state: watch::Receiver<TracingState>,
    stop: CancellationToken,
    /// Kept, so that the channel stays open.
    _losses: mpsc::Sender<LostProbe>,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (tick, state) = (watch::Sender::default(), watch::Sender::default());
        let (_losses, losses) = mpsc::channel(8);
        let port = crate::trace::book::tests::health();
        let inputs = Inputs {
            socket: Some(folder.path().join("trace.sock")),
            tick: tick.subscribe(),
            losses,
            ports: watch::channel(vec![port]).1,
            inventory: watch::channel(None).1,
            state: state.clone(),
        };
        let (paths, stop) = (Paths::default(), CancellationToken::new());
        tokio::spawn(run(paths.clone(), inputs, stop.clone()));
        let state = state.subscribe();
        Self {
            folder,
            paths,
            tick,
            state,
            stop,
            _losses,
        }
    }

    fn listen(&self) -> UnixListener {
        let path = self.folder.path().join("trace.sock");
        std::fs::remove_file(&path).ok();
        UnixListener::bind(path).expect("a socket")
    }

    fn report(&self) {
        let window = crate::trace::book::tests::window(2, &[(50_000, Some(2))]);
        self.tick.send_replace(Some(Arc::new(Tick {
            report: TickReport {
                at: SystemTime::UNIX_EPOCH,
                targets: vec![window],
                settled: true,
            },
            findings: Vec::new(),
            taken: Instant::now(),
        })));
    }

    async fn reason(&mut self) -> String {
        let unavailable = |state: &TracingState| matches!(state, TracingState::Unavailable(reason) if !reason.contains("--trace-socket"));
        let state = timeout(PATIENCE, self.state.wait_for(unavailable)).await;
        match &*state.expect("in time").expect("the task runs") {
            TracingState::Unavailable(reason) => reason.clone(),
            TracingState::Active => unreachable!("just waited for"),
        }
    }
}

async fn greeted(listener: &UnixListener, protocol: u16) -> Frames {
    let accepted = timeout(PATIENCE, listener.accept()).await;
    let (stream, _) = accepted.expect("in time").expect("accepted");
    let mut frames = Framed::new(stream, codec());
    say(
        &mut frames,
        &FromTracer::Hello {
            protocol,
            packets_per_second: 200,
        },
    )
    .await;
    frames
}

async fn say(frames: &mut Frames, message: &FromTracer) {
    let json = serde_json::to_vec(message).expect("JSON");
    frames.send(Bytes::from(json)).await.expect("sent");
}

async fn asked(frames: &mut Frames) -> Request {
    let frame = timeout(PATIENCE, frames.next()).await.expect("in time");
    serde_json::from_slice(&frame.expect("open").expect("a frame")).expect("a request")
}

#[tokio::test]
async fn a_tracer_that_comes_goes_and_comes_back_is_used_while_it_is_there() {
    let mut world = World::start();
    let missing = world.reason().await;
    assert!(missing.contains("trace.sock"), "{missing}");
    let listener = world.listen();
    let mut frames = greeted(&listener, PROTOCOL).await;
    let active = |state: &TracingState| *state == TracingState::Active;
    let waited = timeout(PATIENCE, world.state.wait_for(active)).await;
    drop(waited.expect("in time").expect("the task runs"));
    world.report();
    let request = asked(&mut frames).await;
    assert_eq!((request.first, request.last), (1, 2));
    drop(frames);
    let ended = world.reason().await;
    assert!(ended.contains("ended"), "{ended}");

    let mut frames = greeted(&listener, PROTOCOL).await;
    let again = asked(&mut frames).await;
    assert_eq!(
        again.flow, request.flow,
        "what was not answered is asked again"
    );
    let hop = |ttl| Hop {
        ttl,
        sent: 1,
        answered: 1,
        address: Some([10, 11, 0, ttl].into()),
        rtt_ns: Some(1000),
    };
    let hops = vec![hop(1), hop(2)];
    say(&mut frames, &FromTracer::Traced { id: again.id, hops }).await;
    let known = async {
        while world.paths.book().extent().traced == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, known).await.expect("the path is known");
    assert_eq!(world.paths.counters().packets, 2);
    world.stop.cancel();
}

#[tokio::test]
async fn what_is_no_tracer_of_this_version_is_told_apart() {
    let mut world = World::start();
    let listener = world.listen();
    drop(greeted(&listener, PROTOCOL + 1).await);
    let protocol = |state: &TracingState| matches!(state, TracingState::Unavailable(reason) if reason.contains("protocol"));
    let waited = timeout(PATIENCE, world.state.wait_for(protocol)).await;
    drop(waited.expect("in time").expect("the task runs"));
    world.stop.cancel();
}
