//! Ports, registers and instructions, one thin function each.
//!
//! Unsafe because each is an instruction of assembly.

use crate::checks::Probe;
use crate::probe;
use core::arch::asm;
pub use core::arch::x86_64::__cpuid_count as cpuid;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

macro_rules! port_in {
    ($(#[$doc:meta])* $name:ident, $ty:ty, $register:tt) => {
        $(#[$doc])*
        pub fn $name(port: u16) -> $ty {
            let value: $ty;
            // SAFETY: no port of the machines that guests run on touches memory by itself.
            unsafe { asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value, options(nostack)) };
            value
        }
    };
}

macro_rules! port_out {
    ($(#[$doc:meta])* $name:ident, $ty:ty, $register:tt) => {
        $(#[$doc])*
        pub fn $name(port: u16, value: $ty) {
            // SAFETY: as for reading.
            unsafe { asm!(concat!("out dx, ", $register), in("dx") port, in($register) value, options(nostack)) };
        }
    };
}

port_in!(/** Reads one byte. */ inb, u8, "al");
port_in!(/** Reads two bytes. */ inw, u16, "ax");
port_in!(/** Reads four bytes. */ inl, u32, "eax");
port_out!(/** Writes one byte. */ outb, u8, "al");
port_out!(/** Writes two bytes. */ outw, u16, "ax");
port_out!(/** Writes four bytes. */ outl, u32, "eax");

/// The time-stamp counter.
pub fn tsc() -> u64 {
    let (high, low): (u32, u32);
    // SAFETY: reads a counter; LFENCE keeps the order.
    unsafe { asm!("lfence", "rdtsc", out("edx") high, out("eax") low, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Reads a model-specific register that exists.
pub fn rdmsr(register: u32) -> u64 {
    let (high, low): (u32, u32);
    // SAFETY: a read has no effect on memory; a fault is reported by the interrupt handler.
    unsafe { asm!("rdmsr", in("ecx") register, out("edx") high, out("eax") low, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register that exists.
///
/// # Safety
/// What the value means to the processor must leave this program runnable.
pub unsafe fn wrmsr(register: u32, value: u64) {
    // SAFETY: by the contract above.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("edx") (value >> 32) as u32, in("eax") value as u32, options(nostack))
    };
}

/// Allows interrupts, waits for one, and masks them again.
pub fn wait_for_interrupt() {
    // SAFETY: every vector has a handler.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Lets the interrupts through that wait, and masks them again.
pub fn take_interrupts() {
    // SAFETY: every vector has a handler.
    unsafe { asm!("sti", "nop", "nop", "cli", options(nostack)) };
}

/// WRMSR, which may fault.
///
/// # Safety
/// As for [`wrmsr`], if the processor takes the value.
pub unsafe fn try_wrmsr(register: u32, value: u64) -> Probe {
    // SAFETY: by the contract above.
    unsafe { probe!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32) }
}

/// RDMSR, which may fault.
pub fn try_rdmsr(register: u32) -> Probe {
    // SAFETY: a read, or a fault.
    unsafe { probe!("rdmsr", in("ecx") register, out("eax") _, out("edx") _) }
}

/// Stops with interrupts masked.
pub fn halt_masked() {
    // SAFETY: nothing but an NMI ends it.
    unsafe { asm!("cli", "hlt", options(nostack)) };
}

/// Whether the processor is one of Intel's. CPUID is asked once: it exits, and exits are counted.
pub fn is_intel() -> bool {
    const UNKNOWN: u8 = 0;
    const OTHER: u8 = 1;
    const INTEL: u8 = 2;
    static MAKER: AtomicU8 = AtomicU8::new(UNKNOWN);
    if MAKER.load(Relaxed) == UNKNOWN {
        let leaf = cpuid(0, 0);
        let name = (leaf.ebx, leaf.edx, leaf.ecx);
        let is_intel = name == (0x756e_6547, 0x4965_6e69, 0x6c65_746e); // "GenuineIntel"
        MAKER.store(if is_intel { INTEL } else { OTHER }, Relaxed);
    }
    MAKER.load(Relaxed) == INTEL
}

/// Asks the hypervisor `number`; its answer.
pub fn hypercall(number: u64) -> u64 {
    let mut rax = number;
    // SAFETY: a hypercall changes RAX alone.
    unsafe {
        if is_intel() {
            asm!("vmcall", inout("rax") rax, options(nostack));
        } else {
            asm!("vmmcall", inout("rax") rax, options(nostack));
        }
    }
    rax
}

/// Whether this is QEMU's emulator itself, without a hypervisor: it lacks some faults that processors have.
pub fn is_bare_emulator() -> bool {
    let leaf = cpuid(0x4000_0000, 0);
    (leaf.ebx, leaf.ecx, leaf.edx) == (0x5447_4354, 0x4354_4743, 0x4743_5447) // "TCGTCGTCGTCG"
}
