//! SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD and SHRD (Intel SDM, volume 2).

use super::flags::{CARRY, Computed, OVERFLOW, STATUS, of_result, when};
use super::size::Size;
use super::{EmulationContext, EmulationFault, Executor};

/// An operation on a value, the masked count (never zero) and RFLAGS.
pub(super) type Shift = fn(u64, u32, u64, Size) -> Computed;
/// An operation on destination, source and the masked count (never zero).
pub(super) type DoubleShift = fn(u64, u64, u32, Size) -> Computed;

impl<C: EmulationContext + ?Sized> Executor<'_, C> {
    #[inline(never)]
    pub(super) fn shift(&mut self, operation: Shift) -> Result<(), EmulationFault> {
        let size = self.operand_size(0)?;
        let count = masked(self.value_of(1)?, size);
        let rflags = self.cx.rflags();
        self.modify(0, size, &|value| match count {
            0 => Computed::plain(value),
            _ => operation(value, count, rflags, size),
        })?;
        Ok(())
    }

    #[inline(never)]
    pub(super) fn double_shift(&mut self, operation: DoubleShift) -> Result<(), EmulationFault> {
        let size = self.operand_size(0)?;
        let source = self.value_of(1)?;
        let count = masked(self.value_of(2)?, size);
        self.modify(0, size, &|value| match count {
            0 => Computed::plain(value),
            _ => operation(value, source, count, size),
        })?;
        Ok(())
    }
}

/// The count as it is used: 5 bits, or 6 for 64-bit operands.
const fn masked(count: u64, size: Size) -> u32 {
    let mask = if matches!(size, Size::Qword) { 0x3f } else { 0x1f };
    (count & mask) as u32
}

const fn top_bit(value: u64, size: Size) -> bool {
    value & size.sign_bit() != 0
}

const fn shifted(value: u64, carry: bool, overflow: bool, size: Size) -> Computed {
    let flags = of_result(value, size) | when(carry, CARRY) | when(overflow, OVERFLOW);
    Computed { value: value & size.mask(), flags, affected: STATUS }
}

/// Rotates change CF and OF only.
const fn rotated(value: u64, carry: bool, overflow: bool) -> Computed {
    let flags = when(carry, CARRY) | when(overflow, OVERFLOW);
    Computed { value, flags, affected: CARRY | OVERFLOW }
}

pub(super) fn left(value: u64, count: u32, _: u64, size: Size) -> Computed {
    // Within 128 bits no count that can occur loses the bit that becomes the carry.
    let wide = u128::from(value & size.mask()) << count;
    let carry = wide >> size.bits() & 1 != 0;
    let value = wide as u64 & size.mask();
    shifted(value, carry, top_bit(value, size) != carry, size)
}

pub(super) fn right(value: u64, count: u32, _: u64, size: Size) -> Computed {
    let value = value & size.mask();
    let carry = value >> (count - 1) & 1 != 0;
    shifted(value >> count, carry, top_bit(value, size), size)
}

pub(super) fn arithmetic_right(value: u64, count: u32, _: u64, size: Size) -> Computed {
    let value = size.sign_extend(value) as i64;
    let carry = value >> (count - 1) & 1 != 0;
    shifted((value >> count) as u64, carry, false, size)
}

pub(super) fn rotate_left(value: u64, count: u32, _: u64, size: Size) -> Computed {
    let value = rotate(value & size.mask(), count % size.bits(), size);
    let carry = value & 1 != 0;
    rotated(value, carry, top_bit(value, size) != carry)
}

pub(super) fn rotate_right(value: u64, count: u32, _: u64, size: Size) -> Computed {
    let value = rotate(value & size.mask(), (size.bits() - count % size.bits()) % size.bits(), size);
    let second = value & size.sign_bit() >> 1 != 0;
    rotated(value, top_bit(value, size), top_bit(value, size) != second)
}

/// Rotates left by less than the operand's bits.
const fn rotate(value: u64, count: u32, size: Size) -> u64 {
    if count == 0 { value } else { (value << count | value >> (size.bits() - count)) & size.mask() }
}

pub(super) fn rotate_left_through_carry(value: u64, count: u32, rflags: u64, size: Size) -> Computed {
    let width = size.bits() + 1;
    let count = count % width;
    let (value, carry) = rotate_with_carry(value, rflags, count, size);
    let overflow = top_bit(value, size) != carry;
    if count == 0 { Computed::plain(value) } else { rotated(value, carry, overflow) }
}

pub(super) fn rotate_right_through_carry(value: u64, count: u32, rflags: u64, size: Size) -> Computed {
    let width = size.bits() + 1;
    let count = (width - count % width) % width;
    let (value, carry) = rotate_with_carry(value, rflags, count, size);
    let overflow = top_bit(value, size) != (value & size.sign_bit() >> 1 != 0);
    if count == 0 { Computed::plain(value) } else { rotated(value, carry, overflow) }
}

/// Rotates CF and the value as one number, left by at most its bits.
const fn rotate_with_carry(value: u64, rflags: u64, count: u32, size: Size) -> (u64, bool) {
    let width = size.bits() + 1;
    let whole = (value & size.mask()) as u128 | ((rflags & CARRY) as u128) << size.bits();
    let turned = whole << count | whole >> (width - count);
    (turned as u64 & size.mask(), turned >> size.bits() & 1 != 0)
}

/// With 16 bits and a count past them the result is undefined (SDM, SHLD): here it goes on with the destination.
pub(super) fn double_left(value: u64, source: u64, count: u32, size: Size) -> Computed {
    let bits = size.bits();
    let (value, source) = (value & size.mask(), source & size.mask());
    let whole = u128::from(value) << bits | u128::from(source);
    let (moved, carry) = match count.checked_sub(bits) {
        None | Some(0) => (whole << count, whole >> (2 * bits - count) & 1),
        Some(beyond) => {
            let again = u128::from(source) << bits | u128::from(value);
            (again << beyond, again >> (2 * bits - beyond) & 1)
        }
    };
    let result = (moved >> bits) as u64 & size.mask();
    shifted(result, carry != 0, top_bit(result, size) != top_bit(value, size), size)
}

/// As [`double_left`], to the right.
pub(super) fn double_right(value: u64, source: u64, count: u32, size: Size) -> Computed {
    let bits = size.bits();
    let (value, source) = (value & size.mask(), source & size.mask());
    let whole = u128::from(source) << bits | u128::from(value);
    let (moved, carry) = match count.checked_sub(bits) {
        None | Some(0) => (whole >> count, whole >> (count - 1) & 1),
        Some(beyond) => {
            let again = u128::from(value) << bits | u128::from(source);
            (again >> beyond, again >> (beyond - 1) & 1)
        }
    };
    let result = moved as u64 & size.mask();
    shifted(result, carry != 0, top_bit(result, size) != top_bit(value, size), size)
}
