//! The first 64 bytes of a function's configuration space: a header of type 0 (PCI 6.1, 6.2).
//!
//! | offset | register | written by the guest |
//! |---|---|---|
//! | 0x00 | vendor, device | |
//! | 0x04 | command, status | memory decoding, bus mastering, interrupt disable |
//! | 0x08 | revision, class | |
//! | 0x10 + 4n | BAR n | the address bits |
//! | 0x2C | subsystem | |
//! | 0x34 | first capability | |
//! | 0x3C | interrupt line, pin | the line |
//!
//! Invariant: a BAR's address is a multiple of its length; one without length is 0.

use base::state::StateError;
use minicbor::{Decode, Encode};

/// The number of BARs that a function can have here.
pub const BARS: usize = 2;

const IDS: u32 = 0x00;
const COMMAND_STATUS: u32 = 0x04;
const CLASS: u32 = 0x08;
const BAR_FIRST: u32 = 0x10;
const BAR_LAST: u32 = BAR_FIRST + 4 * (BARS as u32 - 1);
const SUBSYSTEM: u32 = 0x2c;
const CAPABILITIES: u32 = 0x34;
const INTERRUPT: u32 = 0x3c;
/// One past the header.
pub(super) const HEADER_END: u32 = 0x40;

const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_BUS_MASTER: u16 = 1 << 2;
const COMMAND_INTERRUPT_DISABLE: u16 = 1 << 10;
const COMMAND_WRITABLE: u16 = COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_INTERRUPT_DISABLE;
const STATUS_INTERRUPT: u32 = 1 << 3;
const STATUS_CAPABILITIES: u32 = 1 << 4;

/// The interrupt pin of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptPin {
    /// It has none.
    None = 0,
    /// INTA#.
    A = 1,
}

/// Whether a function has something to tell by its pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It has.
    Present,
    /// It has not.
    Absent,
}

/// What a function is. It never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The vendor.
    pub vendor: u16,
    /// The device, as the vendor numbers it.
    pub device: u16,
    /// The device's revision.
    pub revision: u8,
    /// Class, subclass and programming interface, in 24 bits.
    pub class: u32,
    /// The subsystem's vendor.
    pub subsystem_vendor: u16,
    /// The subsystem, as that vendor numbers it.
    pub subsystem: u16,
    /// The interrupt pin.
    pub pin: InterruptPin,
    /// The offset of the first capability; 0 is none.
    pub capabilities: u8,
}

/// A base address register: 32 bits, memory, not prefetchable (PCI 6.2.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    address: u32,
    /// A power of two, or 0 where there is no BAR.
    len_bytes: u32,
}

impl Bar {
    /// No BAR: it reads as 0 whatever is written.
    pub const ABSENT: Self = Self { address: 0, len_bytes: 0 };

    /// A BAR of `len_bytes`, which is a power of two and 16 at least, at `address`, a multiple of that.
    pub const fn new(address: u32, len_bytes: u32) -> Self {
        assert!(len_bytes.is_power_of_two() && len_bytes >= 16 && address.is_multiple_of(len_bytes));
        Self { address, len_bytes }
    }

    /// Where it is.
    pub const fn address(self) -> u32 {
        self.address
    }

    /// Its length in bytes; 0 where there is none.
    pub const fn len_bytes(self) -> u32 {
        self.len_bytes
    }

    /// Takes the address bits of `value`; the others are fixed, which tells the guest the length.
    const fn write(&mut self, value: u32) {
        self.address = value & self.len_bytes.wrapping_neg();
    }

    const fn is_sound(self) -> bool {
        self.address & !self.len_bytes.wrapping_neg() == 0
    }
}

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HeaderState {
    #[n(0)]
    command: u16,
    #[n(1)]
    interrupt_line: u8,
    #[n(2)]
    bars: [u32; BARS],
}

/// A function's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    identity: Identity,
    command: u16,
    interrupt_line: u8,
    bars: [Bar; BARS],
}

impl Header {
    /// The header after reset, with memory decoded. `interrupt_line` tells guests without ACPI which input of the 8259
    /// pair the pin is wired to.
    pub const fn new(identity: Identity, bars: [Bar; BARS], interrupt_line: u8) -> Self {
        Self { identity, command: COMMAND_MEMORY, interrupt_line, bars }
    }

    /// BAR `n` while memory is decoded.
    pub fn decoded(&self, n: usize) -> Option<Bar> {
        let bar = self.bars.get(n).filter(|bar| bar.len_bytes != 0 && self.command & COMMAND_MEMORY != 0);
        bar.copied()
    }

    /// Whether the function may write to memory: to send messages, and to serve queues.
    pub const fn is_bus_master(&self) -> bool {
        self.command & COMMAND_BUS_MASTER != 0
    }

    /// Whether the function may drive its interrupt pin.
    pub const fn may_assert_pin(&self) -> bool {
        self.command & COMMAND_INTERRUPT_DISABLE == 0
    }

    /// The value of the register at `offset`, a multiple of 4. The status tells `cause` whether the pin may follow it or
    /// not (PCI 6.2.3).
    pub fn read(&self, offset: u32, cause: Cause) -> u32 {
        let identity = &self.identity;
        match offset {
            IDS => u32::from(identity.device) << 16 | u32::from(identity.vendor),
            COMMAND_STATUS => self.status(cause) << 16 | u32::from(self.command),
            CLASS => identity.class << 8 | u32::from(identity.revision),
            BAR_FIRST..=BAR_LAST => self.bars.get(bar_number(offset)).map_or(0, |bar| bar.address),
            SUBSYSTEM => u32::from(identity.subsystem) << 16 | u32::from(identity.subsystem_vendor),
            CAPABILITIES => identity.capabilities.into(),
            INTERRUPT => (identity.pin as u32) << 8 | u32::from(self.interrupt_line),
            _ => 0,
        }
    }

    const fn status(&self, cause: Cause) -> u32 {
        let capabilities = if self.identity.capabilities == 0 { 0 } else { STATUS_CAPABILITIES };
        match cause {
            Cause::Present => capabilities | STATUS_INTERRUPT,
            Cause::Absent => capabilities,
        }
    }

    /// Replaces the register at `offset`, a multiple of 4, as far as it can be written.
    pub fn write(&mut self, offset: u32, value: u32) {
        match offset {
            COMMAND_STATUS => self.command = value as u16 & COMMAND_WRITABLE,
            BAR_FIRST..=BAR_LAST => {
                if let Some(bar) = self.bars.get_mut(bar_number(offset)) {
                    bar.write(value);
                }
            }
            INTERRUPT => self.interrupt_line = value as u8,
            _ => {}
        }
    }

    /// What is to be saved.
    pub fn save(&self) -> HeaderState {
        let (command, interrupt_line) = (self.command, self.interrupt_line);
        HeaderState { command, interrupt_line, bars: self.bars.map(|bar| bar.address) }
    }

    /// The header with saved state.
    ///
    /// # Errors
    /// [`StateError::OutOfRange`] of `section` when a guest could not have brought the header into that state.
    pub fn loaded(&self, image: &HeaderState, section: &'static str) -> Result<Self, StateError> {
        if image.command & !COMMAND_WRITABLE != 0 {
            return Err(StateError::OutOfRange { section, field: "command" });
        }
        let mut bars = self.bars;
        for (bar, address) in bars.iter_mut().zip(image.bars) {
            bar.address = address;
        }
        if !bars.into_iter().all(Bar::is_sound) {
            return Err(StateError::OutOfRange { section, field: "bars" });
        }
        let (command, interrupt_line) = (image.command, image.interrupt_line);
        Ok(Self { command, interrupt_line, bars, ..*self })
    }
}

const fn bar_number(offset: u32) -> usize {
    (offset.saturating_sub(BAR_FIRST) / 4) as usize
}
