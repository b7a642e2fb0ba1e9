//! `rig exec` and `rig shell`: into the VM.

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Which, netns};
use crate::channel::protocol::Exit;
use crate::channel::{Outcome, Program};

pub(super) async fn exec(
    which: &Which,
    place: &str,
    timeout: Duration,
    command: Vec<String>,
) -> Result<ExitCode> {
    let rig = which.attach().await?;
    let program = Program {
        netns: netns(&rig, place)?,
        ..Program::new(command)
    };
    let outcome = rig.guest().run(program, "", timeout).await?;
    finish(&outcome, timeout)
}

/// Prints what a program in the guest has printed, and ends as it did.
pub(super) fn finish(outcome: &Outcome, timeout: Duration) -> Result<ExitCode> {
    write_through(&outcome.stdout, &outcome.stderr);
    match outcome.exit {
        Exit::Code(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        Exit::Signal(signal) => bail!("ended by signal {signal}"),
        Exit::TimedOut => bail!("killed: not done after {} s", timeout.as_secs()),
    }
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the command's own output"
)]
fn write_through(stdout: &str, stderr: &str) {
    print!("{stdout}");
    eprint!("{stderr}");
}

/// A login shell on a terminal of the guest's; this terminal passes every key on until the shell ends.
pub(super) async fn shell(which: &Which, place: &str) -> Result<()> {
    let rig = which.attach().await?;
    let mut program = Program {
        netns: netns(&rig, place)?,
        ..Program::new(["bash", "-i"])
    };
    program
        .env
        .insert("PS1".to_owned(), format!("[{place}] \\w # "));
    let (rows, columns) = size().unwrap_or((24, 80));
    let saved = stty(&["-g"])?;
    stty(&["raw", "-echo"])?;
    let ended = rig.guest().terminal(program, rows, columns).await;
    stty(&[saved.trim()])?;
    ended?;
    // The thread that reads this terminal waits for a key that nobody may ever press: end without it.
    std::process::exit(0)
}

fn size() -> Option<(u16, u16)> {
    let text = stty(&["size"]).ok()?;
    let (rows, columns) = text.trim().split_once(' ')?;
    Some((rows.parse().ok()?, columns.parse().ok()?))
}

fn stty(arguments: &[&str]) -> Result<String> {
    let output = Command::new("stty")
        .args(arguments)
        .stdin(Stdio::inherit())
        .output()
        .context("run stty")?;
    if !output.status.success() {
        bail!("`rig shell` needs a terminal; use `rig exec HOST -- COMMAND` without one");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
