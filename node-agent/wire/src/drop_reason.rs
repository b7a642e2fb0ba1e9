//! Why a datagram was dropped.

/// Why a datagram was dropped instead of answered or counted. The name is the metric attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum DropReason {
    /// Not the length that its type has.
    #[error("length")]
    Length,
    /// A version that we do not speak.
    #[error("version")]
    Version,
    /// A message type that does not exist here.
    #[error("type")]
    Type,
    /// Signed with a key that we do not have.
    #[error("key")]
    Key,
    /// The MAC does not match: forged or damaged.
    #[error("mac")]
    Mac,
    /// Authentic, but a field has a value that it must not have.
    #[error("field")]
    Field,
    /// Authentic, but meant for another RNIC or node.
    #[error("receiver")]
    Receiver,
    /// Authentic, but for or from a process that does not run any more.
    #[error("epoch")]
    Epoch,
    /// Seen before, or too old to tell.
    #[error("replay")]
    Replay,
    /// The sender asks more often than any prober does.
    #[error("rate")]
    Rate,
    /// An answer to nothing that we asked (any more).
    #[error("unsolicited")]
    Unsolicited,
    /// An answer from another RNIC or node than the one asked.
    #[error("sender")]
    Sender,
}

impl DropReason {
    /// All reasons, in the order of [`DropReason::index`].
    pub const ALL: [Self; 12] = [
        Self::Length,
        Self::Version,
        Self::Type,
        Self::Key,
        Self::Mac,
        Self::Field,
        Self::Receiver,
        Self::Epoch,
        Self::Replay,
        Self::Rate,
        Self::Unsolicited,
        Self::Sender,
    ];

    /// Position in [`DropReason::ALL`], for arrays of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The metric attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Version => "version",
            Self::Type => "type",
            Self::Key => "key",
            Self::Mac => "mac",
            Self::Field => "field",
            Self::Receiver => "receiver",
            Self::Epoch => "epoch",
            Self::Replay => "replay",
            Self::Rate => "rate",
            Self::Unsolicited => "unsolicited",
            Self::Sender => "sender",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_sits_at_its_index_and_reads_as_its_attribute() {
        for (position, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), position);
            assert_eq!(reason.to_string(), reason.as_str());
        }
    }
}
