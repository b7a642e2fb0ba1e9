//! Sliding window over sequence numbers: each is accepted once.

const WORDS: usize = 64;
const BITS: u64 = WORDS as u64 * 64;

/// Remembers which of the last 4096 sequence numbers of one sender and epoch have been seen.
/// Anything older counts as seen.
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    /// Bit `s % BITS` belongs to sequence `s` for `s` in `(highest − BITS, highest]`.
    seen: Box<[u64; WORDS]>,
    highest: Option<u64>,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self {
            seen: Box::new([0; WORDS]),
            highest: None,
        }
    }
}

impl ReplayWindow {
    /// How far back sequence numbers are told apart.
    pub const LEN: u64 = BITS;

    /// True when `sequence` is new; it is then seen.
    pub fn accept(&mut self, sequence: u64) -> bool {
        match self.highest {
            None => self.highest = Some(sequence),
            Some(highest) if sequence > highest => {
                self.forget(highest, sequence);
                self.highest = Some(sequence);
            }
            Some(highest) if highest - sequence >= BITS => return false,
            Some(_) => {}
        }
        let (word, bit) = Self::place(sequence);
        let Some(word) = self.seen.get_mut(word) else {
            return false;
        };
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    /// Whether `sequence` has been seen; `None` when it is too old to tell.
    pub fn saw(&self, sequence: u64) -> Option<bool> {
        let Some(highest) = self.highest.filter(|highest| *highest >= sequence) else {
            return Some(false);
        };
        let (word, bit) = Self::place(sequence);
        let word = self.seen.get(word)?;
        (highest - sequence < BITS).then_some(word & bit != 0)
    }

    /// Clears the places that `(highest, sequence]` will use.
    fn forget(&mut self, highest: u64, sequence: u64) {
        if sequence - highest >= BITS {
            self.seen.fill(0);
            return;
        }
        for number in highest + 1..=sequence {
            let (word, bit) = Self::place(number);
            if let Some(word) = self.seen.get_mut(word) {
                *word &= !bit;
            }
        }
    }

    fn place(sequence: u64) -> (usize, u64) {
        let position = sequence % BITS;
        // Under BITS / 64, so the cast cannot cut.
        ((position / 64) as usize, 1 << (position % 64))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sequence_is_accepted_once_in_any_order() {
        let mut window = ReplayWindow::default();
        for sequence in [5, 3, 9, 4, u64::MAX - 1, u64::MAX] {
            assert!(window.accept(sequence), "{sequence} is new");
            assert!(!window.accept(sequence), "{sequence} is a replay");
        }
        assert!(!window.accept(5), "too old to tell");
        assert_eq!(window.saw(5), None);
        assert_eq!(window.saw(u64::MAX - 2), Some(false));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set_inside_the_window(steps in prop::collection::vec((0u64..3000, any::<bool>()), 1..400)) {
            let mut window = ReplayWindow::default();
            let mut seen = HashSet::new();
            let mut highest: u64 = 10_000;
            for (step, forward) in steps {
                let sequence = if forward { highest + step } else { highest.saturating_sub(step) };
                prop_assert_eq!(window.saw(sequence), Some(seen.contains(&sequence)));
                prop_assert_eq!(window.accept(sequence), seen.insert(sequence));
                prop_assert_eq!(window.saw(sequence), Some(true));
                highest = highest.max(sequence);
            }
        }
    }
}
