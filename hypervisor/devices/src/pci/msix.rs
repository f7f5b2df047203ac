//! MSI-X: interrupts as writes to memory, one table entry for each vector (PCI 6.8.2).
//!
//! | offset in the BAR | |
//! |---|---|
//! | 16n | entry n: address, 64 bits |
//! | 16n + 8 | data |
//! | 16n + 12 | vector control: bit 0 masks |
//! | 0x800 | pending bits |
//!
//! A vector that is signalled while it may not be sent stays pending, and is sent as soon as it may.
//!
//! Invariants: only vectors of the table are pending; nothing is pending while MSI-X is disabled.

use crate::message::{DeliveryMode, Destination, InterruptMessage, Trigger};
use base::Vector;
use base::state::StateError;
use minicbor::{Decode, Encode};

/// The most vectors that a function can have here.
pub const VECTORS_MAX: usize = 8;
/// The number that means "no vector" to drivers of virtio.
pub const NO_VECTOR: u16 = 0xffff;

/// The length of the BAR with table and pending bits, in bytes.
pub(super) const BAR_LEN_BYTES: u32 = 0x1000;
const ENTRY_LEN_BYTES: u32 = 16;
const PENDING_BITS: u32 = 0x800;

const CAPABILITY_ID: u32 = 0x11;
/// The capability's length in bytes.
pub(super) const CAPABILITY_LEN_BYTES: u32 = 12;
const CONTROL_ENABLE: u16 = 1 << 15;
const CONTROL_FUNCTION_MASK: u16 = 1 << 14;
const CONTROL_WRITABLE: u16 = CONTROL_ENABLE | CONTROL_FUNCTION_MASK;
const ENTRY_MASKED: u32 = 1;

/// The local APICs' range of addresses (Intel SDM, volume 3, section 11.11.1).
const APIC_RANGE: u32 = 0xfee;
const ADDRESS_LOGICAL: u32 = 1 << 2;
const DATA_LEVEL: u32 = 1 << 15;

/// A table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct Entry {
    #[n(0)]
    address_low: u32,
    #[n(1)]
    address_high: u32,
    #[n(2)]
    data: u32,
    #[n(3)]
    control: u32,
}

impl Entry {
    /// As after reset: masked.
    const RESET: Self = Self { address_low: 0, address_high: 0, data: 0, control: ENTRY_MASKED };

    const fn is_masked(&self) -> bool {
        self.control & ENTRY_MASKED != 0
    }

    /// The interrupt that the write of this entry means; `None` where it is a write to something else than a local APIC,
    /// which goes nowhere: it would be no use but to attack, and its target is the guest's own.
    #[inline]
    fn message(&self) -> Option<InterruptMessage> {
        if self.address_high != 0 || self.address_low >> 20 != APIC_RANGE {
            return None;
        }
        let id = (self.address_low >> 12) as u8;
        let logical = self.address_low & ADDRESS_LOGICAL != 0;
        Some(InterruptMessage {
            vector: Vector(self.data as u8),
            delivery: DeliveryMode::from_bits((self.data >> 8) as u8)?,
            destination: if logical { Destination::Logical(id) } else { Destination::Physical(id) },
            trigger: if self.data & DATA_LEVEL != 0 { Trigger::Level } else { Trigger::Edge },
        })
    }
}

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MsixState {
    #[n(0)]
    control: u16,
    #[n(1)]
    entries: [Entry; VECTORS_MAX],
    /// Bit n: vector n is pending.
    #[n(2)]
    pending: u8,
}

/// The MSI-X capability of a function, its table and its pending bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msix {
    vectors: u16,
    /// The BAR with the table.
    bar: u8,
    state: MsixState,
}

impl Msix {
    /// MSI-X after reset: disabled, with `vectors` vectors, at least one and [`VECTORS_MAX`] at most, in BAR `bar`.
    pub const fn new(vectors: u16, bar: u8) -> Self {
        assert!(vectors != 0 && vectors as usize <= VECTORS_MAX);
        let state = MsixState { control: 0, entries: [Entry::RESET; VECTORS_MAX], pending: 0 };
        Self { vectors, bar, state }
    }

    /// The number of vectors.
    pub const fn vectors(&self) -> u16 {
        self.vectors
    }

    /// Whether the guest uses MSI-X instead of the interrupt pin.
    pub const fn is_enabled(&self) -> bool {
        self.state.control & CONTROL_ENABLE != 0
    }

    /// The capability's register at `offset` in it, a multiple of 4; `next` is the next capability's place.
    pub fn read_capability(&self, offset: u32, next: u8) -> u32 {
        match offset {
            0 => {
                let control = self.state.control | self.vectors.saturating_sub(1);
                u32::from(control) << 16 | u32::from(next) << 8 | CAPABILITY_ID
            }
            4 => self.bar.into(),
            8 => PENDING_BITS | u32::from(self.bar),
            _ => 0,
        }
    }

    /// Replaces the capability's register at `offset`.
    pub fn write_capability(&mut self, offset: u32, value: u32) {
        if offset != 0 {
            return;
        }
        self.state.control = (value >> 16) as u16 & CONTROL_WRITABLE;
        if !self.is_enabled() {
            self.state.pending = 0;
        }
    }

    /// The register at `offset`, a multiple of 4, in the BAR.
    pub fn read(&self, offset: u32) -> u32 {
        if offset == PENDING_BITS {
            return self.state.pending.into();
        }
        let entry = self.entry_number(offset).and_then(|number| self.state.entries.get(number));
        let Some(entry) = entry else { return 0 };
        match offset % ENTRY_LEN_BYTES {
            0 => entry.address_low,
            4 => entry.address_high,
            8 => entry.data,
            _ => entry.control,
        }
    }

    /// Replaces the register at `offset`, a multiple of 4, in the BAR.
    pub fn write(&mut self, offset: u32, value: u32) {
        let Some(number) = self.entry_number(offset) else { return };
        let Some(entry) = self.state.entries.get_mut(number) else { return };
        match offset % ENTRY_LEN_BYTES {
            // A message is a dword: the two lowest bits are zero (PCI 6.8.2.7).
            0 => entry.address_low = value & !3,
            4 => entry.address_high = value,
            8 => entry.data = value,
            _ => entry.control = value & ENTRY_MASKED,
        }
    }

    /// Which entry of the table `offset` lies in.
    fn entry_number(&self, offset: u32) -> Option<usize> {
        let number = offset / ENTRY_LEN_BYTES;
        (number < self.vectors.into()).then_some(number as usize)
    }

    /// Signals `vector`, which is pending then. Numbers that the table does not have, [`NO_VECTOR`] too, signal nothing.
    pub fn signal(&mut self, vector: u16) {
        if self.is_enabled() && vector < self.vectors {
            self.state.pending |= 1_u8.checked_shl(vector.into()).unwrap_or(0);
        }
    }

    /// Signals no vector any more that is pending.
    pub const fn forget_pending(&mut self) {
        self.state.pending = 0;
    }

    /// Takes the next vector that may be sent out of those pending: what to send. To be called, until there is none, after
    /// whatever can have made one sendable.
    pub fn take_sendable(&mut self) -> Option<InterruptMessage> {
        if self.state.control != CONTROL_ENABLE {
            return None;
        }
        let mut left = self.state.pending;
        while left != 0 {
            let bit = left & left.wrapping_neg();
            left &= !bit;
            let entry = self.state.entries.get(bit.trailing_zeros() as usize)?;
            if entry.is_masked() {
                continue;
            }
            self.state.pending &= !bit;
            if let Some(message) = entry.message() {
                return Some(message);
            }
        }
        None
    }

    /// What is to be saved.
    pub fn save(&self) -> MsixState {
        self.state.clone()
    }

    /// MSI-X with saved state.
    ///
    /// # Errors
    /// [`StateError::OutOfRange`] of `section` when a guest could not have brought MSI-X into that state.
    pub fn loaded(&self, image: MsixState, section: &'static str) -> Result<Self, StateError> {
        let out_of_range = |field| Err(StateError::OutOfRange { section, field });
        if image.control & !CONTROL_WRITABLE != 0 {
            return out_of_range("msix.control");
        }
        let is_sound =
            |entry: &Entry| entry.control & !ENTRY_MASKED == 0 && entry.address_low.is_multiple_of(4);
        let (ours, others) = image.entries.split_at_checked(self.vectors.into()).unwrap_or_default();
        if !ours.iter().all(is_sound) || others.iter().any(|entry| *entry != Entry::RESET) {
            return out_of_range("msix.entries");
        }
        let enabled = image.control & CONTROL_ENABLE != 0;
        if u32::from(image.pending) >> self.vectors != 0 || image.pending != 0 && !enabled {
            return out_of_range("msix.pending");
        }
        Ok(Self { state: image, ..*self })
    }
}
