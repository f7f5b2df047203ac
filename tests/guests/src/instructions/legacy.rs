//! The same outside of long mode, without paging: 32- and 16-bit protected mode, and big real mode.

use super::snippet::*;
use crate::code;
use crate::sandbox::{Level, MEMORY, Mode};

const PROTECTED_32: Level = Level::Legacy(Mode::Protected32);
const PROTECTED_16: Level = Level::Legacy(Mode::Protected16);
const REAL: Level = Level::Legacy(Mode::Real);

/// Where the last page ends, as an offset.
const END: u64 = LAST + 1 - MEMORY;

pub const LEGACY: &[Snippet] = &[
    Snippet::new(
        "protected-32-load",
        || code!(".byte 0x8b, 0x03"),
        |o| o.registers.gprs[RAX] == began(OPERAND, 4),
    )
    .at(PROTECTED_32),
    Snippet::new(
        "protected-32-add-to-memory",
        || code!(".byte 0x01, 0x13"),
        |o| ended(o, OPERAND, 4) == (began(OPERAND, 4) + o.registers.gprs[RDX]) & 0xffff_ffff,
    )
    .at(PROTECTED_32),
    // xchg [ebx], dl
    Snippet::new(
        "protected-32-xchg",
        || code!(".byte 0x86, 0x13"),
        |o| o.registers.gprs[RDX] & 0xff == began(OPERAND, 1),
    )
    .at(PROTECTED_32),
    Snippet::new(
        "protected-32-push-memory",
        || code!(".byte 0xff, 0x33"),
        |o| ended(o, STACK - 4, 4) == began(OPERAND, 4) && o.registers.gprs[RSP] == STACK - 4 - MEMORY,
    )
    .at(PROTECTED_32),
    Snippet::new(
        "protected-32-rep-movsd",
        || code!(".byte 0xf3, 0xa5"),
        |o| ended(o, OPERAND + 0x108, 4) == began(OPERAND + 8, 4) && o.registers.gprs[RCX] == 0,
    )
    .at(PROTECTED_32),
    Snippet::new(
        "protected-16-load",
        || code!(".byte 0x8b, 0x07"),
        |o| o.registers.gprs[RAX] & 0xffff == began(OPERAND, 2),
    )
    .at(PROTECTED_16),
    // mov [bx + di + 2], dx: 0x1100 + 0x1200 wraps nowhere yet.
    Snippet::new(
        "protected-16-address",
        || code!(".byte 0x89, 0x51, 0x02"),
        |o| ended(o, MEMORY + 0x2302, 2) == o.registers.gprs[RDX] & 0xffff,
    )
    .at(PROTECTED_16),
    Snippet::new(
        "protected-16-rep-stosb",
        || code!(".byte 0xf3, 0xaa"),
        |o| {
            ended(o, OPERAND + 0x102, 1) == o.registers.gprs[RAX] & 0xff
                && o.registers.gprs[RCX] & 0xffff == 0
        },
    )
    .at(PROTECTED_16),
    Snippet::new(
        "real-load",
        || code!(".byte 0x8b, 0x07"),
        |o| o.registers.gprs[RAX] & 0xffff == began(OPERAND, 2),
    )
    .at(REAL),
    Snippet::new(
        "real-store-of-32-bits",
        || code!(".byte 0x66, 0x89, 0x17"),
        |o| ended(o, OPERAND, 4) == o.registers.gprs[RDX] & 0xffff_ffff,
    )
    .at(REAL),
    Snippet::new(
        "real-address-of-32-bits",
        || code!(".byte 0x67, 0x8a, 0x44, 0x8b, 0xf4"),
        |o| o.registers.gprs[RAX] & 0xff == began(OPERAND, 1),
    )
    .at(REAL),
    Snippet::new(
        "real-push-memory",
        || code!(".byte 0xff, 0x37"),
        |o| ended(o, STACK - 2, 2) == began(OPERAND, 2),
    )
    .at(REAL),
    Snippet::new(
        "real-rep-movsw-to-the-end",
        || code!(".byte 0xf3, 0xa5"),
        |o| ended(o, LAST - 5, 6) == began(OPERAND, 6) && o.registers.gprs[RDI] == END,
    )
    .at(REAL)
    .with(|case| case.registers.gprs[RDI] = END - 6),
    Snippet::new(
        "real-cmpxchg-with-lock",
        || code!(".byte 0xf0, 0x0f, 0xb1, 0x17"),
        |o| ended(o, OPERAND, 2) == o.registers.gprs[RDX] & 0xffff,
    )
    .at(REAL)
    .with(|case| case.registers.gprs[RAX] = began(OPERAND, 2)),
];
