//! Questions about single probes in a control exchange: has it arrived?
//!
//! A probe without an answer was lost on its way there or on the way back. The peer knows which: it
//! remembers the sequence numbers it has seen of every sender.

use super::bounded::Bounded;
use crate::RnicId;

/// Most questions in one exchange.
pub const CONTROL_MAX_QUESTIONS: usize = 32;

/// Asks whether a probe has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The port that sent the probe.
    pub from: RnicId,
    /// Sequence number of the probe among all that `from` sent in the asker's epoch.
    pub sequence: u64,
    /// The port that the probe was sent to, as a position among the ports that the exchange is about.
    pub port: u8,
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sighting {
    /// Cannot be told: too long ago, or no such port. The only value in a request.
    #[default]
    Unknown,
    /// The probe has arrived.
    Seen,
    /// The probe has not arrived so far.
    Unseen,
}

/// One question with its answer, as it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) question: Question,
    pub(super) sighting: Sighting,
}

impl Entry {
    pub(super) const EMPTY: Self = Self {
        question: Question {
            from: RnicId(0),
            sequence: 0,
            port: 0,
        },
        sighting: Sighting::Unknown,
    };
}

/// The questions of one exchange.
pub(super) type Questions = Bounded<Entry, CONTROL_MAX_QUESTIONS>;

impl Sighting {
    pub(super) const fn to_wire(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Seen => 1,
            Self::Unseen => 2,
        }
    }

    pub(super) const fn from_wire(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Unknown),
            1 => Some(Self::Seen),
            2 => Some(Self::Unseen),
            _ => None,
        }
    }
}
