//! The guest agent: serves the host's requests, one connection each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::protocol::{Event, Exit, Program, Request, UnitState};
use super::spawn;

/// Lasting programs by name.
type Units = Arc<Mutex<BTreeMap<String, watch::Receiver<UnitState>>>>;

/// Serves until the listener fails.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))?;
    let units = Units::default();
    loop {
        let (stream, _) = listener.accept().await.context("accept a connection")?;
        let units = Arc::clone(&units);
        tokio::spawn(async move {
            if let Err(error) = serve_connection(stream, &units).await {
                tracing::warn!(error = format!("{error:#}"), "request failed");
            }
        });
    }
}

async fn serve_connection(stream: TcpStream, units: &Units) -> Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    if reader
        .read_line(&mut line)
        .await
        .context("read the request")?
        == 0
    {
        return Ok(());
    }
    let request: Request = serde_json::from_str(&line).context("parse the request")?;
    let answer = match request {
        Request::Ping => Ok(Event::Pong(uptime_seconds())),
        Request::Run {
            program,
            stdin,
            timeout_ms,
        } => {
            run(
                &program,
                stdin,
                Duration::from_millis(timeout_ms),
                &mut reader,
                &mut writer,
            )
            .await
        }
        Request::Start { unit, program, log } => start(units, unit, &program, &log),
        Request::Signal { unit, signal } => signal_unit(units, &unit, signal),
        Request::Wait { unit, timeout_ms } => {
            wait(units, &unit, Duration::from_millis(timeout_ms)).await
        }
        Request::Units => Ok(Event::Units(
            lock(units)
                .iter()
                .map(|(name, state)| (name.clone(), *state.borrow()))
                .collect(),
        )),
        Request::Terminal {
            program,
            rows,
            columns,
        } => {
            return terminal(&program, rows, columns, reader, writer).await;
        }
    };
    let event = answer.unwrap_or_else(|error| Event::Error(format!("{error:#}")));
    send(&mut writer, &event).await
}

fn lock(units: &Units) -> MutexGuard<'_, BTreeMap<String, watch::Receiver<UnitState>>> {
    // The map is whole between any two statements: a panicked holder leaves nothing half done.
    units.lock().unwrap_or_else(PoisonError::into_inner)
}

fn uptime_seconds() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split('.')
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(0)
}

async fn send(writer: &mut OwnedWriteHalf, event: &Event) -> Result<()> {
    let mut line = serde_json::to_vec(event).context("serialise an event")?;
    line.push(b'\n');
    writer.write_all(&line).await.context("send an event")
}

async fn run(
    program: &Program,
    stdin: String,
    timeout: Duration,
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) -> Result<Event> {
    let mut command = spawn::command(program)?;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (mut child, pid) = spawn::start(command, program)?;
    let mut input = child.stdin.take().context("standard input was piped")?;
    tokio::spawn(async move {
        // A program may end without reading all of it.
        input.write_all(stdin.as_bytes()).await.ok();
    });
    let mut stdout = child.stdout.take().context("standard output was piped")?;
    let mut stderr = child.stderr.take().context("standard error was piped")?;
    let stream = async {
        let (mut out_open, mut err_open) = (true, true);
        let (mut out, mut err) = (vec![0; 16 << 10], vec![0; 16 << 10]);
        while out_open || err_open {
            let event = tokio::select! {
                text = chunk(&mut stdout, &mut out), if out_open => {
                    out_open = text.is_some();
                    text.map(Event::Stdout)
                }
                text = chunk(&mut stderr, &mut err), if err_open => {
                    err_open = text.is_some();
                    text.map(Event::Stderr)
                }
            };
            if let Some(event) = event {
                send(writer, &event).await?;
            }
        }
        anyhow::Ok(child.wait().await.context("wait for the program")?)
    };
    let mut nothing = [0; 1];
    tokio::select! {
        status = stream => Ok(Event::Exit(spawn::exit(status?))),
        () = tokio::time::sleep(timeout) => {
            spawn::signal_group(pid, Signal::SIGKILL).context("kill the program")?;
            Ok(Event::Exit(Exit::TimedOut))
        }
        // The host sends nothing more: whatever arrives means that it has hung up.
        _ = reader.read(&mut nothing) => {
            spawn::signal_group(pid, Signal::SIGKILL).context("kill the program")?;
            bail!("the host hung up")
        }
    }
}

async fn chunk(stream: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> Option<String> {
    match stream.read(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(length) => Some(String::from_utf8_lossy(&buffer[..length]).into_owned()),
    }
}

fn start(units: &Units, unit: String, program: &Program, log: &Path) -> Result<Event> {
    if lock(units)
        .get(&unit)
        .is_some_and(|state| state.borrow().exit.is_none())
    {
        bail!("{unit} is already running");
    }
    let mut command = spawn::command(program)?;
    let output = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("open {}", log.display()))?;
    command
        .stderr(output.try_clone().context("duplicate the log's handle")?)
        .stdout(output);
    let (mut child, pid) = spawn::start(command, program)?;
    let (sender, receiver) = watch::channel(UnitState {
        pid: pid.as_raw(),
        exit: None,
    });
    tokio::spawn(async move {
        let exit = child.wait().await.map_or(Exit::Code(-1), spawn::exit);
        sender.send_modify(|state| state.exit = Some(exit));
    });
    lock(units).insert(unit, receiver);
    Ok(Event::Started(pid.as_raw()))
}

fn state_of(units: &Units, unit: &str) -> Result<watch::Receiver<UnitState>> {
    lock(units)
        .get(unit)
        .cloned()
        .with_context(|| format!("nothing was started as {unit}"))
}

fn signal_unit(units: &Units, unit: &str, signal: i32) -> Result<Event> {
    let signal = Signal::try_from(signal).with_context(|| format!("signal {signal}"))?;
    let state = *state_of(units, unit)?.borrow();
    if state.exit.is_none() {
        spawn::signal_group(Pid::from_raw(state.pid), signal)
            .with_context(|| format!("signal {unit}"))?;
    }
    Ok(Event::Done)
}

async fn wait(units: &Units, unit: &str, timeout: Duration) -> Result<Event> {
    let mut receiver = state_of(units, unit)?;
    // Time over or sender gone: the state as it is answers both.
    tokio::time::timeout(timeout, receiver.wait_for(|state| state.exit.is_some()))
        .await
        .ok();
    let state = *receiver.borrow();
    Ok(Event::Units(BTreeMap::from([(unit.to_owned(), state)])))
}

/// Lends the connection to a pseudo-terminal; `script` makes one, which keeps this program free of unsafe code.
async fn terminal(
    program: &Program,
    rows: u16,
    columns: u16,
    mut reader: BufReader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
) -> Result<()> {
    let quoted: Vec<String> = program
        .argv
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
        .collect();
    let inner = format!("stty rows {rows} cols {columns}; exec {}", quoted.join(" "));
    let outer = Program {
        argv: [
            "script",
            "--quiet",
            "--flush",
            "--return",
            "--command",
            &inner,
            "/dev/null",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..program.clone()
    };
    let mut command = spawn::command(&outer)?;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .env("TERM", "xterm-256color");
    let (mut child, pid) = spawn::start(command, &outer)?;
    let mut input = child.stdin.take().context("standard input was piped")?;
    let mut output = child.stdout.take().context("standard output was piped")?;
    tokio::select! {
        copied = tokio::io::copy(&mut output, &mut writer) => { copied.context("terminal output")?; }
        // The other side hung up, or the shell ended and no longer reads.
        _ = tokio::io::copy(&mut reader, &mut input) => {}
    }
    spawn::signal_group(pid, Signal::SIGHUP).context("end the terminal")?;
    child.wait().await.context("wait for the terminal")?;
    Ok(())
}
