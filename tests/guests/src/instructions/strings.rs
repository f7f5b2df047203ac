//! String instructions, repeated and not, upwards and downwards, across pages and into one that is not there.

use super::snippet::*;
use crate::code;
use crate::sandbox::MEMORY;
use instruction_cases::{Ending, PAGE};

const DIRECTION: u64 = 1 << 10;
const ZERO: u64 = 1 << 6;
/// Error code bits: present, write, user.
const WRITE: u32 = 2;
const USER: u32 = 4;

/// Where the second page ends.
const PAGE_END: u64 = MEMORY + 2 * PAGE as u64;
/// Where the last page ends.
const END: u64 = LAST + 1;

pub const STRINGS: &[Snippet] = &[
    Snippet::new(
        "movsb",
        || code!("movsb"),
        |o| ended(o, OPERAND + 0x100, 1) == began(OPERAND, 1) && o.registers.gprs[RSI] == OPERAND + 1,
    ),
    Snippet::new(
        "rep-movsq",
        || code!("rep movsq"),
        |o| {
            ended(o, OPERAND + 0x110, 8) == began(OPERAND + 16, 8)
                && (o.registers.gprs[RCX], o.registers.gprs[RDI]) == (0, OPERAND + 0x118)
        },
    ),
    Snippet::new(
        "rep-movsb-longer-than-a-portion",
        || code!("rep movsb"),
        |o| ended(o, OPERAND + 0x100 + 192, 8) == began(OPERAND + 192, 8) && o.registers.gprs[RCX] == 0,
    )
    .with(|case| case.registers.gprs[RCX] = 200),
    Snippet::new(
        "rep-movsw-downwards",
        || code!("rep movsw"),
        |o| ended(o, OPERAND + 0x100 - 4, 6) == began(OPERAND - 4, 6) && o.registers.gprs[RSI] == OPERAND - 6,
    )
    .with(|case| case.registers.rflags |= DIRECTION),
    Snippet::new(
        "rep-movsd-across-pages",
        || code!("rep movsd"),
        |o| {
            ended(o, PAGE_END - 6, 8) == began(OPERAND, 8)
                && ended(o, PAGE_END + 2, 4) == began(OPERAND + 8, 4)
        },
    )
    .with(|case| case.registers.gprs[RDI] = PAGE_END - 6),
    Snippet::new(
        "rep-stosd",
        || code!("rep stosd"),
        |o| ended(o, OPERAND + 0x108, 4) == o.registers.gprs[RAX] & 0xffff_ffff,
    ),
    Snippet::new(
        "rep-stosb-downwards-across-pages",
        || code!("rep stosb"),
        |o| ended(o, PAGE_END - 2, 3) == 0x11_1111 && o.registers.gprs[RDI] == PAGE_END - 3,
    )
    .with(|case| {
        case.registers.rflags |= DIRECTION;
        (case.registers.gprs[RDI], case.registers.gprs[RAX]) = (PAGE_END, 0x11);
    }),
    Snippet::new("lodsq", || code!("lodsq"), |o| o.registers.gprs[RAX] == began(OPERAND, 8)),
    Snippet::new(
        "rep-lodsb-leaves-the-last",
        || code!("rep lodsb"),
        |o| o.registers.gprs[RAX] & 0xff == began(OPERAND + 2, 1),
    ),
    Snippet::new(
        "repne-scasb-finds",
        || code!("repne scasb"),
        |o| o.registers.gprs[RCX] == 88 && o.registers.rflags & ZERO != 0,
    )
    .with(|case| {
        case.registers.gprs[RCX] = 100;
        case.memory[(OPERAND - MEMORY) as usize + 0x100..][..32].fill(1);
        case.memory[(OPERAND - MEMORY) as usize + 0x100 + 11] = 0x7e;
        case.registers.gprs[RAX] = 0x7e;
    }),
    Snippet::new(
        "repe-cmpsw-stops-at-a-difference",
        || code!("repe cmpsw"),
        |o| o.registers.gprs[RCX] == 6 && o.registers.rflags & ZERO == 0,
    )
    .with(|case| {
        case.registers.gprs[RCX] = 10;
        case.memory[(OPERAND - MEMORY) as usize..][..0x120].fill(0);
        case.memory[(OPERAND - MEMORY) as usize + 6] = 1;
    }),
    Snippet::new(
        "movs-with-segment-override",
        || code!(".byte 0x64, 0xa5"),
        |o| ended(o, OPERAND + 0x100, 4) == began(MEMORY + 0x1000 + 0x40, 4),
    )
    .with(|case| case.registers.gprs[RSI] = 0x40),
    Snippet::new(
        "stos-with-32-bit-addresses",
        || code!(".byte 0x67, 0xf3, 0xab"),
        |o| o.registers.gprs[RDI] == OPERAND + 0x10c && o.registers.gprs[RCX] == 0,
    )
    .with(|case| {
        case.registers.gprs[RDI] |= 0x5555 << 32;
        case.registers.gprs[RCX] |= 0x5555 << 32;
    }),
    Snippet::new(
        "rep-that-faults-keeps-what-was-done",
        || code!("rep stosw"),
        |o| {
            o.registers.gprs[RCX] == 7
                && o.registers.gprs[RDI] == END
                && ended(o, END - 6, 6) == 0x2222_2222_2222
        },
    )
    .with(|case| {
        (case.registers.gprs[RCX], case.registers.gprs[RDI]) = (10, END - 6);
        case.registers.gprs[RAX] = 0x2222;
    })
    .ending(Ending::Fault(14, WRITE | USER, END)),
];
