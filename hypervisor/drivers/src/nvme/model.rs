//! A controller for tests: it reads its queues from the same memory as the driver, and can be told to misbehave.

use iommu::fake::FakeDma;
use seams::{BusAddress, Registers};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

/// Blocks have 4 KiB in namespace 2, and 512 bytes in the others.
pub const BLOCKS: u64 = 4096;

/// How the controller misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// I/O commands get no answer, so many of them.
    Mute(u32),
    /// It never becomes unready again.
    StuckReady,
    /// It never becomes ready.
    NeverReady,
    /// It reports a fatal error until it is reset.
    Fatal,
    /// It is unplugged.
    Vanished,
    /// It completes a command with this id instead.
    WrongId(u16),
    /// It answers I/O commands with this status.
    Status(u16),
    /// It answers so many I/O commands with Namespace Not Ready, without Do Not Retry.
    NotReady(u32),
    /// Its namespace 1 has another size.
    Shrunk,
}

#[derive(Default)]
struct Queue {
    submissions: u64,
    completions: u64,
    entries: u32,
    head: u32,
    tail: u32,
    produced: u32,
}

pub struct Inside {
    bus: FakeDma,
    /// What was last written to its configuration.
    pub configuration: u32,
    admin: [u64; 2],
    admin_sizes: u32,
    queues: [Queue; 2],
    /// Blocks of 512 bytes, by namespace and number.
    pub blocks: BTreeMap<(u32, u64), Vec<u8>>,
    pub fault: Option<Fault>,
    /// The opcodes of the I/O commands that it was given.
    pub commands: Vec<u8>,
    /// How often it was enabled.
    pub starts: u32,
    /// What it reports as capabilities.
    pub capabilities: u64,
    /// A namespace whose Identify it refuses.
    pub refused_namespace: u32,
    /// What it reports as its version, and how much it clears at once: 16 bytes; without them it refuses to say.
    pub version: u32,
    pub limits: Option<[u8; 16]>,
    /// How long it says that a shutdown may take, in microseconds.
    pub shutdown_microseconds: u32,
}

/// The controller; clones are the same one.
#[derive(Clone)]
pub struct Model(pub Rc<RefCell<Inside>>);

impl Model {
    pub fn new(bus: &FakeDma) -> Self {
        Self(Rc::new(RefCell::new(Inside {
            bus: bus.clone(),
            configuration: 0,
            admin: [0; 2],
            admin_sizes: 0,
            queues: Default::default(),
            blocks: BTreeMap::new(),
            fault: None,
            commands: Vec::new(),
            starts: 0,
            // 64 entries, 1 s, doorbells 8 bytes apart, NVM commands.
            capabilities: 63 | 2 << 24 | 1 << 32 | 1 << 37,
            refused_namespace: 0,
            version: 0x10400,
            limits: None,
            shutdown_microseconds: 0,
        })))
    }

    pub fn misbehave(&self, fault: Fault) {
        self.0.borrow_mut().fault = Some(fault);
    }
}

impl Inside {
    fn status(&self) -> u32 {
        let ready = self.configuration & 1 != 0 && self.fault != Some(Fault::NeverReady);
        match self.fault {
            Some(Fault::Vanished) => u32::MAX,
            Some(Fault::Fatal) if ready => 0b11,
            Some(Fault::StuckReady) => 1,
            // A shutdown is over at once, unless nothing is answered.
            Some(Fault::Mute(_)) => ready.into(),
            _ => u32::from(ready) | (self.configuration >> 14 & 1) << 3,
        }
    }

    fn configure(&mut self, value: u32) {
        let was_enabled = self.configuration & 1 != 0;
        self.configuration = value;
        if value & 1 == 0 {
            if self.fault == Some(Fault::Fatal) {
                self.fault = None;
            }
            self.queues = Default::default();
        } else if !was_enabled {
            assert_eq!(value >> 16 & 0xff, 0x46, "sizes of entries");
            self.starts += 1;
            let [submissions, completions] = self.admin;
            let entries = (self.admin_sizes & 0xfff) + 1;
            self.queues[0] = Queue { submissions, completions, entries, ..Queue::default() };
        }
    }

    fn ring(&mut self, index: usize, tail: u32) {
        self.queues[index].tail = tail;
        assert!(tail < self.queues[index].entries, "the tail is inside of the ring");
        while self.queues[index].head != self.queues[index].tail {
            let queue = &mut self.queues[index];
            let at = BusAddress(queue.submissions + 64 * u64::from(queue.head));
            queue.head = (queue.head + 1) % queue.entries;
            let entry: [u8; 64] = self.bus.array(at).expect("the submission is in memory");
            let id = u16::from_le_bytes([entry[2], entry[3]]);
            let (id, status) = if index == 0 { (id, self.administer(&entry)) } else { self.io(id, &entry) };
            if status != u16::MAX {
                self.complete(index, id, status);
            }
        }
    }

    fn complete(&mut self, index: usize, id: u16, status: u16) {
        let queue = &mut self.queues[index];
        let round = queue.produced / queue.entries;
        let phase = u16::from(round.is_multiple_of(2));
        let at = queue.completions + 16 * u64::from(queue.produced % queue.entries);
        queue.produced += 1;
        let mut entry = [0; 16];
        entry[12..14].copy_from_slice(&id.to_le_bytes());
        entry[14..].copy_from_slice(&(status << 1 | phase).to_le_bytes());
        self.bus.write(BusAddress(at), &entry).expect("the completion is in memory");
    }

    fn administer(&mut self, entry: &[u8; 64]) -> u16 {
        let word = |index: usize| u32::from_le_bytes(entry[4 * index..][..4].try_into().unwrap());
        let prp = u64::from(word(6)) | u64::from(word(7)) << 32;
        match entry[0] {
            // Invalid Namespace or Format.
            0x06 if word(10) == 0 && word(1) == self.refused_namespace => return 0x0b,
            0x06 if word(10) == 6 => {
                assert!(self.version >= 0x20000 && word(11) == 0, "asked since 2.0, for NVM commands");
                let Some(limits) = self.limits else { return 2 };
                let page = [&limits[..], &[0; 4080]].concat();
                self.bus.write(BusAddress(prp), &page).expect("the page is in memory");
            }
            0x06 => {
                let page = self.identify(word(10), word(1));
                self.bus.write(BusAddress(prp), &page).expect("the page is in memory");
            }
            0x09 => assert_eq!(word(10), 7),
            0x05 => self.queues[1].completions = prp,
            0x01 => {
                assert_ne!(self.queues[1].completions, 0, "completions come first");
                assert_eq!(word(10) & 0xffff, 1);
                self.queues[1].submissions = prp;
                self.queues[1].entries = (word(10) >> 16) + 1;
            }
            _ => return 1,
        }
        0
    }

    fn identify(&self, structure: u32, namespace: u32) -> Vec<u8> {
        let mut page = std::vec![0; 4096];
        match structure {
            0 => {
                let blocks = if self.fault == Some(Fault::Shrunk) { BLOCKS / 2 } else { BLOCKS };
                page[..8].copy_from_slice(&blocks.to_le_bytes());
                page[26] = u8::from(namespace == 2);
                page[128 + 2] = 9;
                page[132 + 2] = 12;
                // Namespace 2 can be shared, and both have ids.
                page[30] = u8::from(namespace == 2);
                page[120..128].copy_from_slice(&[namespace as u8; 8]);
                // Namespace 5 has metadata.
                page[128] = if namespace == 5 { 8 } else { 0 };
            }
            1 => {
                page[4..24].copy_from_slice(b"SN\x07 1               ");
                page[24..64].copy_from_slice(b"A model                                 ");
                page[77] = 4;
                page[88..92].copy_from_slice(&self.shutdown_microseconds.to_le_bytes());
                page[516] = 5;
                page[520] = 0b1100;
                page[525] = 1;
            }
            _ => page[..12].copy_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0]),
        }
        page
    }

    fn io(&mut self, id: u16, entry: &[u8; 64]) -> (u16, u16) {
        const NO_ANSWER: u16 = u16::MAX;
        self.commands.push(entry[0]);
        match &mut self.fault {
            Some(Fault::Mute(count)) if *count > 0 => {
                *count -= 1;
                return (id, NO_ANSWER);
            }
            Some(Fault::Fatal) => return (id, NO_ANSWER),
            Some(Fault::WrongId(wrong)) => return (*wrong, 0),
            Some(Fault::Status(status)) => return (id, *status),
            Some(Fault::NotReady(count)) if *count > 0 => {
                *count -= 1;
                return (id, 0x82);
            }
            _ => {}
        }
        let word = |index: usize| u32::from_le_bytes(entry[4 * index..][..4].try_into().unwrap());
        let long = |index: usize| u64::from(word(index)) | u64::from(word(index + 1)) << 32;
        let namespace = word(1);
        let block_bytes = if namespace == 2 { 4096 } else { 512 };
        let (first, count) = (long(10), u64::from(word(12) & 0xffff) + 1);
        match entry[0] {
            0 => {}
            1 | 2 => self.transfer(
                entry[0],
                namespace,
                first * block_bytes / 512,
                count * block_bytes,
                [long(6), long(8)],
            ),
            8 => self.clear(namespace, first, count),
            9 => {
                assert_eq!((word(10), word(11)), (0, 4));
                let range: [u8; 16] = self.bus.array(BusAddress(long(6))).expect("the range is in memory");
                let count = u32::from_le_bytes(range[4..8].try_into().unwrap());
                self.clear(namespace, u64::from_le_bytes(range[8..].try_into().unwrap()), count.into());
            }
            _ => return (id, 1),
        }
        (id, 0)
    }

    fn clear(&mut self, namespace: u32, first: u64, count: u64) {
        self.blocks.retain(|(of, block), _| *of != namespace || !(first..first + count).contains(block));
    }

    fn transfer(&mut self, opcode: u8, namespace: u32, first: u64, len_bytes: u64, prp: [u64; 2]) {
        assert!(len_bytes <= 16 * 4096, "more than the controller takes");
        let pages = len_bytes.div_ceil(4096);
        let page = |bus: &FakeDma, index: u64| match (index, pages) {
            (0, _) => prp[0],
            (1, 2) => prp[1],
            _ => u64::from_le_bytes(
                bus.array(BusAddress(prp[1] + (index - 1) * 8)).expect("the list is in memory"),
            ),
        };
        for sector in 0..len_bytes / 512 {
            let at = BusAddress(page(&self.bus, sector / 8) + sector % 8 * 512);
            let key = (namespace, first + sector);
            if opcode == 1 {
                let bytes: [u8; 512] = self.bus.array(at).expect("the data are in memory");
                self.blocks.insert(key, bytes.to_vec());
            } else {
                let bytes = self.blocks.get(&key).cloned().unwrap_or_else(|| std::vec![0; 512]);
                self.bus.write(at, &bytes).expect("the buffer is in memory");
            }
        }
    }
}

impl Registers for Model {
    fn read8(&self, _: usize) -> u8 {
        panic!("no register has 8 bits");
    }

    fn read16(&self, _: usize) -> u16 {
        panic!("no register has 16 bits");
    }

    fn read32(&self, offset: usize) -> u32 {
        let inside = self.0.borrow();
        match offset {
            _ if inside.fault == Some(Fault::Vanished) => u32::MAX,
            0x00 => inside.capabilities as u32,
            0x04 => (inside.capabilities >> 32) as u32,
            0x08 => inside.version,
            0x14 => inside.configuration,
            0x1c => inside.status(),
            _ => 0,
        }
    }

    fn write8(&mut self, _: usize, _: u8) {
        panic!("no register has 8 bits");
    }

    fn write16(&mut self, _: usize, _: u16) {
        panic!("no register has 16 bits");
    }

    fn write32(&mut self, offset: usize, value: u32) {
        let mut inside = self.0.borrow_mut();
        let wide = u64::from(value);
        match offset {
            0x14 => inside.configure(value),
            0x24 => inside.admin_sizes = value,
            0x28 => inside.admin[0] = wide,
            0x2c => inside.admin[0] |= wide << 32,
            0x30 => inside.admin[1] = wide,
            0x34 => inside.admin[1] |= wide << 32,
            0x1000 => inside.ring(0, value),
            // Doorbells are 8 bytes apart: the I/O queue's are the third and the fourth.
            0x1010 => inside.ring(1, value),
            0x1008 | 0x1018 => {}
            _ => panic!("a write to {offset:#x}"),
        }
    }
}
