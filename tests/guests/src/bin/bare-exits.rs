//! Exits again and again with three instructions, by which it asks a hypervisor that counts shares for snapshots: what two
//! of them differ by, besides those three, is what the counting takes for the guest's and is not.
//!
//! Unsafe because it executes CPUID, and because the entry code calls it by name.

#![no_std]
#![no_main]

use core::arch::asm;
use guests::checks;

/// The leaf of CPUID by which hypervisors that count shares are asked for a snapshot; the subleaf names it. The
/// hypervisor's own (vmm's `exits/cpuid.rs`) again: guests depend on none of its crates.
const MARK: u32 = 0x4346_0000;

/// Called by the entry code. There is nothing to check.
#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    // SAFETY: CPUID changes nothing but the four registers, of which the compiler wants RBX back.
    unsafe {
        asm!(
            "mov {rbx}, rbx",
            ".rept 4",
            "mov eax, {mark}",
            "xor ecx, ecx",
            "cpuid",
            ".endr",
            "mov rbx, {rbx}",
            rbx = out(reg) _,
            mark = const MARK,
            out("eax") _,
            out("ecx") _,
            out("edx") _,
            options(nostack, nomem),
        );
    }
    checks::exit(0)
}
