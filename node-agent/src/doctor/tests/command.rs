use clap::Parser as _;

use crate::doctor::command::{DoctorArgs, report, text};

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    args: DoctorArgs,
}

#[test]
fn a_node_without_rdma_is_told_what_to_do_in_words_and_in_json() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    let root = empty.path().display().to_string();
    let flags = [
        "doctor",
        "--sysfs-root",
        &root,
        "--proc-root",
        &root,
        "--dev-root",
        &root,
    ];
    let args = Flags::try_parse_from(flags).expect("valid flags").args;
    let report = report(&args);
    assert!(!report.passed);
    let words = text(&report);
    let first = "FAIL  RdmaDevice        no RDMA port here\n";
    assert!(words.starts_with(first), "{words}");
    assert!(
        words.contains("to do: load the driver of the RNIC"),
        "{words}"
    );
    assert!(
        words.ends_with("cannot probe as it is: see FAIL.\n"),
        "{words}"
    );
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["passed"], false);
    assert_eq!(json["checks"][0]["check"], "RdmaDevice");
    assert_eq!(json["checks"][0]["outcome"], "Fail");
}
