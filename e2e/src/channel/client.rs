//! The host's side of the guest channel.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::protocol::{Event, Exit, Program, Request, UnitState};

/// Slack on top of a guest-side time limit before the host gives up on the connection itself.
const CONNECTION_SLACK: Duration = Duration::from_secs(15);

/// What a program printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How it ended.
    pub exit: Exit,
}

impl Outcome {
    /// Whether it exited with status 0.
    pub fn success(&self) -> bool {
        self.exit == Exit::Code(0)
    }

    /// Standard output of a program that must succeed.
    ///
    /// # Errors
    /// When it did not, with what it printed.
    pub fn checked(self, what: &str) -> Result<String> {
        if self.success() {
            return Ok(self.stdout);
        }
        bail!(
            "{what} failed in the guest ({:?}): {}{}",
            self.exit,
            self.stdout,
            self.stderr
        )
    }
}

/// A guest that can be talked to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Guest {
    address: SocketAddr,
}

impl Guest {
    /// The guest whose agent is forwarded to this port of the loopback address.
    pub fn at_port(port: u16) -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        }
    }

    /// Whether the agent answers now.
    pub async fn is_up(&self) -> bool {
        let ping = async {
            let mut connection = self.request(&Request::Ping).await?;
            connection.event().await
        };
        matches!(
            tokio::time::timeout(Duration::from_secs(2), ping).await,
            Ok(Ok(Event::Pong(_)))
        )
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// When it cannot be started or the guest is gone; a failing program is no error here.
    pub async fn run(&self, program: Program, stdin: &str, timeout: Duration) -> Result<Outcome> {
        let request = Request::Run {
            program,
            stdin: stdin.to_owned(),
            timeout_ms: millis(timeout),
        };
        tokio::time::timeout(timeout + CONNECTION_SLACK, async {
            let mut connection = self.request(&request).await?;
            let (mut stdout, mut stderr) = (String::new(), String::new());
            loop {
                match connection.event().await? {
                    Event::Stdout(text) => stdout.push_str(&text),
                    Event::Stderr(text) => stderr.push_str(&text),
                    Event::Exit(exit) => {
                        return Ok(Outcome {
                            stdout,
                            stderr,
                            exit,
                        });
                    }
                    other => return unexpected(other),
                }
            }
        })
        .await
        .context("the guest does not answer any more")?
    }

    /// Runs a bash script given as text; it stops at the first command that fails.
    ///
    /// # Errors
    /// When any of its commands fails or its time is over.
    pub async fn script(&self, what: &str, script: &str, timeout: Duration) -> Result<String> {
        let program = Program::new(["bash", "-euo", "pipefail", "-s"]);
        self.run(program, script, timeout).await?.checked(what)
    }

    /// Starts a lasting program; answers its process id in the guest.
    ///
    /// # Errors
    /// When it cannot be started or one of this name still runs.
    pub async fn start(&self, unit: &str, program: Program, log: &Path) -> Result<i32> {
        let request = Request::Start {
            unit: unit.to_owned(),
            program,
            log: log.to_path_buf(),
        };
        match self.ask(&request, Duration::ZERO).await? {
            Event::Started(pid) => Ok(pid),
            other => unexpected(other),
        }
    }

    /// Signals a unit's process group; one that has ended is no error.
    ///
    /// # Errors
    /// When there never was such a unit.
    pub async fn signal(&self, unit: &str, signal: nix::sys::signal::Signal) -> Result<()> {
        let request = Request::Signal {
            unit: unit.to_owned(),
            signal: signal as i32,
        };
        match self.ask(&request, Duration::ZERO).await? {
            Event::Done => Ok(()),
            other => unexpected(other),
        }
    }

    /// Waits until a unit has ended, at most `timeout`.
    ///
    /// # Errors
    /// When there never was such a unit.
    pub async fn wait(&self, unit: &str, timeout: Duration) -> Result<UnitState> {
        let request = Request::Wait {
            unit: unit.to_owned(),
            timeout_ms: millis(timeout),
        };
        match self.ask(&request, timeout).await? {
            Event::Units(units) => units.get(unit).copied().context("the guest names the unit"),
            other => unexpected(other),
        }
    }

    /// All lasting programs by name.
    ///
    /// # Errors
    /// When the guest is gone.
    pub async fn units(&self) -> Result<BTreeMap<String, UnitState>> {
        match self.ask(&Request::Units, Duration::ZERO).await? {
            Event::Units(units) => Ok(units),
            other => unexpected(other),
        }
    }

    /// Connects this process's terminal to a program in the guest until that ends.
    ///
    /// # Errors
    /// When the guest is gone.
    pub async fn terminal(&self, program: Program, rows: u16, columns: u16) -> Result<()> {
        let connection = self
            .request(&Request::Terminal {
                program,
                rows,
                columns,
            })
            .await?;
        let (mut reader, mut writer) = connection.stream.into_inner().into_split();
        // Ends with the output; the read from the terminal cannot be cancelled and is left to the process's end.
        tokio::spawn(async move { tokio::io::copy(&mut tokio::io::stdin(), &mut writer).await });
        tokio::io::copy(&mut reader, &mut tokio::io::stdout())
            .await
            .context("terminal output")?;
        Ok(())
    }

    async fn ask(&self, request: &Request, guest_time: Duration) -> Result<Event> {
        tokio::time::timeout(guest_time + CONNECTION_SLACK, async {
            self.request(request).await?.event().await
        })
        .await
        .context("the guest does not answer")?
    }

    async fn request(&self, request: &Request) -> Result<Connection> {
        let mut stream = TcpStream::connect(self.address)
            .await
            .with_context(|| format!("connect to the guest at {}", self.address))?;
        let mut line = serde_json::to_vec(request).context("serialise the request")?;
        line.push(b'\n');
        stream.write_all(&line).await.context("send the request")?;
        Ok(Connection {
            stream: BufReader::new(stream),
        })
    }
}

fn unexpected<T>(event: Event) -> Result<T> {
    match event {
        Event::Error(message) => bail!("{message}"),
        other => bail!("the guest answered {other:?}, which does not fit the request"),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    async fn event(&mut self) -> Result<Event> {
        let mut line = String::new();
        let length = self
            .stream
            .read_line(&mut line)
            .await
            .context("read from the guest")?;
        if length == 0 {
            bail!("the guest closed the connection");
        }
        serde_json::from_str(&line).context("parse the guest's answer")
    }
}

#[cfg(test)]
mod tests;
