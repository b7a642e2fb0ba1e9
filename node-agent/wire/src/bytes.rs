//! Big-endian reading and writing at fixed positions, without any way to panic.

/// Writes fields one after the other; what does not fit is left out (the layouts are checked by tests).
pub(crate) struct Writer<'a> {
    rest: &'a mut [u8],
}

impl<'a> Writer<'a> {
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self { rest: buffer }
    }

    pub(crate) fn put<const N: usize>(&mut self, field: [u8; N]) -> &mut Self {
        if let Some((head, tail)) = std::mem::take(&mut self.rest).split_first_chunk_mut::<N>() {
            *head = field;
            self.rest = tail;
        }
        self
    }
}

/// Reads fields one after the other; past the end it reads zeros (callers check the length first).
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(buffer: &'a [u8]) -> Self {
        Self { rest: buffer }
    }

    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((head, tail)) = self.rest.split_first_chunk::<N>() else {
            return [0; N];
        };
        self.rest = tail;
        *head
    }

    pub(crate) fn u8(&mut self) -> u8 {
        u8::from_be_bytes(self.take())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take())
    }
}
