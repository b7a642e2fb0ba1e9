//! `rig tally`: counts the tests of several `cargo test` logs as one run, and names what failed and what was skipped.
//!
//! A test that one rung skips and another runs counts once, as run. A suite that ended without a result, and a log in
//! which no test ran at all, count as failed: silence is no success.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

/// Count the tests in logs of `cargo test`; the last line is `N passed, N failed, N skipped`.
#[derive(Debug, Args)]
pub struct Tally {
    /// The logs.
    #[arg(required = true)]
    logs: Vec<PathBuf>,
}

/// How a test ended; of two logs the later in this order counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Skipped(String),
    Passed,
    Failed,
}

/// Tests by suite and name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    tests: BTreeMap<(String, String), Outcome>,
}

impl Tally {
    /// Prints the count.
    ///
    /// # Errors
    /// When a log cannot be read.
    #[expect(clippy::print_stdout, reason = "the count is what was asked for")]
    pub fn run(&self) -> Result<ExitCode> {
        let mut count = Count::default();
        for log in &self.logs {
            let bytes = std::fs::read(log).with_context(|| format!("read {}", log.display()))?;
            count.add_log(&name_of(log), &String::from_utf8_lossy(&bytes));
        }
        print!("{}", count.text());
        Ok(if count.failed() == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn name_of(log: &Path) -> String {
    log.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

impl Count {
    fn add_log(&mut self, log: &str, text: &str) {
        let mut suite: Option<String> = None;
        // A test that prints while it runs pushes its outcome to a line of its own.
        let mut running: Option<String> = None;
        let mut any = false;
        for line in text.lines() {
            let place = || suite.clone().unwrap_or_else(|| log.to_owned());
            if let Some(next) = suite_of(line) {
                running = None;
                self.ended_without_result(suite.replace(next));
            } else if line.starts_with("test result: ") {
                any = true;
                suite = None;
            } else if let Some((name, outcome)) = test_of(line) {
                match outcome {
                    Some(outcome) => self.add(place(), name, outcome),
                    None => running = Some(name),
                }
            } else if let Some(outcome) = outcome_of("", line)
                && let Some(name) = running.take()
            {
                self.add(place(), name, outcome);
            }
        }
        self.ended_without_result(suite);
        if !any {
            self.add(log.to_owned(), "no test ran".to_owned(), Outcome::Failed);
        }
    }

    fn ended_without_result(&mut self, suite: Option<String>) {
        if let Some(suite) = suite {
            self.add(suite, "ended without a result".to_owned(), Outcome::Failed);
        }
    }

    fn add(&mut self, suite: String, name: String, outcome: Outcome) {
        let known = self
            .tests
            .entry((suite, name))
            .or_insert_with(|| outcome.clone());
        if outcome > *known {
            *known = outcome;
        }
    }

    fn failed(&self) -> usize {
        self.tests
            .values()
            .filter(|outcome| **outcome == Outcome::Failed)
            .count()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut skipped = 0;
        for ((suite, name), outcome) in &self.tests {
            match outcome {
                Outcome::Passed => {}
                Outcome::Failed => text.push_str(&format!("failed: {suite}: {name}\n")),
                Outcome::Skipped(why) => {
                    skipped += 1;
                    let why = if why.is_empty() {
                        String::new()
                    } else {
                        format!(" ({why})")
                    };
                    text.push_str(&format!("skipped: {suite}: {name}{why}\n"));
                }
            }
        }
        let failed = self.failed();
        let passed = self.tests.len() - failed - skipped;
        text.push_str(&format!(
            "{passed} passed, {failed} failed, {skipped} skipped\n"
        ));
        text
    }
}

/// `     Running unittests src/lib.rs (target/debug/deps/rdmamesh_e2e-0123456789abcdef)`, `   Doc-tests rdmamesh_api`.
fn suite_of(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("doc {name}"));
    }
    let (_, path) = line.strip_prefix("Running ")?.rsplit_once('(')?;
    let file = Path::new(path.strip_suffix(')')?).file_name()?.to_str()?;
    let (name, _hash) = file.rsplit_once('-')?;
    Some(name.to_owned())
}

/// `test name ... ok`, `test [T1] name      ... ignored`; no outcome when something else was printed behind the name.
fn test_of(line: &str) -> Option<(String, Option<Outcome>)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let name = name.trim();
    let (kind, name) = match name
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
    {
        Some((kind, name)) => (kind, name.trim()),
        None => ("", name),
    };
    Some((name.to_owned(), outcome_of(kind, outcome)))
}

/// `ok`, `FAILED`, `ignored`, `ignored, why`.
fn outcome_of(kind: &str, text: &str) -> Option<Outcome> {
    match text {
        "ok" => Some(Outcome::Passed),
        "FAILED" => Some(Outcome::Failed),
        "ignored" => Some(Outcome::Skipped(kind.to_owned())),
        _ => Some(Outcome::Skipped(text.strip_prefix("ignored, ")?.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: &str = "\
     Running unittests src/lib.rs (target/debug/deps/rdmamesh_api-0f3b)
running 2 tests
test duration::reads ... ok
test device - needs (line 3) ... ignored, T2: needs a device
test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out
     Running tests/api_rules/main.rs (/x/target/debug/deps/api_rules-8632)
test      every_rule_has_an_example  ... ok
test [T1] rule::spec: the budget ... ignored
test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out
   Doc-tests rdmamesh_api
test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out
";
    const T1: &str = "\
     Running tests/api_rules/main.rs (target/debug/deps/api_rules-8632)
test      every_rule_has_an_example  ... ok
test [T1] rule::spec: the budget ... FAILED
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out
";

    fn count(logs: &[(&str, &str)]) -> Count {
        let mut count = Count::default();
        for (name, text) in logs {
            count.add_log(name, text);
        }
        count
    }

    #[test]
    fn a_test_counts_once_however_many_logs_name_it() {
        assert_eq!(
            count(&[("t0", T0)]).text(),
            "skipped: api_rules: rule::spec: the budget (T1)\n\
             skipped: rdmamesh_api: device - needs (line 3) (T2: needs a device)\n\
             2 passed, 0 failed, 2 skipped\n"
        );
        assert_eq!(
            count(&[("t0", T0), ("t1", T1)]).text(),
            "failed: api_rules: rule::spec: the budget\n\
             skipped: rdmamesh_api: device - needs (line 3) (T2: needs a device)\n\
             2 passed, 1 failed, 1 skipped\n"
        );
        let passed = T1.replace("FAILED", "ok");
        assert!(
            count(&[("t1", &passed), ("t0", T0)])
                .text()
                .ends_with("3 passed, 0 failed, 1 skipped\n")
        );
    }

    #[test]
    fn a_test_that_prints_while_it_runs_is_counted() {
        let log = "\
     Running tests/fabric/main.rs (target/debug/deps/fabric-8632)
test [T2] scenario::healthy ... [   0.1s] booting ... now
[   9.1s]   ok after 9.0 s: fine
ok
test [T2] scenario::lossy   ... [   0.0s] expect
FAILED
ok
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out
";
        assert_eq!(
            count(&[("t2", log)]).text(),
            "failed: fabric: scenario::lossy\n1 passed, 1 failed, 0 skipped\n"
        );
    }

    #[test]
    fn silence_is_no_success() {
        let broken = "error[E0433]: failed to resolve\nerror: could not compile\n";
        assert_eq!(
            count(&[("t2", broken)]).text(),
            "failed: t2: no test ran\n0 passed, 1 failed, 0 skipped\n"
        );
        let crashed =
            "     Running tests/fabric.rs (target/debug/deps/fabric-8632)\ntest a ... ok\n";
        assert_eq!(
            count(&[("t2", crashed)]).failed(),
            2,
            "no result of the suite, none of the log"
        );
    }
}
