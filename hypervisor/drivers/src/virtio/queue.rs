//! A split virtqueue: three tables in one piece of memory (section 2.7).
//!
//! ```text
//! descriptors   16 bytes each: address u64, length u32, flags u16, next u16
//! available     flags u16, index u16, heads u16[size]            the driver writes
//! used          flags u16, index u16, (head u32, length u32)[size]   the device writes
//! ```
//! Descriptors are not taken from a list: who uses the queue says which are whose, once and for all.

use seams::{BusAddress, DmaMemory, DmaRing};

/// A chain goes on at the next descriptor.
const NEXT: u32 = 1 << 0;
/// The device writes to this one.
const WRITE: u32 = 1 << 1;

const DESCRIPTOR_BYTES: usize = 16;

/// Which way the bytes of a descriptor go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device reads them.
    ToDevice,
    /// The device writes them.
    FromDevice,
}

/// Whether a chain goes on behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// With the descriptor of the next number.
    GoesOn,
    /// No: this is its last.
    Ends,
}

/// What the device has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The first descriptor of a chain, as the device says.
    pub head: u32,
    /// How many bytes it has written, as it says.
    pub len_bytes: u32,
}

/// The queue, and how far it has been used.
pub struct Queue<Ring> {
    index: u16,
    size: u16,
    ring: Ring,
    doorbell: usize,
    /// How many heads have been made available, and how many used ones taken; both wrap.
    offered: u16,
    taken: u16,
}

impl<Ring: DmaRing> Queue<Ring> {
    /// Queue `index` with `size` entries, a power of two; `None` when there is no memory.
    pub fn new(memory: &mut impl DmaMemory<Ring = Ring>, index: u16, size: u16) -> Option<Self> {
        let entries = usize::from(size);
        let ring = memory.ring(used_at(entries) + 4 + 8 * entries)?;
        Some(Self { index, size, ring, doorbell: 0, offered: 0, taken: 0 })
    }

    pub const fn index(&self) -> u16 {
        self.index
    }

    pub const fn size(&self) -> u16 {
        self.size
    }

    pub const fn doorbell(&self) -> usize {
        self.doorbell
    }

    pub fn set_doorbell(&mut self, offset: usize) {
        self.doorbell = offset;
    }

    /// Where descriptors, available and used ring are.
    pub fn addresses(&self) -> [BusAddress; 3] {
        let entries = usize::from(self.size);
        let start = self.ring.bus_address().0;
        [0, available_at(entries), used_at(entries)]
            .map(|offset| BusAddress(start.wrapping_add(offset as u64)))
    }

    /// Begins anew: the device has been reset.
    pub fn reset(&mut self) {
        (self.offered, self.taken) = (0, 0);
        self.ring.store32(available_at(self.size.into()), 0);
        self.ring.store32(used_at(self.size.into()), 0);
    }

    /// Describes `len_bytes` at `address` by descriptor `number`.
    pub fn describe(
        &mut self,
        number: u16,
        address: BusAddress,
        len_bytes: u32,
        direction: Direction,
        chain: Chain,
    ) {
        let mut flags = if direction == Direction::FromDevice { WRITE } else { 0 };
        if chain == Chain::GoesOn {
            flags |= NEXT | u32::from(number.wrapping_add(1)) << 16;
        }
        let at = usize::from(number) * DESCRIPTOR_BYTES;
        self.ring.store64(at, address.0);
        self.ring.store64(at + 8, u64::from(flags) << 32 | u64::from(len_bytes));
    }

    /// Makes the chain that begins at descriptor `head` available. At most as many are as there are entries.
    pub fn offer(&mut self, head: u16) {
        let start = available_at(self.size.into());
        let slot = usize::from(self.slot(self.offered));
        // Two heads share a word; the driver alone writes here.
        let at = start + 4 + (slot & !1) * 2;
        let shift = 16 * (slot & 1);
        let other = self.ring.load32(at) & !(0xffff << shift);
        self.ring.store32(at, other | u32::from(head) << shift);
        self.offered = self.offered.wrapping_add(1);
        self.ring.store32(start, u32::from(self.offered) << 16);
    }

    /// Takes what the device has used next.
    pub fn take(&mut self) -> Option<Used> {
        let start = used_at(self.size.into());
        let index = (self.ring.load32(start) >> 16) as u16;
        if index == self.taken {
            return None;
        }
        let at = start + 4 + usize::from(self.slot(self.taken)) * 8;
        self.taken = self.taken.wrapping_add(1);
        Some(Used { head: self.ring.load32(at), len_bytes: self.ring.load32(at + 4) })
    }

    /// Where in a ring of a power of two the entry of a counter is.
    const fn slot(&self, counter: u16) -> u16 {
        counter & self.size.wrapping_sub(1)
    }
}

const fn available_at(entries: usize) -> usize {
    entries * DESCRIPTOR_BYTES
}

/// After flags, index, heads and the event index, at a multiple of 8.
const fn used_at(entries: usize) -> usize {
    (available_at(entries) + 6 + 2 * entries).next_multiple_of(8)
}
