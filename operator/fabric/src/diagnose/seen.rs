//! What all agents' flows met, by what they cross. Read once a judgement: the rest of it asks by number instead of by
//! name, for a name is compared letter by letter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::evidence::{AgentState, Hop, LinkTally, Report};
use super::facts::{Facts, Standing};
use super::network::as_f64;
use super::wiring::{Router, Way, Wiring};
use crate::names::{NodeName, RnicName};

/// Share of the probes that a node is to send in a window which it must have sent.
const OF_AGE: f64 = 0.5;

/// What all nodes' flows met on one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub crossed: u64,
    pub lossy: u64,
    pub slow: u64,
    pub sent: u64,
    pub lost: u64,
    /// Hop probes that ended behind it, and those that were answered.
    pub hop_sent: u64,
    pub hop_answered: u64,
    /// Fastest of them.
    pub hop_rtt: Option<Duration>,
}

impl Sums {
    pub fn add(&mut self, other: &Self) {
        self.crossed += other.crossed;
        self.lossy += other.lossy;
        self.slow += other.slow;
        self.sent = self.sent.saturating_add(other.sent);
        self.lost = self.lost.saturating_add(other.lost);
        self.hop_sent += other.hop_sent;
        self.hop_answered += other.hop_answered;
        let rtts = self.hop_rtt.into_iter().chain(other.hop_rtt);
        self.hop_rtt = rtts.min();
    }

    pub fn of(link: &LinkTally) -> Self {
        Self {
            crossed: u64::from(link.crossed),
            lossy: u64::from(link.lossy.min(link.crossed)),
            slow: u64::from(link.slow.min(link.crossed)),
            sent: link.sent,
            lost: link.lost.min(link.sent),
            hop_sent: u64::from(link.hop_sent),
            hop_answered: u64::from(link.hop_answered.min(link.hop_sent)),
            hop_rtt: link.hop_rtt,
        }
    }
}

/// Number of a way among those that somebody lists, in their order.
pub(super) type Number = u32;

/// A report whose word holds.
pub(super) struct Heard<'a> {
    pub node: &'a NodeName,
    pub report: &'a Report,
    /// Of each of its links: which of all distinct links that is; `None` where it is no evidence.
    links: Vec<Option<u32>>,
    /// Whether its figures are of a time as long as everybody else's. Those of an agent that has just begun are not:
    /// what began a moment before is the larger part of them.
    pub is_of_age: bool,
    /// Whether what it does not list is evidence: its windows are settled, or most of them although its plan has changed.
    pub is_settled: bool,
}

impl Heard<'_> {
    /// Whether the link at `position` of the report is evidence, or did not fit there.
    pub fn is_evidence(&self, position: usize) -> bool {
        self.links.get(position).is_none_or(Option::is_some)
    }
}

/// Everything that is listed.
pub(super) struct Seen<'a> {
    /// Every way that somebody lists, in order, and what all met there.
    ways: Vec<(Way, Sums)>,
    pub heard: Vec<Heard<'a>>,
    /// What each distinct link stands for.
    links: Vec<Vec<Number>>,
    by_node: HashMap<&'a NodeName, usize>,
    leaving: HashMap<Arc<str>, Vec<Number>>,
    entering: HashMap<Arc<str>, Vec<Number>>,
}

impl<'a> Seen<'a> {
    /// What the reports list.
    pub fn read(facts: &Facts<'a>, wiring: &Wiring<'_>) -> Self {
        let mut reader = Reader {
            facts,
            wiring,
            numbers: BTreeMap::new(),
            sums: Vec::new(),
            links: Vec::new(),
            known: HashMap::new(),
        };
        let rates = facts.evidence.planned.rates();
        let window = facts.evidence.thresholds.window.as_secs_f64();
        let reports = facts.reports();
        let heard: Vec<Heard<'a>> = reports
            .map(|(node, report)| {
                let sent: u64 = report.rnics.iter().map(|rnic| rnic.sent).sum();
                let is_of_age = rates
                    .get(node)
                    .map(|rate| as_f64(sent) >= rate * window * OF_AGE);
                Heard {
                    node,
                    report,
                    links: report.links.iter().map(|link| reader.read(link)).collect(),
                    is_of_age: is_of_age != Some(false),
                    is_settled: report.window_end.is_some() || is_of_age == Some(true),
                }
            })
            .collect();
        let Reader {
            numbers,
            sums,
            links,
            ..
        } = reader;
        Self::of(numbers, &sums, links, heard)
    }

    /// Numbers by order of the ways in place of order of reading.
    fn of(
        numbers: BTreeMap<Way, Number>,
        sums: &[Sums],
        mut links: Vec<Vec<Number>>,
        heard: Vec<Heard<'a>>,
    ) -> Self {
        let mut ranks = vec![0; sums.len()];
        let mut ways = Vec::with_capacity(sums.len());
        for (rank, (way, number)) in (0..).zip(numbers) {
            ranks[number as usize] = rank;
            ways.push((way, sums[number as usize]));
        }
        for number in links.iter_mut().flatten() {
            *number = ranks[*number as usize];
        }
        let mut seen = Self {
            by_node: heard.iter().enumerate().map(|(n, h)| (h.node, n)).collect(),
            heard,
            links,
            leaving: HashMap::new(),
            entering: HashMap::new(),
            ways,
        };
        for (number, (way, _)) in (0..).zip(&seen.ways) {
            if let Way::Link(from, to) = way {
                let leaving = seen.leaving.entry(Arc::clone(from));
                leaving.or_default().push(number);
                let entering = seen.entering.entry(Arc::clone(to));
                entering.or_default().push(number);
            }
        }
        seen
    }

    /// Every way that is listed and what all met there, in order.
    pub fn all(&self) -> impl Iterator<Item = (&Way, &Sums)> {
        self.ways.iter().map(|(way, sums)| (way, sums))
    }

    /// A way that is listed.
    pub fn way(&self, number: Number) -> Option<&Way> {
        self.ways.get(number as usize).map(|(way, _)| way)
    }

    /// What all met on a way.
    pub fn sums(&self, way: &Way) -> Option<&Sums> {
        let (_, sums) = self.ways.get(self.number(way)? as usize)?;
        Some(sums)
    }

    /// Number of a way that is listed.
    pub fn number(&self, way: &Way) -> Option<Number> {
        let position = self.ways.binary_search_by(|(known, _)| known.cmp(way));
        u32::try_from(position.ok()?).ok()
    }

    /// The links of a report that are evidence, and what they stand for.
    pub fn links<'b>(
        &'b self,
        heard: &'b Heard<'a>,
    ) -> impl Iterator<Item = (&'a LinkTally, &'b [Number])> {
        let links = heard.report.links.iter().zip(&heard.links);
        links.filter_map(|(link, nth)| {
            let numbers = self.links.get((*nth)? as usize)?;
            Some((link, numbers.as_slice()))
        })
    }

    /// What a node lists.
    pub fn by(&self, node: &NodeName) -> Option<(usize, &Heard<'a>)> {
        let nth = *self.by_node.get(node)?;
        Some((nth, self.heard.get(nth)?))
    }

    /// Known links from a switch, and to it.
    pub fn leaving(&self, switch: &str) -> impl Iterator<Item = (&Way, &Sums)> {
        self.numbered(self.leaving.get(switch))
    }

    pub fn entering(&self, switch: &str) -> impl Iterator<Item = (&Way, &Sums)> {
        self.numbered(self.entering.get(switch))
    }

    fn numbered<'b>(
        &'b self,
        numbers: Option<&'b Vec<Number>>,
    ) -> impl Iterator<Item = (&'b Way, &'b Sums)> {
        let numbers = numbers.into_iter().flatten();
        numbers.filter_map(|number| {
            let (way, sums) = self.ways.get(*number as usize)?;
            Some((way, sums))
        })
    }

    /// How many other switches a leaf leads to, as far as anybody knows.
    pub fn parallels(&self, leaves: &BTreeSet<&Arc<str>>) -> usize {
        let count = |numbers: Option<&Vec<Number>>| numbers.map_or(0, Vec::len);
        let links = |leaf: &&Arc<str>| {
            let (leaving, entering) = (self.leaving.get(*leaf), self.entering.get(*leaf));
            count(leaving).max(count(entering))
        };
        leaves.iter().map(links).max().unwrap_or(0)
    }

    /// Known links that may have been crossed between two routers over one or more that did not answer: those that
    /// leave the first one and those that enter the second one. A link that is known one way leads back as well.
    pub fn alternatives(&self, from: &Router, to: &Router) -> Vec<Way> {
        let (Router::Named(from), Router::Named(to)) = (from, to) else {
            return Vec::new();
        };
        let link = |a: &Arc<str>, b: &Arc<str>| Way::Link(Arc::clone(a), Arc::clone(b));
        let ends = |(way, _): (&Way, &Sums)| match way {
            Way::Link(a, b) => Some([Arc::clone(a), Arc::clone(b)]),
            _ => None,
        };
        let mut ways = Vec::new();
        for end in [from, to] {
            let links = self.leaving(end).chain(self.entering(end));
            for [a, b] in links.filter_map(ends) {
                let other = if a == *end { b } else { a };
                if end == from && other != *to {
                    ways.push(link(from, &other));
                } else if end == to && other != *from {
                    ways.push(link(&other, to));
                }
            }
        }
        ways.sort_unstable();
        ways.dedup();
        ways
    }
}

/// Reads links; what many agents list is read once.
struct Reader<'a, 'b> {
    facts: &'b Facts<'a>,
    wiring: &'b Wiring<'b>,
    numbers: BTreeMap<Way, Number>,
    sums: Vec<Sums>,
    links: Vec<Vec<Number>>,
    known: HashMap<(&'a Hop, &'a Hop), Option<u32>>,
}

impl<'a> Reader<'a, '_> {
    fn read(&mut self, link: &'a LinkTally) -> Option<u32> {
        let hops = (&link.from, &link.to);
        let nth = match self.known.get(&hops) {
            Some(nth) => *nth,
            None => {
                let nth = counts(self.facts, link).then(|| self.number(hops));
                self.known.insert(hops, nth);
                nth
            }
        }?;
        for number in &self.links[nth as usize] {
            self.sums[*number as usize].add(&Sums::of(link));
        }
        Some(nth)
    }

    fn number(&mut self, hops: (&Hop, &Hop)) -> u32 {
        let ways = self.wiring.ways(hops);
        let numbers = ways.into_iter().map(|way| {
            *self.numbers.entry(way).or_insert_with(|| {
                self.sums.push(Sums::default());
                u32::try_from(self.sums.len() - 1).unwrap_or(u32::MAX)
            })
        });
        self.links.push(numbers.collect());
        u32::try_from(self.links.len() - 1).unwrap_or(u32::MAX)
    }
}

/// Whether a link is evidence: its RNICs take part.
pub(super) fn counts(facts: &Facts<'_>, link: &LinkTally) -> bool {
    [&link.from, &link.to].into_iter().all(|hop| match hop {
        Hop::Rnic(rnic) => takes_part(facts, rnic),
        Hop::Router(_) | Hop::Unknown => true,
    })
}

/// Whether what is said of an RNIC is evidence.
pub(super) fn takes_part(facts: &Facts<'_>, rnic: &RnicName) -> bool {
    facts.standing(rnic) != Standing::Left
        && !matches!(facts.agent(&rnic.node), None | Some(AgentState::Excluded))
}
