//! Addresses where nothing is read as ones and swallow writes, as on a PC; the VM goes on.
//!
//! Unsafe because it accesses addresses that no object has.

#![no_std]
#![no_main]

use core::arch::asm;
use guests::{Checks, cpu, entry, guest};

guest!("outside-memory", run);

/// Between the RAM below 4 GiB and the devices: no machine that runs this has 3 GiB or more.
const PCI_HOLE: u64 = 0xc800_0000;

const PLACES: [(&str, u64); 3] =
    [("hole", PCI_HOLE), ("hole-unaligned", PCI_HOLE + 0x1003), ("far-beyond-ram", entry::FAR_ALIAS)];

fn run(checks: &mut Checks) {
    for (name, address) in PLACES {
        let seen = reads(address);
        checks.check(name, seen == nothing(), format_args!("at {address:#x} saw {seen:x?}"));
        writes(address);
        let seen = reads(address);
        checks.check(
            "writes-are-swallowed",
            seen == nothing(),
            format_args!("at {address:#x} saw {seen:x?}"),
        );
    }
    memory_still_works(checks);
}

/// What [`reads`] gives where nothing is.
fn nothing() -> [u64; 6] {
    // QEMU's emulator reads zeros where a bus without an answer reads ones.
    let ones = if cpu::is_bare_emulator() { 0 } else { u64::MAX };
    [ones & 0xff, ones & 0xffff, ones & 0xffff_ffff, ones, ones & 0xff, ones]
}

/// Reads 1, 2, 4 and 8 bytes at `address`, then one byte with zero and with sign extension.
fn reads(address: u64) -> [u64; 6] {
    let (one, two, four, eight, zero_extended, sign_extended): (u64, u64, u64, u64, u64, u64);
    // SAFETY: nothing is there.
    unsafe {
        asm!(
            "xor {one:e}, {one:e}",
            "xor {two:e}, {two:e}",
            "mov {one:l}, byte ptr [{at}]",
            "mov {two:x}, word ptr [{at}]",
            "mov {four:e}, dword ptr [{at}]",
            "mov {eight}, qword ptr [{at}]",
            "movzx {zero:e}, byte ptr [{at}]",
            "movsx {sign}, byte ptr [{at}]",
            at = in(reg) address,
            one = out(reg) one,
            two = out(reg) two,
            four = out(reg) four,
            eight = out(reg) eight,
            zero = out(reg) zero_extended,
            sign = out(reg) sign_extended,
        );
    }
    [one, two, four, eight, zero_extended, sign_extended]
}

/// Writes 1, 2, 4 and 8 bytes at `address`, from a register and from the instruction.
fn writes(address: u64) {
    // SAFETY: nothing is there.
    unsafe {
        asm!(
            "mov byte ptr [{at}], {value:l}",
            "mov word ptr [{at}], {value:x}",
            "mov dword ptr [{at}], {value:e}",
            "mov qword ptr [{at}], {value}",
            "mov dword ptr [{at}], 0x12345678",
            at = in(reg) address,
            value = in(reg) 0x0123_4567_89ab_cdef_u64,
        );
    }
}

fn memory_still_works(checks: &mut Checks) {
    let mut cell = 0_u64;
    // SAFETY: writes and reads `cell`.
    let seen = unsafe {
        (&raw mut cell).write_volatile(0x0bad_cafe);
        (&raw const cell).read_volatile()
    };
    checks.equal("memory-still-works", seen, 0x0bad_cafe);
}
