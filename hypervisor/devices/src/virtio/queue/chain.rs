//! A chain of descriptors: the buffers of one request (VIRTIO 2.7.5).

use super::super::Broken;
use super::rings::{DESCRIPTOR_BYTES, Rings};
use arrayvec::ArrayVec;
use base::Gpa;
use seams::GuestMemory;

/// The most descriptors with a buffer that a chain may have: 128 of data, as many as a disk offers, and one each for a
/// request's header and its status. Network drivers need fewer than 20.
pub const SEGMENTS_MAX: usize = 130;

// A descriptor's flags (2.7.5).
const NEXT: u16 = 1 << 0;
const WRITE: u16 = 1 << 1;
const INDIRECT: u16 = 1 << 2;

/// One buffer, wholly in the guest-physical space, and not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its first byte.
    pub gpa: Gpa,
    /// Its length.
    pub len_bytes: u32,
}

/// Whether a driver may use indirect descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indirect {
    /// It may.
    Negotiated,
    /// It may not.
    Refused,
}

/// The buffers of one request, as read from the guest once.
///
/// Large: it is made once and filled again and again, and what is not filled is never written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// First those to read, then those to write.
    segments: ArrayVec<Segment, SEGMENTS_MAX>,
    readable_segments: usize,
    readable_bytes: u32,
    writable_bytes: u32,
}

impl Chain {
    /// A chain without buffers, to be filled.
    pub const fn new() -> Self {
        Self { segments: ArrayVec::new_const(), readable_segments: 0, readable_bytes: 0, writable_bytes: 0 }
    }

    /// A chain of these buffers, address and length each, for what is loaded from saved state.
    ///
    /// # Errors
    /// As for a chain that a driver makes.
    pub(in crate::virtio) fn from_segments(
        readable: &[(u64, u32)],
        writable: &[(u64, u32)],
    ) -> Result<Self, Broken> {
        let mut chain = Self::new();
        let readable = readable.iter().map(|segment| (segment, 0));
        for ((address, len_bytes), flags) in readable.chain(writable.iter().map(|segment| (segment, WRITE))) {
            chain.push(&Descriptor { address: *address, len_bytes: *len_bytes, flags, next: 0 })?;
        }
        Ok(chain)
    }

    /// The buffers that the driver filled for the device to read.
    pub fn readable(&self) -> &[Segment] {
        self.segments.get(..self.readable_segments).unwrap_or_default()
    }

    /// The buffers for the device to write.
    pub fn writable(&self) -> &[Segment] {
        self.segments.get(self.readable_segments..).unwrap_or_default()
    }

    /// How much there is to read.
    pub const fn readable_bytes(&self) -> u32 {
        self.readable_bytes
    }

    /// How much there is room to write.
    pub const fn writable_bytes(&self) -> u32 {
        self.writable_bytes
    }

    /// Reads the chain that starts at descriptor `head`.
    ///
    /// It ends: each turn adds a buffer, of which there are at most [`SEGMENTS_MAX`], or enters the one indirect table.
    pub(super) fn collect(
        &mut self,
        memory: &impl GuestMemory,
        rings: &Rings,
        indirect: Indirect,
        head: u16,
    ) -> Result<(), Broken> {
        self.clear();
        let table = Table::of(rings);
        if u32::from(head) >= table.len {
            return Err(Broken::Head(head));
        }
        let first = table.descriptor(memory, head)?;
        if first.flags & (NEXT | INDIRECT) == 0 {
            return self.push(&first);
        }
        self.follow(memory, table, first, indirect)
    }

    /// Adds the buffer of `descriptor`, which is in `table`, and all that follow it. A call of its own, so that a chain of
    /// one buffer saves no registers for it.
    #[inline(never)]
    fn follow(
        &mut self,
        memory: &impl GuestMemory,
        mut table: Table,
        mut descriptor: Descriptor,
        indirect: Indirect,
    ) -> Result<(), Broken> {
        loop {
            if descriptor.flags & INDIRECT != 0 {
                table = table.indirect(&descriptor, indirect)?;
                descriptor = table.descriptor(memory, 0)?;
                continue;
            }
            table.left = table.left.checked_sub(1).ok_or(Broken::Loop)?;
            self.push(&descriptor)?;
            if descriptor.flags & NEXT == 0 {
                return Ok(());
            }
            let index = descriptor.next;
            if u32::from(index) >= table.len {
                return Err(Broken::Next(index));
            }
            descriptor = table.descriptor(memory, index)?;
        }
    }

    /// The buffer of the chain that starts at descriptor `head`, if it has one only, for the device to write, and not in
    /// an indirect table. `None` is no verdict: what the chain is [`Chain::collect`] tells.
    #[inline]
    pub(super) fn only_buffer(memory: &impl GuestMemory, rings: &Rings, head: u16) -> Option<Segment> {
        if head >= rings.size() {
            return None;
        }
        let descriptor = Table::of(rings).descriptor(memory, head).ok()?;
        if descriptor.flags & (NEXT | WRITE | INDIRECT) != WRITE {
            return None;
        }
        let len_bytes = descriptor.len_bytes;
        Some(Segment { gpa: place(descriptor.address, len_bytes)?, len_bytes })
    }

    fn clear(&mut self) {
        self.segments.clear();
        (self.readable_segments, self.readable_bytes, self.writable_bytes) = (0, 0, 0);
    }

    #[inline]
    fn push(&mut self, descriptor: &Descriptor) -> Result<(), Broken> {
        let Descriptor { address, len_bytes, flags, .. } = *descriptor;
        let gpa = in_space(address, len_bytes)?;
        self.segments.try_push(Segment { gpa, len_bytes }).map_err(|_| Broken::TooLong)?;
        let total = if flags & WRITE != 0 {
            &mut self.writable_bytes
        } else if self.writable_bytes == 0 {
            self.readable_segments += 1;
            &mut self.readable_bytes
        } else {
            return Err(Broken::Order);
        };
        *total = total.checked_add(len_bytes).ok_or(Broken::TooManyBytes)?;
        Ok(())
    }
}

/// A descriptor, of which each word is read once.
#[derive(Clone, Copy)]
struct Descriptor {
    address: u64,
    len_bytes: u32,
    flags: u16,
    next: u16,
}

/// The table that a chain is in.
#[derive(Clone, Copy)]
struct Table {
    at: Gpa,
    /// Its descriptors.
    len: u32,
    /// How many of them the chain may still have.
    left: u32,
    is_indirect: bool,
}

impl Table {
    fn of(rings: &Rings) -> Self {
        let len = rings.size().into();
        Self { at: rings.descriptors(), len, left: len, is_indirect: false }
    }

    #[inline]
    fn descriptor(&self, memory: &impl GuestMemory, index: u16) -> Result<Descriptor, Broken> {
        let at = Gpa::from_low_bits(self.at.as_u64() + u64::from(index) * DESCRIPTOR_BYTES);
        let raw = memory.read_u128(at)?;
        Ok(Descriptor {
            address: raw as u64,
            len_bytes: (raw >> 64) as u32,
            flags: (raw >> 96) as u16,
            next: (raw >> 112) as u16,
        })
    }

    /// The table that an indirect descriptor names (2.7.5.3). Its write flag means nothing.
    fn indirect(&self, descriptor: &Descriptor, indirect: Indirect) -> Result<Self, Broken> {
        if indirect == Indirect::Refused {
            return Err(Broken::IndirectNotNegotiated);
        }
        if self.is_indirect {
            return Err(Broken::NestedIndirect);
        }
        if descriptor.flags & NEXT != 0 {
            return Err(Broken::IndirectWithNext);
        }
        let len_bytes = descriptor.len_bytes;
        let at = in_space(descriptor.address, len_bytes)?;
        if !len_bytes.is_multiple_of(DESCRIPTOR_BYTES as u32) {
            return Err(Broken::IndirectLength(len_bytes));
        }
        let len = len_bytes / DESCRIPTOR_BYTES as u32;
        Ok(Self { at, len, left: len, is_indirect: true })
    }
}

/// The address of a buffer, when it has bytes and all of them are in the guest-physical space.
fn in_space(address: u64, len_bytes: u32) -> Result<Gpa, Broken> {
    place(address, len_bytes).ok_or(Broken::Buffer(address, len_bytes))
}

#[inline]
fn place(address: u64, len_bytes: u32) -> Option<Gpa> {
    let last = u64::from(len_bytes).checked_sub(1)?;
    let gpa = Gpa::new(address).ok()?;
    gpa.checked_add(last).map(|_| gpa)
}
