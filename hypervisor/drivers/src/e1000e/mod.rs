//! Intel's 82574L, and the 82540EM and 82545EM, whose registers are the same as far as they are used here.
//!
//! ```text
//! receive descriptor    address u64   length u16, checksum u16, status u8, errors u8, tag u16
//! transmit descriptor   address u64   length u16, offset u8, command u8, status u8, start u8, tag u16
//!
//!            taken back ◄── head ....... next ──► free                 (transmit; the card has head to next)
//! ```
//! Both rings have one buffer for each descriptor, for ever, and legacy descriptors. While the card has a descriptor it has
//! its buffer; the one that is looked at is not the card's. The card takes every frame, since guests behind the switch have
//! addresses of their own.
//!
//! ```text
//!   Quieting ──the bus is quiet, or takes too long──► Resetting ──► Running
//!       └─────────────────────┴── vanished, too slow ──► Failed ◄──────┘
//! ```
//! Firmware may have left the card running, and a reset amid an access of its can leave the bus stuck: so it is told to
//! begin nothing any more, and left alone for a while, before it is reset.
//!
//! Sources: Intel 82574 data sheet (317694), chapters 7 and 10; PCI/PCI-X Family of GbE Controllers manual (317453).

mod registers;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use crate::error::DeviceError;
use crate::nic::{Link, MAX_FRAME_BYTES, MIN_FRAME_BYTES, Nic, NicCounters, Sent};
use crate::{Readiness, Signal};
use base::{Instant, MacAddress, Nanoseconds};
use machine::pci::Function;
use registers::*;
use seams::{DmaBuffer, DmaMemory, DmaRing, Registers};

/// Descriptors of each ring.
const ENTRIES: usize = 64;
const DESCRIPTOR_BYTES: usize = 16;
/// What the card is told that a receive buffer holds.
const BUFFER_BYTES: usize = 2048;
/// What shorter frames are filled up to with zeros, as Ethernet wants it.
const PADDED_BYTES: usize = 60;

/// How long the card is left alone so that what it has begun on the bus ends, and for how long at most it may tell that
/// something has not; Linux waits as long.
const DRAIN_TIME: Nanoseconds = Nanoseconds::from_millis(10);
const DRAIN_TIME_MOST: Nanoseconds = Nanoseconds::from_millis(80);
/// How long the card has to be left alone after a reset, and how long it may take.
const QUIET_TIME: Nanoseconds = Nanoseconds::from_millis(10);
const RESET_TIME: Nanoseconds = Nanoseconds::from_secs(1);

/// Which of these cards it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The 82574, on PCI Express.
    Express,
    /// The 82540EM or 82545EM, on conventional PCI.
    Conventional,
}

impl Family {
    /// The family of `function`, if it is one of these cards.
    pub const fn of(function: &Function) -> Option<Self> {
        match (function.vendor, function.device) {
            (0x8086, 0x10d3 | 0x10f6) => Some(Self::Express),
            (0x8086, 0x100e | 0x100f) => Some(Self::Conventional),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Quieting { from: Instant },
    Resetting { from: Instant },
    Running,
    Failed,
}

/// Descriptors, and the buffer of each.
struct DescriptorRing<M: DmaMemory> {
    ring: M::Ring,
    buffers: [Option<M::Buffer>; ENTRIES],
}

impl<M: DmaMemory> DescriptorRing<M> {
    fn new(memory: &mut M) -> Option<Self> {
        let ring = memory.ring(ENTRIES * DESCRIPTOR_BYTES)?;
        let mut buffers = [const { None }; ENTRIES];
        for place in &mut buffers {
            *place = Some(memory.buffer(BUFFER_BYTES)?);
        }
        Some(Self { ring, buffers })
    }

    fn buffer(&self, index: usize) -> Option<&M::Buffer> {
        self.buffers.get(index)?.as_ref()
    }

    /// Writes descriptor `index`: its buffer, and its lower two words.
    fn describe(&mut self, index: usize, words: [u32; 2]) {
        let address = self.buffer(index).map_or(0, |buffer| buffer.bus_address().0);
        let [first, second] = words;
        self.ring.store64(index * DESCRIPTOR_BYTES, address);
        self.ring.store32(index * DESCRIPTOR_BYTES + 8, first);
        self.ring.store32(index * DESCRIPTOR_BYTES + 12, second);
    }

    /// Status, errors and tag: the last word.
    fn status(&self, index: usize) -> u32 {
        self.ring.load32(index * DESCRIPTOR_BYTES + 12)
    }

    fn len_bytes(&self, index: usize) -> usize {
        (self.ring.load32(index * DESCRIPTOR_BYTES + 8) & 0xffff) as usize
    }
}

/// A card and its driver's state.
pub struct E1000e<R, M: DmaMemory> {
    registers: R,
    family: Family,
    signal: Signal,
    receive: DescriptorRing<M>,
    transmit: DescriptorRing<M>,
    /// The received frame to look at next.
    first: usize,
    /// Its length, when it has been looked at.
    looked_at: Option<usize>,
    /// The first frame that the card has not sent yet, and the first free descriptor.
    head: usize,
    next: usize,
    state: State,
    mac: MacAddress,
    counters: NicCounters,
    trouble: Option<DeviceError>,
}

impl<R: Registers, M: DmaMemory> E1000e<R, M> {
    /// Takes over the card behind `registers`, and has it stop for a reset. Poll until it is ready.
    ///
    /// # Errors
    /// When it is not there, or there is no memory.
    #[cold]
    pub fn take_over(
        registers: R,
        family: Family,
        mut memory: M,
        signal: Signal,
        now: Instant,
    ) -> Result<Self, DeviceError> {
        if registers.read32(STATUS) == NO_ANSWER {
            return Err(DeviceError::Vanished);
        }
        let receive = DescriptorRing::new(&mut memory).ok_or(DeviceError::OutOfMemory)?;
        let transmit = DescriptorRing::new(&mut memory).ok_or(DeviceError::OutOfMemory)?;
        let mut card = Self {
            registers,
            family,
            signal,
            receive,
            transmit,
            first: 0,
            looked_at: None,
            head: 0,
            next: 0,
            state: State::Quieting { from: now },
            mac: MacAddress::default(),
            counters: NicCounters::default(),
            trouble: None,
        };
        card.quiet();
        Ok(card)
    }

    /// Tells the card to begin nothing any more.
    #[cold]
    fn quiet(&mut self) {
        let control = self.registers.read32(CONTROL);
        if self.family == Family::Express && control != NO_ANSWER {
            self.registers.write32(CONTROL, control | BUS_DISABLE);
        }
        self.registers.write32(INTERRUPT_MASK_CLEAR, u32::MAX);
        self.registers.write32(RECEIVE_CONTROL, 0);
        self.registers.write32(TRANSMIT_CONTROL, TRANSMIT_OFF);
        // A read, so that the writes have reached the card.
        let _ = self.registers.read32(STATUS);
    }

    /// The card has failed: its buffers stay where they are, since it may still write to them.
    #[cold]
    fn fail(&mut self, trouble: DeviceError) {
        self.quiet();
        self.trouble = Some(trouble);
        self.state = State::Failed;
        self.looked_at = None;
    }

    /// Resets the card once it has nothing on the bus any more, or has had long enough. A card on conventional PCI does not
    /// tell.
    #[cold]
    fn await_quiet(&mut self, from: Instant, now: Instant) {
        let since = now.since(from);
        if since < DRAIN_TIME {
            return;
        }
        let status = self.registers.read32(STATUS);
        if status == NO_ANSWER {
            return self.fail(DeviceError::Vanished);
        }
        if self.family == Family::Express && status & BUS_IN_USE != 0 && since < DRAIN_TIME_MOST {
            return;
        }
        let control = self.registers.read32(CONTROL);
        self.registers.write32(CONTROL, control | RESET);
        self.state = State::Resetting { from: now };
    }

    #[cold]
    fn await_reset(&mut self, from: Instant, now: Instant) {
        if now.since(from) < QUIET_TIME {
            return;
        }
        match self.registers.read32(CONTROL) {
            NO_ANSWER => self.fail(DeviceError::Vanished),
            control if control & RESET == 0 => match self.start() {
                Ok(()) => self.state = State::Running,
                Err(error) => self.fail(error),
            },
            _ if now.since(from) >= RESET_TIME => self.fail(DeviceError::TooSlow("resetting")),
            _ => {}
        }
    }

    /// Sets up the card, which has been reset: it has read its address from its EEPROM.
    #[cold]
    fn start(&mut self) -> Result<(), DeviceError> {
        self.registers.write32(INTERRUPT_MASK_CLEAR, u32::MAX);
        let (low, high) = (self.registers.read32(ADDRESS_LOW), self.registers.read32(ADDRESS_HIGH));
        let [a, b, c, d] = low.to_le_bytes();
        let [e, f, ..] = high.to_le_bytes();
        self.mac = MacAddress([a, b, c, d, e, f]);
        if !self.mac.is_station() {
            return Err(DeviceError::Nonsense("its address"));
        }
        for offset in (MULTICAST_TABLE..MULTICAST_TABLE_END).step_by(4) {
            self.registers.write32(offset, 0);
        }
        let control = self.registers.read32(CONTROL);
        self.registers.write32(CONTROL, control & !CONTROL_FORCED | LINK_UP_WANTED | AUTO_SPEED);
        self.start_receiving();
        self.start_sending();
        if self.signal == Signal::Interrupt {
            self.registers.write32(INTERRUPT_THROTTLE, INTERRUPT_INTERVAL);
            self.registers.write32(INTERRUPT_MASK_SET, OUR_CAUSES);
        }
        Ok(())
    }

    fn start_receiving(&mut self) {
        for index in 0..ENTRIES {
            self.receive.describe(index, [0, 0]);
        }
        self.place(RECEIVE_RING, self.receive.ring.bus_address().0);
        // One descriptor stays the driver's, so that a full ring differs from an empty one.
        self.registers.write32(RECEIVE_RING + TAIL, ENTRIES as u32 - 1);
        self.registers.write32(RECEIVE_CONTROL, RECEIVE_ALL);
    }

    fn start_sending(&mut self) {
        if self.family == Family::Express {
            let control = self.registers.read32(TRANSMIT_DESCRIPTORS);
            self.registers.write32(TRANSMIT_DESCRIPTORS, control | EXPRESS_MUST);
        }
        self.place(TRANSMIT_RING, self.transmit.ring.bus_address().0);
        self.registers.write32(TRANSMIT_RING + TAIL, 0);
        self.registers.write32(TRANSMIT_GAP, USUAL_GAP);
        self.registers.write32(TRANSMIT_CONTROL, TRANSMIT_USUAL);
    }

    /// Tells the card where the ring is whose registers begin at `registers`.
    fn place(&mut self, registers: usize, address: u64) {
        self.registers.write64(registers, address);
        self.registers.write32(registers + LENGTH, (ENTRIES * DESCRIPTOR_BYTES) as u32);
        self.registers.write32(registers + HEAD, 0);
    }

    /// Takes back what has been sent.
    fn reclaim(&mut self) {
        while self.head != self.next && self.transmit.status(self.head) & DONE != 0 {
            self.head = after(self.head);
        }
    }

    /// Looks whether a frame has come; damaged ones are dropped, at most as many as there are descriptors.
    fn look(&mut self) {
        for _ in 0..ENTRIES {
            let status = self.receive.status(self.first);
            if self.looked_at.is_some() || status & DONE == 0 {
                return;
            }
            let len_bytes = self.receive.len_bytes(self.first);
            let is_whole = status & END_OF_PACKET != 0 && status & RECEIVE_ERRORS == 0;
            if is_whole && (MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&len_bytes) {
                self.looked_at = Some(len_bytes);
            } else {
                self.counters.receive_errors += 1;
                self.give_back();
            }
        }
    }

    /// Gives the first receive descriptor to the card again.
    fn give_back(&mut self) {
        self.receive.describe(self.first, [0, 0]);
        self.registers.write32(RECEIVE_RING + TAIL, self.first as u32);
        self.first = after(self.first);
    }
}

const fn after(index: usize) -> usize {
    (index + 1) % ENTRIES
}

impl<R: Registers, M: DmaMemory> Nic for E1000e<R, M> {
    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn link(&self) -> Link {
        let status = self.registers.read32(STATUS);
        let is_up = self.state == State::Running && status != NO_ANSWER && status & LINK_IS_UP != 0;
        if is_up { Link::Up } else { Link::Down }
    }

    fn poll(&mut self, now: Instant) {
        match self.state {
            State::Quieting { from } => self.await_quiet(from, now),
            State::Resetting { from } => self.await_reset(from, now),
            // Reading the causes clears them, so that the next one sends a message again.
            State::Running => match self.registers.read32(INTERRUPT_CAUSES) {
                NO_ANSWER => self.fail(DeviceError::Vanished),
                _ => self.reclaim(),
            },
            State::Failed => {}
        }
    }

    fn has_room(&self, frames: usize) -> bool {
        let used = (self.next + ENTRIES - self.head) % ENTRIES;
        self.state != State::Running || used + frames.min(ENTRIES - 1) < ENTRIES
    }

    fn transmit_with(&mut self, len_bytes: usize, fill: impl FnOnce(&mut [u8])) -> Sent {
        if self.state != State::Running || !(MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&len_bytes) {
            self.counters.send_errors += 1;
            return Sent::Dropped;
        }
        if after(self.next) == self.head {
            return Sent::Full;
        }
        let buffer = self.transmit.buffers.get_mut(self.next).and_then(Option::as_mut);
        let Some(bytes) = buffer.and_then(|buffer| buffer.bytes_mut().get_mut(..MAX_FRAME_BYTES)) else {
            return Sent::Dropped;
        };
        let (frame, rest) = bytes.split_at_mut(len_bytes);
        fill(frame);
        let padding = PADDED_BYTES.saturating_sub(len_bytes);
        rest.iter_mut().take(padding).for_each(|byte| *byte = 0);
        let len_bytes = (len_bytes + padding) as u32;
        self.transmit.describe(self.next, [len_bytes | WHOLE_FRAME, 0]);
        self.next = after(self.next);
        self.registers.write32(TRANSMIT_RING + TAIL, self.next as u32);
        self.counters.sent += 1;
        Sent::Accepted
    }

    fn peek(&mut self) -> Option<&[u8]> {
        if self.state == State::Running {
            self.look();
        }
        let len_bytes = self.looked_at?;
        self.receive.buffer(self.first)?.bytes().get(..len_bytes)
    }

    fn consume(&mut self) {
        if self.looked_at.take().is_some() {
            self.counters.received += 1;
            self.give_back();
        }
    }

    fn counters(&self) -> NicCounters {
        self.counters
    }

    fn readiness(&self) -> Readiness {
        match self.state {
            State::Quieting { .. } | State::Resetting { .. } => Readiness::Pending,
            State::Running => Readiness::Ready,
            State::Failed => Readiness::Failed,
        }
    }

    fn take_trouble(&mut self) -> Option<DeviceError> {
        self.trouble.take()
    }
}
