//! Faults: what each is, and that nothing happened before it.

use super::snippet::*;
use crate::code;
use crate::sandbox::{Level, MEMORY};
use instruction_cases::{Ending, PAGE};

const ALIGNMENT_FLAG: u64 = 1 << 18;
const TRAP_FLAG: u64 = 1 << 8;
const DIRECTION: u64 = 1 << 10;
/// Error code bits of a page fault.
const PRESENT: u32 = 1;
const WRITE: u32 = 2;
const USER: u32 = 4;

const NOT_CANONICAL: u64 = 0x0000_8000_0000_0000;
const ABSENT: u64 = LAST + 1;
/// Where the second page ends.
const PAGE_END: u64 = MEMORY + 2 * PAGE as u64;

const GENERAL: Ending = Ending::Fault(13, 0, 0);
const STACK_FAULT: Ending = Ending::Fault(12, 0, 0);
const DEBUG: Ending = Ending::Fault(1, 0, 0);
const fn page_fault(code: u32, address: u64) -> Ending {
    Ending::Fault(14, code, address)
}

pub const FAULTS: &[Snippet] = &[
    Snippet::faulting(
        "read-modify-write-of-a-read-only-page",
        || code!("add qword ptr [rbx], 1"),
        page_fault(PRESENT | WRITE | USER, READ_ONLY),
    )
    .faults_first()
    .with(|case| case.registers.gprs[RBX] = READ_ONLY),
    Snippet::faulting(
        "load-across-into-an-absent-page",
        || code!("mov rax, [rbx]"),
        page_fault(USER, ABSENT),
    )
    .faults_first()
    .with(|case| case.registers.gprs[RBX] = LAST - 3),
    Snippet::faulting(
        "store-across-into-an-absent-page",
        || code!("mov [rbx], rdx"),
        page_fault(USER | WRITE, ABSENT),
    )
    .faults_first()
    .with(|case| case.registers.gprs[RBX] = LAST - 3),
    Snippet::faulting("movs-to-an-absent-page", || code!("movsq"), page_fault(USER | WRITE, ABSENT))
        .with(|case| case.registers.gprs[RDI] = ABSENT),
    Snippet::faulting(
        "push-to-a-read-only-page",
        || code!("push qword ptr [rbx]"),
        page_fault(PRESENT | WRITE | USER, MEMORY + PAGE as u64 - 8),
    )
    .with(|case| case.registers.gprs[RSP] = MEMORY + PAGE as u64),
    Snippet::faulting(
        "pop-to-an-absent-page",
        || code!("pop qword ptr [rbx]"),
        page_fault(WRITE | USER, ABSENT),
    )
    .with(|case| case.registers.gprs[RBX] = ABSENT),
    Snippet::faulting("movs-to-no-canonical-address", || code!("movsq"), GENERAL)
        .with(|case| case.registers.gprs[RDI] = NOT_CANONICAL),
    Snippet::faulting(
        "push-of-memory-to-no-canonical-address",
        || code!("push qword ptr [rbx]"),
        STACK_FAULT,
    )
    .unlike_qemu()
    .with(|case| case.registers.gprs[RSP] = NOT_CANONICAL + 8),
    Snippet::new(
        "a-kernel-writes-a-users-page",
        || code!("mov [rbx], rdx"),
        |o| ended(o, OPERAND, 8) == o.registers.gprs[RDX],
    )
    .at(Level::Kernel64),
    Snippet::new(
        "single-step-traps-behind-the-instruction",
        || code!("mov [rbx], rdx"),
        |o| ended(o, OPERAND, 8) == o.registers.gprs[RDX],
    )
    .ending(DEBUG)
    .with(|case| case.registers.rflags |= TRAP_FLAG),
    Snippet::new(
        "single-step-traps-after-each-element",
        || code!("rep movsb"),
        |o| o.registers.gprs[RCX] == 2 && ended(o, OPERAND + 0x100, 1) == began(OPERAND, 1),
    )
    .ending(DEBUG)
    .with(|case| case.registers.rflags |= TRAP_FLAG),
    Snippet::new(
        "repeated-compare-faults-where-it-stands",
        || code!("repe cmpsb"),
        |o| o.registers.gprs[RCX] == 98 && o.registers.gprs[RDI] == ABSENT,
    )
    .ending(page_fault(USER, ABSENT))
    .with(|case| {
        (case.registers.gprs[RCX], case.registers.gprs[RDI]) = (100, LAST - 1);
        put(case, LAST - 7, 0);
        put(case, OPERAND, 0);
    }),
    Snippet::new(
        "downwards-into-a-read-only-page",
        || code!("rep stosb"),
        |o| o.registers.gprs[RCX] == 8 && o.registers.gprs[RDI] == MEMORY + PAGE as u64 - 1,
    )
    .ending(page_fault(PRESENT | WRITE | USER, MEMORY + PAGE as u64 - 1))
    .with(|case| {
        case.registers.rflags |= DIRECTION;
        (case.registers.gprs[RCX], case.registers.gprs[RDI]) = (10, MEMORY + PAGE as u64 + 1);
    }),
    Snippet::new(
        "aligned-access-with-alignment-checks",
        || code!("mov rax, [rbx]"),
        |o| o.registers.gprs[RAX] == began(OPERAND, 8),
    )
    .with(|case| case.registers.rflags |= ALIGNMENT_FLAG),
    Snippet::new(
        "no-alignment-check-of-a-kernel",
        || code!("mov rax, [rbx + 1]"),
        |o| o.registers.gprs[RAX] == began(OPERAND + 1, 8),
    )
    .at(Level::Kernel64)
    .with(|case| case.registers.rflags |= ALIGNMENT_FLAG),
    Snippet::faulting("alignment-check-of-a-user", || code!("mov rax, [rbx + 1]"), Ending::Fault(17, 0, 0))
        .unlike_qemu()
        .faults_first()
        .with(|case| case.registers.rflags |= ALIGNMENT_FLAG),
    Snippet::faulting("alignment-check-across-pages", || code!("mov [rbx], edx"), Ending::Fault(17, 0, 0))
        .unlike_qemu()
        .faults_first()
        .with(|case| {
            case.registers.rflags |= ALIGNMENT_FLAG;
            case.registers.gprs[RBX] = PAGE_END - 2;
        }),
];
