//! The truth about a guest-physical space: a short sorted list of extents.

use alloc::vec::Vec;
use base::{Gpa, Hpa};
use core::cmp::Ordering;

/// What a part of the guest-physical space is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// Memory, from this address on.
    Ram(Hpa),
    /// Memory that the guest cannot write, from this address on.
    ReadOnly(Hpa),
    /// A device's registers.
    Device,
}

impl ExtentKind {
    /// The memory behind the extent.
    pub const fn hpa(self) -> Option<Hpa> {
        match self {
            Self::Ram(hpa) | Self::ReadOnly(hpa) => Some(hpa),
            Self::Device => None,
        }
    }

    /// The kind of what lies `bytes` further up.
    pub(super) fn advanced(self, bytes: u64) -> Self {
        let advance = |hpa: Hpa| Hpa::from_low_bits(hpa.as_u64().wrapping_add(bytes));
        match self {
            Self::Ram(hpa) => Self::Ram(advance(hpa)),
            Self::ReadOnly(hpa) => Self::ReadOnly(advance(hpa)),
            Self::Device => Self::Device,
        }
    }
}

/// A part of the guest-physical space that is one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first address.
    pub start: Gpa,
    /// How long it is.
    pub len_bytes: u64,
    /// What it is.
    pub kind: ExtentKind,
}

impl Extent {
    /// One past the last address, as a number.
    pub const fn end(&self) -> u64 {
        self.start.as_u64().saturating_add(self.len_bytes)
    }

    /// Whether `next` begins where this ends and continues it.
    fn continues(&self, next: &Self) -> bool {
        self.end() == next.start.as_u64() && self.kind.advanced(self.len_bytes) == next.kind
    }
}

/// Sorted extents that do not overlap; neighbours that continue each other are one.
#[derive(Debug, Default)]
pub struct Extents(Vec<Extent>);

/// An extent that overlaps another, from this address on; or no memory for the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// Something is there already.
    Overlap(Gpa),
    /// The heap is used up.
    OutOfMemory,
}

impl Extents {
    /// None.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// All of them, in order.
    pub fn as_slice(&self) -> &[Extent] {
        &self.0
    }

    /// The extent that holds `gpa`.
    pub fn find(&self, gpa: Gpa) -> Option<&Extent> {
        let index = self.0.binary_search_by(|extent| {
            if extent.end() <= gpa.as_u64() {
                Ordering::Less
            } else if extent.start > gpa {
                Ordering::Greater
            } else {
                Ordering::Equal
            }
        });
        self.0.get(index.ok()?)
    }

    /// Adds `extent`.
    ///
    /// # Errors
    /// [`InsertError`]; nothing has changed then.
    pub fn insert(&mut self, extent: Extent) -> Result<(), InsertError> {
        if extent.len_bytes == 0 {
            return Ok(());
        }
        let index = self.0.partition_point(|other| other.end() <= extent.start.as_u64());
        if let Some(next) = self.0.get(index).filter(|next| next.start.as_u64() < extent.end()) {
            return Err(InsertError::Overlap(next.start.max(extent.start)));
        }
        self.0.try_reserve(1).map_err(|_| InsertError::OutOfMemory)?;
        self.0.insert(index, extent);
        self.join(index);
        self.join(index.saturating_sub(1));
        Ok(())
    }

    /// Makes the memory from `start` to `end` read-only.
    ///
    /// # Errors
    /// [`InsertError::OutOfMemory`]; nothing has changed then.
    pub fn make_read_only(&mut self, start: Gpa, end: Gpa) -> Result<(), InsertError> {
        self.0.try_reserve(2).map_err(|_| InsertError::OutOfMemory)?;
        self.split(start);
        self.split(end);
        for extent in self.0.iter_mut().filter(|extent| extent.start >= start && extent.start < end) {
            if let ExtentKind::Ram(hpa) = extent.kind {
                extent.kind = ExtentKind::ReadOnly(hpa);
            }
        }
        Ok(())
    }

    /// Makes an extent begin at `boundary` if one reaches across it. There is room for it.
    fn split(&mut self, boundary: Gpa) {
        let across = |extent: &Extent| extent.start < boundary && extent.end() > boundary.as_u64();
        let Some(index) = self.0.iter().position(across) else { return };
        let Some(extent) = self.0.get_mut(index) else { return };
        let head = boundary.as_u64() - extent.start.as_u64();
        let tail =
            Extent { start: boundary, len_bytes: extent.len_bytes - head, kind: extent.kind.advanced(head) };
        extent.len_bytes = head;
        self.0.insert(index + 1, tail);
    }

    /// Makes the extents at `index` and behind it one, if the one continues the other.
    fn join(&mut self, index: usize) {
        let (Some(extent), Some(next)) = (self.0.get(index), self.0.get(index + 1)) else { return };
        if extent.continues(next) {
            let len_bytes = extent.len_bytes + next.len_bytes;
            self.0.remove(index + 1);
            if let Some(extent) = self.0.get_mut(index) {
                extent.len_bytes = len_bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ram(start: u64, len_bytes: u64, hpa: u64) -> Extent {
        Extent { start: Gpa::new(start).unwrap(), len_bytes, kind: ExtentKind::Ram(Hpa::new(hpa).unwrap()) }
    }

    #[test]
    fn extents_that_continue_each_other_become_one_in_any_order() {
        let mut extents = Extents::new();
        for part in [ram(0x4000, 0x2000, 0x14000), ram(0, 0x2000, 0x10000), ram(0x2000, 0x2000, 0x12000)] {
            extents.insert(part).unwrap();
        }
        assert_eq!(extents.as_slice(), [ram(0, 0x6000, 0x10000)]);
    }

    #[test]
    fn an_overlap_is_refused_with_its_first_address() {
        let mut extents = Extents::new();
        extents.insert(ram(0x2000, 0x2000, 0)).unwrap();
        assert_eq!(extents.insert(ram(0, 0x2001, 0)), Err(InsertError::Overlap(Gpa::new(0x2000).unwrap())));
        assert_eq!(extents.insert(ram(0x3000, 1, 0)), Err(InsertError::Overlap(Gpa::new(0x3000).unwrap())));
    }

    #[test]
    fn a_part_becomes_read_only_and_the_rest_stays_as_it_was() {
        let mut extents = Extents::new();
        extents.insert(ram(0, 0x4000, 0x10000)).unwrap();
        extents.make_read_only(Gpa::new(0x1000).unwrap(), Gpa::new(0x2000).unwrap()).unwrap();
        let hpa = Hpa::new(0x11000).unwrap();
        let middle = Extent { kind: ExtentKind::ReadOnly(hpa), ..ram(0x1000, 0x1000, 0) };
        assert_eq!(extents.as_slice(), [ram(0, 0x1000, 0x10000), middle, ram(0x2000, 0x2000, 0x12000)]);
        assert_eq!(extents.find(Gpa::new(0x1fff).unwrap()), Some(&middle));
        assert_eq!(extents.find(Gpa::new(0x4000).unwrap()), None);
    }
}
