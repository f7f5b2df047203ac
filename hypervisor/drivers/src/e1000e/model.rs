//! A card for tests, in the same memory as the driver.

use super::registers::*;
use iommu::fake::FakeDma;
use seams::{BusAddress, Registers};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// How the card misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It sends nothing.
    Mute,
    /// What it has on the bus never ends.
    BusyBus,
    /// Its reset never ends.
    StuckReset,
    /// It is unplugged.
    Vanished,
    /// What is written to a receive descriptor's last two words.
    Descriptor(u32, u32),
}

pub struct Inside {
    bus: FakeDma,
    pub registers: BTreeMap<usize, u32>,
    pub fault: Option<Fault>,
    pub sent: Vec<Vec<u8>>,
    /// How often it was reset.
    pub resets: u32,
}

/// The card; clones are the same one.
#[derive(Clone)]
pub struct Model(pub Rc<RefCell<Inside>>);

impl Model {
    pub fn new(bus: &FakeDma) -> Self {
        let [a, b, c, d, e, f] = MAC;
        let address = [
            (ADDRESS_LOW, u32::from_le_bytes([a, b, c, d])),
            (ADDRESS_HIGH, u32::from_le_bytes([e, f, 0, 0x80])),
        ];
        // Firmware has left it running.
        let left = [(STATUS, LINK_IS_UP), (RECEIVE_CONTROL, RECEIVE_ALL), (TRANSMIT_CONTROL, TRANSMIT_USUAL)];
        let registers = address.into_iter().chain(left).collect();
        let bus = bus.clone();
        Self(Rc::new(RefCell::new(Inside { bus, registers, fault: None, sent: Vec::new(), resets: 0 })))
    }

    pub fn misbehave(&self, fault: Fault) {
        self.0.borrow_mut().fault = Some(fault);
    }

    /// A frame comes in; `false` when the card has no descriptor for it.
    pub fn deliver(&self, frame: &[u8]) -> bool {
        self.0.borrow_mut().receive(frame)
    }
}

impl Inside {
    fn get(&self, offset: usize) -> u32 {
        self.registers.get(&offset).copied().unwrap_or(0)
    }

    /// The status: the bus is in use until that is disabled.
    fn status(&self) -> u32 {
        let is_quiet = self.get(CONTROL) & BUS_DISABLE != 0 && self.fault != Some(Fault::BusyBus);
        self.get(STATUS) | if is_quiet { 0 } else { BUS_IN_USE }
    }

    /// What is written to the control register.
    fn control(&mut self, value: u32) {
        if value & RESET == 0 {
            self.registers.insert(CONTROL, value);
            return;
        }
        assert_eq!(self.get(RECEIVE_CONTROL), 0, "it receives nothing when it is reset");
        assert_eq!(self.get(TRANSMIT_CONTROL), TRANSMIT_OFF, "it sends nothing when it is reset");
        self.resets += 1;
        self.registers.insert(CONTROL, 0);
    }

    fn descriptor(&self, ring: usize) -> BusAddress {
        let base = u64::from(self.get(ring)) | u64::from(self.get(ring + 4)) << 32;
        BusAddress(base + 16 * u64::from(self.get(ring + HEAD)))
    }

    fn advance(&mut self, ring: usize) {
        let entries = self.get(ring + LENGTH) / 16;
        let head = (self.get(ring + HEAD) + 1) % entries;
        self.registers.insert(ring + HEAD, head);
    }

    fn receive(&mut self, frame: &[u8]) -> bool {
        if self.get(RECEIVE_RING + HEAD) == self.get(RECEIVE_RING + TAIL) {
            return false;
        }
        let at = self.descriptor(RECEIVE_RING);
        let buffer = u64::from_le_bytes(self.bus.array(at).unwrap());
        self.bus.write(BusAddress(buffer), frame).unwrap();
        let words = match self.fault {
            Some(Fault::Descriptor(length, status)) => [length, status],
            _ => [frame.len() as u32, DONE | END_OF_PACKET],
        };
        for (word, offset) in words.into_iter().zip([8, 12]) {
            self.bus.write(BusAddress(at.0 + offset), &word.to_le_bytes()).unwrap();
        }
        self.advance(RECEIVE_RING);
        true
    }

    fn send(&mut self) {
        while self.get(TRANSMIT_RING + HEAD) != self.get(TRANSMIT_RING + TAIL)
            && self.fault != Some(Fault::Mute)
        {
            let at = self.descriptor(TRANSMIT_RING);
            let descriptor: [u8; 16] = self.bus.array(at).unwrap();
            let buffer = u64::from_le_bytes(descriptor[..8].try_into().unwrap());
            let mut frame = std::vec![0; usize::from(u16::from_le_bytes([descriptor[8], descriptor[9]]))];
            assert_eq!(descriptor[11], 0b1011);
            self.bus.read(BusAddress(buffer), &mut frame).unwrap();
            self.sent.push(frame);
            self.bus.write(BusAddress(at.0 + 12), &[1]).unwrap();
            self.advance(TRANSMIT_RING);
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
        match inside.fault {
            Some(Fault::Vanished) => u32::MAX,
            Some(Fault::StuckReset) if offset == CONTROL => RESET,
            _ if offset == STATUS => inside.status(),
            _ => inside.get(offset),
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
        if offset == CONTROL {
            return inside.control(value);
        }
        inside.registers.insert(offset, value);
        if offset == TRANSMIT_RING + TAIL {
            inside.send();
        }
    }
}
