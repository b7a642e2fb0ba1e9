use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::read::Records;
use super::*;

const FABRIC: &str = r#"{"fabric": {
    "links": [["h1","l1"],["h2","l2"],["h3","l3"],["l1","s1"],["l2","s1"],["l3","s1"],["l1","s2"],["l2","s2"],["l3","s2"]],
    "hosts": ["h1","h2","h3"], "switches": ["l1","l2","l3","s1","s2"], "truth": [["s2","l1"]]}}"#;

/// Every pair of hosts over both spines; whatever crosses l1–s2 loses 3 %.
fn records() -> String {
    let mut text = FABRIC.replace('\n', " ");
    for (a, b) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
        for spine in [1, 2] {
            let lost = u64::from(spine == 2 && (a == 1 || b == 1)) * 30;
            text += &format!(
                "\n{{\"src\": \"h{a}\", \"dst\": \"h{b}\", \"path\": [\"l{a}\", \"s{spine}\", \"l{b}\"], \
                 \"sent\": 1000, \"lost\": {lost}}}"
            );
        }
    }
    text
}

fn judged(text: &str) -> Result<(Ruling, Option<Agreement>)> {
    let records = Records::from_lines(text.as_bytes())?;
    let ruling = records.judge.rule();
    let agreement = records.truth.map(|truth| truth.agree(&ruling));
    Ok((ruling, agreement))
}

fn refused(text: &str) -> String {
    let error = judged(text).expect_err("malformed records are refused");
    format!("{error:#}")
}

#[test]
fn the_lossy_link_is_named_and_agrees_with_the_truth() {
    let (ruling, agreement) = judged(&records()).expect("sound records");
    assert_eq!(ruling.verdicts.len(), 1, "{ruling:?}");
    assert_eq!(ruling.verdicts[0].element.nodes, ["l1", "s2"]);
    let agreement = agreement.expect("the records tell the truth");
    assert_eq!(
        (agreement.precision, agreement.recall),
        (Some(1.0), Some(1.0))
    );
}

#[test]
fn a_path_may_include_its_ends() {
    let with_ends = records()
        .replace("\"path\": [\"l1\"", "\"path\": [\"h1\", \"l1\"")
        .replace("\"l3\"], \"sent\"", "\"l3\", \"h3\"], \"sent\"");
    let (with_ends, _) = judged(&with_ends).expect("sound records");
    let (without, _) = judged(&records()).expect("sound records");
    assert_eq!(with_ends, without);
}

#[test]
fn gzip_is_read_and_json_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let flows = folder.path().join("flows.jsonl.gz");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(records().as_bytes()).expect("memory");
    std::fs::write(&flows, gzip.finish().expect("memory")).expect("write the flows");
    let out = folder.path().join("out.json");
    let judge = Judge {
        flows,
        json: Some(out.clone()),
    };
    judge.run().expect("sound records");
    let json = std::fs::read(&out).expect("JSON was written");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("it is JSON");
    let suspect = &json["suspects"][0];
    assert_eq!(suspect["kind"], "Link");
    assert_eq!(suspect["nodes"], serde_json::json!(["l1", "s2"]));
    assert!(
        suspect["confidence"]
            .as_f64()
            .is_some_and(|c| c > 80.0 && c < 100.0)
    );
    assert!(
        suspect["evidence"]
            .as_str()
            .is_some_and(|e| e.contains("l1–s2"))
    );
    assert_eq!(json["flows"], 12);
}

#[test]
fn malformed_lines_are_errors_with_their_number_and_what_to_write() {
    let sound = records();
    for (line, reason) in [
        ("{", "column 1); write {\"src\""),
        (
            r#"{"src": "h1", "dst": "h2", "path": ["l1"], "sent": 1}"#,
            "missing field `lost`",
        ),
        (
            r#"{"src": "h1", "dst": "h2", "path": ["l1", "s9", "l2"], "sent": 1, "lost": 0}"#,
            "node \"s9\" is not in the fabric",
        ),
        (
            r#"{"src": "h1", "dst": "h2", "path": ["l1", "l2"], "sent": 1, "lost": 0}"#,
            "no link \"l1\"–\"l2\"",
        ),
        (
            r#"{"src": "h1", "dst": "h2", "path": ["l1", "s1", "l2"], "sent": 1, "lost": 2}"#,
            "2 packets lost of 1 sent",
        ),
        (
            r#"{"src": "h1", "dst": "h2", "path": ["l1", "s1", "l2"], "sent": -1, "lost": 0}"#,
            "invalid value",
        ),
    ] {
        let error = refused(&format!("{sound}\n{line}"));
        assert!(
            error.starts_with("line 14: ") && error.contains(reason),
            "{error}"
        );
    }
}

#[test]
fn a_first_line_that_is_no_fabric_is_an_error() {
    assert!(refused("").contains("the file is empty; begin it with {\"fabric\""));
    assert!(refused("{}").starts_with("line 1: missing field `fabric`"));
    let loops = r#"{"fabric": {"links": [["a", "a"]]}}"#;
    assert!(refused(loops).contains("a link joins two nodes"));
    assert!(refused(r#"{"fabric": {"links": []}}"#).contains("has no links"));
}

#[test]
fn truth_is_read_in_any_of_its_forms() {
    for truth in [
        r#"[["l1","s2"]]"#,
        r#"[{"kind": "Link", "nodes": ["s2", "l1"]}]"#,
        r#"{"links": [["l1", "s2"]]}"#,
    ] {
        let text = records().replace(r#"[["s2","l1"]]"#, truth);
        let (_, agreement) = judged(&text).expect("sound records");
        assert_eq!(agreement.and_then(|a| a.recall), Some(1.0), "{truth}");
    }
    let at_top = records().replace(r#", "truth": [["s2","l1"]]}}"#, r#"}, "truth": ["s1"]}"#);
    let (_, agreement) = judged(&at_top).expect("sound records");
    assert_eq!(agreement.and_then(|a| a.recall), Some(0.0));
}
