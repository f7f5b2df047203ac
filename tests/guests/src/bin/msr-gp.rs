//! Model-specific registers: unknown ones fault, those of the guest's own keep their values over exits, and EFER
//! follows its rules.
//!
//! Unsafe because it writes model-specific registers, also in ways that must fault.

#![no_std]
#![no_main]

use guests::interrupts::Trap;
use guests::{Checks, cpu, guest, probe};

guest!("msr-gp", run);

const GENERAL_PROTECTION: u64 = 13;

/// Indices that no processor has given a meaning to.
const UNKNOWN: [(&str, u32); 3] =
    [("low", 0x1fff), ("outside-the-maps", 0xdead_0000), ("amd-range", 0xc001_1fff)];

/// AMD APM 24593, volume 2, appendix A; a value that each register can hold.
const OWN: [(&str, u32, u64); 10] = [
    ("sysenter-cs", 0x174, 0x10),
    ("sysenter-esp", 0x175, 0xffff_8000_0000_1000),
    ("sysenter-eip", 0x176, 0xffff_8000_0000_2000),
    ("star", 0xc000_0081, 0x0023_0010_0000_0000),
    ("lstar", 0xc000_0082, 0xffff_8000_0000_3000),
    ("cstar", 0xc000_0083, 0xffff_8000_0000_4000),
    ("sfmask", 0xc000_0084, 0x4_7700),
    ("fs-base", 0xc000_0100, 0xffff_8000_0000_5000),
    ("gs-base", 0xc000_0101, 0xffff_8000_0000_6000),
    ("kernel-gs-base", 0xc000_0102, 0xffff_8000_0000_7000),
];

const EFER: u32 = 0xc000_0080;
const EFER_SCE: u64 = 1 << 0;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const EFER_SVME: u64 = 1 << 12;
const EFER_RESERVED: u64 = 1 << 1;

/// Why an emulator is let off.
const NO_FAULT: &str = "QEMU's emulator does not fault here";

fn run(checks: &mut Checks) {
    unknown(checks);
    own(checks);
    efer(checks);
}

/// RDMSR, with what RAX and RDX held before and after.
fn read(register: u32) -> (u64, Option<Trap>, (u64, u64)) {
    let (rax, rdx): (u64, u64);
    // SAFETY: a read, or a fault.
    let (at, trap) = unsafe {
        probe!("rdmsr", in("ecx") register, inout("rax") 0x5555_u64 => rax, inout("rdx") 0x6666_u64 => rdx)
    };
    (at, trap, (rax, rdx))
}

fn write(register: u32, value: u64) -> (u64, Option<Trap>) {
    // SAFETY: the values written here leave the processor running, or fault.
    unsafe { probe!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32) }
}

fn is_fault_at(at: u64, trap: Option<Trap>) -> bool {
    trap.is_some_and(|t| (t.vector, t.error_code, t.rip) == (GENERAL_PROTECTION, 0, at))
}

fn unknown(checks: &mut Checks) {
    if cpu::is_bare_emulator() {
        checks.skip("unknown-read", NO_FAULT);
        checks.skip("unknown-write", NO_FAULT);
        return;
    }
    for (place, register) in UNKNOWN {
        let (at, trap, registers) = read(register);
        let passed = is_fault_at(at, trap) && registers == (0x5555, 0x6666);
        checks.check(
            "unknown-read",
            passed,
            format_args!("{place} {register:#x} at {at:#x}: {trap:x?}, RAX RDX {registers:x?}"),
        );
        let (at, trap) = write(register, 0);
        checks.check(
            "unknown-write",
            is_fault_at(at, trap),
            format_args!("{place} {register:#x} at {at:#x}: {trap:x?}"),
        );
    }
}

fn own(checks: &mut Checks) {
    let before = OWN.map(|(_, register, _)| cpu::rdmsr(register));
    for (_, register, value) in OWN {
        // SAFETY: none of them is used by this program: it makes no system call and has no thread-local data.
        unsafe { cpu::wrmsr(register, value) };
    }
    // Leaves a virtual machine, so that everything is switched away and back.
    cpu::cpuid(0, 0);
    for (name, register, value) in OWN {
        checks.equal(name, cpu::rdmsr(register), value);
    }
    for ((_, register, _), value) in OWN.iter().zip(before) {
        // SAFETY: as it was.
        unsafe { cpu::wrmsr(*register, value) };
    }
}

fn efer(checks: &mut Checks) {
    let value = cpu::rdmsr(EFER);
    checks.check(
        "efer-long-mode",
        value & (EFER_LME | EFER_LMA) == EFER_LME | EFER_LMA,
        format_args!("EFER is {value:#x}"),
    );
    checks.check("efer-hides-svm", value & EFER_SVME == 0, format_args!("EFER is {value:#x}"));
    let (_, trap) = write(EFER, value | EFER_SCE);
    checks.check(
        "efer-system-calls",
        trap.is_none() && cpu::rdmsr(EFER) & EFER_SCE != 0,
        format_args!("{trap:x?}"),
    );
    for (name, bad) in
        [("efer-reserved-bit", value | EFER_RESERVED), ("efer-leaving-long-mode", value & !EFER_LME)]
    {
        if cpu::is_bare_emulator() {
            checks.skip(name, NO_FAULT);
            continue;
        }
        let (at, trap) = write(EFER, bad);
        checks.check(name, is_fault_at(at, trap), format_args!("at {at:#x}: {trap:x?}"));
    }
}
