//! Devices for tests: they read their queues from the same memory as the driver, and can be told to misbehave.

use super::place::Place;
use iommu::fake::FakeDma;
use seams::{BusAddress, Registers};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec::Vec;

/// Where the model has its structures.
pub const PLACE: Place = Place { bar: 4, common: 0, notify: 0x1000, notify_multiplier: 4, device: 0x2000 };
/// Sectors of the block device.
pub const SECTORS: u64 = 1024;
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 9];
pub const SIZE: u16 = 64;

/// How the device misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers nothing.
    Mute,
    /// Its status never becomes 0.
    StuckStatus,
    /// It needs a reset.
    NeedsReset,
    /// It is unplugged.
    Vanished,
    /// It gives back this head.
    WrongHead(u32),
    /// A card's cable is out.
    NoCable,
    /// It answers requests with this status.
    Status(u8),
    /// It claims to have written so many bytes.
    Length(u32),
}

/// Which device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Block,
    Network,
}

#[derive(Clone, Copy, Default)]
struct Queue {
    size: u16,
    addresses: [u64; 3],
    enabled: bool,
    taken: u16,
    used: u16,
}

pub struct Inside {
    bus: FakeDma,
    kind: Kind,
    pub fault: Option<Fault>,
    status: u8,
    select: [u32; 3],
    pub accepted: u64,
    pub features: u64,
    queues: [Queue; 2],
    pub medium: Vec<u8>,
    /// The types of the requests that it was given.
    pub requests: Vec<u32>,
    /// Frames on the cable, outwards.
    pub sent: Vec<Vec<u8>>,
    /// Frames on the cable, inwards.
    pub coming: VecDeque<Vec<u8>>,
    pub resets: u32,
}

/// The device; clones are the same one.
#[derive(Clone)]
pub struct Model(pub Rc<RefCell<Inside>>);

impl Model {
    pub fn new(bus: &FakeDma, kind: Kind) -> Self {
        let features = match kind {
            // Size limit, block size, flush, discard, write zeroes.
            Kind::Block => 1 << 1 | 1 << 6 | 1 << 9 | 1 << 13 | 1 << 14,
            Kind::Network => 1 << 5 | 1 << 16,
        };
        Self(Rc::new(RefCell::new(Inside {
            bus: bus.clone(),
            kind,
            fault: None,
            status: 0,
            select: [0; 3],
            accepted: 0,
            features: features | 1 << 32 | 1 << 28 | 1 << 15,
            queues: [Queue { size: SIZE, ..Queue::default() }; 2],
            medium: std::vec![0; (SECTORS * 512) as usize],
            requests: Vec::new(),
            sent: Vec::new(),
            coming: VecDeque::new(),
            resets: 0,
        })))
    }

    pub fn misbehave(&self, fault: Fault) {
        self.0.borrow_mut().fault = Some(fault);
    }

    /// A frame comes in.
    pub fn deliver(&self, frame: &[u8]) {
        let mut inside = self.0.borrow_mut();
        inside.coming.push_back(frame.to_vec());
        inside.receive();
    }
}

impl Inside {
    fn status(&self) -> u8 {
        match self.fault {
            Some(Fault::Vanished) => 0xff,
            Some(Fault::NeedsReset) if self.status != 0 => self.status | 64,
            Some(Fault::StuckStatus) => self.status | 1,
            _ => self.status,
        }
    }

    fn set_status(&mut self, status: u8) {
        self.status = status;
        if status == 0 {
            self.resets += 1;
            self.queues = [Queue { size: SIZE, ..Queue::default() }; 2];
            if self.fault == Some(Fault::NeedsReset) {
                self.fault = None;
            }
        }
        if status & 8 != 0 {
            assert_eq!(self.accepted & !self.features, 0, "only what was offered");
        }
    }

    /// The next available head of queue `index`.
    fn next(&mut self, index: usize) -> Option<u16> {
        let queue = self.queues[index];
        let [_, available, _] = queue.addresses;
        let offered = u16::from_le_bytes(self.bus.array(BusAddress(available + 2)).ok()?);
        if !queue.enabled || offered == queue.taken {
            return None;
        }
        let slot = u64::from(queue.taken % queue.size);
        self.queues[index].taken = queue.taken.wrapping_add(1);
        Some(u16::from_le_bytes(self.bus.array(BusAddress(available + 4 + 2 * slot)).ok()?))
    }

    /// The segments of a chain: address, length, and whether the device writes.
    fn chain(&self, index: usize, head: u16) -> Vec<(u64, u32, bool)> {
        let [descriptors, _, _] = self.queues[index].addresses;
        let (mut number, mut segments) = (head, Vec::new());
        loop {
            assert!(number < SIZE && segments.len() < usize::from(SIZE), "a chain inside of the table");
            let entry: [u8; 16] = self.bus.array(BusAddress(descriptors + 16 * u64::from(number))).unwrap();
            let address = u64::from_le_bytes(entry[..8].try_into().unwrap());
            let len_bytes = u32::from_le_bytes(entry[8..12].try_into().unwrap());
            segments.push((address, len_bytes, entry[12] & 2 != 0));
            if entry[12] & 1 == 0 {
                return segments;
            }
            number = u16::from_le_bytes([entry[14], entry[15]]);
        }
    }

    fn finish(&mut self, index: usize, head: u16, len_bytes: u32) {
        let head = match self.fault {
            Some(Fault::WrongHead(wrong)) => wrong,
            _ => head.into(),
        };
        let len_bytes = match self.fault {
            Some(Fault::Length(len_bytes)) => len_bytes,
            _ => len_bytes,
        };
        let queue = &mut self.queues[index];
        let [_, _, used] = queue.addresses;
        let at = used + 4 + 8 * u64::from(queue.used % queue.size);
        queue.used = queue.used.wrapping_add(1);
        let count = queue.used;
        self.bus.write(BusAddress(at), &head.to_le_bytes()).unwrap();
        self.bus.write(BusAddress(at + 4), &len_bytes.to_le_bytes()).unwrap();
        self.bus.write(BusAddress(used + 2), &count.to_le_bytes()).unwrap();
    }

    fn kick(&mut self, index: usize) {
        if self.fault == Some(Fault::Mute) || self.status & 4 == 0 {
            return;
        }
        match (self.kind, index) {
            (Kind::Block, _) => {
                while let Some(head) = self.next(0) {
                    let segments = self.chain(0, head);
                    self.request(&segments);
                    self.finish(0, head, 1);
                }
            }
            (Kind::Network, 0) => self.receive(),
            (Kind::Network, _) => {
                while let Some(head) = self.next(1) {
                    let [(address, len_bytes, false)] = self.chain(1, head)[..] else {
                        panic!("one segment")
                    };
                    let mut frame = std::vec![0; len_bytes as usize];
                    self.bus.read(BusAddress(address), &mut frame).unwrap();
                    assert_eq!(frame[..12], [0; 12], "no offloads");
                    self.sent.push(frame[12..].to_vec());
                    self.finish(1, head, 0);
                }
            }
        }
    }

    fn receive(&mut self) {
        while !self.coming.is_empty() {
            let Some(head) = self.next(0) else { return };
            let frame = self.coming.pop_front().unwrap();
            let [(address, len_bytes, true)] = self.chain(0, head)[..] else { panic!("one segment") };
            let len = frame.len().min(len_bytes as usize - 12);
            self.bus.write(BusAddress(address), &[0; 12]).unwrap();
            self.bus.write(BusAddress(address + 12), &frame[..len]).unwrap();
            self.finish(0, head, len as u32 + 12);
        }
    }

    fn request(&mut self, segments: &[(u64, u32, bool)]) {
        let (header, 16, false) = segments[0] else { panic!("a header first") };
        let (status, 1, true) = segments[segments.len() - 1] else { panic!("a status last") };
        let header: [u8; 16] = self.bus.array(BusAddress(header)).unwrap();
        let kind = u32::from_le_bytes(header[..4].try_into().unwrap());
        let sector = u64::from_le_bytes(header[8..].try_into().unwrap()) as usize;
        self.requests.push(kind);
        let mut result = 0;
        match (kind, &segments[1..segments.len() - 1]) {
            (0, [(address, len_bytes, true)]) => {
                let bytes = &self.medium[sector * 512..][..*len_bytes as usize];
                self.bus.write(BusAddress(*address), bytes).unwrap();
            }
            (1, [(address, len_bytes, false)]) => {
                let place = &mut self.medium[sector * 512..][..*len_bytes as usize];
                self.bus.read(BusAddress(*address), place).unwrap();
            }
            (4, []) => {}
            (11 | 13, [(range, 16, false)]) => {
                let range: [u8; 16] = self.bus.array(BusAddress(*range)).unwrap();
                let first = u64::from_le_bytes(range[..8].try_into().unwrap()) as usize;
                let count = u32::from_le_bytes(range[8..12].try_into().unwrap()) as usize;
                self.medium[first * 512..][..count * 512].fill(0);
            }
            other => panic!("no such request: {other:?}"),
        }
        if let Some(Fault::Status(status)) = self.fault {
            result = status;
        }
        self.bus.write(BusAddress(status), &[result]).unwrap();
    }

    fn config(&self) -> [u8; 64] {
        let mut config = [0; 64];
        match self.kind {
            Kind::Block => {
                config[..8].copy_from_slice(&SECTORS.to_le_bytes());
                config[8..12].copy_from_slice(&65536_u32.to_le_bytes());
                config[20..24].copy_from_slice(&512_u32.to_le_bytes());
                config[36..40].copy_from_slice(&100_u32.to_le_bytes());
                config[48..52].copy_from_slice(&90_u32.to_le_bytes());
            }
            Kind::Network => {
                config[..6].copy_from_slice(&MAC);
                config[6] = u8::from(self.fault != Some(Fault::NoCable));
            }
        }
        config
    }

    fn selected(&mut self) -> &mut Queue {
        &mut self.queues[self.select[2] as usize % 2]
    }
}

impl Registers for Model {
    fn read8(&self, offset: usize) -> u8 {
        let inside = self.0.borrow();
        match offset {
            20 => inside.status(),
            0x2000.. => inside.config()[offset - 0x2000],
            _ => panic!("a read of 8 bits at {offset:#x}"),
        }
    }

    fn read16(&self, offset: usize) -> u16 {
        let mut inside = self.0.borrow_mut();
        match offset {
            24 => inside.selected().size,
            26 => 0xffff,
            30 => inside.select[2] as u16 * 3,
            0x2000.. => u16::from_le_bytes(inside.config()[offset - 0x2000..][..2].try_into().unwrap()),
            _ => panic!("a read of 16 bits at {offset:#x}"),
        }
    }

    fn read32(&self, offset: usize) -> u32 {
        let inside = self.0.borrow();
        match offset {
            4 => (inside.features >> (32 * inside.select[0])) as u32,
            0x2000.. => u32::from_le_bytes(inside.config()[offset - 0x2000..][..4].try_into().unwrap()),
            _ => panic!("a read of 32 bits at {offset:#x}"),
        }
    }

    fn write8(&mut self, offset: usize, value: u8) {
        assert_eq!(offset, 20);
        self.0.borrow_mut().set_status(value);
    }

    fn write16(&mut self, offset: usize, value: u16) {
        let mut inside = self.0.borrow_mut();
        match offset {
            16 | 26 => assert_eq!(value, 0xffff, "the driver polls"),
            22 => inside.select[2] = value.into(),
            24 => inside.selected().size = value,
            28 => inside.selected().enabled = value == 1,
            0x1000 => inside.kick(0),
            // The second queue's place is 3, of 4 bytes each.
            0x100c => inside.kick(1),
            _ => panic!("a write of 16 bits at {offset:#x}"),
        }
    }

    fn write32(&mut self, offset: usize, value: u32) {
        let mut inside = self.0.borrow_mut();
        let wide = u64::from(value);
        match offset {
            0 => inside.select[0] = value,
            8 => inside.select[1] = value,
            12 if inside.select[1] == 0 => inside.accepted = wide,
            12 => inside.accepted |= wide << 32,
            32..56 if offset.is_multiple_of(8) => inside.selected().addresses[(offset - 32) / 8] = wide,
            32..56 => inside.selected().addresses[(offset - 32) / 8] |= wide << 32,
            _ => panic!("a write of 32 bits at {offset:#x}"),
        }
    }
}
