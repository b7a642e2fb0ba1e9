//! Scores the diagnosis on a population file without the rest of the workspace; `rig score` is the same with a mesh of
//! one's own and JSON.
//!
//! `cargo run --release -p rdmamesh-fabric --features simulate --example score -- FILE [SEED] [CASES] [-v] [--only=N]`:
//! `-v` prints every fault and every verdict, `--only=N` plays case N alone.

use std::process::ExitCode;

use rdmamesh_fabric::simulate::Mesh;
use rdmamesh_fabric::simulate::population::Population;
use rdmamesh_fabric::simulate::score::{Outcome, Summary, play, play_all};

/// A mesh with its defaults: this crate does not know the API's spec.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for people"
)]
fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let verbose = arguments.iter().any(|argument| argument == "-v");
    let only = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("--only="));
    let only: Option<u64> = only.and_then(|number| number.parse().ok());
    arguments.retain(|argument| !argument.starts_with('-'));
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok());
    let Some(file) = arguments.first() else {
        eprintln!("write: score FILE [SEED] [CASES] [-v] [--only=N]");
        return ExitCode::FAILURE;
    };
    let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
    let population = read.and_then(|text| {
        serde_saphyr::from_str::<Population<Defaults>>(&text).map_err(|error| error.to_string())
    });
    let population =
        match population.and_then(|p| p.validate().map(|()| p).map_err(|e| e.to_string())) {
            Ok(population) => population,
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::FAILURE;
            }
        };
    let seed = number(1).unwrap_or(1);
    let cases = number(2).unwrap_or(u64::from(population.cases));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mesh = Mesh::default();
    let outcomes = match only {
        None => play_all(&population, &mesh, (seed, cases), workers, |_| {}),
        Some(number) => {
            let case = population.case(seed, number);
            case.iter().map(|case| play(case, number, &mesh)).collect()
        }
    };
    if verbose {
        for line in outcomes.iter().flat_map(Outcome::lines) {
            println!("{line}");
        }
    }
    println!("{}", Summary::of(&outcomes));
    ExitCode::SUCCESS
}
