//! Client and server against each other on this machine's loopback address, without a VM.

use nix::sys::signal::Signal;

use super::*;
use crate::channel::server;

async fn guest() -> Guest {
    let port = crate::child::free_port().expect("a free port");
    tokio::spawn(server::serve(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
    let guest = Guest::at_port(port);
    while !guest.is_up().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    guest
}

async fn logged(log: &Path, text: &str) {
    let deadline = tokio::time::Instant::now() + LONG;
    while std::fs::read_to_string(log).unwrap_or_default() != text {
        assert!(tokio::time::Instant::now() < deadline, "{text:?} is logged");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_program_gives_its_output_and_its_exit_status() {
    let script = "cat; echo $WORD >&2; exit 3";
    let mut program = Program::new(["sh", "-c", script]);
    program.env.insert("WORD".into(), "bad".into());
    let outcome = guest()
        .await
        .run(program, "input", LONG)
        .await
        .expect("it runs");
    let expected = Outcome {
        stdout: "input".into(),
        stderr: "bad\n".into(),
        exit: Exit::Code(3),
    };
    assert_eq!(outcome, expected);
}

#[tokio::test]
async fn much_output_arrives_whole() {
    let outcome = guest()
        .await
        .run(Program::new(["seq", "200000"]), "", LONG)
        .await
        .expect("it runs");
    assert_eq!(outcome.stdout.lines().count(), 200_000);
    assert_eq!(outcome.stdout.lines().last(), Some("200000"));
}

#[tokio::test]
async fn a_program_over_its_time_is_killed_with_its_children() {
    let program = Program::new(["sh", "-c", "sleep 600 & echo $!; wait"]);
    let guest = guest().await;
    let outcome = guest
        .run(program, "", Duration::from_millis(300))
        .await
        .expect("it runs");
    assert_eq!(outcome.exit, Exit::TimedOut);
    let child = outcome.stdout.trim().to_owned();
    let gone = || {
        std::fs::read_to_string(format!("/proc/{child}/stat"))
            .map_or(true, |stat| stat.contains(") Z"))
    };
    let deadline = tokio::time::Instant::now() + LONG;
    while !gone() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(gone());
}

#[tokio::test]
async fn a_failing_line_ends_a_script_and_is_reported() {
    let error = guest()
        .await
        .script("the test's script", "echo first\nfalse\necho second", LONG)
        .await
        .expect_err("false fails");
    let text = error.to_string();
    assert!(
        text.contains("the test's script") && text.contains("first"),
        "{text}"
    );
    assert!(!text.contains("second"), "{text}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error_that_names_it() {
    let error = guest()
        .await
        .run(Program::new(["/no/such/program"]), "", LONG)
        .await
        .expect_err("it cannot start");
    assert!(
        format!("{error:#}").contains("/no/such/program"),
        "{error:#}"
    );
}

#[tokio::test]
async fn a_unit_runs_under_its_name_until_it_is_signalled() {
    let guest = guest().await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = folder.path().join("log");
    let program = Program::new(["sh", "-c", "echo begun; exec sleep 600"]);
    guest
        .start("unit", program.clone(), &log)
        .await
        .expect("it starts");
    let twice = guest
        .start("unit", program.clone(), &log)
        .await
        .expect_err("one at a time");
    assert!(twice.to_string().contains("already running"), "{twice}");
    logged(&log, "begun\n").await;
    guest
        .signal("unit", Signal::SIGKILL)
        .await
        .expect("it is signalled");
    let state = guest.wait("unit", LONG).await.expect("it is known");
    assert_eq!(state.exit, Some(Exit::Signal(9)));
    guest
        .start("unit", program, &log)
        .await
        .expect("the name is free again");
    assert_eq!(guest.units().await.expect("units")["unit"].exit, None);
    logged(&log, "begun\nbegun\n").await;
    guest
        .signal("unit", Signal::SIGTERM)
        .await
        .expect("it is signalled");
    guest.wait("unit", LONG).await.expect("it is known");
    let error = guest
        .signal("other", Signal::SIGTERM)
        .await
        .expect_err("never started");
    assert!(error.to_string().contains("other"), "{error}");
}
