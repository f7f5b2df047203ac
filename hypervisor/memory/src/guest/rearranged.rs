//! Memory of a guest that its processor cannot reach, for the seeded fault `emulated-memory`: every access exits.
//!
//! Only builds with the feature `seeded-faults` have this module.

use super::extent::Extent;
use super::{GuestMap, GuestMapError};
use base::Gpa;

impl GuestMap {
    /// Takes the RAM of `len_bytes` from `start` on out of the nested tables and shows it at `alias` instead. The
    /// hypervisor's window and the extents stay as they are. No vCPU may have run in the space.
    ///
    /// # Errors
    /// [`GuestMapError::NotRam`] when `start` and all behind it are not in one extent of RAM, or what the tables lack.
    pub fn withhold(&mut self, start: Gpa, len_bytes: u64, alias: Gpa) -> Result<(), GuestMapError> {
        let part = self.find(start).and_then(|extent| extent.part(start, len_bytes));
        let part = part.ok_or(GuestMapError::NotRam(start))?;
        self.change_trees(|trees, tables| trees.show_elsewhere(tables, &part, alias))
    }
}

impl Extent {
    /// The part from `start` on.
    fn part(&self, start: Gpa, len_bytes: u64) -> Option<Self> {
        let skipped = start.as_u64().checked_sub(self.start.as_u64())?;
        let fits = skipped.checked_add(len_bytes)? <= self.len_bytes;
        fits.then_some(Self { start, len_bytes, kind: self.kind.advanced(skipped) })
    }
}
