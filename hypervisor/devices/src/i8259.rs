//! The pair of 8259A interrupt controllers of a PC, with the edge/level registers of its chipset.
//!
//! ```text
//!   IR0..IR7 ──▶ master ──INT──▶ INTR of the processor, or LINT0 of its local APIC
//!           IR2 ◀──INT── slave ◀── IR8..IR15
//! ```
//!
//! | port | chip | |
//! |---|---|---|
//! | 0x20, 0x21 | master | A0 = 0, A0 = 1 |
//! | 0xA0, 0xA1 | slave | A0 = 0, A0 = 1 |
//! | 0x4D0, 0x4D1 | master, slave | ELCR: a set bit makes the input level-triggered |
//!
//! Invariant: the master's IR2 always stands as the slave's INT does.
//!
//! Sources: Intel 8259A datasheet (231468); for ELCR, Intel 82371AB datasheet (290562), section 4.2.5.

mod chip;
#[cfg(test)]
mod tests;

use crate::cx::Cx;
use crate::device::{Access, Device, read_bytewise, write_bytewise};
use crate::platform::TIMER_GSI;
use base::state::{SavedState, StateError};
use base::{Gsi, Port, Vector};
use chip::Chip;
use minicbor::{Decode, Encode};
use seams::Level;

/// The master's input that the slave drives.
const CASCADE: u8 = 2;
/// IR0-2 of the master cannot be level-triggered: timer, keyboard, cascade.
const MASTER_LEVEL_CAPABLE: u8 = 0b1111_1000;
/// Nor can IR8 and IR13: real-time clock and coprocessor.
const SLAVE_LEVEL_CAPABLE: u8 = 0b1101_1110;
/// ICW4: special fully nested mode, for a chip that has slaves.
const ICW4_SPECIAL_FULLY_NESTED: u8 = 1 << 4;

/// Both chips, as they are saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct I8259State {
    #[n(0)]
    master: Chip,
    #[n(1)]
    slave: Chip,
}

/// The pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I8259Pair {
    state: I8259State,
}

impl Default for I8259Pair {
    fn default() -> Self {
        Self::new()
    }
}

impl I8259Pair {
    /// The pair after power-on, every input masked until the guest initializes it.
    pub const fn new() -> Self {
        Self { state: I8259State { master: Chip::new(), slave: Chip::new() } }
    }

    /// Whether the pair asks the processor for service: its INTR output.
    #[inline]
    pub fn pending(&self) -> bool {
        self.state.master.request().is_some()
    }

    /// The processor's acknowledgement: puts the request with the highest priority into service and returns its vector.
    /// A request that has gone in the meantime gives the vector of IR7 (datasheet, "Edge and level triggered modes").
    pub fn acknowledge(&mut self) -> Vector {
        let level = self.state.master.acknowledge();
        let vector = if level == Some(CASCADE) {
            let slave = &mut self.state.slave;
            let level = slave.acknowledge();
            slave.vector(level)
        } else {
            self.state.master.vector(level)
        };
        self.update_cascade();
        vector
    }

    /// Drives the input that `gsi` is wired to. GSI 2, the timer, is IR0; GSI 0 and those above 15 have no input here.
    #[inline]
    pub fn set_line(&mut self, gsi: Gsi, level: Level) {
        let input = match gsi {
            TIMER_GSI => 0,
            Gsi(n @ (1 | 3..=15)) => n as u8,
            _ => return,
        };
        if input < 8 {
            return self.state.master.set_input(input, level);
        }
        self.state.slave.set_input(input - 8, level);
        self.update_cascade();
    }

    /// The slave's INT falls and rises with each acknowledgement, so it needs no edge detection: IR2 just follows it.
    fn update_cascade(&mut self) {
        let requested = self.state.slave.request().is_some();
        self.state.master.follow_input(CASCADE, requested);
    }

    fn read_byte(&mut self, port: u16) -> u8 {
        let I8259State { master, slave } = &mut self.state;
        match port {
            0x20 => master.read_command(),
            0x21 => master.read_mask(),
            0xa0 => slave.read_command(),
            0xa1 => slave.read_mask(),
            0x4d0 => master.level_triggered(),
            0x4d1 => slave.level_triggered(),
            _ => 0xff,
        }
    }

    fn write_byte(&mut self, port: u16, value: u8) {
        let I8259State { master, slave } = &mut self.state;
        match port {
            0x20 => master.write_command(value),
            0x21 => master.write_data(value),
            0xa0 => slave.write_command(value),
            0xa1 if slave.expects_icw4() => slave.write_data(value & !ICW4_SPECIAL_FULLY_NESTED),
            0xa1 => slave.write_data(value),
            0x4d0 => master.set_level_triggered(value & MASTER_LEVEL_CAPABLE),
            0x4d1 => slave.set_level_triggered(value & SLAVE_LEVEL_CAPABLE),
            _ => {}
        }
    }
}

impl Device for I8259Pair {
    type Address = Port;

    fn read(&mut self, _cx: &mut impl Cx, access: Access<Port>) -> u32 {
        let value = read_bytewise(access, |Port(port)| self.read_byte(port));
        // A poll takes a request into service.
        self.update_cascade();
        value
    }

    fn write(&mut self, _cx: &mut impl Cx, access: Access<Port>, value: u32) {
        write_bytewise(access, value, |Port(port), byte| self.write_byte(port, byte));
        self.update_cascade();
    }

    /// The inputs keep their levels: they belong to the devices that drive them.
    fn reset(&mut self, _cx: &mut impl Cx) {
        self.state.master.reset();
        self.state.slave.reset();
        self.update_cascade();
    }
}

impl SavedState for I8259Pair {
    const SECTION: &'static str = "i8259";
    const VERSION: u16 = 1;
    type Image = I8259State;

    fn save(&self) -> I8259State {
        self.state.clone()
    }

    fn load(&mut self, image: I8259State) -> Result<(), StateError> {
        let out_of_range = |field| Err(StateError::OutOfRange { section: Self::SECTION, field });
        if !image.master.is_sound(MASTER_LEVEL_CAPABLE) {
            return out_of_range("master");
        }
        if !image.slave.is_sound(SLAVE_LEVEL_CAPABLE) || image.slave.special_fully_nested() {
            return out_of_range("slave");
        }
        self.state = image;
        self.update_cascade();
        Ok(())
    }
}
