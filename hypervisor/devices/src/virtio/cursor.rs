//! Copies along a chain's buffers: a place in them that moves on.

use super::queue::Segment;
use base::Gpa;
use seams::{GuestMemory, MemoryError};

/// A place in a row of buffers.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    /// What is left of the buffer that the place is in; nothing at the end only.
    here: Segment,
    /// The buffers behind it.
    behind: &'a [Segment],
}

/// Where there are no more buffers.
const END: Segment = Segment { gpa: Gpa::ZERO, len_bytes: 0 };

impl<'a> Cursor<'a> {
    /// The start of `segments`.
    #[inline]
    pub const fn new(segments: &'a [Segment]) -> Self {
        match segments.split_first() {
            Some((first, behind)) => Self { here: *first, behind },
            None => Self { here: END, behind: segments },
        }
    }

    /// Moves on by `len_bytes`, which is not more than what is left of the buffer.
    #[inline]
    const fn pass(&mut self, len_bytes: u32) {
        let left = self.here.len_bytes.saturating_sub(len_bytes);
        if left == 0 {
            *self = Self::new(self.behind);
            return;
        }
        // It cannot wrap: a buffer is wholly in the guest-physical space.
        let gpa = Gpa::from_low_bits(self.here.gpa.as_u64().wrapping_add(len_bytes as u64));
        self.here = Segment { gpa, len_bytes: left };
    }

    /// The next stretch that is in one buffer, of `len_bytes` at most; `None` at the end, and for no bytes.
    #[inline]
    pub fn next_piece(&mut self, len_bytes: u64) -> Option<Segment> {
        let len = u32::try_from(len_bytes).unwrap_or(u32::MAX).min(self.here.len_bytes);
        if len == 0 {
            return None;
        }
        let piece = Segment { gpa: self.here.gpa, len_bytes: len };
        self.pass(len);
        Some(piece)
    }

    /// Copies all from here on in `memory` to `room` in `to`, another guest's memory, as far as there is room.
    ///
    /// # Errors
    /// The first address of either that refused.
    #[inline]
    pub fn copy_to<M: GuestMemory>(
        mut self,
        memory: &M,
        to: &M,
        mut room: Cursor<'_>,
    ) -> Result<(), MemoryError> {
        let common = |from: &Self, room: &Cursor<'_>| from.here.len_bytes.min(room.here.len_bytes);
        let mut len_bytes = common(&self, &room);
        if len_bytes == 0 {
            return Ok(());
        }
        let copy = memory.copier(to);
        while len_bytes != 0 {
            copy(self.here.gpa, room.here.gpa, len_bytes.into())?;
            self.pass(len_bytes);
            room.pass(len_bytes);
            len_bytes = common(&self, &room);
        }
        Ok(())
    }

    /// Moves on by `len_bytes`, or to the end.
    #[inline]
    pub fn skip(&mut self, len_bytes: u64) {
        let mut left = len_bytes;
        while self.here.len_bytes != 0
            && let Some(behind) = left.checked_sub(self.here.len_bytes.into())
        {
            *self = Self::new(self.behind);
            left = behind;
        }
        // Less than what is left of the buffer, or at the end.
        self.pass(left as u32);
    }

    /// Copies the next bytes out of the guest; tells how many there were.
    ///
    /// # Errors
    /// The first address that refused.
    #[inline]
    pub fn read(&mut self, memory: &impl GuestMemory, bytes: &mut [u8]) -> Result<usize, MemoryError> {
        // Mostly they are in one buffer.
        if bytes.len() <= self.here.len_bytes as usize {
            memory.read(self.here.gpa, bytes)?;
            self.pass(bytes.len() as u32);
            return Ok(bytes.len());
        }
        self.read_across(memory, bytes)
    }

    fn read_across(&mut self, memory: &impl GuestMemory, bytes: &mut [u8]) -> Result<usize, MemoryError> {
        let mut done = 0;
        while let Some(piece) = self.next_piece((bytes.len() - done) as u64) {
            let len = piece.len_bytes as usize;
            let Some(part) = bytes.get_mut(done..done + len) else { break };
            memory.read(piece.gpa, part)?;
            done += len;
        }
        Ok(done)
    }

    /// Copies the next 16 bytes out of the guest, little endian; past the end there are zeros.
    ///
    /// # Errors
    /// The first address that refused.
    pub fn read_u128(&mut self, memory: &impl GuestMemory) -> Result<u128, MemoryError> {
        const BYTES: usize = size_of::<u128>();
        let Some(piece) = self.next_piece(BYTES as u64) else { return Ok(0) };
        if piece.len_bytes as usize == BYTES {
            return memory.read_u128(piece.gpa);
        }
        let mut bytes = [0; BYTES];
        let Some((first, rest)) = bytes.split_at_mut_checked(piece.len_bytes as usize) else { return Ok(0) };
        memory.read(piece.gpa, first)?;
        self.read(memory, rest)?;
        Ok(u128::from_le_bytes(bytes))
    }

    /// Copies `bytes` to the guest as far as there is room; tells how many.
    ///
    /// # Errors
    /// The first address that refused.
    #[inline]
    pub fn write(&mut self, memory: &impl GuestMemory, bytes: &[u8]) -> Result<usize, MemoryError> {
        // Mostly there is room in one buffer.
        if bytes.len() <= self.here.len_bytes as usize {
            memory.write(self.here.gpa, bytes)?;
            self.pass(bytes.len() as u32);
            return Ok(bytes.len());
        }
        self.write_across(memory, bytes)
    }

    fn write_across(&mut self, memory: &impl GuestMemory, bytes: &[u8]) -> Result<usize, MemoryError> {
        let mut done = 0;
        while let Some(piece) = self.next_piece((bytes.len() - done) as u64) {
            let len = piece.len_bytes as usize;
            let Some(part) = bytes.get(done..done + len) else { break };
            memory.write(piece.gpa, part)?;
            done += len;
        }
        Ok(done)
    }

    /// Zeroes the next `len_bytes` as far as there is room; tells how many.
    ///
    /// # Errors
    /// The first address that refused.
    pub fn zero(&mut self, memory: &impl GuestMemory, len_bytes: u64) -> Result<u64, MemoryError> {
        let mut left = len_bytes;
        while let Some(piece) = self.next_piece(left) {
            memory.fill(piece.gpa, piece.len_bytes.into(), 0)?;
            left -= u64::from(piece.len_bytes);
        }
        Ok(len_bytes - left)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use seams::fake::FlatMemory;
    use std::vec::Vec;

    fn segment(at: u64, len_bytes: u32) -> Segment {
        Segment { gpa: Gpa::from_low_bits(at), len_bytes }
    }

    #[test]
    fn bytes_go_on_in_the_next_buffer_and_stop_at_the_end() {
        let memory = FlatMemory::new(0x100);
        let segments = [segment(0x40, 2), segment(0x10, 3), segment(0x80, 1)];
        let mut cursor = Cursor::new(&segments);
        assert_eq!(cursor.write(&memory, &[1, 2, 3]), Ok(3));
        assert_eq!(cursor.zero(&memory, 1), Ok(1));
        assert_eq!(cursor.write(&memory, &[5, 6, 7, 8]), Ok(2));
        assert_eq!((memory.bytes(0x40, 2), memory.bytes(0x10, 3)), ([1, 2].into(), [3, 0, 5].into()));
        assert_eq!(memory.bytes(0x80, 2), [6, 0]);
        let (mut bytes, mut cursor) = ([9; 6], Cursor::new(&segments));
        cursor.skip(1);
        assert_eq!(cursor.read(&memory, &mut bytes), Ok(5));
        assert_eq!(bytes, [2, 3, 0, 5, 6, 9]);
    }

    #[test]
    fn sixteen_bytes_are_one_number_wherever_they_lie() {
        let memory = FlatMemory::new(0x100);
        memory.put(0, &(1..=16).collect::<std::vec::Vec<u8>>());
        let number = u128::from_le_bytes(core::array::from_fn(|i| i as u8 + 1));
        for segments in [&[segment(0, 16)][..], &[segment(0, 3), segment(3, 20)], &[segment(0, 32)]] {
            assert_eq!(Cursor::new(segments).read_u128(&memory), Ok(number));
        }
        assert_eq!(Cursor::new(&[segment(0, 2)]).read_u128(&memory), Ok(0x0201));
    }

    /// Buffers of these lengths, one every 0x40 bytes.
    fn buffers(lens: &[u32]) -> Vec<Segment> {
        (0..).zip(lens).map(|(i, len)| segment(i * 0x40, *len)).collect()
    }

    proptest! {
        #[test]
        fn a_copy_from_guest_to_guest_is_a_read_and_a_write(
            from in proptest::collection::vec(1..0x40_u32, 0..8),
            to in proptest::collection::vec(1..0x40_u32, 0..8),
            passed in (0..99_u64, 0..99_u64),
        ) {
            let (source, target, expected) = (FlatMemory::new(0x200), FlatMemory::new(0x200), FlatMemory::new(0x200));
            source.put(0, &(0..0x200).map(|i| (i % 251) as u8).collect::<Vec<_>>());
            let (from, to) = (buffers(&from), buffers(&to));
            let (mut from, mut to) = (Cursor::new(&from), Cursor::new(&to));
            from.skip(passed.0);
            to.skip(passed.1);
            let mut bytes = [0; 0x200];
            let len = from.clone().read(&source, &mut bytes).unwrap();
            to.clone().write(&expected, &bytes[..len]).unwrap();
            prop_assert_eq!(from.copy_to(&source, &target, to), Ok(()));
            prop_assert_eq!(target.bytes(0, 0x200), expected.bytes(0, 0x200));
        }
    }

    #[test]
    fn the_address_that_refuses_is_named() {
        let memory = FlatMemory::new(0x100);
        let segments = [segment(0xf0, 0x10), segment(0x100, 1)];
        let refused = Err(MemoryError::Unmapped(Gpa::from_low_bits(0x100)));
        assert_eq!(Cursor::new(&segments).write(&memory, &[1; 17]), refused);
    }
}
