//! One 8259A.
//!
//! Priorities rotate: the input after `lowest` has the highest priority, `lowest` itself the lowest.
//!
//! Invariants: a level-triggered input's IRR bit equals its input; an edge-triggered one's is set by a rising edge and
//! cleared by acknowledgement or by the input's falling, so it is never set while the input is low.

use base::Vector;
use minicbor::{Decode, Encode};
use seams::Level;

/// ICW1, told from OCW2 and OCW3 by this bit.
const ICW1: u8 = 1 << 4;
const ICW1_ICW4_NEEDED: u8 = 1 << 0;
const ICW1_SINGLE: u8 = 1 << 1;
const ICW2_BASE: u8 = 0xf8;
const ICW4_AUTO_EOI: u8 = 1 << 1;
const ICW4_SPECIAL_FULLY_NESTED: u8 = super::ICW4_SPECIAL_FULLY_NESTED;
/// OCW3, told from OCW2 by this bit.
const OCW3: u8 = 1 << 3;
const OCW3_READ_ISR: u8 = 1 << 0;
const OCW3_READ: u8 = 1 << 1;
const OCW3_POLL: u8 = 1 << 2;
const OCW3_SPECIAL_MASK: u8 = 1 << 5;
const OCW3_SET_SPECIAL_MASK: u8 = 1 << 6;
/// A polled request, in bit 7 above its level.
const POLL_REQUEST: u8 = 1 << 7;

/// What the next write with A0 = 1 is (datasheet, figure 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
enum Expected {
    #[n(0)]
    Ocw1,
    #[n(1)]
    Icw2,
    #[n(2)]
    Icw3,
    #[n(3)]
    Icw4,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Chip {
    /// Levels of the inputs.
    #[n(0)]
    inputs: u8,
    /// ELCR.
    #[n(1)]
    level_triggered: u8,
    #[n(2)]
    irr: u8,
    #[n(3)]
    isr: u8,
    #[n(4)]
    imr: u8,
    /// The vector of IR0.
    #[n(5)]
    base: u8,
    /// The input with the lowest priority.
    #[n(6)]
    lowest: u8,
    #[n(7)]
    expected: Expected,
    #[n(8)]
    single: bool,
    #[n(9)]
    icw4_needed: bool,
    #[n(10)]
    auto_eoi: bool,
    #[n(11)]
    rotate_in_auto_eoi: bool,
    #[n(12)]
    special_fully_nested: bool,
    #[n(13)]
    special_mask: bool,
    /// Reads with A0 = 0 give ISR instead of IRR.
    #[n(14)]
    read_isr: bool,
    /// The next read is a poll.
    #[n(15)]
    poll: bool,
}

impl Chip {
    pub(super) const fn new() -> Self {
        Self {
            inputs: 0,
            level_triggered: 0,
            irr: 0,
            isr: 0,
            imr: 0xff,
            base: 0,
            lowest: 7,
            expected: Expected::Ocw1,
            single: false,
            icw4_needed: false,
            auto_eoi: false,
            rotate_in_auto_eoi: false,
            special_fully_nested: false,
            special_mask: false,
            read_isr: false,
            poll: false,
        }
    }

    pub(super) fn reset(&mut self) {
        *self = Self { inputs: self.inputs, ..Self::new() };
    }

    pub(super) const fn level_triggered(&self) -> u8 {
        self.level_triggered
    }

    pub(super) const fn special_fully_nested(&self) -> bool {
        self.special_fully_nested
    }

    pub(super) fn expects_icw4(&self) -> bool {
        self.expected == Expected::Icw4
    }

    pub(super) const fn is_sound(&self, level_capable: u8) -> bool {
        self.level_triggered & !level_capable == 0
            && self.irr & !self.inputs == 0
            && (self.irr ^ self.inputs) & self.level_triggered == 0
            && self.base & !ICW2_BASE == 0
            && self.lowest < 8
    }

    /// The input of highest priority among the set bits of `levels`, and its rank: 0 is the highest, 8 is none.
    const fn highest(&self, levels: u8) -> (u8, u32) {
        let first = (self.lowest + 1) & 7;
        let rank = levels.rotate_right(first as u32).trailing_zeros();
        ((first + rank as u8) & 7, rank)
    }

    /// The levels in service that hold back requests of their priority and lower ones.
    const fn holding_back(&self) -> u8 {
        let mut levels = self.isr;
        if self.special_mask {
            levels &= !self.imr;
        }
        if self.special_fully_nested {
            // The slave's own priorities decide (datasheet, "The special fully nested mode").
            levels &= !(1 << super::CASCADE);
        }
        levels
    }

    /// The level that the chip requests service for: its INT output.
    #[inline]
    pub(super) const fn request(&self) -> Option<u8> {
        let requests = self.irr & !self.imr;
        if requests == 0 {
            return None;
        }
        let (level, rank) = self.highest(requests);
        let (_, held_back_from) = self.highest(self.holding_back());
        if rank < held_back_from { Some(level) } else { None }
    }

    /// INTA: takes the request into service; `None` when there is none any more.
    pub(super) fn acknowledge(&mut self) -> Option<u8> {
        let level = self.request()?;
        let bit = 1 << level;
        self.irr &= !(bit & !self.level_triggered);
        if !self.auto_eoi {
            self.isr |= bit;
        } else if self.rotate_in_auto_eoi {
            self.lowest = level;
        }
        Some(level)
    }

    /// The vector of `level`; a request that has gone counts as IR7.
    pub(super) const fn vector(&self, level: Option<u8>) -> Vector {
        let level = match level {
            Some(level) => level & 7,
            None => 7,
        };
        Vector(self.base | level)
    }

    pub(super) fn set_input(&mut self, input: u8, level: Level) {
        let bit = 1 << (input & 7);
        match level {
            Level::Deasserted => {
                self.inputs &= !bit;
                self.irr &= !bit;
            }
            Level::Asserted => {
                let rising_or_level = !self.inputs | self.level_triggered;
                self.irr |= bit & rising_or_level;
                self.inputs |= bit;
            }
        }
    }

    /// Sets the request bit of `input` without regard to edges.
    pub(super) fn follow_input(&mut self, input: u8, requested: bool) {
        let bit = 1 << (input & 7);
        if requested {
            self.inputs |= bit;
            self.irr |= bit;
        } else {
            self.inputs &= !bit;
            self.irr &= !bit;
        }
    }

    pub(super) fn set_level_triggered(&mut self, inputs: u8) {
        self.level_triggered = inputs;
        self.irr = (self.irr & !inputs) | (self.inputs & inputs);
    }

    /// A read with A0 = 0.
    pub(super) fn read_command(&mut self) -> u8 {
        if core::mem::take(&mut self.poll) {
            return self.acknowledge().map_or(0, |level| POLL_REQUEST | level);
        }
        if self.read_isr { self.isr } else { self.irr }
    }

    /// A read with A0 = 1.
    pub(super) fn read_mask(&mut self) -> u8 {
        if self.poll { self.read_command() } else { self.imr }
    }

    /// A write with A0 = 0.
    pub(super) fn write_command(&mut self, value: u8) {
        if value & ICW1 != 0 {
            self.write_icw1(value);
        } else if value & OCW3 != 0 {
            self.write_ocw3(value);
        } else {
            self.write_ocw2(value);
        }
    }

    /// A write with A0 = 1.
    pub(super) fn write_data(&mut self, value: u8) {
        let after_icw3 = if self.icw4_needed { Expected::Icw4 } else { Expected::Ocw1 };
        match self.expected {
            Expected::Ocw1 => self.imr = value,
            Expected::Icw2 => {
                self.base = value & ICW2_BASE;
                self.expected = if self.single { after_icw3 } else { Expected::Icw3 };
            }
            // How the pair is wired is not for the guest to say.
            Expected::Icw3 => self.expected = after_icw3,
            Expected::Icw4 => {
                self.auto_eoi = value & ICW4_AUTO_EOI != 0;
                self.special_fully_nested = value & ICW4_SPECIAL_FULLY_NESTED != 0;
                self.expected = Expected::Ocw1;
            }
        }
    }

    /// ICW1 starts over: edges must be made again, nothing is masked, IR7 is lowest, and without an ICW4 its functions
    /// are off (datasheet, "Initialization command words 1 and 2").
    fn write_icw1(&mut self, value: u8) {
        *self = Self {
            inputs: self.inputs,
            level_triggered: self.level_triggered,
            irr: self.inputs & self.level_triggered,
            imr: 0,
            base: self.base,
            expected: Expected::Icw2,
            single: value & ICW1_SINGLE != 0,
            icw4_needed: value & ICW1_ICW4_NEEDED != 0,
            ..Self::new()
        };
    }

    fn write_ocw2(&mut self, value: u8) {
        let level = value & 7;
        match value >> 5 {
            0b001 => drop(self.end_highest()),
            0b011 => self.isr &= !(1 << level),
            0b101 => {
                if let Some(level) = self.end_highest() {
                    self.lowest = level;
                }
            }
            0b111 => {
                self.isr &= !(1 << level);
                self.lowest = level;
            }
            0b100 => self.rotate_in_auto_eoi = true,
            0b000 => self.rotate_in_auto_eoi = false,
            0b110 => self.lowest = level,
            // 0b010 is no operation.
            _ => {}
        }
    }

    /// The non-specific end of interrupt. In special mask mode a masked level is not ended by it.
    fn end_highest(&mut self) -> Option<u8> {
        let in_service = if self.special_mask { self.isr & !self.imr } else { self.isr };
        if in_service == 0 {
            return None;
        }
        let (level, _) = self.highest(in_service);
        self.isr &= !(1 << level);
        Some(level)
    }

    fn write_ocw3(&mut self, value: u8) {
        if value & OCW3_SET_SPECIAL_MASK != 0 {
            self.special_mask = value & OCW3_SPECIAL_MASK != 0;
        }
        // A poll overrides the choice of what to read.
        if value & OCW3_POLL != 0 {
            self.poll = true;
        } else if value & OCW3_READ != 0 {
            self.read_isr = value & OCW3_READ_ISR != 0;
        }
    }
}
