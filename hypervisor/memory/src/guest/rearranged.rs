//! Nested tables that show a guest's memory otherwise than its map says: what the tests of a build with seeded faults need.
//!
//! Only the processor's view changes; extents and the hypervisor's window stay as they are. Only builds with the feature
//! `seeded-faults` have this module.

use super::access::GuestAccess;
use super::extent::{Extent, ExtentKind};
use super::{GuestMap, GuestMapError};
use base::{Gpa, PAGE_BYTES};

impl GuestMap {
    /// Takes the RAM of `len_bytes` from `start` on out of the guest's sight and shows it at `alias` instead: every access
    /// to where it was exits. The vCPUs must drop their translations.
    ///
    /// # Errors
    /// [`GuestMapError::NotRam`] when `start` and all behind it are not in one extent of RAM, or what the tables lack.
    pub fn withhold(&mut self, start: Gpa, len_bytes: u64, alias: Gpa) -> Result<(), GuestMapError> {
        let part = self.part(start, len_bytes)?;
        self.show(start, Extent { kind: ExtentKind::Device, ..part })?;
        self.show(alias, part)
    }

    /// Shows the page at `from` where the page `at` is. The vCPUs must drop their translations.
    ///
    /// # Errors
    /// As for [`GuestMap::withhold`].
    pub fn show_page(&mut self, at: Gpa, from: Gpa) -> Result<(), GuestMapError> {
        let page = self.part(from, PAGE_BYTES)?;
        self.show(at, page)
    }

    /// Takes the right to write `page` from the guest. The vCPUs must drop their translations.
    ///
    /// # Errors
    /// As for [`GuestMap::withhold`].
    pub fn protect_page(&mut self, page: Gpa) -> Result<(), GuestMapError> {
        let part = self.part(page, PAGE_BYTES)?;
        let hpa = part.kind.hpa().ok_or(GuestMapError::NotRam(page))?;
        self.show(page, Extent { kind: ExtentKind::ReadOnly(hpa), ..part })
    }

    fn part(&self, start: Gpa, len_bytes: u64) -> Result<Extent, GuestMapError> {
        let part = self.find(start).and_then(|extent| extent.part(start, len_bytes));
        part.ok_or(GuestMapError::NotRam(start))
    }

    fn show(&mut self, at: Gpa, part: Extent) -> Result<(), GuestMapError> {
        self.change_trees(|trees, tables| trees.show(tables, at, &part))
    }
}

impl GuestAccess {
    /// The map, to change what the processor sees of it.
    pub fn map_mut(&mut self) -> &mut GuestMap {
        &mut self.window.map
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
