//! Results and status flags of arithmetic (Intel SDM, volume 1, section 3.4.3.1, and volume 2 for each instruction).
//!
//! Flags that the manual leaves undefined become zero or what falls out; nobody may rely on them.

use super::size::Size;

pub(super) const CARRY: u64 = 1 << 0;
pub(super) const PARITY: u64 = 1 << 2;
pub(super) const ADJUST: u64 = 1 << 4;
pub(super) const ZERO: u64 = 1 << 6;
pub(super) const SIGN: u64 = 1 << 7;
pub(super) const TRAP: u64 = 1 << 8;
pub(super) const DIRECTION: u64 = 1 << 10;
pub(super) const OVERFLOW: u64 = 1 << 11;
#[cfg(test)]
pub(super) const RESUME: u64 = 1 << 16;
pub(super) const VIRTUAL_8086: u64 = 1 << 17;
pub(super) const ALIGNMENT: u64 = 1 << 18;

/// The six status flags.
pub(super) const STATUS: u64 = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW;

/// A result, and the flags that come with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Computed {
    /// The result; bits past the operand's size mean nothing.
    pub value: u64,
    /// The new flags, within `affected`.
    pub flags: u64,
    /// The flags that change.
    pub affected: u64,
}

impl Computed {
    /// A result that leaves the flags alone.
    pub(super) const fn plain(value: u64) -> Self {
        Self { value, flags: 0, affected: 0 }
    }

    /// RFLAGS afterwards.
    pub(super) const fn apply(self, rflags: u64) -> u64 {
        rflags & !self.affected | self.flags & self.affected
    }
}

/// `mask` if `condition` holds.
pub(super) const fn when(condition: bool, mask: u64) -> u64 {
    if condition { mask } else { 0 }
}

/// SF, ZF and PF of a result.
pub(super) const fn of_result(value: u64, size: Size) -> u64 {
    let value = value & size.mask();
    when(value & size.sign_bit() != 0, SIGN)
        | when(value == 0, ZERO)
        | when((value as u8).count_ones().is_multiple_of(2), PARITY)
}

const fn sum(a: u64, b: u64, carry: u64, size: Size) -> Computed {
    let (a, b) = (a & size.mask(), b & size.mask());
    let wide = a as u128 + b as u128 + carry as u128;
    let value = wide as u64 & size.mask();
    let flags = of_result(value, size)
        | when(wide > size.mask() as u128, CARRY)
        | when((a ^ b ^ value) & 0x10 != 0, ADJUST)
        | when((a ^ value) & (b ^ value) & size.sign_bit() != 0, OVERFLOW);
    Computed { value, flags, affected: STATUS }
}

const fn difference(a: u64, b: u64, borrow: u64, size: Size) -> Computed {
    let (a, b) = (a & size.mask(), b & size.mask());
    let value = a.wrapping_sub(b).wrapping_sub(borrow) & size.mask();
    let flags = of_result(value, size)
        | when((a as u128) < b as u128 + borrow as u128, CARRY)
        | when((a ^ b ^ value) & 0x10 != 0, ADJUST)
        | when((a ^ b) & (a ^ value) & size.sign_bit() != 0, OVERFLOW);
    Computed { value, flags, affected: STATUS }
}

const fn logic(value: u64, size: Size) -> Computed {
    Computed { value, flags: of_result(value, size), affected: STATUS }
}

/// An operation on destination, source and the flags so far.
pub(super) type Binary = fn(u64, u64, u64, Size) -> Computed;
/// An operation on one operand.
pub(super) type Unary = fn(u64, Size) -> Computed;

pub(super) fn add(a: u64, b: u64, _: u64, size: Size) -> Computed {
    sum(a, b, 0, size)
}

pub(super) fn add_with_carry(a: u64, b: u64, rflags: u64, size: Size) -> Computed {
    sum(a, b, rflags & CARRY, size)
}

pub(super) fn subtract(a: u64, b: u64, _: u64, size: Size) -> Computed {
    difference(a, b, 0, size)
}

pub(super) fn subtract_with_borrow(a: u64, b: u64, rflags: u64, size: Size) -> Computed {
    difference(a, b, rflags & CARRY, size)
}

pub(super) fn and(a: u64, b: u64, _: u64, size: Size) -> Computed {
    logic(a & b, size)
}

pub(super) fn or(a: u64, b: u64, _: u64, size: Size) -> Computed {
    logic(a | b, size)
}

pub(super) fn xor(a: u64, b: u64, _: u64, size: Size) -> Computed {
    logic(a ^ b, size)
}

/// INC leaves CF.
pub(super) fn increment(a: u64, size: Size) -> Computed {
    Computed { affected: STATUS & !CARRY, ..sum(a, 1, 0, size) }
}

/// DEC leaves CF.
pub(super) fn decrement(a: u64, size: Size) -> Computed {
    Computed { affected: STATUS & !CARRY, ..difference(a, 1, 0, size) }
}

pub(super) fn negate(a: u64, size: Size) -> Computed {
    difference(0, a, 0, size)
}

/// NOT leaves all flags.
pub(super) fn not(a: u64, _: Size) -> Computed {
    Computed::plain(!a)
}
