//! A small memory that counts what is done to it.

use base::Gpa;
use seams::{GuestMemory, MemoryError};
use std::cell::{Cell, RefCell};

/// Its length: room for two queues and for buffers that overlap in many ways.
pub(super) const MEMORY_BYTES: usize = 1 << 15;

pub(super) struct CountedMemory {
    bytes: RefCell<Vec<u8>>,
    accesses: Cell<u64>,
    copied_bytes: Cell<u64>,
}

impl CountedMemory {
    pub(super) fn new() -> Self {
        Self {
            bytes: RefCell::new(vec![0; MEMORY_BYTES]),
            accesses: Cell::new(0),
            copied_bytes: Cell::new(0),
        }
    }

    /// Forgets the accesses so far.
    pub(super) fn start_counting(&self) {
        self.accesses.set(0);
    }

    /// The accesses since counting was started.
    pub(super) fn accesses(&self) -> u64 {
        self.accesses.get()
    }

    /// All bytes that were ever copied.
    pub(super) fn copied_bytes(&self) -> u64 {
        self.copied_bytes.get()
    }

    fn with<R>(&self, gpa: Gpa, len: usize, use_it: impl FnOnce(&mut [u8]) -> R) -> Result<R, MemoryError> {
        self.accesses.set(self.accesses.get() + 1);
        let start = usize::try_from(gpa.as_u64()).unwrap_or(usize::MAX);
        let mut bytes = self.bytes.borrow_mut();
        let place = bytes.get_mut(start..start.saturating_add(len)).ok_or(MemoryError::Unmapped(gpa))?;
        self.copied_bytes.set(self.copied_bytes.get() + len as u64);
        Ok(use_it(place))
    }
}

impl GuestMemory for CountedMemory {
    fn read(&self, gpa: Gpa, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.with(gpa, buffer.len(), |bytes| buffer.copy_from_slice(bytes))
    }

    fn write(&self, gpa: Gpa, new: &[u8]) -> Result<(), MemoryError> {
        self.with(gpa, new.len(), |bytes| bytes.copy_from_slice(new))
    }

    fn fill(&self, gpa: Gpa, len_bytes: u64, value: u8) -> Result<(), MemoryError> {
        let len = usize::try_from(len_bytes).unwrap_or(usize::MAX);
        self.with(gpa, len, |bytes| bytes.fill(value))
    }

    /// No device exchanges anything.
    fn compare_exchange(&self, gpa: Gpa, _: u8, _: u64, _: u64) -> Result<u64, MemoryError> {
        Err(MemoryError::Unmapped(gpa))
    }
}
