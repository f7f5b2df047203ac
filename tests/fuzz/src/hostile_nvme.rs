//! An NVMe controller that means harm.
//!
//! The controller knows the protocol, so that the driver gets far; the input says where it departs from it: what registers
//! read as, what pages of Identify hold, and which ids, phases and status completions have.

use crate::Bytes;
use crate::disk_user::use_disk;
use base::Instant;
use drivers::Signal;
use drivers::nvme::Nvme;
use iommu::fake::FakeDma;
use seams::{BusAddress, Registers};
use std::cell::RefCell;
use std::rc::Rc;

/// What is done to a driver in one input at most.
const ACTS_MAX: usize = 100;
/// The units that commands name: more than there are namespaces.
const UNITS: u8 = 4;

/// The controller's side of one pair of queues.
#[derive(Clone, Copy, Default)]
struct Queue {
    submissions: u64,
    completions: u64,
    entries: u32,
    head: u32,
    produced: u32,
}

struct Inside<'a> {
    bus: FakeDma,
    input: Bytes<'a>,
    configuration: u32,
    capabilities: u64,
    admin_sizes: u32,
    admin: [u64; 2],
    queues: [Queue; 2],
}

/// The controller; clones are the same one.
#[derive(Clone)]
struct Controller<'a>(Rc<RefCell<Inside<'a>>>);

impl Inside<'_> {
    fn ring(&mut self, index: usize, tail: u32) {
        let Queue { entries, .. } = self.queues[index];
        assert!(tail < entries.max(1), "the tail is outside of the ring");
        while self.queues[index].head != tail {
            let queue = &mut self.queues[index];
            let at = BusAddress(queue.submissions + 64 * u64::from(queue.head));
            queue.head = (queue.head + 1) % entries;
            let entry: [u8; 64] = self.bus.array(at).expect("submissions are the driver's memory");
            self.obey(index, &entry);
        }
    }

    /// Carries out a command more or less, and answers more or less.
    fn obey(&mut self, index: usize, entry: &[u8; 64]) {
        let word = |index: usize| u32::from_le_bytes(entry[4 * index..][..4].try_into().expect("4 bytes"));
        let prp = u64::from(word(6)) | u64::from(word(7)) << 32;
        match (index, entry[0]) {
            (0, 0x06) => self.identify(prp, word(10)),
            (0, 0x05) => self.queues[1].completions = prp,
            (0, 0x01) => (self.queues[1].submissions, self.queues[1].entries) = (prp, (word(10) >> 16) + 1),
            (1, 0x01 | 0x02 | 0x09) => self.check_memory(entry, prp),
            _ => {}
        }
        let id = u16::from_le_bytes([entry[2], entry[3]]);
        match self.input.u8() {
            0..=0xbf => self.complete(index, id, 0),
            0xc0..=0xcf => {}
            0xd0..=0xdf => {
                let status = self.input.u16() >> 1;
                self.complete(index, id, status);
            }
            0xe0..=0xef => {
                let wrong = self.input.u16();
                self.complete(index, wrong, 0);
            }
            _ => {
                self.complete(index, id, 0);
                self.complete(index, id, 0);
            }
        }
    }

    fn identify(&mut self, at: u64, structure: u32) {
        let mut page = [0; 4096];
        match structure {
            0 => (page[4], page[128 + 2]) = (1, 9),
            1 => (page[516], page[520], page[525]) = (2, 0xff, 1),
            _ => page[0] = 1,
        }
        // Some bytes at some places.
        for _ in 0..self.input.u8() & 3 {
            let at = usize::from(self.input.u16()) % page.len();
            page[at] = self.input.u8();
        }
        self.bus.write(BusAddress(at), &page).expect("the page is the driver's memory");
    }

    /// Whatever a command names is memory that the driver has for that.
    fn check_memory(&self, entry: &[u8; 64], first: u64) {
        let long = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().expect("8 bytes"));
        if entry[0] == 0x09 {
            let _: [u8; 16] = self.bus.array(BusAddress(first)).expect("the range is the driver's memory");
            return;
        }
        let _: [u8; 512] = self.bus.array(BusAddress(first)).expect("the first page is the driver's memory");
        let second = long(32);
        if second != 0 {
            let _: [u8; 8] = self.bus.array(BusAddress(second)).expect("the list is the driver's memory");
        }
    }

    fn complete(&mut self, index: usize, id: u16, status: u16) {
        let queue = &mut self.queues[index];
        if queue.entries == 0 {
            return;
        }
        let phase = u16::from((queue.produced / queue.entries).is_multiple_of(2));
        let at = queue.completions + 16 * u64::from(queue.produced % queue.entries);
        queue.produced = queue.produced.wrapping_add(1);
        let mut entry = [0; 16];
        entry[12..14].copy_from_slice(&id.to_le_bytes());
        entry[14..].copy_from_slice(&(status << 1 | phase).to_le_bytes());
        self.bus.write(BusAddress(at), &entry).expect("completions are the driver's memory");
    }

    fn status(&mut self) -> u32 {
        match self.input.u8() {
            0..=0xef => self.configuration & 1,
            0xf0..=0xfc => 0b10 | self.configuration & 1,
            0xfd => u32::MAX,
            _ => self.input.u32(),
        }
    }
}

impl Registers for Controller<'_> {
    fn read8(&self, _: usize) -> u8 {
        u8::MAX
    }

    fn read16(&self, _: usize) -> u16 {
        u16::MAX
    }

    fn read32(&self, offset: usize) -> u32 {
        let mut inside = self.0.borrow_mut();
        match offset {
            0x00 => inside.capabilities as u32,
            0x04 => (inside.capabilities >> 32) as u32,
            0x14 => inside.configuration,
            0x1c => inside.status(),
            _ => inside.input.u32(),
        }
    }

    fn write8(&mut self, _: usize, _: u8) {}

    fn write16(&mut self, _: usize, _: u16) {}

    fn write32(&mut self, offset: usize, value: u32) {
        let inside = &mut *self.0.borrow_mut();
        let stride = 4_usize << (inside.capabilities >> 32 & 0xf);
        let wide = u64::from(value);
        match offset {
            0x14 => {
                inside.configuration = value;
                let [submissions, completions] = inside.admin;
                let entries = (inside.admin_sizes & 0xfff) + 1;
                let admin = Queue { submissions, completions, entries, ..Queue::default() };
                inside.queues = [if value & 1 == 1 { admin } else { Queue::default() }, Queue::default()];
            }
            0x24 => inside.admin_sizes = value,
            0x28 => inside.admin[0] = wide,
            0x2c => inside.admin[0] |= wide << 32,
            0x30 => inside.admin[1] = wide,
            0x34 => inside.admin[1] |= wide << 32,
            _ if offset == 0x1000 => inside.ring(0, value),
            _ if offset == 0x1000 + 2 * stride => inside.ring(1, value),
            _ => {}
        }
    }
}

/// Drives the driver until `input` is used up ([`use_disk`]).
pub fn run(input: &[u8]) {
    let mut input = Bytes::new(input);
    let usual = 63 | 1 << 24 | 1 << 37;
    let capabilities = if input.u8() & 1 == 0 { usual } else { input.u64() };
    let acts = input.take(usize::from(input.clone().u8()).min(ACTS_MAX) * 3);
    let bus = FakeDma::new();
    let inside = Inside {
        bus: bus.clone(),
        input,
        configuration: 0,
        capabilities,
        admin_sizes: 0,
        admin: [0; 2],
        queues: [Queue::default(); 2],
    };
    let controller = Controller(Rc::new(RefCell::new(inside)));
    let Ok(mut driver) = Nvme::take_over(controller, bus.clone(), Signal::Polled, Instant(0)) else { return };
    use_disk(&mut driver, &bus, UNITS, acts);
}
