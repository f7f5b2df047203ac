//! Instructions that read, change and write memory, with their flags.

use super::snippet::*;
use crate::code;
use crate::sandbox::MEMORY;
use instruction_cases::{Outcome, PAGE};

const CARRY: u64 = 1 << 0;
const PARITY: u64 = 1 << 2;
const ADJUST: u64 = 1 << 4;
const ZERO: u64 = 1 << 6;
const SIGN: u64 = 1 << 7;
const OVERFLOW: u64 = 1 << 11;
const STATUS: u64 = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW;

/// Where the second page ends.
const PAGE_END: u64 = MEMORY + 2 * PAGE as u64;

fn status(outcome: &Outcome) -> u64 {
    outcome.registers.rflags & STATUS
}

pub const ARITHMETIC: &[Snippet] = &[
    Snippet::new(
        "add-to-memory-8",
        || code!("add byte ptr [rbx], 1"),
        |o| ended(o, OPERAND, 2) == 0 && status(o) == CARRY | PARITY | ADJUST | ZERO,
    )
    .with(|case| put(case, OPERAND, 0xff)),
    Snippet::new(
        "add-to-memory-64",
        || code!("add [rbx], rdx"),
        |o| ended(o, OPERAND, 8) == began(OPERAND, 8).wrapping_add(o.registers.gprs[RDX]),
    ),
    Snippet::new(
        "add-from-memory",
        || code!("add rdx, [rbx]"),
        |o| o.registers.gprs[RDX] == 5 && status(o) == PARITY,
    )
    .with(|case| {
        put(case, OPERAND, 3);
        case.registers.gprs[RDX] = 2;
    }),
    Snippet::new(
        "adc-takes-the-carry",
        || code!("adc dword ptr [rbx], 0"),
        |o| ended(o, OPERAND, 4) == 0x8000_0000 && status(o) == SIGN | OVERFLOW | ADJUST | PARITY,
    )
    .with(|case| {
        put(case, OPERAND, 0x7fff_ffff);
        case.registers.rflags |= CARRY;
    }),
    Snippet::new(
        "sub-borrows",
        || code!("sub word ptr [rbx], 1"),
        |o| ended(o, OPERAND, 4) == 0xffff && status(o) == CARRY | PARITY | ADJUST | SIGN,
    )
    .with(|case| put(case, OPERAND, 0)),
    Snippet::new("sbb-takes-the-borrow", || code!("sbb [rbx], rcx"), |o| ended(o, OPERAND, 8) == 6).with(
        |case| {
            put(case, OPERAND, 10);
            case.registers.rflags |= CARRY;
        },
    ),
    Snippet::new("and-memory", || code!("and qword ptr [rbx], 0xf0"), |o| ended(o, OPERAND, 8) == 0x50)
        .undefined(ADJUST)
        .with(|case| put(case, OPERAND, 0x1234_5555)),
    Snippet::new(
        "or-memory",
        || code!("or byte ptr [rbx], 0x80"),
        |o| ended(o, OPERAND, 2) == 0x81 && status(o) & SIGN != 0,
    )
    .undefined(ADJUST)
    .with(|case| put(case, OPERAND, 1)),
    Snippet::new(
        "xor-memory",
        || code!("xor [rbx], rdx"),
        |o| ended(o, OPERAND, 8) == 0 && status(o) & ZERO != 0,
    )
    .undefined(ADJUST)
    .with(|case| put(case, OPERAND, case.registers.gprs[RDX])),
    Snippet::new(
        "cmp-changes-flags-only",
        || code!("cmp dword ptr [rbx], 5"),
        |o| ended(o, OPERAND, 4) == 3 && status(o) & (CARRY | SIGN) == CARRY | SIGN,
    )
    .with(|case| put(case, OPERAND, 3)),
    Snippet::new("test-memory", || code!("test byte ptr [rbx], 8"), |o| status(o) & ZERO == 0)
        .undefined(ADJUST)
        .with(|case| put(case, OPERAND, 8)),
    Snippet::new(
        "inc-keeps-the-carry",
        || code!("inc qword ptr [rbx]"),
        |o| ended(o, OPERAND, 8) == 0 && status(o) == CARRY | PARITY | ADJUST | ZERO,
    )
    .with(|case| {
        put(case, OPERAND, u64::MAX);
        case.registers.rflags |= CARRY;
    }),
    Snippet::new("dec-memory", || code!("dec byte ptr [rbx]"), |o| ended(o, OPERAND, 2) == 0xff)
        .with(|case| put(case, OPERAND, 0)),
    Snippet::new("neg-memory", || code!("neg dword ptr [rbx]"), |o| ended(o, OPERAND, 4) == 0xffff_fffd)
        .with(|case| put(case, OPERAND, 3)),
    Snippet::new(
        "not-changes-no-flag",
        || code!("not qword ptr [rbx]"),
        |o| ended(o, OPERAND, 8) == !began(OPERAND, 8) && status(o) == 0,
    ),
    Snippet::new(
        "shl-memory-by-one",
        || code!("shl dword ptr [rbx], 1"),
        |o| ended(o, OPERAND, 4) == 2 && status(o) & (CARRY | OVERFLOW) == CARRY | OVERFLOW,
    )
    .undefined(ADJUST)
    .with(|case| put(case, OPERAND, 0x8000_0001)),
    Snippet::new(
        "sar-memory-by-cl",
        || code!("sar qword ptr [rbx], cl"),
        |o| ended(o, OPERAND, 8) == u64::MAX - 1,
    )
    .undefined(ADJUST | OVERFLOW)
    .with(|case| put(case, OPERAND, 0_u64.wrapping_sub(16))),
    Snippet::new(
        "rcr-memory-through-the-carry",
        || code!("rcr byte ptr [rbx], 1"),
        |o| ended(o, OPERAND, 1) == 0x80 && status(o) & CARRY != 0,
    )
    .with(|case| {
        put(case, OPERAND, 1);
        case.registers.rflags |= CARRY;
    }),
    Snippet::new(
        "shld-memory",
        || code!("shld qword ptr [rbx], rdx, 8"),
        |o| ended(o, OPERAND, 8) == began(OPERAND, 8) << 8 | o.registers.gprs[RDX] >> 56,
    )
    .undefined(ADJUST | OVERFLOW),
    Snippet::new(
        "xchg-with-memory",
        || code!("xchg [rbx], rdx"),
        |o| o.registers.gprs[RDX] == began(OPERAND, 8) && ended(o, OPERAND, 8) != began(OPERAND, 8),
    ),
    Snippet::new(
        "xchg-32-bits-clears-the-upper-half",
        || code!("xchg edx, [rbx]"),
        |o| o.registers.gprs[RDX] == began(OPERAND, 4),
    ),
    Snippet::new(
        "xadd-with-lock",
        || code!("lock xadd [rbx], rcx"),
        |o| {
            o.registers.gprs[RCX] == began(OPERAND, 8)
                && ended(o, OPERAND, 8) == began(OPERAND, 8).wrapping_add(3)
        },
    ),
    Snippet::new(
        "cmpxchg-that-finds-it",
        || code!("lock cmpxchg [rbx], rdx"),
        |o| ended(o, OPERAND, 8) == o.registers.gprs[RDX] && status(o) & ZERO != 0,
    )
    .with(|case| case.registers.gprs[RAX] = began(OPERAND, 8)),
    Snippet::new(
        "cmpxchg-that-does-not-find-it",
        || code!("cmpxchg [rbx], dx"),
        |o| o.registers.gprs[RAX] & 0xffff == began(OPERAND, 2) && status(o) & ZERO == 0,
    ),
    Snippet::new(
        "cmpxchg8b",
        || code!("lock cmpxchg8b [rbx]"),
        |o| ended(o, OPERAND, 8) == (3 << 32) | o.registers.gprs[RBX] & 0xffff_ffff,
    )
    .with(|case| {
        let value = began(OPERAND, 8);
        (case.registers.gprs[RAX], case.registers.gprs[RDX]) = (value & 0xffff_ffff, value >> 32);
    }),
    Snippet::new(
        "cmpxchg16b",
        || code!("lock cmpxchg16b [rsi]"),
        |o| ended(o, OPERAND, 8) == o.registers.gprs[RBX] && ended(o, OPERAND + 8, 8) == 3,
    )
    .with(|case| {
        (case.registers.gprs[RAX], case.registers.gprs[RDX]) = (began(OPERAND, 8), began(OPERAND + 8, 8));
    }),
    Snippet::new(
        "bt-by-register-reaches-beyond-the-operand",
        || code!("bt [rbx], rdx"),
        |o| status(o) & CARRY != 0,
    )
    .undefined(STATUS & !(CARRY | ZERO))
    .with(|case| {
        put(case, OPERAND + 0x80, 1 << 5);
        case.registers.gprs[RDX] = 0x80 * 8 + 5;
    }),
    Snippet::new(
        "bts-below-the-operand",
        || code!("bts dword ptr [rbx], edx"),
        |o| ended(o, OPERAND - 4, 4) == 1 << 31 && status(o) & CARRY == 0,
    )
    .undefined(STATUS & !(CARRY | ZERO))
    .with(|case| {
        put(case, OPERAND - 4, 0);
        case.registers.gprs[RDX] = u64::MAX;
    }),
    Snippet::new(
        "btr-by-constant",
        || code!("btr qword ptr [rbx], 63"),
        |o| ended(o, OPERAND, 8) == 1 && status(o) & CARRY != 0,
    )
    .undefined(STATUS & !(CARRY | ZERO))
    .with(|case| put(case, OPERAND, 1 << 63 | 1)),
    Snippet::new("btc-with-lock", || code!("lock btc word ptr [rbx], 3"), |o| ended(o, OPERAND, 2) == 8)
        .undefined(STATUS & !(CARRY | ZERO))
        .with(|case| put(case, OPERAND, 0)),
    Snippet::new(
        "add-across-pages",
        || code!("add [rbx], rdx"),
        |o| ended(o, PAGE_END - 4, 8) == began(PAGE_END - 4, 8).wrapping_add(o.registers.gprs[RDX]),
    )
    .with(|case| case.registers.gprs[RBX] = PAGE_END - 4),
    Snippet::new(
        "push-register",
        || code!("push rdx"),
        |o| o.registers.gprs[RSP] == STACK - 8 && ended(o, STACK - 8, 8) == o.registers.gprs[RDX],
    ),
    Snippet::new(
        "push-constant-sign-extended",
        || code!("push -2"),
        |o| ended(o, STACK - 8, 8) == u64::MAX - 1,
    ),
    Snippet::new(
        "push-memory",
        || code!("push qword ptr [rbx]"),
        |o| ended(o, STACK - 8, 8) == began(OPERAND, 8),
    ),
    Snippet::new("push-16-bits", || code!("push dx"), |o| o.registers.gprs[RSP] == STACK - 2),
    Snippet::new("push-stack-pointer-as-it-was", || code!("push rsp"), |o| ended(o, STACK - 8, 8) == STACK),
    Snippet::new(
        "pop-register",
        || code!("pop rdx"),
        |o| o.registers.gprs[RSP] == STACK + 8 && o.registers.gprs[RDX] == began(STACK, 8),
    ),
    Snippet::new("pop-stack-pointer", || code!("pop rsp"), |o| o.registers.gprs[RSP] == began(STACK, 8)),
    Snippet::new("pop-memory", || code!("pop qword ptr [rbx]"), |o| ended(o, OPERAND, 8) == began(STACK, 8)),
    Snippet::new(
        "pop-memory-by-the-new-stack-pointer",
        || code!("pop qword ptr [rsp + 8]"),
        |o| ended(o, STACK + 16, 8) == began(STACK, 8),
    ),
];
