//! BT, BTS, BTR and BTC (Intel SDM, volume 2; volume 1, section 3.7.5 for bit strings).

use super::address::{Alignment, Span};
use super::flags::{CARRY, Computed, when};
use super::size::Size;
use super::{EmulationContext, EmulationFault, Executor};
use crate::Access;
use iced_x86::OpKind;

/// What becomes of a value and one of its bits, given as a mask.
pub(super) type Change = fn(u64, u64) -> u64;

pub(super) fn set(value: u64, bit: u64) -> u64 {
    value | bit
}

pub(super) fn reset(value: u64, bit: u64) -> u64 {
    value & !bit
}

pub(super) fn complement(value: u64, bit: u64) -> u64 {
    value ^ bit
}

impl<C: EmulationContext + ?Sized> Executor<'_, C> {
    pub(super) fn bit_test(&mut self) -> Result<(), EmulationFault> {
        let size = self.operand_size(0)?;
        let (bit, value) = if self.is_memory(0) {
            let (bit, span) = self.bit_in_memory(size, Access::Read)?;
            (bit, self.read_scalar(&span)?)
        } else {
            (self.bit(size)?, self.value_of(0)?)
        };
        self.set_flags(carry(value, bit, value));
        Ok(())
    }

    #[inline(never)]
    pub(super) fn bit_modify(&mut self, change: Change) -> Result<(), EmulationFault> {
        let size = self.operand_size(0)?;
        if self.is_memory(0) {
            let (bit, span) = self.bit_in_memory(size, Access::Write)?;
            self.modify_span(&span, size, &|value| carry(value, bit, change(value, bit)))?;
            return Ok(());
        }
        let bit = self.bit(size)?;
        self.modify(0, size, &|value| carry(value, bit, change(value, bit)))?;
        Ok(())
    }

    /// The bit within the operand, as a mask.
    fn bit(&mut self, size: Size) -> Result<u64, EmulationFault> {
        let index = self.value_of(1)?;
        Ok(1 << (index & u64::from(size.bits() - 1)))
    }

    /// The bit and the operand that it lies in: a register counts bits from the address on, upwards or downwards.
    fn bit_in_memory(&mut self, size: Size, access: Access) -> Result<(u64, Span), EmulationFault> {
        let bit = self.bit(size)?;
        let mut away = 0;
        if self.kind(1) == OpKind::Register {
            let index = size.sign_extend(self.value_of(1)?) as i64;
            away = index.div_euclid(size.bits().into()).wrapping_mul(size.bytes().into());
        }
        let pointer = self.pointer(away as u64)?;
        Ok((bit, self.span(&pointer, size.bytes(), access, Alignment::Checked)?))
    }
}

/// The new value; CF is the bit as it was.
const fn carry(old: u64, bit: u64, value: u64) -> Computed {
    Computed { value, flags: when(old & bit != 0, CARRY), affected: CARRY }
}
