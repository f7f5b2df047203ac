//! Model-specific registers: the two instructions, and the numbers of those that this crate uses.
//!
//! Unsafe because an MSR can move the CPU's tables, and one that is not there faults.

use core::arch::asm;

/// Local APIC base and mode (Intel SDM, volume 4, table 2-2).
pub const IA32_APIC_BASE: u32 = 0x1b;
/// The TSC value at which the local APIC's timer fires (Intel SDM, volume 3, section 11.5.4.1).
pub const IA32_TSC_DEADLINE: u32 = 0x6e0;
/// First register of the x2APIC: offset / 16 is added (Intel SDM, volume 3, section 11.12.1.2).
pub const X2APIC_FIRST: u32 = 0x800;
/// Extended features (AMD APM, volume 2, section 3.1.7).
pub const EFER: u32 = 0xc000_0080;
/// The base of GS (AMD APM, volume 2, section 3.2.4).
pub const GS_BASE: u32 = 0xc000_0101;

/// [`EFER`]: no-execute pages are honoured.
pub const EFER_NXE: u64 = 1 << 11;

/// Reads MSR `number`.
///
/// # Safety
/// The CPU has this MSR, and reading it has no effect that the caller does not answer for.
pub unsafe fn read(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller vouches for the MSR.
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes `value` to MSR `number`.
///
/// # Safety
/// The CPU has this MSR and takes this value, and what it changes keeps running code sound.
pub unsafe fn write(number: u32, value: u64) {
    // The halves of the value.
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller vouches for MSR and value. Not `nomem`: it may change what memory means.
    unsafe {
        asm!("wrmsr", in("ecx") number, in("eax") low, in("edx") high, options(nostack, preserves_flags));
    }
}
