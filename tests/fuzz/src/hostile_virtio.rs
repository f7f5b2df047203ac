//! virtio devices that mean harm, and who uses the host's drivers for them.
//!
//! The device knows the protocol, so that the drivers get far; the input says where it departs from it: what registers and
//! configuration read as, what it writes to buffers, and which heads and lengths it gives back.

use crate::Bytes;
use crate::disk_user::use_disk;
use base::{Instant, Nanoseconds};
use drivers::nic::{MAX_FRAME_BYTES, MIN_FRAME_BYTES, Nic, Sent};
use drivers::virtio::{Place, VirtioBlk, VirtioNet};
use drivers::{Readiness, Signal};
use iommu::fake::FakeDma;
use seams::{BusAddress, Registers};
use std::cell::RefCell;
use std::rc::Rc;

/// What is done to a driver in one input at most.
const ACTS_MAX: usize = 100;

#[derive(Clone, Copy, Default)]
struct Queue {
    size: u16,
    addresses: [u64; 3],
    taken: u16,
    used: u16,
}

struct Inside<'a> {
    bus: FakeDma,
    input: Bytes<'a>,
    status: u8,
    select: [u32; 2],
    features: u64,
    queues: [Queue; 2],
}

/// The device; clones are the same one. Its structures are all at the start of the BAR.
#[derive(Clone)]
struct Device<'a>(Rc<RefCell<Inside<'a>>>);

impl Inside<'_> {
    fn selected(&mut self) -> &mut Queue {
        &mut self.queues[self.select[1] as usize % 2]
    }

    fn u16(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.bus.array(BusAddress(at)).expect("the ring is the driver's memory"))
    }

    /// Takes what is available in queue `index`, and gives it back more or less.
    fn serve(&mut self, index: usize) {
        let Queue { size, addresses: [descriptors, available, _], .. } = self.queues[index];
        if size == 0 || descriptors == 0 {
            return;
        }
        let offered = self.u16(available + 2);
        while self.queues[index].taken != offered {
            let slot = u64::from(self.queues[index].taken % size);
            self.queues[index].taken = self.queues[index].taken.wrapping_add(1);
            let head = self.u16(available + 4 + 2 * slot);
            self.fill(descriptors, head);
            match self.input.u8() {
                0..=0xbf => self.give_back(index, head.into(), 90),
                0xc0..=0xcf => {}
                0xd0..=0xdf => {
                    let len_bytes = self.input.u32();
                    self.give_back(index, head.into(), len_bytes);
                }
                0xe0..=0xef => {
                    let wrong = self.input.u32();
                    self.give_back(index, wrong, 90);
                }
                _ => {
                    self.give_back(index, head.into(), 90);
                    self.give_back(index, head.into(), 90);
                }
            }
        }
    }

    /// Writes to what a chain lets it write; all that it names must be the driver's memory.
    fn fill(&mut self, descriptors: u64, head: u16) {
        let mut number = head;
        for _ in 0..4 {
            let entry: [u8; 16] =
                self.bus.array(BusAddress(descriptors + 16 * u64::from(number))).expect("a descriptor");
            let address = u64::from_le_bytes(entry[..8].try_into().expect("8 bytes"));
            let len_bytes = u32::from_le_bytes(entry[8..12].try_into().expect("4 bytes")) as usize;
            let mut bytes = vec![0; len_bytes];
            self.bus.read(BusAddress(address), &mut bytes).expect("a segment is the driver's memory");
            if entry[12] & 2 != 0 {
                let byte = self.input.u8();
                bytes.iter_mut().for_each(|to| *to = if byte < 0xc0 { 0 } else { byte });
                self.bus.write(BusAddress(address), &bytes).expect("it was read just now");
            }
            if entry[12] & 1 == 0 {
                return;
            }
            number = u16::from_le_bytes([entry[14], entry[15]]);
        }
        panic!("a chain of more than three descriptors");
    }

    fn give_back(&mut self, index: usize, head: u32, len_bytes: u32) {
        let queue = &mut self.queues[index];
        let [_, _, used] = queue.addresses;
        let at = used + 4 + 8 * u64::from(queue.used % queue.size);
        queue.used = queue.used.wrapping_add(1);
        let count = queue.used;
        for (at, bytes) in [(at, head.to_le_bytes()), (at + 4, len_bytes.to_le_bytes())] {
            self.bus.write(BusAddress(at), &bytes).expect("the ring is the driver's memory");
        }
        self.bus.write(BusAddress(used + 2), &count.to_le_bytes()).expect("the ring is the driver's memory");
    }
}

impl Registers for Device<'_> {
    fn read8(&self, offset: usize) -> u8 {
        let inside = &mut *self.0.borrow_mut();
        match (offset, inside.input.u8()) {
            (20, 0..=0xf7) => inside.status,
            (20, noise) => noise,
            // An address's first byte is a card's own, with bit 0 clear.
            (_, noise) => noise & 0xfe | 2,
        }
    }

    fn read16(&self, offset: usize) -> u16 {
        let inside = &mut *self.0.borrow_mut();
        match (offset, inside.input.u8()) {
            (24, 0..=0xdf) => 64,
            (26, 0..=0xfe) => 0xffff,
            (30, 0..=0xfe) => inside.select[1] as u16,
            _ => inside.input.u16(),
        }
    }

    fn read32(&self, offset: usize) -> u32 {
        let inside = &mut *self.0.borrow_mut();
        match (offset, inside.input.u8()) {
            (4, _) => (inside.features >> (32 * (inside.select[0] & 1))) as u32,
            // Configuration: capacity, size limit, block size.
            (0x2000, 0..=0xef) => 4096,
            (0x2004, 0..=0xef) => 0,
            (0x2014, 0..=0xef) => 512,
            (_, 0..=0xdf) => 1 << 16,
            _ => inside.input.u32(),
        }
    }

    fn write8(&mut self, _: usize, value: u8) {
        let mut inside = self.0.borrow_mut();
        inside.status = value;
        if value == 0 {
            inside.queues = Default::default();
        }
    }

    fn write16(&mut self, offset: usize, value: u16) {
        let mut inside = self.0.borrow_mut();
        match offset {
            22 => inside.select[1] = value.into(),
            24 => inside.selected().size = value,
            0x1000.. if value < 2 => inside.serve(value.into()),
            _ => {}
        }
    }

    fn write32(&mut self, offset: usize, value: u32) {
        let mut inside = self.0.borrow_mut();
        let wide = u64::from(value);
        match offset {
            0 => inside.select[0] = value,
            32..56 if offset.is_multiple_of(8) => inside.selected().addresses[(offset - 32) / 8] = wide,
            32..56 => inside.selected().addresses[(offset - 32) / 8] |= wide << 32,
            _ => {}
        }
    }
}

/// A device, what is done to its driver (three bytes each), and the bus between them.
fn parts(input: &[u8]) -> (Device<'_>, &[u8], FakeDma) {
    let mut input = Bytes::new(input);
    let features = if input.u8() & 1 == 0 { u64::MAX } else { input.u64() };
    let count = usize::from(input.u8()).min(ACTS_MAX);
    let acts = input.take(count * 3);
    let bus = FakeDma::new();
    let inside =
        Inside { bus: bus.clone(), input, status: 0, select: [0; 2], features, queues: Default::default() };
    (Device(Rc::new(RefCell::new(inside))), acts, bus)
}

/// Where the device has its structures.
const PLACE: Place = Place { bar: 0, common: 0, notify: 0x1000, notify_multiplier: 4, device: 0x2000 };

/// The driver of disks ([`use_disk`]).
pub fn run_block(input: &[u8]) {
    let (device, acts, bus) = parts(input);
    let mut disk = VirtioBlk::take_over(device, PLACE, bus.clone(), Signal::Polled, Instant(0));
    use_disk(&mut disk, &bus, 1, acts);
}

/// The driver of cards: what it gives is a frame.
pub fn run_network(input: &[u8]) {
    let (device, acts, bus) = parts(input);
    let mut card = VirtioNet::take_over(device, PLACE, bus, Signal::Polled, Instant(0));
    let mut now = Instant(0);
    for act in acts.chunks(3) {
        let [what, low, high] = [0, 1, 2].map(|index| act.get(index).copied().unwrap_or(0));
        now = now.after(Nanoseconds::from_millis(low.into()));
        match what % 4 {
            0 => card.poll(now),
            1 => {
                let len_bytes = usize::from(u16::from_le_bytes([low, high])) % 1600;
                let is_frame = (MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&len_bytes);
                let sent = card.transmit_with(len_bytes, |bytes| assert_eq!(bytes.len(), len_bytes));
                assert!(is_frame || sent == Sent::Dropped);
            }
            2 => {
                let frame = card.peek();
                assert!(frame.is_none_or(|frame| (MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&frame.len())));
            }
            _ => card.consume(),
        }
    }
    card.poll(now.after(Nanoseconds::from_secs(10)));
    assert_ne!(card.readiness(), Readiness::Pending, "after so long it works or has failed");
}
