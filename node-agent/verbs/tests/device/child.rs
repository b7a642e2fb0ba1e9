//! This test program started again in another situation: without privileges, or without providers.

use std::io;
use std::process::{Command, ExitCode};

use rdmamesh_verbs::{EndpointConfig, Gid, PortNum, SysfsRoot, UdEndpoint, provider_gap};

use super::fabric::{Host, PATIENCE, runtime};
use super::traffic::ping;

/// Pings that the unprivileged child sends.
pub(crate) const PINGS: u64 = 100;

/// Says in which role this process was started.
const ROLE: &str = "RDMAMESH_DEVICE_CHILD";

/// What a child exits with when the library's answer was the expected one.
const EXPECTED: u8 = 42;

/// Runs the child's part, if this process is one.
pub(crate) fn main() -> Option<ExitCode> {
    let role = std::env::var(ROLE).ok()?;
    let answer = match role.split_once(' ') {
        Some(("ping", arguments)) => unprivileged(arguments),
        Some(("provider", device)) => without_provider(device),
        _ => false,
    };
    Some(if answer {
        ExitCode::from(EXPECTED)
    } else {
        ExitCode::FAILURE
    })
}

fn output(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        output.status.code(),
        Some(i32::from(EXPECTED)),
        "the child said: {text}"
    );
    Ok(text)
}

fn this_program() -> String {
    std::env::current_exe()
        .expect("readable")
        .to_str()
        .expect("a plain path")
        .to_owned()
}

/// Pings from a process with uid 65532, no capabilities and 64 KiB of lockable memory.
pub(crate) fn ping_unprivileged(
    host: &Host,
    config: &EndpointConfig,
    gid: Gid,
    qpn: u32,
) -> io::Result<String> {
    let role = format!(
        "ping {} {} {} {gid} {qpn}",
        config.device, config.gid_index, config.qps
    );
    let mut command = Command::new("ip");
    command.args([
        "netns",
        "exec",
        &host.netns,
        "prlimit",
        "--memlock=65536:65536",
    ]);
    command.args([
        "setpriv",
        "--reuid=65532",
        "--regid=65532",
        "--clear-groups",
        "--inh-caps=-all",
        "--no-new-privs",
    ]);
    command.arg(this_program()).env(ROLE, role);
    output(&mut command)
}

fn unprivileged(arguments: &str) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let holds = |line: &str| {
        status
            .lines()
            .any(|found| found.split_whitespace().eq(line.split_whitespace()))
    };
    assert!(
        holds("CapEff: 0000000000000000") && holds("Uid: 65532 65532 65532 65532"),
        "{status}"
    );

    let words: Vec<&str> = arguments.split(' ').collect();
    let [device, gid_index, qps, gid, qpn] = words[..] else {
        return false;
    };
    let config = EndpointConfig {
        device: device.to_owned(),
        port: PortNum::FIRST,
        gid_index: gid_index.parse().expect("a number"),
        qps: qps.parse().expect("a number"),
        send_slots: 16,
        recv_slots: 16,
        max_payload: 128,
        qkey: super::fabric::QKEY,
    };
    let (gid, qpn) = (gid.parse().expect("a GID"), qpn.parse().expect("a number"));
    let pings = runtime().block_on(async {
        let mut endpoint = UdEndpoint::open(&config).expect("no privileges are needed");
        ping(&mut endpoint, gid, &[qpn], PINGS, PATIENCE).await
    });
    println!(
        "uid 65532 without capabilities: {} of {PINGS} answered",
        pings.answered
    );
    pings.answered == PINGS
}

/// Asks the library about a device in a mount namespace where no provider is installed.
pub(crate) fn ask_without_provider(host: &Host) -> io::Result<String> {
    let script = "mount -t tmpfs none /etc/libibverbs.d && exec \"$0\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script, &this_program()])
        .env(ROLE, format!("provider {}", host.device));
    output(&mut command)
}

fn without_provider(device: &str) -> bool {
    let error = provider_gap(&SysfsRoot::system()).expect_err("no provider is installed");
    println!("{error}");
    let text = error.to_string();
    let open = runtime().block_on(async {
        let config = EndpointConfig {
            device: device.to_owned(),
            port: PortNum::FIRST,
            gid_index: 0,
            qps: 1,
            send_slots: 1,
            recv_slots: 1,
            max_payload: 1,
            qkey: 0,
        };
        UdEndpoint::open(&config)
            .map(|_| ())
            .expect_err("no provider is installed")
            .to_string()
    });
    text.contains(device)
        && text.contains("ibverbs-providers")
        && open.contains("ibverbs-providers")
}
