//! Who was named when, over the verdicts of a case.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::fabric::Fabric;
use super::super::truth::{Named, NamedKind};
use crate::diagnose::{SuspectKind, Verdict};

/// A suspect from when it was named to when it no longer was.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// What is named.
    pub named: Named,
    /// In the verdict's words.
    pub text: String,
    /// When, since the case's begin.
    pub at: Duration,
    /// Until when; the end of the case where it still is.
    pub until: Duration,
    /// How sure the verdict was when it last named it, in percent.
    pub confidence: u8,
    /// The verdict's sentence when it last named it.
    pub evidence: String,
}

impl Opened {
    /// Whether both were named at some moment.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.at <= other.until && other.at <= self.until
    }
}

/// All suspects so far.
#[derive(Clone, Debug, Default)]
pub struct History {
    open: BTreeMap<String, Opened>,
    closed: Vec<Opened>,
}

impl History {
    /// Takes a verdict of `now` in.
    pub fn note(&mut self, fabric: &Fabric, now: Duration, verdict: &Verdict) {
        let mut before = std::mem::take(&mut self.open);
        for suspect in &verdict.suspects {
            let text = suspect.key.to_string();
            let mut opened = before.remove(&text).unwrap_or_else(|| {
                let peer = suspect.key.peer();
                Opened {
                    named: Named::read(
                        fabric,
                        kind(suspect.key.kind()),
                        &suspect.key.name(),
                        peer.as_deref(),
                    ),
                    text: text.clone(),
                    at: now,
                    until: now,
                    confidence: 0,
                    evidence: String::new(),
                }
            });
            opened.until = Duration::MAX;
            opened.confidence = suspect.confidence;
            opened.evidence.clone_from(&suspect.evidence);
            self.open.insert(text, opened);
        }
        self.closed
            .extend(before.into_values().map(|opened| Opened {
                until: now,
                ..opened
            }));
    }

    /// Everybody who was named until the case's end, in order.
    #[must_use]
    pub fn finish(self, end: Duration) -> Vec<Opened> {
        let mut all = self.closed;
        let open = self.open.into_values();
        all.extend(open.map(|opened| Opened {
            until: end,
            ..opened
        }));
        all.sort_by(|a, b| (a.at, &a.text).cmp(&(b.at, &b.text)));
        all
    }
}

const fn kind(kind: SuspectKind) -> NamedKind {
    match kind {
        SuspectKind::Rnic => NamedKind::Rnic,
        SuspectKind::Link => NamedKind::Link,
        SuspectKind::Switch => NamedKind::Switch,
        SuspectKind::Host => NamedKind::Host,
    }
}
