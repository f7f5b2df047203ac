//! A fuzzer's input, taken from front to back as numbers and stretches.

/// What is left of an input. Numbers are little endian; past the end there are zeros.
#[derive(Clone, Debug)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// All of `input`.
    pub const fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `len_bytes`, or as many as are left.
    pub fn take(&mut self, len_bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len_bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    /// The next `N` bytes, filled up with zeros.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.take(N);
        let mut bytes = [0; N];
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A number of any magnitude in two bytes: a byte, shifted left by 0 to 56.
    pub fn scaled(&mut self) -> u64 {
        let (value, shift) = (self.u8(), self.u8());
        u64::from(value) << (shift % 57)
    }

    /// One of `choices`, of which there is at least one, by the next byte.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.u8()) % choices.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_the_end_there_are_zeros() {
        let mut bytes = Bytes::new(&[1, 2, 3]);
        assert_eq!((bytes.u16(), bytes.u32(), bytes.u8()), (0x201, 3, 0));
        assert!(bytes.is_empty() && bytes.rest().is_empty());
    }

    #[test]
    fn a_scaled_number_reaches_from_zero_to_the_top_bit() {
        assert_eq!(Bytes::new(&[255, 0]).scaled(), 255);
        assert_eq!(Bytes::new(&[255, 56]).scaled(), 255 << 56);
    }

    #[test]
    fn any_byte_picks_something() {
        assert_eq!(Bytes::new(&[5]).pick(&['a', 'b', 'c']), 'c');
    }
}
