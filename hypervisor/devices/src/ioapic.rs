//! An 82093AA-like IOAPIC of version 0x20: 24 inputs, each with a redirection entry that makes it a message.
//!
//! | offset in the window | register |
//! |---|---|
//! | 0x00 | IOREGSEL: index of the register behind IOWIN |
//! | 0x10 | IOWIN |
//! | 0x40 | EOI: ends the level-triggered interrupts with the vector written |
//!
//! | index | register |
//! |---|---|
//! | 0x00 | id, bits 27:24 |
//! | 0x01 | version, bits 7:0; the last entry's number, bits 23:16 |
//! | 0x02 | arbitration id, bits 27:24 |
//! | 0x10 + 2n, 0x11 + 2n | redirection entry n, low and high half |
//!
//! A level-triggered input sends its message when it is asserted, unmasked and not awaiting its end (remote IRR); an
//! edge-triggered one when it rises unmasked, and a masked edge is lost. Lines are logical levels, so polarity is kept
//! but changes nothing.
//!
//! Invariant: remote IRR is set only in entries that are level-triggered.
//!
//! Sources: Intel 82093AA datasheet (290566), section 3; for the EOI register, Intel 82801 (ICH9) datasheet (316972),
//! section 13.5.

mod entry;
#[cfg(test)]
mod tests;

use crate::cx::Cx;
use crate::device::{Access, Device, Width, WindowOffset};
use crate::message::InterruptMessage;
use base::state::{SavedState, StateError};
use base::{Gsi, Vector};
use entry::Entry;
use minicbor::{Decode, Encode};
use seams::Level;

/// The number of inputs, GSIs 0 to 23.
pub const INPUTS: usize = 24;

const IOREGSEL: WindowOffset = WindowOffset(0x00);
const IOWIN: WindowOffset = WindowOffset(0x10);
const EOI: WindowOffset = WindowOffset(0x40);

const INDEX_ID: u8 = 0x00;
const INDEX_VERSION: u8 = 0x01;
const INDEX_ARBITRATION: u8 = 0x02;
const INDEX_ENTRIES: u8 = 0x10;

/// Version 0x20 has the EOI register; entry 23 is the last.
const VERSION: u32 = 0x20 | (INPUTS as u32 - 1) << 16;
const ID_SHIFT: u32 = 24;
const ID_MASK: u8 = 0x0f;

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct IoapicState {
    #[n(0)]
    id: u8,
    #[n(1)]
    selected: u8,
    #[n(2)]
    entries: [Entry; INPUTS],
    /// Bit n: input n is asserted.
    #[n(3)]
    asserted: u32,
}

/// The IOAPIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ioapic {
    state: IoapicState,
}

impl Default for Ioapic {
    fn default() -> Self {
        Self::new()
    }
}

/// Which half of an entry.
#[derive(Clone, Copy)]
enum Half {
    Low,
    High,
}

impl Ioapic {
    /// The IOAPIC after power-on: id 0, every entry masked.
    pub const fn new() -> Self {
        Self { state: IoapicState { id: 0, selected: 0, entries: [Entry::MASKED; INPUTS], asserted: 0 } }
    }

    /// Whether an input would send an NMI.
    pub fn sends_nmis(&self) -> bool {
        self.state.entries.iter().any(Entry::sends_nmi)
    }

    /// Drives input `gsi`; returns the message that this causes. Inputs above 23 do not exist.
    #[inline]
    #[must_use = "the message is to be delivered"]
    pub fn set_line(&mut self, gsi: Gsi, level: Level) -> Option<InterruptMessage> {
        let Gsi(input) = gsi;
        let entry = self.state.entries.get_mut(input as usize)?;
        let bit = 1 << input;
        if level == Level::Deasserted {
            self.state.asserted &= !bit;
            return None;
        }
        if self.state.asserted & bit != 0 {
            return None;
        }
        self.state.asserted |= bit;
        entry.signal()
    }

    /// Ends the level-triggered interrupts with `vector`, as a local APIC or a write to the EOI register tells. Inputs
    /// that are still asserted interrupt again.
    pub fn end_of_interrupt(&mut self, cx: &mut impl Cx, vector: Vector) {
        let asserted = self.state.asserted;
        for (input, entry) in self.state.entries.iter_mut().enumerate() {
            if !entry.end(vector) || asserted >> input & 1 == 0 {
                continue;
            }
            if let Some(message) = entry.signal() {
                cx.send_interrupt(message);
            }
        }
    }

    /// The redirection entry that the selected index belongs to, and its input's number.
    fn selected_entry(&mut self) -> Option<(usize, Half, &mut Entry)> {
        let from_entries = self.state.selected.checked_sub(INDEX_ENTRIES)?;
        let half = if from_entries & 1 == 0 { Half::Low } else { Half::High };
        let input = usize::from(from_entries >> 1);
        self.state.entries.get_mut(input).map(|entry| (input, half, entry))
    }

    fn read_selected(&mut self) -> u32 {
        let id = u32::from(self.state.id) << ID_SHIFT;
        match self.state.selected {
            // The arbitration id is loaded along with the id, and no bus is there to change it.
            INDEX_ID | INDEX_ARBITRATION => id,
            INDEX_VERSION => VERSION,
            _ => match self.selected_entry() {
                Some((_, Half::Low, entry)) => entry.low(),
                Some((_, Half::High, entry)) => entry.high(),
                None => 0,
            },
        }
    }

    fn write_selected(&mut self, cx: &mut impl Cx, value: u32) {
        if self.state.selected == INDEX_ID {
            self.state.id = (value >> ID_SHIFT) as u8 & ID_MASK;
            return;
        }
        let asserted = self.state.asserted;
        let Some((input, half, entry)) = self.selected_entry() else { return };
        match half {
            Half::High => entry.set_high(value),
            Half::Low => entry.set_low(value),
        }
        // A level that waited behind the mask is delivered; an edge is not made by unmasking.
        if asserted >> input & 1 == 0 || !entry.is_level_triggered() {
            return;
        }
        if let Some(message) = entry.signal() {
            cx.send_interrupt(message);
        }
    }
}

impl Device for Ioapic {
    type Address = WindowOffset;

    /// The registers are 32 bits wide (section 3.0); narrower reads see their low bytes.
    fn read(&mut self, _cx: &mut impl Cx, access: Access<WindowOffset>) -> u32 {
        match access.at {
            IOREGSEL => self.state.selected.into(),
            IOWIN => self.read_selected(),
            _ => 0,
        }
    }

    /// IOREGSEL and EOI have but a low byte; narrower writes to IOWIN are ignored.
    fn write(&mut self, cx: &mut impl Cx, access: Access<WindowOffset>, value: u32) {
        match (access.at, access.width) {
            (IOREGSEL, _) => self.state.selected = value as u8,
            (IOWIN, Width::Dword) => self.write_selected(cx, value),
            (EOI, _) => self.end_of_interrupt(cx, Vector(value as u8)),
            _ => {}
        }
    }

    /// The inputs keep their levels: they belong to the devices that drive them.
    fn reset(&mut self, _cx: &mut impl Cx) {
        let asserted = self.state.asserted;
        *self = Self::new();
        self.state.asserted = asserted;
    }
}

impl SavedState for Ioapic {
    const SECTION: &'static str = "ioapic";
    const VERSION: u16 = 1;
    type Image = IoapicState;

    fn save(&self) -> IoapicState {
        self.state.clone()
    }

    fn load(&mut self, image: IoapicState) -> Result<(), StateError> {
        let out_of_range = |field| Err(StateError::OutOfRange { section: Self::SECTION, field });
        if image.id & !ID_MASK != 0 {
            return out_of_range("id");
        }
        if !image.entries.iter().all(Entry::is_sound) {
            return out_of_range("entries");
        }
        if image.asserted >> INPUTS != 0 {
            return out_of_range("asserted");
        }
        self.state = image;
        Ok(())
    }
}
