//! What stands behind a seam in tests.

extern crate alloc;

use crate::memory::{GuestMemory, MemoryError};
use alloc::{vec, vec::Vec};
use base::Gpa;
use core::cell::RefCell;

/// A guest's memory that is one flat piece from address zero on.
#[derive(Clone, Debug)]
pub struct FlatMemory(RefCell<Vec<u8>>);

impl FlatMemory {
    /// `len_bytes` of zeros; the empty memory when this host has no room for so many.
    pub fn new(len_bytes: u64) -> Self {
        Self(RefCell::new(vec![0; usize::try_from(len_bytes).unwrap_or_default()]))
    }

    /// The `len` bytes from `at` on.
    ///
    /// # Panics
    /// When they are not all there.
    pub fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        assert!(self.read(Gpa::from_low_bits(at), &mut bytes).is_ok(), "no memory at {at:#x}");
        bytes
    }

    /// Puts `bytes` at `at`.
    ///
    /// # Panics
    /// When they do not fit.
    pub fn put(&self, at: u64, bytes: &[u8]) {
        assert!(self.write(Gpa::from_low_bits(at), bytes).is_ok(), "no memory at {at:#x}");
    }

    fn with<R>(&self, gpa: Gpa, len: usize, use_it: impl FnOnce(&mut [u8]) -> R) -> Result<R, MemoryError> {
        let unmapped = MemoryError::Unmapped(gpa);
        let start = usize::try_from(gpa.as_u64()).map_err(|_| unmapped)?;
        let end = start.checked_add(len).ok_or(unmapped)?;
        self.0.borrow_mut().get_mut(start..end).map(use_it).ok_or(unmapped)
    }
}

impl GuestMemory for FlatMemory {
    fn read(&self, gpa: Gpa, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.with(gpa, buffer.len(), |bytes| buffer.copy_from_slice(bytes))
    }

    fn write(&self, gpa: Gpa, new: &[u8]) -> Result<(), MemoryError> {
        self.with(gpa, new.len(), |bytes| bytes.copy_from_slice(new))
    }

    fn fill(&self, gpa: Gpa, len_bytes: u64, value: u8) -> Result<(), MemoryError> {
        let len = usize::try_from(len_bytes).map_err(|_| MemoryError::Unmapped(gpa))?;
        self.with(gpa, len, |bytes| bytes.fill(value))
    }

    fn compare_exchange(&self, gpa: Gpa, len_bytes: u8, current: u64, new: u64) -> Result<u64, MemoryError> {
        if !matches!(len_bytes, 1 | 2 | 4 | 8) || !gpa.is_aligned(len_bytes.into()) {
            return Err(MemoryError::Unmapped(gpa));
        }
        self.with(gpa, len_bytes.into(), |bytes| {
            let found = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
            if found == current {
                bytes.iter_mut().zip(new.to_le_bytes()).for_each(|(byte, new)| *byte = new);
            }
            found
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exchanged_is_little_endian_and_aligned() {
        let memory = FlatMemory::new(16);
        memory.put(8, &[1, 2, 3, 4]);
        let at = Gpa::from_low_bits(8);
        assert_eq!(memory.compare_exchange(at, 4, 0, 9), Ok(0x0403_0201));
        assert_eq!(memory.compare_exchange(at, 2, 0x0201, 0xbbaa), Ok(0x0201));
        assert_eq!(memory.bytes(8, 4), [0xaa, 0xbb, 3, 4]);
        let odd = Gpa::from_low_bits(9);
        assert_eq!(memory.compare_exchange(odd, 4, 0, 0), Err(MemoryError::Unmapped(odd)));
    }

    #[test]
    fn there_is_nothing_past_the_end() {
        let memory = FlatMemory::new(16);
        assert!(memory.write(Gpa::from_low_bits(15), &[1, 2]).is_err());
        assert!(memory.read(Gpa::from_low_bits(16), &mut [0]).is_err());
        assert!(memory.fill(Gpa::ZERO, u64::MAX, 1).is_err());
    }
}
