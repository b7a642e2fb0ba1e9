//! The score as a person reads it.

use std::collections::BTreeMap;
use std::fmt;

use super::figures::Share;
use super::summary::{Row, Summary};

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} cases, {} faults; shares with 95 % intervals",
            self.cases, self.faults
        )?;
        writeln!(f)?;
        writeln!(f, "precision        {}", self.verdicts)?;
        writeln!(f, "  exactly named  {}", self.exact)?;
        writeln!(f, "recall           {}", self.all.recall)?;
        writeln!(f, "  weaker faults  {}", self.all.recall_weak)?;
        writeln!(f, "right element    {}", self.all.right_element)?;
        writeln!(
            f,
            "time to verdict  p50 {}, p90 {}, p99 {}",
            seconds(self.time_to_verdict_p50_s),
            seconds(self.time_to_verdict_p90_s),
            seconds(self.time_to_verdict_p99_s)
        )?;
        let rate = self
            .false_per_healthy_hour
            .map_or_else(|| "-".to_owned(), |rate| format!("{rate:.3}"));
        writeln!(
            f,
            "false verdicts   {}, {rate} per healthy mesh-hour ({:.2} hours)",
            self.false_verdicts, self.healthy_hours
        )?;
        rows(f, "kind of fault", &self.by_kind)?;
        rows(f, "fabric", &self.by_fabric)?;
        writeln!(f)?;
        writeln!(
            f,
            "{:<16} {:>10} {:>30}",
            "confidence", "mean", "exactly named"
        )?;
        for class in &self.calibration {
            writeln!(
                f,
                "{:<16} {:>10.1} {:>30}",
                format!("{}–{} %", class.from, class.to),
                class.confidence,
                class.right.to_string()
            )?;
        }
        Ok(())
    }
}

fn rows(f: &mut fmt::Formatter<'_>, of: &str, rows: &BTreeMap<String, Row>) -> fmt::Result {
    writeln!(f)?;
    writeln!(
        f,
        "{of:<18} {:>7} {:>20} {:>20} {:>20} {:>6} {:>8} {:>8}",
        "faults", "recall", "weaker", "right element", "false", "p50", "p90"
    )?;
    for (name, row) in rows {
        writeln!(
            f,
            "{name:<18} {:>7} {:>20} {:>20} {:>20} {:>6} {:>8} {:>8}",
            row.faults,
            short(row.recall),
            short(row.recall_weak),
            short(row.right_element),
            row.false_verdicts,
            seconds(row.time_to_verdict_p50_s),
            seconds(row.time_to_verdict_p90_s)
        )?;
    }
    Ok(())
}

fn short(share: Share) -> String {
    share.ratio().map_or_else(
        || "-".to_owned(),
        |ratio| format!("{:.1} % ({}/{})", ratio * 100.0, share.of, share.all),
    )
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2} s"))
}
