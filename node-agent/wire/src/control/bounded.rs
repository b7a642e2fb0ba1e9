//! A list that lives on the stack: datagrams are read and written without allocation.

/// At most `N` entries; what comes after them is left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounded<T, const N: usize> {
    entries: [T; N],
    len: usize,
}

impl<T: PartialEq, const N: usize> PartialEq for Bounded<T, N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Eq, const N: usize> Eq for Bounded<T, N> {}

impl<T, const N: usize> Bounded<T, N> {
    pub(super) fn as_slice(&self) -> &[T] {
        self.entries.get(..self.len).unwrap_or_default()
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        self.entries.get_mut(..self.len).unwrap_or_default()
    }
}

impl<T: Copy, const N: usize> Bounded<T, N> {
    /// The first `N` of `entries`; unused places hold `empty`.
    pub(super) fn new(empty: T, entries: impl IntoIterator<Item = T>) -> Self {
        let mut list = Self {
            entries: [empty; N],
            len: 0,
        };
        for (slot, entry) in list.entries.iter_mut().zip(entries) {
            *slot = entry;
            list.len += 1;
        }
        list
    }
}
