//! Read-only sight of what is not managed memory: boot's files, firmware's tables.
//!
//! Unsafe because a mapping becomes a slice. The bytes cannot change while it lives: no firmware runs after boot, devices
//! have no business there, and [`HostMemory::release`](super::HostMemory::release) refuses what is not whole.

use super::SharedMemory;
use crate::error::HostMemoryError;
use alloc::vec::Vec;
use base::{Hpa, PAGE_BYTES, PhysRange};
use core::cell::RefCell;
use core::ops::Deref;
use paging::{Attributes, Permissions};

/// The bytes of a range, mapped as long as this lives.
#[derive(Debug)]
pub struct View {
    memory: &'static SharedMemory,
    address: u64,
    pages: PhysRange,
    range: PhysRange,
}

impl View {
    /// Maps `range`.
    ///
    /// # Errors
    /// [`HostMemoryError::Owned`] when it is memory in use, or what the tables lack.
    pub fn new(memory: &'static SharedMemory, range: PhysRange) -> Result<Self, HostMemoryError> {
        let mut host = memory.lock();
        let pages = host.foreign_pages(range)?;
        host.spare_tables_for(pages.len_bytes());
        let address = host.space.views.take(pages.len_bytes())?;
        host.map(address, pages, Attributes::memory(Permissions::READ))?;
        drop(host);
        Ok(Self { memory, address, pages, range })
    }

    /// Ends the view and adds its pages to the free memory: the file is not needed any more.
    ///
    /// # Errors
    /// As [`HostMemory::release`](super::HostMemory::release).
    pub fn release(self) -> Result<(), HostMemoryError> {
        let (memory, pages) = (self.memory, self.pages);
        drop(self);
        memory.lock().release(pages)
    }

    /// Which bytes.
    pub fn range(&self) -> PhysRange {
        self.range
    }

    fn pointer(&self) -> *const u8 {
        let offset = self.range.start().as_u64() % PAGE_BYTES;
        core::ptr::with_exposed_provenance((self.address + offset) as usize)
    }
}

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the pages are mapped until drop; nobody writes there (see the module).
        unsafe { core::slice::from_raw_parts(self.pointer(), self.range.len_bytes() as usize) }
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // Only a split needs memory, and views are mapped and unmapped whole.
        let _ = self.memory.lock().unmap(self.address, self.pages.len_bytes());
    }
}

/// Views made on demand and kept together: how firmware's tables are read, whose addresses come one from the other.
#[derive(Debug)]
pub struct Views {
    memory: &'static SharedMemory,
    made: RefCell<Vec<View>>,
}

impl Views {
    /// None as yet.
    pub const fn new(memory: &'static SharedMemory) -> Self {
        Self { memory, made: RefCell::new(Vec::new()) }
    }

    /// The `len` bytes at `address`, or `None` where they cannot be shown.
    pub fn bytes(&self, address: Hpa, len: usize) -> Option<&[u8]> {
        let range = PhysRange::new(address, len as u64).ok()?;
        let mut made = self.made.try_borrow_mut().ok()?;
        let index = match made.iter().position(|view| view.range == range) {
            Some(index) => index,
            None => {
                made.try_reserve(1).ok()?;
                made.push(View::new(self.memory, range).ok()?);
                made.len().checked_sub(1)?
            }
        };
        let start = made.get(index)?.pointer();
        // SAFETY: a view stays mapped, wherever its value moves, until it is dropped, and none is dropped before `self`.
        Some(unsafe { core::slice::from_raw_parts(start, len) })
    }
}
