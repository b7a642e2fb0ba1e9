//! Reads a file of flow records line by line into a judge.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use flate2::bufread::MultiGzDecoder;
use rdmamesh_fabric::judge::{Fabric, Judge};

use super::record::{FlowRecord, Header, Name};
use super::truth::Truth;

const HEADER: &str =
    r#"{"fabric": {"links": [["a", "b"], …], "hosts": ["a", …], "switches": ["b", …]}}"#;
const FLOW: &str = r#"{"src": "a", "dst": "c", "path": ["a", "b", "c"], "sent": 100, "lost": 0}"#;

/// First bytes of a gzip stream.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Longest line that is read: a fabric of a million links. Anything longer is no line of records.
const LONGEST: u64 = 256 << 20;

/// Flow records, taken in.
pub(super) struct Records {
    pub(super) judge: Judge,
    pub(super) truth: Option<Truth>,
}

impl Records {
    /// Reads a file, or standard input for `-`; gzip is told by its first bytes.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let raw: Box<dyn Read> = if path == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(path).context("open it")?)
        };
        let mut raw = BufReader::with_capacity(1 << 18, raw);
        if raw.fill_buf().context("read it")?.starts_with(&GZIP) {
            let plain = MultiGzDecoder::new(raw);
            Self::from_lines(BufReader::with_capacity(1 << 18, plain))
        } else {
            Self::from_lines(raw)
        }
    }

    /// Reads lines.
    pub(super) fn from_lines(mut lines: impl BufRead) -> Result<Self> {
        let mut line = Vec::new();
        let mut records: Option<Self> = None;
        for number in 1_u64.. {
            line.clear();
            let read = (&mut lines).take(LONGEST).read_until(b'\n', &mut line);
            if read.with_context(|| format!("read line {number}"))? == 0 {
                break;
            }
            let text = line.trim_ascii();
            match &mut records {
                None => records = Some(header(text).with_context(|| format!("line {number}"))?),
                Some(_) if text.is_empty() => {}
                Some(records) => {
                    flow(&mut records.judge, text).with_context(|| format!("line {number}"))?;
                }
            }
        }
        records.ok_or_else(|| anyhow!("line 1: the file is empty; begin it with {HEADER}"))
    }
}

fn header(text: &[u8]) -> Result<Records> {
    let header: Header<'_> =
        serde_json::from_slice(text).map_err(|error| malformed(&error, HEADER))?;
    let owned = |name: &Name<'_>| name.as_ref().to_owned();
    let fabric = Fabric {
        links: header
            .fabric
            .links
            .iter()
            .map(|(a, b)| (owned(a), owned(b)))
            .collect(),
        hosts: header.fabric.hosts.iter().map(owned).collect(),
        switches: header.fabric.switches.iter().map(owned).collect(),
    };
    if fabric.links.is_empty() {
        bail!("the fabric has no links; list them as in {HEADER}");
    }
    let truth = header.fabric.truth.or(header.truth);
    let judge = Judge::new(&fabric)?;
    Ok(Records { judge, truth })
}

fn flow(judge: &mut Judge, text: &[u8]) -> Result<()> {
    let flow: FlowRecord<'_> =
        serde_json::from_slice(text).map_err(|error| malformed(&error, FLOW))?;
    judge.flow(
        flow.src.as_ref(),
        flow.dst.as_ref(),
        &flow.path,
        flow.sent,
        flow.lost,
    )?;
    Ok(())
}

/// What is wrong, without the parser's own line number (always 1), and what to write.
fn malformed(error: &serde_json::Error, example: &str) -> anyhow::Error {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    anyhow!("{what} (column {}); write {example}", error.column())
}
