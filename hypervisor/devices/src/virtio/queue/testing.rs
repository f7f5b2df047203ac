//! A driver for tests: it lays out rings in flat memory, adds chains, and takes back what was used, by VIRTIO 2.7 alone.

extern crate std;

use super::{Area, Queue};
use crate::virtio::feature;
use seams::fake::FlatMemory;
use std::collections::VecDeque;
use std::{vec, vec::Vec};

const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x3000;
const USED: u64 = 0x4000;
/// Indirect tables, one per descriptor of the queue's table.
const TABLES: u64 = 0x10_0000;
const TABLE_BYTES: u64 = 0x1000;
/// Where a test may have its buffers.
pub(crate) const BUFFERS: u64 = 0x20_0000;
/// The end of memory.
pub(crate) const MEMORY_BYTES: u64 = 0x40_0000;

/// How a buffer is offered: its address, its length, and whether the device writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buffer {
    Readable(u64, u32),
    Writable(u64, u32),
}

/// Where a chain's descriptors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Direct,
    Indirect,
}

/// What a driver gets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) head: u16,
    pub(crate) written_bytes: u32,
}

/// A driver of one queue.
pub(crate) struct Driver {
    pub(crate) memory: FlatMemory,
    size: u16,
    features: u64,
    free: VecDeque<u16>,
    /// The descriptors of each chain in flight, by head.
    chains: Vec<Vec<u16>>,
    available: u16,
    used: u16,
}

impl Driver {
    /// A driver and its queue, enabled.
    pub(crate) fn new(size: u16, features: u64) -> (Self, Queue) {
        Self::over(FlatMemory::new(MEMORY_BYTES), size, features)
    }

    /// As [`Driver::new`] with its rings in `memory`.
    pub(crate) fn over(memory: FlatMemory, size: u16, features: u64) -> (Self, Queue) {
        let mut queue = Queue::new(256);
        queue.set_size(size);
        for (area, at) in [(Area::Descriptors, DESCRIPTORS), (Area::Driver, AVAILABLE), (Area::Device, USED)]
        {
            queue.set_address(area, at);
        }
        queue.enable(features).unwrap();
        let chains = vec![Vec::new(); size.into()];
        let driver =
            Self { memory, size, features, free: (0..size).collect(), chains, available: 0, used: 0 };
        (driver, queue)
    }

    /// Makes a chain available; its head, or `None` when there are too few descriptors.
    pub(crate) fn add(&mut self, layout: Layout, buffers: &[Buffer]) -> Option<u16> {
        let head = self.describe(layout, buffers)?;
        self.offer(head);
        Some(head)
    }

    /// Whether the chains made available since the index was `before` want a kick (2.7.10).
    pub(crate) fn wants_kick(&self, before: u16) -> bool {
        if self.features & feature::RING_EVENT_IDX != 0 {
            let event = self.u16_at(USED + 4 + 8 * u64::from(self.size));
            return self.available.wrapping_sub(event).wrapping_sub(1) < self.available.wrapping_sub(before);
        }
        self.u16_at(USED) & 1 == 0
    }

    pub(crate) fn available(&self) -> u16 {
        self.available
    }

    /// Takes back what was used, and asks to be interrupted for the next (2.7.7).
    pub(crate) fn take_used(&mut self) -> Vec<Used> {
        let mut all = Vec::new();
        while self.used != self.u16_at(USED + 2) {
            let at = USED + 4 + 8 * u64::from(self.used % self.size);
            let head = self.u16_at(at);
            let written_bytes = u32::from_le_bytes(self.memory.bytes(at + 4, 4).try_into().unwrap());
            self.free.extend(self.chains[usize::from(head)].drain(..));
            self.used = self.used.wrapping_add(1);
            all.push(Used { head, written_bytes });
        }
        self.put_u16(AVAILABLE + 4 + 2 * u64::from(self.size), self.used);
        all
    }

    /// Sets the available ring's flags.
    pub(crate) fn set_flags(&self, flags: u16) {
        self.put_u16(AVAILABLE, flags);
    }

    /// Sets the available index to what it is not.
    pub(crate) fn lie_about_index(&self, index: u16) {
        self.put_u16(AVAILABLE + 2, index);
    }

    /// Makes the chain at `head` available.
    pub(crate) fn offer(&mut self, head: u16) {
        self.put_u16(AVAILABLE + 4 + 2 * u64::from(self.available % self.size), head);
        self.available = self.available.wrapping_add(1);
        self.put_u16(AVAILABLE + 2, self.available);
    }

    /// Writes descriptor `index` of the queue's table.
    pub(crate) fn describe_raw(&self, index: u16, address: u64, len_bytes: u32, flags: u16, next: u16) {
        self.descriptor(DESCRIPTORS + 16 * u64::from(index), (address, len_bytes, flags, next));
    }

    /// Writes descriptor `index` of indirect table `table`, and tells where the table is.
    pub(crate) fn describe_raw_indirect(
        &self,
        table: u16,
        index: u16,
        descriptor: (u64, u32, u16, u16),
    ) -> u64 {
        let at = TABLES + TABLE_BYTES * u64::from(table);
        self.descriptor(at + 16 * u64::from(index), descriptor);
        at
    }

    fn describe(&mut self, layout: Layout, buffers: &[Buffer]) -> Option<u16> {
        let wanted = if layout == Layout::Direct { buffers.len() } else { 1 };
        if wanted > self.free.len() {
            return None;
        }
        let taken: Vec<u16> = self.free.drain(..wanted).collect();
        let head = taken[0];
        let (table, places) = match layout {
            Layout::Direct => (DESCRIPTORS, taken.clone()),
            Layout::Indirect => (TABLES + TABLE_BYTES * u64::from(head), (0..buffers.len() as u16).collect()),
        };
        for (i, buffer) in buffers.iter().enumerate() {
            let (address, len_bytes, write) = match *buffer {
                Buffer::Readable(address, len_bytes) => (address, len_bytes, 0),
                Buffer::Writable(address, len_bytes) => (address, len_bytes, 2),
            };
            let next = places.get(i + 1).copied();
            let flags = write | u16::from(next.is_some());
            let at = table + 16 * u64::from(places[i]);
            self.descriptor(at, (address, len_bytes, flags, next.unwrap_or(0)));
        }
        if layout == Layout::Indirect {
            let len_bytes = 16 * buffers.len() as u32;
            self.describe_raw(head, table, len_bytes, 4, 0);
        }
        self.chains[usize::from(head)] = taken;
        Some(head)
    }

    fn descriptor(&self, at: u64, (address, len_bytes, flags, next): (u64, u32, u16, u16)) {
        let raw = u128::from(address)
            | u128::from(len_bytes) << 64
            | u128::from(flags) << 96
            | u128::from(next) << 112;
        self.memory.put(at, &raw.to_le_bytes());
    }

    fn u16_at(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.memory.bytes(at, 2).try_into().unwrap())
    }

    fn put_u16(&self, at: u64, value: u16) {
        self.memory.put(at, &value.to_le_bytes());
    }
}
