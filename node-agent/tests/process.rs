//! The agent as a process, without devices: API server and collector are there, accept connections and
//! never answer, which is the worst that they can do to its end.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything but the end may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the end may take (SIGTERM to exit).
const END: Duration = Duration::from_secs(5);

struct Agent {
    process: Child,
    http: SocketAddr,
    /// Accepts connections into its backlog and never answers.
    _hung: TcpListener,
    _folder: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Only a test that failed leaves it running; then an error here has nothing to add.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn kubeconfig(server: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n\
         clusters: [{{name: c, cluster: {{server: \"http://{server}\"}}}}]\n\
         users: [{{name: u, user: {{}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n"
    )
}

impl Agent {
    fn start(keys: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let hung = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let server = hung.local_addr().expect("it is bound");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("a file in it");
        };
        write("kubeconfig", &kubeconfig(server));
        for name in ["keys", "sys"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder in it");
        }
        if keys {
            write("keys/1", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        }
        let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
        let control = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
        let (http, control) = (http.expect("a free port"), control.expect("a free port"));
        let path = |name: &str| folder.path().join(name).display().to_string();
        let process = Command::new(Path::new(env!("CARGO_BIN_EXE_rdmamesh-agent")))
            .args(["run", "--node-name=host1", "--log-format=json"])
            .arg(format!("--http-listen={http}"))
            .arg(format!("--control-listen={control}"))
            .arg(format!("--probe-keys={}", path("keys")))
            .arg(format!("--sysfs-root={}", path("sys")))
            .env("KUBECONFIG", path("kubeconfig"))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{server}"))
            .env("OTEL_METRIC_EXPORT_INTERVAL", "100")
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary of this package");
        Self {
            process,
            http,
            _hung: hung,
            _folder: folder,
        }
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.http).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn becomes_ready(&self) {
        let until = Instant::now() + PATIENCE;
        let ready = || {
            self.get("/readyz")
                .is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
        };
        while !ready() {
            assert!(Instant::now() < until, "not ready in time");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Waits for the end; the log and how the process ended.
    fn ended(mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        let mut pipe = self.process.stderr.take().expect("piped");
        pipe.read_to_string(&mut log).expect("text");
        (self.process.wait().expect("our child"), log)
    }
}

#[test]
fn it_serves_without_api_server_and_ends_within_five_seconds_whatever_hangs() {
    let agent = Agent::start(true);
    agent.becomes_ready();
    assert!(
        agent
            .get("/livez")
            .is_some_and(|answer| answer.ends_with("ok\n"))
    );
    let metrics = agent.get("/metrics").expect("a page");
    let writes = "rdmamesh_status_writes_total{rdmamesh_object=\"RdmaNode\"";
    assert!(metrics.contains(writes), "{metrics}");

    let pid = Pid::from_raw(i32::try_from(agent.process.id()).expect("a pid"));
    let asked = Instant::now();
    kill(pid, Signal::SIGTERM).expect("our child");
    let (status, log) = agent.ended();
    assert!(status.success(), "{status}: {log}");
    assert!(asked.elapsed() < END, "{:?}: {log}", asked.elapsed());
    assert!(log.contains("agent ended"), "{log}");
}

#[test]
fn without_keys_it_says_what_to_do_and_does_not_start() {
    let (status, log) = Agent::start(false).ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("probe key"), "{log}");
}
