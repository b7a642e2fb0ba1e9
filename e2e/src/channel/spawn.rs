//! Starting processes in the guest: network namespace, control group, process group.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::protocol::{Exit, Program};

/// Joins the control group before the program proper begins, so that nothing of it runs outside.
const JOIN_CGROUP: &str =
    r#"mkdir -p "/sys/fs/cgroup/$0" && echo $$ > "/sys/fs/cgroup/$0/cgroup.procs" && exec "$@""#;

/// The command for a program, in a process group of its own; streams are the caller's to set.
pub(super) fn command(program: &Program) -> Result<Command> {
    if program.argv.is_empty() {
        bail!("no program was named");
    }
    let mut argv: Vec<&str> = Vec::new();
    if let Some(cgroup) = &program.cgroup {
        argv.extend(["sh", "-c", JOIN_CGROUP, cgroup]);
    }
    if let Some(netns) = &program.netns {
        argv.extend(["ip", "netns", "exec", netns]);
    }
    argv.extend(program.argv.iter().map(String::as_str));
    let mut command = Command::new(argv[0]);
    command
        .args(&argv[1..])
        .envs(&program.env)
        .stdin(Stdio::null())
        .process_group(0);
    Ok(command)
}

/// Starts it; the message of a failure names the program.
pub(super) fn start(mut command: Command, program: &Program) -> Result<(Child, Pid)> {
    let child = command
        .spawn()
        .with_context(|| format!("start {}", program.argv[0]))?;
    let id = child
        .id()
        .context("a child that was not waited for has a process id")?;
    let pid = Pid::from_raw(i32::try_from(id).context("process ids fit 31 bits")?);
    Ok((child, pid))
}

/// Signals a whole process group; one that is gone is no error.
pub(super) fn signal_group(pid: Pid, signal: Signal) -> nix::Result<()> {
    match nix::sys::signal::killpg(pid, signal) {
        Err(nix::Error::ESRCH) => Ok(()),
        other => other,
    }
}

/// Translates the operating system's exit status.
pub(super) fn exit(status: std::process::ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(-1),
    }
}
