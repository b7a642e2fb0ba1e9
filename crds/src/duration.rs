//! Go-style duration strings (`100ms`, `1m30s`), the way Kubernetes writes time spans in an API.
//!
//! Own code, because the common Rust crates parse other dialects: `humantime` accepts `1 day` and
//! `2months`, which Go (and so CEL's `duration()` in the API server) refuses, and neither it nor
//! `jiff` prints `1.5ms` the way `kubectl` users read it everywhere else.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time, written as Go writes it: decimal numbers with a unit `ns`, `us`, `ms`, `s`, `m`, `h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub Duration);

/// Why a text is not a Go duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a duration: write a number with a unit, for example 100ms, 1.5s or 2m")]
pub struct ParseDurationError(String);

impl GoDuration {
    /// A span of whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A span of whole microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(Duration::from_micros(micros))
    }

    /// The span to three significant digits, as people read it: `312.475647ms` becomes `312ms`.
    #[must_use]
    pub fn rounded(self) -> Self {
        let nanos = self.0.as_nanos();
        let digits = nanos.checked_ilog10().unwrap_or(0);
        let unit = 10u128.pow(digits.saturating_sub(2));
        let rounded = (nanos + unit / 2) / unit * unit;
        Self(Duration::from_nanos(
            u64::try_from(rounded).unwrap_or(u64::MAX),
        ))
    }

    /// The span as the standard library's type.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for GoDuration {
    fn from(value: Duration) -> Self {
        Self(value)
    }
}

impl FromStr for GoDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseDurationError(text.to_owned());
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let mut rest = text;
        let mut total = Duration::ZERO;
        while !rest.is_empty() || text.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(error)?;
            let (number, tail) = rest.split_at(digits);
            let unit_len = tail
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_len);
            let part = scale(number, unit).ok_or_else(error)?;
            total = total.checked_add(part).ok_or_else(error)?;
            rest = tail;
        }
        Ok(Self(total))
    }
}

/// `number` (decimal, at least one digit) times `unit`, exact to the nanosecond, truncated below it.
fn scale(number: &str, unit: &str) -> Option<Duration> {
    let nanos_per_unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || fraction.len() > 18 {
        return None;
    }
    let parse = |s: &str| {
        if s.is_empty() {
            Some(0)
        } else {
            s.parse::<u128>().ok()
        }
    };
    let mut nanos = parse(whole)?.checked_mul(nanos_per_unit)?;
    let digits = u32::try_from(fraction.len()).ok()?;
    nanos += parse(fraction)? * nanos_per_unit / 10u128.pow(digits);
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (unit, name) = match nanos {
            0 => return f.write_str("0s"),
            1..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "us"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => return display_seconds(nanos, f),
        };
        write_decimal(nanos, unit, f)?;
        f.write_str(name)
    }
}

fn display_seconds(nanos: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const SECOND: u128 = 1_000_000_000;
    let (hours, minutes) = (nanos / SECOND / 3600, nanos / SECOND / 60 % 60);
    let seconds = nanos % (60 * SECOND);
    if hours > 0 {
        write!(f, "{hours}h")?;
    }
    if minutes > 0 || (hours > 0 && seconds > 0) {
        write!(f, "{minutes}m")?;
    }
    if seconds > 0 {
        write_decimal(seconds, SECOND, f)?;
        f.write_str("s")?;
    }
    Ok(())
}

/// `nanos / unit` with as many decimals as it needs.
fn write_decimal(nanos: u128, unit: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}", nanos / unit)?;
    let rest = nanos % unit;
    if rest == 0 {
        return Ok(());
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{rest:0width$}");
    write!(f, ".{}", digits.trim_end_matches('0'))
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 32 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("100ms", 100_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1m30s", 90_000_000_000),
            ("500us", 500_000),
            ("2h", 7_200_000_000_000),
        ] {
            let parsed: GoDuration = text.parse().expect(text);
            assert_eq!(parsed.get().as_nanos(), nanos, "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "",
            "5",
            "ms",
            "1 s",
            "-1s",
            "1day",
            "1..5s",
            ".s",
            "9999999999h",
        ] {
            assert!(text.parse::<GoDuration>().is_err(), "{text}");
        }
    }

    #[test]
    fn writes_what_people_read() {
        for (nanos, text) in [
            (0, "0s"),
            (1_500, "1.5us"),
            (340_000, "340us"),
            (5_000_000_000, "5s"),
            (90_500_000_000, "1m30.5s"),
            (3_600_000_000_000, "1h"),
            (3_601_000_000_000, "1h0m1s"),
        ] {
            assert_eq!(GoDuration(Duration::from_nanos(nanos)).to_string(), text);
        }
    }

    #[test]
    fn rounds_to_what_people_read() {
        for (exact, text) in [
            ("312.475647ms", "312ms"),
            ("1.2355ms", "1.24ms"),
            ("999.6us", "1ms"),
            ("83ns", "83ns"),
            ("0s", "0s"),
        ] {
            let span: GoDuration = exact.parse().expect(exact);
            assert_eq!(span.rounded().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn every_span_survives_being_written_and_read(nanos in any::<u64>()) {
            let span = GoDuration(Duration::from_nanos(nanos));
            prop_assert_eq!(span.to_string().parse::<GoDuration>().expect("own output"), span);
        }
    }
}
