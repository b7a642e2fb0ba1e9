//! Conditions: what a mesh's status says, and when it began to say so. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use rdmamesh_api::condition::Condition;
use rdmamesh_fabric::diagnose::Status;

/// What a condition is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Type of the condition.
    pub type_: &'static str,
    /// Whether it holds.
    pub status: Status,
    /// Why, in one CamelCase word.
    pub reason: &'static str,
    /// Why, for a person.
    pub message: String,
}

/// API servers refuse longer messages.
const LONGEST_MESSAGE: usize = 32 * 1024;

impl Statement {
    /// A statement.
    #[must_use]
    pub fn new(
        type_: &'static str,
        status: Status,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_,
            status,
            reason,
            message: message.into(),
        }
    }

    /// "Not known yet."
    #[must_use]
    pub fn unknown(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(type_, Status::Unknown, reason, message)
    }
}

/// The conditions that `statements` make of `before`: the transition time moves only when the status of a
/// condition does. Conditions of other types are left out; they are another writer's.
#[must_use]
pub fn merge(
    before: &[Condition],
    statements: Vec<Statement>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    statements
        .into_iter()
        .map(|statement| {
            let status = statement.status.as_str();
            let since = before
                .iter()
                .find(|old| old.type_ == statement.type_ && old.status == status)
                .map(|old| old.last_transition_time.clone());
            Condition {
                type_: statement.type_.to_owned(),
                status: status.to_owned(),
                reason: statement.reason.to_owned(),
                message: bounded(statement.message),
                observed_generation: generation,
                last_transition_time: since.unwrap_or_else(|| Time(whole_seconds(now))),
            }
        })
        .collect()
}

/// `now` as the API server keeps it; a status that was read back must equal the one that was written.
#[must_use]
pub fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn bounded(mut message: String) -> String {
    if message.len() > LONGEST_MESSAGE {
        let end = (0..=LONGEST_MESSAGE)
            .rev()
            .find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or(0));
    }
    message
}

/// Status of the condition `type_` in `conditions`.
#[must_use]
pub fn status_of(conditions: &[Condition], type_: &str) -> Option<Status> {
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == type_)?;
    match condition.status.as_str() {
        "True" => Some(Status::True),
        "False" => Some(Status::False),
        _ => Some(Status::Unknown),
    }
}

/// A few names of many, for a message that stays readable: the first five and how many more there are.
#[derive(Clone, Debug, Default)]
pub struct FirstFive {
    names: Vec<String>,
    count: usize,
}

impl FirstFive {
    const SHOWN: usize = 5;

    /// Adds a name.
    pub fn push(&mut self, name: impl Into<String>) {
        self.count += 1;
        if self.names.len() < Self::SHOWN {
            self.names.push(name.into());
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }
}

impl<N: Into<String>> FromIterator<N> for FirstFive {
    fn from_iter<I: IntoIterator<Item = N>>(names: I) -> Self {
        let mut first = Self::default();
        names.into_iter().for_each(|name| first.push(name));
        first
    }
}

impl std::fmt::Display for FirstFive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.names.join(", "))?;
        match self.count - self.names.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a small number of seconds is a time")
    }

    fn statement(status: Status, message: &str) -> Vec<Statement> {
        vec![Statement::new("FabricHealthy", status, "Because", message)]
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let first = merge(&[], statement(Status::True, "a"), Some(1), at(10));
        let same = merge(&first, statement(Status::True, "b"), Some(2), at(20));
        assert_eq!(same[0].last_transition_time, Time(at(10)));
        assert_eq!(same[0].message, "b");
        assert_eq!(same[0].observed_generation, Some(2));
        let flipped = merge(&same, statement(Status::False, "c"), Some(2), at(30));
        assert_eq!(flipped[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn what_is_written_equals_what_is_read_back() {
        let now = Timestamp::from_millisecond(1_700_000_000_789).expect("a time");
        let written = merge(&[], statement(Status::True, "a"), Some(1), now);
        let text = serde_json::to_string(&written).expect("conditions are plain data");
        let read: Vec<Condition> = serde_json::from_str(&text).expect("own output");
        assert_eq!(read, written);
    }

    #[test]
    fn a_message_is_cut_at_a_character() {
        let long = "ü".repeat(LONGEST_MESSAGE);
        let merged = merge(&[], statement(Status::True, &long), None, at(1));
        assert!(merged[0].message.len() <= LONGEST_MESSAGE);
        assert!(merged[0].message.ends_with('ü'));
    }

    #[test]
    fn many_names_become_five_and_a_count() {
        let few: FirstFive = ["a", "b"].into_iter().collect();
        assert_eq!(few.to_string(), "a, b");
        let many: FirstFive = (0..9).map(|n| format!("n{n}")).collect();
        assert_eq!(many.to_string(), "n0, n1, n2, n3, n4 and 4 more");
    }
}
