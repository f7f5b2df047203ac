//! The same from 32- and 16-bit code, in compatibility mode: other defaults, segments with limits, narrow stacks.

use super::snippet::*;
use crate::code;
use crate::sandbox::{LIMITED_BASE, Level, MEMORY};
use instruction_cases::{Ending, PAGE};

const GENERAL: Ending = Ending::Fault(13, 0, 0);
const WRITE_USER: u32 = 6;

/// Selectors of data with a limit, and of data that cannot be written.
const LIMITED: u64 = 0x4b;
const READ_ONLY_SELECTOR: u64 = 0x53;

pub const COMPATIBILITY: &[Snippet] = &[
    Snippet::new("32-bit-load", || code!(".byte 0x8b, 0x03"), |o| o.registers.gprs[RAX] == began(OPERAND, 4))
        .at(Level::User32),
    Snippet::new(
        "32-bit-store-of-16-bits",
        || code!(".byte 0x66, 0x89, 0x13"),
        |o| {
            ended(o, OPERAND, 2) == o.registers.gprs[RDX] & 0xffff
                && ended(o, OPERAND + 2, 1) == began(OPERAND + 2, 1)
        },
    )
    .at(Level::User32),
    // [ebx + ecx * 4 + 8]
    Snippet::new(
        "32-bit-address-wraps",
        || code!(".byte 0x8b, 0x44, 0x8b, 0x08"),
        |o| o.registers.gprs[RAX] == began(OPERAND, 4),
    )
    .at(Level::User32)
    .with(|case| {
        case.registers.gprs[RCX] = 0xffff_0000 >> 2;
        case.registers.gprs[RBX] = OPERAND - 8 + 0x1_0000;
    }),
    Snippet::new(
        "32-bit-inc-by-one-byte-opcode-is-not-rex",
        || code!(".byte 0xff, 0x03"),
        |o| ended(o, OPERAND, 4) == began(OPERAND, 4) + 1,
    )
    .at(Level::User32),
    Snippet::new(
        "32-bit-push-and-stack",
        || code!(".byte 0xff, 0x33"),
        |o| ended(o, STACK - 4, 4) == began(OPERAND, 4) && o.registers.gprs[RSP] == STACK - 4,
    )
    .at(Level::User32),
    Snippet::new(
        "32-bit-pop-memory",
        || code!(".byte 0x8f, 0x03"),
        |o| ended(o, OPERAND, 4) == began(STACK, 4),
    )
    .at(Level::User32),
    Snippet::new(
        "32-bit-rep-movsd",
        || code!(".byte 0xf3, 0xa5"),
        |o| ended(o, OPERAND + 0x108, 4) == began(OPERAND + 8, 4) && o.registers.gprs[RCX] == 0,
    )
    .at(Level::User32),
    Snippet::new(
        "32-bit-sse-load",
        || code!(".byte 0x0f, 0x10, 0x0b"),
        |o| o.registers.vectors[1][..8] == began(OPERAND, 8).to_le_bytes(),
    )
    .at(Level::User32),
    Snippet::faulting(
        "32-bit-page-fault",
        || code!(".byte 0x89, 0x13"),
        Ending::Fault(14, WRITE_USER, LAST + 1),
    )
    .at(Level::User32)
    .faults_first()
    .with(|case| case.registers.gprs[RBX] = LAST - 2),
    Snippet::new(
        "segment-with-a-base",
        || code!(".byte 0x8b, 0x43, 0x10"),
        |o| o.registers.gprs[RAX] == began(LIMITED_BASE + 0x30, 4),
    )
    .at(Level::User32)
    .data(LIMITED)
    .with(|case| case.registers.gprs[RBX] = 0x20),
    Snippet::faulting("beyond-the-limit-of-a-segment", || code!(".byte 0x8b, 0x03"), GENERAL)
        .at(Level::User32)
        .data(LIMITED)
        .unlike_qemu()
        .faults_first()
        .with(|case| case.registers.gprs[RBX] = PAGE as u64 - 3),
    Snippet::faulting("write-to-a-segment-for-reading", || code!(".byte 0x89, 0x13"), GENERAL)
        .at(Level::User32)
        .data(READ_ONLY_SELECTOR)
        .unlike_qemu()
        .faults_first(),
    Snippet::new(
        "stack-segment-override",
        || code!(".byte 0x36, 0x8b, 0x03"),
        |o| o.registers.gprs[RAX] == began(OPERAND, 4),
    )
    .at(Level::User32)
    .data(LIMITED),
    // mov ax, [bx + si + 0x10], with a base that the 16 bits reach from.
    Snippet::new(
        "16-bit-address",
        || code!(".byte 0x8b, 0x40, 0x10"),
        |o| o.registers.gprs[RAX] & 0xffff == began(LIMITED_BASE + 0x130, 2),
    )
    .at(Level::User16)
    .data(LIMITED)
    .with(|case| (case.registers.gprs[RBX], case.registers.gprs[RSI]) = (0x100, 0x20)),
    Snippet::new(
        "16-bit-address-wraps",
        || code!(".byte 0x8b, 0x00"),
        |o| o.registers.gprs[RAX] & 0xffff == began(LIMITED_BASE + 0x20, 2),
    )
    .at(Level::User16)
    .data(LIMITED)
    .with(|case| (case.registers.gprs[RBX], case.registers.gprs[RSI]) = (0xfff0, 0x30)),
    Snippet::new(
        "16-bit-code-with-both-overrides",
        || code!(".byte 0x67, 0x66, 0x8b, 0x03"),
        |o| o.registers.gprs[RAX] == began(OPERAND, 4),
    )
    .at(Level::User16),
    Snippet::new(
        "16-bit-rep-stosw-counts-cx",
        || code!(".byte 0xf3, 0xab"),
        |o| o.registers.gprs[RCX] == 0x5555_0000 && ended(o, LIMITED_BASE + 0x100, 4) == 0x7777_7777,
    )
    .at(Level::User16)
    .data(LIMITED)
    .with(|case| {
        case.registers.gprs[RAX] = 0x7777;
        (case.registers.gprs[RCX], case.registers.gprs[RDI]) = (0x5555_0002, 0x100);
    }),
];

const _: () = assert!(LIMITED_BASE == MEMORY + PAGE as u64);
