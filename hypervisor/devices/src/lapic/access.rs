//! The registers as a guest reads and writes them: through the xAPIC page, or as x2APIC MSRs.
//!
//! Both ends meet in [`LocalApic::read_common`] and [`LocalApic::write_common`]; what differs stands in front of them:
//! the page drops reserved bits and notes illegal registers, the MSRs fault.

use super::register::{self, LVT_MASKED, error, writable_bits};
use super::timer::TimerMode;
use super::vectors::FIRST_LEGAL_VECTOR;
use super::{DFR_FLAT, Delivery, Effect, GeneralProtection, LocalApic, Message, Mode, Recipients, VERSION};
use base::{Instant, Vector};

impl LocalApic {
    /// Reads the 32-bit register at `offset` of the page, in xAPIC mode. What is no register reads as zero.
    pub fn read_mmio(&mut self, offset: u32, now: Instant) -> u32 {
        if self.mode != Mode::XApic || !offset.is_multiple_of(16) {
            return 0;
        }
        match offset / 16 {
            register::ID => self.id.0 << 24,
            register::EOI => 0,
            register::LDR => self.logical_destination,
            register::DFR => self.destination_format | !DFR_FLAT,
            register::ICR_HIGH => self.command[1],
            register => match self.read_common(register, now) {
                Some(value) => value,
                None => {
                    self.report(error::ILLEGAL_REGISTER);
                    0
                }
            },
        }
    }

    /// Writes the 32-bit register at `offset` of the page, in xAPIC mode. Reserved bits are dropped.
    pub fn write_mmio(&mut self, offset: u32, value: u32, now: Instant) -> Effect {
        if self.mode != Mode::XApic || !offset.is_multiple_of(16) {
            return Effect::None;
        }
        let register = offset / 16;
        let bits = value & writable_bits(register);
        match register {
            register::EOI => return self.end_of_interrupt(),
            register::ICR => return self.send(bits, self.command[1]),
            register::ICR_HIGH => self.command[1] = bits,
            register::LDR => self.logical_destination = bits,
            register::DFR => self.destination_format = bits,
            // The id is the processor's; writing it is ignored, as on processors that say so by model.
            register::ID => {}
            register::ESR => self.latch_errors(),
            register if self.write_common(register, bits, now) => {}
            _ => self.report(error::ILLEGAL_REGISTER),
        }
        Effect::None
    }

    /// Reads MSR `index` of 0x800-0x8FF.
    ///
    /// # Errors
    /// Not in x2APIC mode, no such register, or write-only (table 11-6).
    pub fn read_msr(&mut self, index: u32, now: Instant) -> Result<u64, GeneralProtection> {
        if self.mode != Mode::X2Apic {
            return Err(GeneralProtection);
        }
        match index.wrapping_sub(0x800) {
            register::ID => Ok(self.id.0.into()),
            register::LDR => Ok(self.x2apic_logical_id().into()),
            register::ICR => Ok(u64::from(self.command[1]) << 32 | u64::from(self.command[0])),
            register => self.read_common(register, now).map(u64::from).ok_or(GeneralProtection),
        }
    }

    /// Writes MSR `index` of 0x800-0x8FF.
    ///
    /// # Errors
    /// Not in x2APIC mode, no such register, read-only, or reserved bits (11.12.1.3).
    pub fn write_msr(&mut self, index: u32, value: u64, now: Instant) -> Result<Effect, GeneralProtection> {
        if self.mode != Mode::X2Apic {
            return Err(GeneralProtection);
        }
        let register = index.wrapping_sub(0x800);
        let (low, high) = (value as u32, (value >> 32) as u32);
        if low & !writable_bits(register) != 0 || high != 0 && register != register::ICR {
            return Err(GeneralProtection);
        }
        match register {
            register::EOI => return self.write_eoi_msr(value),
            register::ICR => return Ok(self.send(low, high)),
            register::SELF_IPI => return Ok(self.send_to_self(Vector(low as u8))),
            register::ESR => self.latch_errors(),
            register if self.write_common(register, low, now) => {}
            _ => return Err(GeneralProtection),
        }
        Ok(Effect::None)
    }

    /// Writes MSR 0x80B, which follows every interrupt.
    ///
    /// # Errors
    /// Not in x2APIC mode, or a value that is not zero (11.12.1.2).
    #[inline]
    pub fn write_eoi_msr(&mut self, value: u64) -> Result<Effect, GeneralProtection> {
        if self.mode != Mode::X2Apic || value != 0 {
            return Err(GeneralProtection);
        }
        Ok(self.end_of_interrupt())
    }

    /// Reads a register that both modes have alike; `None` when `register` is none of them.
    fn read_common(&mut self, register: u32, now: Instant) -> Option<u32> {
        Some(match register {
            register::VERSION => VERSION,
            register::TPR => self.task_priority,
            register::PPR => self.processor_priority(),
            register::SVR => self.spurious,
            register::ISR_FIRST..=register::ISR_LAST => self.isr.register(register - register::ISR_FIRST),
            register::TMR_FIRST..=register::TMR_LAST => self.tmr.register(register - register::TMR_FIRST),
            register::IRR_FIRST..=register::IRR_LAST => {
                self.advance(now);
                self.irr.register(register - register::IRR_FIRST)
            }
            register::ESR => self.errors_shown,
            register::ICR => self.command[0],
            register::LVT_FIRST..=register::LVT_LAST => self.lvt_entry(register),
            register::INITIAL_COUNT => self.timer.initial_count,
            register::CURRENT_COUNT => {
                self.advance(now);
                self.timer.current_count(now)
            }
            register::DIVIDE => self.timer.divide,
            _ => return None,
        })
    }

    /// Writes a register that both modes have alike, reserved bits removed; false when `register` is none of them.
    fn write_common(&mut self, register: u32, bits: u32, now: Instant) -> bool {
        match register {
            register::TPR => self.task_priority = bits,
            register::SVR => self.set_spurious(bits, now),
            register::LVT_FIRST..=register::LVT_LAST => {
                // What came due under the old entry is delivered by it.
                self.advance(now);
                self.set_lvt(register, bits);
            }
            register::INITIAL_COUNT => {
                self.advance(now);
                self.timer.start(bits, now);
            }
            register::DIVIDE => {
                self.advance(now);
                self.timer.set_divide(bits, now);
            }
            _ => return false,
        }
        true
    }

    /// Writes an LVT entry; it stays masked while the APIC is software-disabled (11.4.7.2).
    pub(super) fn set_lvt(&mut self, register: u32, bits: u32) {
        let forced = if self.software_enabled() { 0 } else { LVT_MASKED };
        if let Some(entry) = self.lvt.get_mut(register.wrapping_sub(register::LVT_FIRST) as usize) {
            *entry = bits | forced;
        }
        if register == register::LVT_TIMER {
            self.timer.set_mode(TimerMode::of(bits));
        }
    }

    fn set_spurious(&mut self, bits: u32, now: Instant) {
        self.advance(now);
        self.spurious = bits;
        if !self.software_enabled() {
            self.lvt.iter_mut().for_each(|entry| *entry |= LVT_MASKED);
        }
    }

    /// Writes the interrupt command register, which sends.
    #[inline]
    fn send(&mut self, low: u32, high: u32) -> Effect {
        self.command = [low, high];
        let Some(message) = Message::from_command(low, high, self.mode) else { return Effect::None };
        match (message.delivery, message.recipients) {
            (Delivery::Fixed(vector), Recipients::Sender) => self.send_to_self(vector),
            (Delivery::Fixed(vector) | Delivery::LowestPriority(vector), _)
                if vector.0 < FIRST_LEGAL_VECTOR =>
            {
                self.report(error::SEND_ILLEGAL_VECTOR);
                Effect::None
            }
            _ => Effect::Send(message),
        }
    }

    /// A write to ESR shows what happened since the last one (11.5.3).
    fn latch_errors(&mut self) {
        self.errors_shown = core::mem::take(&mut self.errors_since);
    }
}
