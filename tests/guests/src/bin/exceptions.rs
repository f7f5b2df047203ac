//! Exceptions reach the guest's own handlers with the right vector, error code, RIP, CR2 and DR6.
//!
//! Unsafe because the exceptions are raised on purpose, in assembly.

#![no_std]
#![no_main]

use core::arch::asm;
use guests::interrupts::{Trap, count, last};
use guests::{Checks, entry, guest, probe};

guest!("exceptions", run);

/// Nothing is mapped here, and it is canonical.
const UNMAPPED: u64 = 0xffff_8000_1234_5678;
const NON_CANONICAL: u64 = 0x8000_0000_0000_0000;

const PAGE_FAULT: u64 = 14;
const DR6_SINGLE_STEP: u64 = 1 << 14;
const DR6_BREAKPOINT_0: u64 = 1;

fn run(checks: &mut Checks) {
    faults(checks);
    page_faults(checks);
    traps(checks);
    debug(checks);
}

/// Checks that the probe at `at` raised `vector` with `error_code`.
fn raised(checks: &mut Checks, name: &str, (at, trap): (u64, Option<Trap>), vector: u64, error_code: u64) {
    let as_expected = trap.is_some_and(|t| (t.vector, t.error_code, t.rip) == (vector, error_code, at));
    checks.check(name, as_expected, format_args!("at {at:#x} saw {trap:x?}"));
}

fn faults(checks: &mut Checks) {
    // SAFETY: each instruction faults and changes nothing; where it does not, the check fails.
    unsafe {
        let divide = probe!("div ecx", in("ecx") 0, inout("eax") 1 => _, inout("edx") 0 => _);
        raised(checks, "divide", divide, 0, 0);
        raised(checks, "invalid-opcode", probe!("ud2"), 6, 0);
        let canonical = probe!("mov {to}, [{from}]", to = out(reg) _, from = in(reg) NON_CANONICAL);
        raised(checks, "general-protection", canonical, 13, 0);
        // A selector past the table's limit; the error code is the selector.
        let selector = probe!("mov fs, {selector:x}", selector = in(reg) 0x1238);
        raised(checks, "general-protection-selector", selector, 13, 0x1238);
    }
}

fn page_faults(checks: &mut Checks) {
    const WRITE: u64 = 2;
    const PRESENT: u64 = 1;
    // SAFETY: nothing is mapped there, or only for reading.
    unsafe {
        let read = probe!("mov {to}, [{from}]", to = out(reg) _, from = in(reg) UNMAPPED);
        raised(checks, "page-fault-read", read, PAGE_FAULT, 0);
        checks.equal("page-fault-address", last().cr2, UNMAPPED);
        let write = probe!("mov dword ptr [{to}], 1", to = in(reg) UNMAPPED);
        raised(checks, "page-fault-write", write, PAGE_FAULT, WRITE);
        let protected = probe!("mov dword ptr [{to}], 1", to = in(reg) entry::READ_ONLY_ALIAS);
        raised(checks, "page-fault-read-only", protected, PAGE_FAULT, WRITE | PRESENT);
        checks.equal("page-fault-read-only-address", last().cr2, entry::READ_ONLY_ALIAS);
    }
}

fn traps(checks: &mut Checks) {
    // SAFETY: the handlers note both and come back behind the instruction.
    unsafe {
        let (at, trap) = probe!("int3");
        let noted = trap.is_some_and(|t| t.vector == 3 && t.rip == at + 1);
        checks.check("breakpoint", noted, format_args!("at {at:#x} saw {trap:x?}"));
        let (at, trap) = probe!("int 0x80");
        let noted = trap.is_some_and(|t| t.vector == 0x80 && t.rip == at + 2);
        checks.check("software-interrupt", noted, format_args!("at {at:#x} saw {trap:x?}"));
    }
}

fn debug(checks: &mut Checks) {
    let before = count(1);
    let target: u64;
    // SAFETY: sets the trap flag for one instruction; the handler clears it.
    unsafe {
        asm!("lea {0}, [rip + 2f]", "pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop", "2:", out(reg) target);
    }
    let trap = last();
    let noted = (trap.vector, trap.rip) == (1, target) && trap.dr6 & DR6_SINGLE_STEP != 0;
    checks.check(
        "single-step",
        noted && count(1) == before + 1,
        format_args!("saw {trap:x?}, expected at {target:#x}"),
    );

    let target: u64;
    // SAFETY: DR0 names the NOP below, DR7 enables it for execution, and is cleared again.
    unsafe {
        asm!(
            "lea {at}, [rip + 2f]", "mov dr0, {at}", "mov {scratch:e}, 0x402", "mov dr7, {scratch}",
            "2:", "nop",
            "mov {scratch:e}, 0x400", "mov dr7, {scratch}",
            at = out(reg) target, scratch = out(reg) _,
        );
    }
    let trap = last();
    let noted = (trap.vector, trap.rip) == (1, target) && trap.dr6 & DR6_BREAKPOINT_0 != 0;
    checks.check(
        "hardware-breakpoint",
        noted && count(1) == before + 2,
        format_args!("saw {trap:x?}, expected at {target:#x}"),
    );
}
