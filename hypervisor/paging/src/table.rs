//! Tables of 512 entries, the memory they lie in, and what an entry can mean.

use crate::Attributes;
use base::Hpa;

/// Entries of a table, in every format.
pub const ENTRIES: u16 = 512;

/// A table's height in the tree: what one of its entries spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// An entry spans 4 KiB.
    Page,
    /// An entry spans 2 MiB.
    Directory,
    /// An entry spans 1 GiB.
    Pointer,
    /// An entry spans 512 GiB, and is never a leaf.
    Root,
}

impl Level {
    /// The bytes that one entry spans.
    pub const fn entry_bytes(self) -> u64 {
        match self {
            Self::Page => 1 << 12,
            Self::Directory => 1 << 21,
            Self::Pointer => 1 << 30,
            Self::Root => 1 << 39,
        }
    }

    /// The level below, or `None` under [`Level::Page`].
    pub const fn below(self) -> Option<Self> {
        match self {
            Self::Page => None,
            Self::Directory => Some(Self::Page),
            Self::Pointer => Some(Self::Directory),
            Self::Root => Some(Self::Pointer),
        }
    }

    /// The index of `address` in a table of this level.
    pub const fn index(self, address: u64) -> u16 {
        ((address / self.entry_bytes()) % ENTRIES as u64) as u16
    }
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nothing is mapped below it.
    Empty,
    /// It leads to the table at this address.
    Table(Hpa),
    /// It maps a page of its level's size.
    Leaf(Hpa, Attributes),
}

/// The bits of one kind of table.
pub trait EntryFormat {
    /// The entry that leads to `table`. It restricts nothing: leaves alone carry permissions.
    fn table(table: Hpa) -> u64;

    /// The entry that maps a page of `level`'s size at `hpa`.
    fn leaf(hpa: Hpa, level: Level, attributes: Attributes) -> u64;

    /// What `entry` means in a table of `level`.
    fn decode(entry: u64, level: Level) -> Slot;
}

/// No frame is left for another table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfTables;

/// The memory that tables lie in.
pub trait TableMemory {
    /// Entry `index` (below [`ENTRIES`]) of `table`.
    fn read_entry(&self, table: Hpa, index: u16) -> u64;

    /// Replaces entry `index` (below [`ENTRIES`]) of `table` by one aligned 8-byte store.
    fn write_entry(&mut self, table: Hpa, index: u16, entry: u64);

    /// A table of zeroes.
    ///
    /// # Errors
    /// [`OutOfTables`] when there is no frame for it.
    fn allocate_table(&mut self) -> Result<Hpa, OutOfTables>;

    /// Takes back `table`, which no entry leads to any more. A processor may still have cached that one did: the
    /// frame serves another purpose only after the [`Flush`](crate::Flush) of the operation has been applied.
    fn free_table(&mut self, table: Hpa);
}
