//! The radix tree: map, unmap, protect, look up.
//!
//! Invariants: every table but the root has at least one entry that is not empty; no table is reachable twice; no
//! leaf is larger than the tree's largest page.

use crate::{
    Attributes, ENTRIES, EntryFormat, Flush, Level, MapError, OutOfTables, Permissions, Slot, TableMemory,
};
use base::{Hpa, PAGE_BYTES};
use core::marker::PhantomData;

/// The shape of a tree, fixed when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The level of the root table: [`Level::Root`] for 256 TiB, [`Level::Pointer`] for a part of 512 GiB.
    pub root: Level,
    /// The largest leaf that the processor knows: [`Level::Page`], [`Level::Directory`] or [`Level::Pointer`].
    pub largest_leaf: Level,
}

impl Geometry {
    /// The bytes of the space that the tree maps.
    pub const fn space_bytes(self) -> u64 {
        self.root.entry_bytes() * ENTRIES as u64
    }
}

/// Whole pages of a tree's space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first address, a multiple of 4 KiB.
    pub start: u64,
    /// The length in bytes, a multiple of 4 KiB.
    pub len_bytes: u64,
}

impl Span {
    const fn end(self) -> u64 {
        self.start.saturating_add(self.len_bytes)
    }
}

/// One leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The first address that it maps.
    pub address: u64,
    /// What that address maps to.
    pub hpa: Hpa,
    /// The size of the page in bytes.
    pub len_bytes: u64,
    /// What may be done there.
    pub attributes: Attributes,
}

/// A radix tree of format `F`. It owns its tables; [`Tree::destroy`] gives them back.
///
/// Every method must be given the memory that the tree was made in.
#[derive(Debug)]
pub struct Tree<F> {
    root: Hpa,
    geometry: Geometry,
    format: PhantomData<fn() -> F>,
}

impl<F: EntryFormat> Tree<F> {
    /// An empty tree.
    ///
    /// # Errors
    /// [`OutOfTables`] when there is no frame for its root.
    pub fn new(memory: &mut impl TableMemory, geometry: Geometry) -> Result<Self, OutOfTables> {
        Ok(Self { root: memory.allocate_table()?, geometry, format: PhantomData })
    }

    /// The root table, for CR3, nCR3 or the EPT pointer.
    pub fn root(&self) -> Hpa {
        self.root
    }

    /// Maps `len_bytes` from `address` on to consecutive memory from `hpa` on, in the largest pages that fit.
    ///
    /// # Errors
    /// [`MapError::AlreadyMapped`] when any of it is mapped, [`MapError::OutOfTables`], or what is wrong with the
    /// arguments. Nothing is mapped then.
    pub fn map(
        &mut self,
        memory: &mut impl TableMemory,
        span: Span,
        hpa: Hpa,
        attributes: Attributes,
    ) -> Result<Flush, MapError> {
        self.check(span)?;
        if !hpa.is_aligned(PAGE_BYTES) || hpa.checked_add(span.len_bytes.saturating_sub(1)).is_none() {
            return Err(MapError::UnalignedTarget(hpa));
        }
        if !attributes.permissions.contains(Permissions::READ) {
            return Err(MapError::Unreadable);
        }
        if let Some(mapping) = self.first_mapping(memory, span) {
            return Err(MapError::AlreadyMapped(mapping.address.max(span.start)));
        }
        let mut done = 0;
        while done < span.len_bytes {
            let (address, target) = (span.start + done, Hpa::from_low_bits(hpa.as_u64() + done));
            let level = self.leaf_level(address, target, span.len_bytes - done);
            if let Err(OutOfTables) = self.set_leaf(memory, address, target, level, attributes) {
                // Clearing also frees the tables that were made for the leaf that failed: they lead into the span.
                self.clear(memory, self.root, self.geometry.root, 0, span);
                return Err(MapError::OutOfTables);
            }
            done += level.entry_bytes();
        }
        Ok(Flush::Nothing)
    }

    /// Removes every mapping in `span`; parts of it may be unmapped already.
    ///
    /// # Errors
    /// [`MapError::OutOfTables`] when a large page at an end could not be split; nothing is unmapped then.
    pub fn unmap(&mut self, memory: &mut impl TableMemory, span: Span) -> Result<Flush, MapError> {
        self.check(span)?;
        if span.len_bytes == 0 {
            return Ok(Flush::Nothing);
        }
        self.split_ends(memory, span)?;
        self.clear(memory, self.root, self.geometry.root, 0, span);
        Ok(Flush::Span { start: span.start, len_bytes: span.len_bytes })
    }

    /// Gives every mapping in `span` the permissions `permissions`; what is unmapped stays so.
    ///
    /// # Errors
    /// [`MapError::OutOfTables`] when a large page at an end could not be split; nothing is changed then.
    pub fn protect(
        &mut self,
        memory: &mut impl TableMemory,
        span: Span,
        permissions: Permissions,
    ) -> Result<Flush, MapError> {
        self.check(span)?;
        if !permissions.contains(Permissions::READ) {
            return Err(MapError::Unreadable);
        }
        if span.len_bytes == 0 {
            return Ok(Flush::Nothing);
        }
        self.split_ends(memory, span)?;
        let mut address = span.start;
        while address < span.end() {
            let (table, level, slot) = self.descend(memory, address);
            if let Slot::Leaf(hpa, attributes) = slot {
                let entry = F::leaf(hpa, level, Attributes { permissions, ..attributes });
                memory.write_entry(table, level.index(address), entry);
            }
            address = next_entry(address, level);
        }
        Ok(Flush::Span { start: span.start, len_bytes: span.len_bytes })
    }

    /// What `address` maps to, with the page that holds it.
    pub fn lookup(&self, memory: &impl TableMemory, address: u64) -> Option<Mapping> {
        if address >= self.geometry.space_bytes() {
            return None;
        }
        match self.descend(memory, address) {
            (_, level, Slot::Leaf(hpa, attributes)) => {
                let len_bytes = level.entry_bytes();
                Some(Mapping { address: address & !(len_bytes - 1), hpa, len_bytes, attributes })
            }
            _ => None,
        }
    }

    /// The first leaf that shares a byte with `span`, if any. Continue behind it to see the next.
    pub fn first_mapping(&self, memory: &impl TableMemory, span: Span) -> Option<Mapping> {
        let end = span.end().min(self.geometry.space_bytes());
        let mut address = span.start;
        while address < end {
            let (_, level, slot) = self.descend(memory, address);
            if let Slot::Leaf(hpa, attributes) = slot {
                let len_bytes = level.entry_bytes();
                return Some(Mapping { address: address & !(len_bytes - 1), hpa, len_bytes, attributes });
            }
            address = next_entry(address, level);
        }
        None
    }

    /// Every leaf that shares a byte with `span`, in order.
    pub fn mappings<'a, M: TableMemory>(
        &'a self,
        memory: &'a M,
        span: Span,
    ) -> impl Iterator<Item = Mapping> + 'a {
        let mut rest = span;
        core::iter::from_fn(move || {
            let mapping = self.first_mapping(memory, rest)?;
            let next = mapping.address.saturating_add(mapping.len_bytes);
            rest = Span { start: next, len_bytes: rest.end().saturating_sub(next) };
            Some(mapping)
        })
    }

    /// Gives back all tables. No processor may walk the tree any more.
    pub fn destroy(self, memory: &mut impl TableMemory) {
        let all = Span { start: 0, len_bytes: self.geometry.space_bytes() };
        self.clear(memory, self.root, self.geometry.root, 0, all);
        memory.free_table(self.root);
    }

    fn check(&self, span: Span) -> Result<(), MapError> {
        let Span { start, len_bytes } = span;
        let whole = start.is_multiple_of(PAGE_BYTES) && len_bytes.is_multiple_of(PAGE_BYTES);
        let inside = start.checked_add(len_bytes).is_some_and(|end| end <= self.geometry.space_bytes());
        if whole && inside { Ok(()) } else { Err(MapError::BadSpan { start, len_bytes }) }
    }

    /// The largest leaf that fits at `address` and `hpa` within `room_bytes`.
    fn leaf_level(&self, address: u64, hpa: Hpa, room_bytes: u64) -> Level {
        let fits = |level: &Level| {
            let size = level.entry_bytes();
            *level <= self.geometry.largest_leaf.min(self.geometry.root)
                && room_bytes >= size
                && address.is_multiple_of(size)
                && hpa.is_aligned(size)
        };
        [Level::Pointer, Level::Directory].into_iter().find(fits).unwrap_or(Level::Page)
    }

    /// Walks towards `address` as far as tables lead: the last table, its level, and the slot there.
    fn descend(&self, memory: &impl TableMemory, address: u64) -> (Hpa, Level, Slot) {
        let (mut table, mut level) = (self.root, self.geometry.root);
        loop {
            let slot = F::decode(memory.read_entry(table, level.index(address)), level);
            match (slot, level.below()) {
                (Slot::Table(next), Some(below)) => (table, level) = (next, below),
                _ => return (table, level, slot),
            }
        }
    }

    /// Writes a leaf of `target_level` where nothing is mapped, making the tables that lead there.
    fn set_leaf(
        &self,
        memory: &mut impl TableMemory,
        address: u64,
        hpa: Hpa,
        target_level: Level,
        attributes: Attributes,
    ) -> Result<(), OutOfTables> {
        loop {
            let (table, level, _) = self.descend(memory, address);
            if level == target_level {
                memory.write_entry(table, level.index(address), F::leaf(hpa, level, attributes));
                return Ok(());
            }
            let next = memory.allocate_table()?;
            memory.write_entry(table, level.index(address), F::table(next));
        }
    }

    /// Splits the large pages that reach across either end of `span`.
    fn split_ends(&self, memory: &mut impl TableMemory, span: Span) -> Result<(), OutOfTables> {
        self.split_at(memory, span.start)?;
        self.split_at(memory, span.end())
    }

    /// Splits the page that `boundary` lies inside of, until a page begins there. Translations stay the same.
    fn split_at(&self, memory: &mut impl TableMemory, boundary: u64) -> Result<(), OutOfTables> {
        if boundary >= self.geometry.space_bytes() {
            return Ok(());
        }
        loop {
            let (table, level, slot) = self.descend(memory, boundary);
            let (Slot::Leaf(hpa, attributes), Some(below)) = (slot, level.below()) else { return Ok(()) };
            if boundary.is_multiple_of(level.entry_bytes()) {
                return Ok(());
            }
            let split = memory.allocate_table()?;
            for index in 0..ENTRIES {
                let part = Hpa::from_low_bits(hpa.as_u64() + u64::from(index) * below.entry_bytes());
                memory.write_entry(split, index, F::leaf(part, below, attributes));
            }
            // One store: a processor that walks meanwhile sees the large page or its parts.
            memory.write_entry(table, level.index(boundary), F::table(split));
        }
    }

    /// Empties the entries of `table`, which spans from `base` on, that lie in `span`, which is not empty, and frees tables left without
    /// an entry. No leaf reaches across an end of the span. Recursion ends with [`Level::Page`], three calls deep.
    fn clear(&self, memory: &mut impl TableMemory, table: Hpa, level: Level, base: u64, span: Span) {
        let size = level.entry_bytes();
        let first = span.start.max(base);
        let last = (span.end() - 1).min(base + (u64::from(ENTRIES) * size - 1));
        for index in level.index(first)..=level.index(last) {
            let start = base + u64::from(index) * size;
            match (F::decode(memory.read_entry(table, index), level), level.below()) {
                (Slot::Table(next), Some(below)) => {
                    self.clear(memory, next, below, start, span);
                    if is_empty(memory, next) {
                        memory.write_entry(table, index, 0);
                        memory.free_table(next);
                    }
                }
                (Slot::Leaf(..), _) => memory.write_entry(table, index, 0),
                _ => {}
            }
        }
    }
}

/// The first address behind the entry of `level` that holds `address`.
const fn next_entry(address: u64, level: Level) -> u64 {
    let size = level.entry_bytes();
    (address & !(size - 1)).saturating_add(size)
}

fn is_empty(memory: &impl TableMemory, table: Hpa) -> bool {
    (0..ENTRIES).all(|index| memory.read_entry(table, index) == 0)
}
