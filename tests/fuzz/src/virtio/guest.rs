//! The driver: it lays out queues, and writes to them what the input says.

use super::memory::{CountedMemory, MEMORY_BYTES};
use super::taken_over;
use crate::Bytes;
use base::Gpa;
use devices::virtio::{Area, Broken, Queue, feature};
use seams::GuestMemory;

/// The memory of one queue: table, available ring, used ring, indirect tables.
const QUEUE_BYTES: u64 = 0x2000;
const AVAILABLE: u64 = 0x400;
const USED: u64 = 0x600;
const TABLES: u64 = 0x1000;
/// An indirect table of eight descriptors for each descriptor of a queue.
const TABLE_BYTES: u64 = 0x80;
const SIZE_MAX: u16 = 32;

// Flags of a descriptor.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// A driver, its memory, and the device's side of its queues.
pub(super) struct Guest<'a> {
    pub(super) memory: CountedMemory,
    pub(super) queues: Vec<Queue>,
    pub(super) input: Bytes<'a>,
    pub(super) device_features: u64,
    ring_features: u64,
    size: u16,
    sides: Vec<Side>,
}

/// What the driver remembers of a queue.
#[derive(Clone, Copy, Default)]
struct Side {
    /// Its available index.
    available: u16,
    /// The next descriptor to be used.
    next: u16,
}

impl<'a> Guest<'a> {
    pub(super) fn new(mut input: Bytes<'a>, queues: usize) -> Self {
        let size = 2 << (input.u8() % 5);
        let features = input.u8();
        let bit = |mask, feature| if features & mask != 0 { feature } else { 0 };
        let mut guest = Self {
            memory: CountedMemory::new(),
            queues: vec![Queue::new(SIZE_MAX); queues],
            device_features: input.u32().into(),
            input,
            ring_features: bit(1, feature::RING_INDIRECT_DESC) | bit(2, feature::RING_EVENT_IDX),
            size,
            sides: Vec::new(),
        };
        guest.reset_queues();
        guest
    }

    /// Resets all queues and enables them again, with rings that are empty.
    pub(super) fn reset_queues(&mut self) {
        self.sides = vec![Side::default(); self.queues.len()];
        for index in 0..self.queues.len() {
            let base = QUEUE_BYTES * index as u64;
            self.put(base + AVAILABLE, &[0; 4]);
            self.put(base + USED, &[0; 4]);
            let queue = &mut self.queues[index];
            queue.reset();
            queue.set_size(self.size);
            queue.set_address(Area::Descriptors, base);
            queue.set_address(Area::Driver, base + AVAILABLE);
            queue.set_address(Area::Device, base + USED);
            assert_eq!(queue.enable(self.ring_features), Ok(()));
        }
    }

    pub(super) fn replace_queues(&mut self) {
        for queue in &mut self.queues {
            *queue = taken_over(queue, Queue::new(SIZE_MAX));
        }
    }

    /// Offers a chain: how many buffers to read and to write, and whether in an indirect table, is in its shape.
    pub(super) fn offer_chain(&mut self, which: u8) {
        let shape = self.input.u8();
        let (readable, writable) = (u16::from(shape & 3), u16::from(shape >> 2 & 3));
        let (count, queue) = (readable + writable, self.queue(which));
        let base = QUEUE_BYTES * queue as u64;
        let head = self.sides[queue].next % self.size;
        let is_indirect = shape & 0x10 != 0;
        let (table, first) =
            if is_indirect { (base + TABLES + TABLE_BYTES * u64::from(head), 0) } else { (base, head) };
        for i in 0..count {
            let flags = if i < readable { 0 } else { WRITE } | if i + 1 < count { NEXT } else { 0 };
            let (address, len_bytes) = (self.input.u16().into(), self.input.u16().into());
            let place = |i| if is_indirect { first + i } else { (first + i) % self.size };
            self.put_descriptor(table, place(i), address, len_bytes, flags, place(i + 1));
        }
        if is_indirect {
            self.put_descriptor(base, head, table, 16 * u32::from(count), INDIRECT, 0);
        }
        let side = &mut self.sides[queue];
        side.next = side.next.wrapping_add(if is_indirect { 1 } else { count });
        let (entry, index) = (side.available % self.size, side.available.wrapping_add(1));
        side.available = index;
        self.put(base + AVAILABLE + 4 + 2 * u64::from(entry), &head.to_le_bytes());
        self.put(base + AVAILABLE + 2, &index.to_le_bytes());
    }

    pub(super) fn write_bytes(&mut self) {
        let (address, len) = (self.input.u16(), self.input.u8());
        let bytes = self.input.take(len.into());
        self.put(u64::from(address) % MEMORY_BYTES as u64, bytes);
    }

    pub(super) fn write_descriptor(&mut self, which: u8) {
        let (index, address, len) = (self.input.u8(), self.input.scaled(), self.input.scaled());
        let (flags, next) = (self.input.u8(), self.input.u8());
        let base = QUEUE_BYTES * self.queue(which) as u64;
        self.put_descriptor(base, index.into(), address, len as u32, flags.into(), next.into());
    }

    pub(super) fn move_index(&mut self, which: u8) {
        let (by, queue) = (self.input.u8(), self.queue(which));
        let side = &mut self.sides[queue];
        side.available = side.available.wrapping_add_signed((by as i8).into());
        let index = side.available;
        self.put(QUEUE_BYTES * queue as u64 + AVAILABLE + 2, &index.to_le_bytes());
    }

    /// By flag and by event index.
    pub(super) fn set_event(&mut self, which: u8) {
        let event = self.input.u16().to_le_bytes();
        let available = QUEUE_BYTES * self.queue(which) as u64 + AVAILABLE;
        self.put(available, &event);
        self.put(available + 4 + 2 * u64::from(self.size), &event);
    }

    /// Settles all queues.
    pub(super) fn settle(&mut self) -> Result<(), Broken> {
        for queue in &mut self.queues {
            let _ = queue.settle(&self.memory)?;
        }
        Ok(())
    }

    fn queue(&self, which: u8) -> usize {
        usize::from(which) % self.queues.len()
    }

    fn put_descriptor(&self, table: u64, index: u16, address: u64, len_bytes: u32, flags: u16, next: u16) {
        let raw = u128::from(address)
            | u128::from(len_bytes) << 64
            | u128::from(flags) << 96
            | u128::from(next) << 112;
        self.put(table + 16 * u64::from(index), &raw.to_le_bytes());
    }

    /// What lies past the end of memory is left out.
    fn put(&self, at: u64, bytes: &[u8]) {
        let _ = self.memory.write(Gpa::from_low_bits(at), bytes);
    }
}
