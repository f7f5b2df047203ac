//! The flags that the manual leaves undefined (Intel SDM, volume 2).

use crate::case::Registers;
use crate::encoding::{Count, Encoding, Undefined};

pub const CARRY: u64 = 1 << 0;
pub const PARITY: u64 = 1 << 2;
pub const ADJUST: u64 = 1 << 4;
pub const ZERO: u64 = 1 << 6;
pub const SIGN: u64 = 1 << 7;
pub const OVERFLOW: u64 = 1 << 11;
pub const STATUS: u64 = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW;

pub const RCX: usize = 1;

/// Those that the instruction leaves undefined with these operands.
pub fn flags(encoding: &Encoding, code: &[u8], registers: &Registers) -> u64 {
    let (small, wide) = sizes(encoding, code);
    let bits: u64 = match () {
        () if encoding.byte => 8,
        () if wide => 64,
        () if small => 16,
        () => 32,
    };
    let counted = |count| {
        let count = match count {
            Count::One => 1,
            Count::Cl => registers.gprs[RCX] & 0xff,
            Count::Immediate => code.last().copied().unwrap_or(0).into(),
        };
        count & if bits == 64 { 0x3f } else { 0x1f }
    };
    match encoding.undefined {
        Undefined::None => 0,
        Undefined::Logic => ADJUST,
        Undefined::Bits => OVERFLOW | SIGN | ADJUST | PARITY,
        Undefined::Rotate(count) if counted(count) == 1 => 0,
        Undefined::Rotate(_) => OVERFLOW,
        Undefined::Shift(count) => match counted(count) {
            0 => 0,
            1 => ADJUST,
            count if count >= bits => ADJUST | OVERFLOW | CARRY,
            _ => ADJUST | OVERFLOW,
        },
        Undefined::Double(count) => match counted(count) {
            0 => 0,
            1 => ADJUST,
            count if count > bits => STATUS,
            _ => ADJUST | OVERFLOW,
        },
    }
}

/// Whether the prefixes say 16 bits, and 64.
fn sizes(encoding: &Encoding, code: &[u8]) -> (bool, bool) {
    let prefixes = code.iter().take_while(|byte| **byte != encoding.opcode[0]);
    prefixes.fold((false, false), |(small, wide), byte| match byte {
        0x66 => (true, wide),
        0x40..0x50 => (small, byte & 8 != 0),
        _ => (small, wide),
    })
}
