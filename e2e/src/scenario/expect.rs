//! Expectations: conditions and suspects of the mesh, counters of the agents, writes to the API server.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdmamesh_api::GoDuration;
use rdmamesh_api::condition;
use rdmamesh_api::mesh::SuspectKind;
use serde::Deserialize;

use crate::fabric::Fabric;

/// How long an expectation is waited for where the scenario does not say.
const DEFAULT_WITHIN: Duration = Duration::from_secs(60);

/// Outcomes of probes as the agents count them.
pub const OUTCOMES: [&str; 8] = [
    "sent",
    "ok",
    "lost",
    "late",
    "hostDelayed",
    "unresolved",
    "invalid",
    "sendError",
];

/// Conditions that a RdmaMesh carries.
const CONDITIONS: [&str; 5] = [
    condition::READY,
    condition::ASSIGNMENTS_READY,
    condition::AGENTS_REPORTING,
    condition::FABRIC_HEALTHY,
    condition::COVERAGE_MET,
];

/// Something that must come true in time.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// What.
    pub goal: Goal,
    /// How long it may take.
    pub within: Duration,
}

/// Something that must stay true.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    /// What; and no suspect appears meanwhile that was not there when it began.
    pub goal: Goal,
    /// How long it must last.
    pub lasts: Duration,
    /// How long it may take until it begins to hold.
    pub within: Duration,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Goal {
    /// A condition of the mesh.
    Condition {
        /// Its type.
        condition: String,
        /// The status it must have.
        status: Status,
        /// When given, the suspects must be exactly these.
        suspects: Option<Vec<SuspectPattern>>,
    },
    /// Counters of all agents, added up.
    Counters {
        /// Bounds per outcome.
        bounds: CounterBounds,
        /// Counted since this fault was put in force; from the start of the scenario when absent.
        since: Option<String>,
    },
    /// Writes to the API server.
    ApiWrites {
        /// Whose, and how many there may be.
        bound: WriteBound,
        /// Counted since this fault was put in force; from the start of the scenario when absent.
        since: Option<String>,
    },
    /// Who came to be suspected, however shortly.
    Named {
        /// Each of these, and nobody else.
        suspects: Vec<SuspectPattern>,
        /// Since this fault was put in force; from the start of the scenario when absent.
        since: Option<String>,
    },
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Not enough is known.
    Unknown,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A suspect that the mesh must name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuspectPattern {
    /// What kind of element.
    pub kind: SuspectKind,
    /// Its name; the ends of a link and the two RNICs of a pair may be written in either order.
    pub name: String,
    /// The other RNIC, where a pair is suspected.
    pub peer: Option<String>,
}

/// Bounds on outcomes, by name of the outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterBounds(pub BTreeMap<String, CounterBound>);

/// Bounds on one number, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CounterBound {
    /// At least.
    pub min: Option<u64>,
    /// At most.
    pub max: Option<u64>,
}

/// Who writes to the API server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ApiWriters {
    /// The agents: RdmaNodes and statuses of assignments.
    #[default]
    Agents,
    /// The operator: specs of assignments.
    Operator,
}

/// How many writes there may be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WriteBound {
    /// Whose writes.
    #[serde(default)]
    pub by: ApiWriters,
    /// Objects of these hosts do not count.
    #[serde(default)]
    pub except_hosts: Vec<String>,
    /// At most so many.
    pub max: u64,
}

/// The keys of `expect` and `hold` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawExpect {
    condition: Option<String>,
    status: Option<String>,
    suspects: Option<Vec<SuspectPattern>>,
    counters: Option<BTreeMap<String, CounterBound>>,
    api_writes: Option<WriteBound>,
    named: Option<Vec<SuspectPattern>>,
    since: Option<String>,
    within: Option<GoDuration>,
    r#for: Option<GoDuration>,
}

impl RawExpect {
    /// The `expect` step.
    ///
    /// # Errors
    /// A sentence for the person who wrote it.
    pub(super) fn expect(self, fabric: &Fabric, faults: &[String]) -> Result<Expectation, String> {
        if self.r#for.is_some() {
            return Err("expect takes no for: write within, or make it a hold step".to_owned());
        }
        let within = self.within.map_or(DEFAULT_WITHIN, GoDuration::get);
        let goal = self.goal(fabric, faults)?;
        Ok(Expectation { goal, within })
    }

    /// The `hold` step.
    ///
    /// # Errors
    /// A sentence for the person who wrote it.
    pub(super) fn hold(self, fabric: &Fabric, faults: &[String]) -> Result<Hold, String> {
        let lasts = self.r#for.map(GoDuration::get).unwrap_or_default();
        if lasts.is_zero() {
            return Err(
                "hold needs for: write how long it must last, for example for: 30s".to_owned(),
            );
        }
        let within = self.within.map_or(DEFAULT_WITHIN, GoDuration::get);
        let goal = self.goal(fabric, faults)?;
        Ok(Hold {
            goal,
            lasts,
            within,
        })
    }

    fn goal(self, fabric: &Fabric, faults: &[String]) -> Result<Goal, String> {
        let about_condition = self.status.is_some() || self.suspects.is_some();
        let since = check_since(self.since, faults)?;
        match (self.condition, self.counters, self.api_writes, self.named) {
            (Some(_), None, None, None) if since.is_some() => {
                Err("since belongs to counters, apiWrites and named: \
                remove it, a condition is looked at as it is now"
                    .to_owned())
            }
            (Some(condition), None, None, None) => Ok(Goal::Condition {
                condition: check_condition(condition)?,
                status: check_status(self.status.as_deref())?,
                suspects: self
                    .suspects
                    .map(|list| check_suspects(list, fabric))
                    .transpose()?,
            }),
            (None, ..) if about_condition => Err(
                "status and suspects belong to a condition: write a step of its own for it"
                    .to_owned(),
            ),
            (None, Some(bounds), None, None) => Ok(Goal::Counters {
                bounds: check_counters(bounds)?,
                since,
            }),
            (None, None, Some(bound), None) => Ok(Goal::ApiWrites {
                bound: check_writes(bound, fabric)?,
                since,
            }),
            (None, None, None, Some(list)) => Ok(Goal::Named {
                suspects: check_suspects(list, fabric)?,
                since,
            }),
            _ => Err(
                "name one thing to look at: condition (with status), counters, apiWrites or named"
                    .to_owned(),
            ),
        }
    }
}

fn check_since(since: Option<String>, faults: &[String]) -> Result<Option<String>, String> {
    match since {
        Some(id) if !faults.contains(&id) => Err(match faults {
            [] => format!("since: {id} names no fault: no fault step comes before this one"),
            known => format!(
                "since: {id} names no fault: write one of {}",
                known.join(", ")
            ),
        }),
        since => Ok(since),
    }
}

fn check_condition(condition: String) -> Result<String, String> {
    if CONDITIONS.contains(&condition.as_str()) {
        return Ok(condition);
    }
    Err(format!(
        "a RdmaMesh has no condition \"{condition}\": write one of {}",
        CONDITIONS.join(", ")
    ))
}

fn check_status(status: Option<&str>) -> Result<Status, String> {
    match status {
        // Unquoted true and false are booleans of YAML; what is meant is clear.
        Some("True" | "true") => Ok(Status::True),
        Some("False" | "false") => Ok(Status::False),
        Some("Unknown" | "unknown") => Ok(Status::Unknown),
        Some(other) => Err(format!(
            "a condition's status is never \"{other}\": write \"True\", \"False\" or \"Unknown\""
        )),
        None => {
            Err("a condition needs a status: write \"True\", \"False\" or \"Unknown\"".to_owned())
        }
    }
}

fn check_suspects(
    suspects: Vec<SuspectPattern>,
    fabric: &Fabric,
) -> Result<Vec<SuspectPattern>, String> {
    for suspect in &suspects {
        if suspect.peer.is_some() && suspect.kind != SuspectKind::Rnic {
            return Err("peer belongs to a suspect of kind Rnic: remove it".to_owned());
        }
        let name = &suspect.name;
        let unknown = match suspect.kind {
            SuspectKind::Rnic => {
                check_rnic(name, fabric)?;
                suspect
                    .peer
                    .as_ref()
                    .map_or(Ok(()), |peer| check_rnic(peer, fabric))?;
                None
            }
            SuspectKind::Link => {
                let turned = name.split_once('-').map(|(a, b)| format!("{b}-{a}"));
                let known = turned.is_some_and(|turned| fabric.link(&turned).is_ok());
                fabric.link(name).err().filter(|_| !known)
            }
            SuspectKind::Switch => fabric.switch_ends(name).err(),
            SuspectKind::Host => fabric.host(name).err(),
        };
        if let Some(error) = unknown {
            return Err(error.to_string());
        }
    }
    Ok(suspects)
}

fn check_rnic(name: &str, fabric: &Fabric) -> Result<(), String> {
    let (host, device) = name.split_once('/').ok_or_else(|| {
        format!("\"{name}\" is no RNIC: write <host>/<device>, for example host1/rxe1")
    })?;
    let rails = &fabric.host(host).map_err(|error| error.to_string())?.rails;
    if rails.iter().any(|rail| rail.rnic == device) {
        return Ok(());
    }
    let known: Vec<&str> = rails.iter().map(|rail| rail.rnic.as_str()).collect();
    Err(format!(
        "{host} has no RNIC \"{device}\": write one of {}",
        known.join(", ")
    ))
}

fn check_counters(bounds: BTreeMap<String, CounterBound>) -> Result<CounterBounds, String> {
    if bounds.is_empty() {
        return Err("counters is empty: write for example counters: {lost: {max: 0}}".to_owned());
    }
    for (outcome, bound) in &bounds {
        if !OUTCOMES.contains(&outcome.as_str()) {
            return Err(format!(
                "no counter is called \"{outcome}\": write one of {}",
                OUTCOMES.join(", ")
            ));
        }
        if bound.min.is_none() && bound.max.is_none() {
            return Err(format!(
                "{outcome} has no bound: write {outcome}: {{max: 0}} or {{min: 1}}"
            ));
        }
    }
    Ok(CounterBounds(bounds))
}

fn check_writes(bound: WriteBound, fabric: &Fabric) -> Result<WriteBound, String> {
    for host in &bound.except_hosts {
        fabric.host(host).map_err(|error| error.to_string())?;
    }
    Ok(bound)
}

impl SuspectPattern {
    /// Whether a suspect of this kind, name and peer is the one meant.
    pub fn is(&self, kind: SuspectKind, name: &str, peer: Option<&str>) -> bool {
        self.kind == kind && ends(kind, &self.name, self.peer.as_deref()) == ends(kind, name, peer)
    }
}

/// The one or two ends that identify a suspect, in a fixed order.
fn ends<'a>(kind: SuspectKind, name: &'a str, peer: Option<&'a str>) -> (&'a str, &'a str) {
    let (a, b) = match (kind, peer) {
        (SuspectKind::Link, _) => name.split_once('-').unwrap_or((name, "")),
        (_, Some(peer)) => (name, peer),
        (_, None) => return (name, ""),
    };
    (a.min(b), a.max(b))
}

impl fmt::Display for SuspectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.name)?;
        self.peer
            .as_ref()
            .map_or(Ok(()), |peer| write!(f, " ↔ {peer}"))
    }
}

impl CounterBound {
    /// Whether a number lies within.
    pub fn holds(self, number: u64) -> bool {
        self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max)
    }
}

impl fmt::Display for CounterBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) if min == max => write!(f, "= {min}"),
            (Some(min), Some(max)) => write!(f, "from {min} to {max}"),
            (Some(min), None) => write!(f, ">= {min}"),
            (None, Some(max)) => write!(f, "<= {max}"),
            (None, None) => f.write_str("anything"),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = |f: &mut fmt::Formatter<'_>, since: &Option<String>| match since {
            Some(id) => write!(f, " since {id}"),
            None => Ok(()),
        };
        match self {
            Self::Condition {
                condition,
                status,
                suspects,
            } => {
                write!(f, "{condition} {status}")?;
                match suspects.as_deref() {
                    None => Ok(()),
                    Some([]) => f.write_str(", nobody suspected"),
                    Some(list) => write!(f, ", suspected exactly: {}", names(list)),
                }
            }
            Self::Counters { bounds, since: id } => {
                let parts: Vec<String> = bounds
                    .0
                    .iter()
                    .map(|(name, bound)| format!("{name} {bound}"))
                    .collect();
                write!(f, "probes {}", parts.join(", "))?;
                since(f, id)
            }
            Self::ApiWrites { bound, since: id } => {
                write!(f, "API writes of the {} <= {}", bound.by, bound.max)?;
                if !bound.except_hosts.is_empty() {
                    write!(f, " besides {}", bound.except_hosts.join(", "))?;
                }
                since(f, id)
            }
            Self::Named {
                suspects,
                since: id,
            } => {
                match suspects.as_slice() {
                    [] => f.write_str("nobody named")?,
                    list => write!(f, "named, and nobody else: {}", names(list))?,
                }
                since(f, id)
            }
        }
    }
}

fn names(list: &[SuspectPattern]) -> String {
    let names: Vec<String> = list.iter().map(ToString::to_string).collect();
    names.join("; ")
}

impl fmt::Display for ApiWriters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agents => "agents",
            Self::Operator => "operator",
        })
    }
}
