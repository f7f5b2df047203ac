//! What the tests of this crate share: a guest's memory that is one flat piece.

extern crate std;

use base::Gpa;
use seams::{GuestMemory, MemoryError};
use std::{cell::RefCell, vec, vec::Vec};

/// Guest memory from address zero on.
pub(crate) struct FlatMemory(RefCell<Vec<u8>>);

impl FlatMemory {
    /// `len_bytes` of zeros.
    pub(crate) fn new(len_bytes: usize) -> Self {
        Self(RefCell::new(vec![0; len_bytes]))
    }

    fn with<R>(&self, gpa: Gpa, len: usize, use_it: impl FnOnce(&mut [u8]) -> R) -> Result<R, MemoryError> {
        let mut bytes = self.0.borrow_mut();
        let start = usize::try_from(gpa.as_u64()).map_err(|_| MemoryError::Unmapped(gpa))?;
        let end = start.checked_add(len).ok_or(MemoryError::Unmapped(gpa))?;
        bytes.get_mut(start..end).map(use_it).ok_or(MemoryError::Unmapped(gpa))
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
        self.with(gpa, len_bytes as usize, |bytes| bytes.fill(value))
    }

    fn compare_exchange(&self, gpa: Gpa, len_bytes: u8, current: u64, new: u64) -> Result<u64, MemoryError> {
        if !matches!(len_bytes, 1 | 2 | 4 | 8) || !gpa.is_aligned(len_bytes.into()) {
            return Err(MemoryError::Unmapped(gpa));
        }
        let len = usize::from(len_bytes);
        self.with(gpa, len, |bytes| {
            let mut found = [0; 8];
            found[..len].copy_from_slice(bytes);
            let found = u64::from_le_bytes(found);
            if found == current {
                bytes.copy_from_slice(&new.to_le_bytes()[..len]);
            }
            found
        })
    }
}
