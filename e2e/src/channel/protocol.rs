//! What host and guest agent say to each other, one JSON value per line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A program to run in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Program {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Added to the guest agent's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Network namespace (`host1`, `leaf2`, …); none is the guest's own.
    #[serde(default)]
    pub netns: Option<String>,
    /// Control group below the root of the hierarchy, made if missing.
    #[serde(default)]
    pub cgroup: Option<String>,
}

impl Program {
    /// A program in the guest's own network namespace.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// The same in a host's, leaf's or spine's network namespace.
    #[must_use]
    pub fn in_netns(mut self, netns: impl Into<String>) -> Self {
        self.netns = Some(netns.into());
        self
    }
}

/// What the host asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "request",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Request {
    /// Is anybody there? Answered by [`Event::Pong`].
    Ping,
    /// Run to the end: [`Event::Stdout`] and [`Event::Stderr`] as it goes, [`Event::Exit`] at last. Killed with its
    /// children when the host hangs up or `timeoutMs` is over.
    Run {
        /// The program.
        program: Program,
        /// Its standard input, whole.
        stdin: String,
        /// Milliseconds it may take.
        timeout_ms: u64,
    },
    /// Start and let run under a name, output appended to a file. Answered by [`Event::Started`].
    Start {
        /// Name of the unit, e.g. `agent-host1`; must not be running.
        unit: String,
        /// The program.
        program: Program,
        /// Where its output goes.
        log: PathBuf,
    },
    /// Send a signal to a unit's process group. Answered by [`Event::Done`].
    Signal {
        /// Name of the unit.
        unit: String,
        /// Number of the signal.
        signal: i32,
    },
    /// Wait for a unit's end, or for the time to pass. Answered by [`Event::Units`] with this unit.
    Wait {
        /// Name of the unit.
        unit: String,
        /// Milliseconds to wait.
        timeout_ms: u64,
    },
    /// All units ever started. Answered by [`Event::Units`].
    Units,
    /// From here on the connection is a terminal (raw bytes both ways) with this program in it.
    Terminal {
        /// The program.
        program: Program,
        /// Lines of the terminal.
        rows: u16,
        /// Columns of the terminal.
        columns: u16,
    },
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Killed by the guest agent since its time was over.
    TimedOut,
}

/// A lasting program's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitState {
    /// Process id in the guest.
    pub pid: i32,
    /// How it ended; none while it runs.
    pub exit: Option<Exit>,
}

/// What the guest answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "value", rename_all = "camelCase")]
pub enum Event {
    /// Answer to a ping: seconds the guest has been up.
    Pong(u64),
    /// Bytes of standard output (text, invalid UTF-8 replaced).
    Stdout(String),
    /// Bytes of standard error.
    Stderr(String),
    /// The end of a run.
    Exit(Exit),
    /// Process id of what was started.
    Started(i32),
    /// It is done.
    Done,
    /// Units by name.
    Units(BTreeMap<String, UnitState>),
    /// It could not be done, and why.
    Error(String),
}
