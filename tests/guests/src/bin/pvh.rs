//! Entered by its PVH note: what the start info tells (Xen, `include/public/arch-x86/hvm/start_info.h`).

#![no_std]
#![no_main]

use guests::entry::boot_registers;
use guests::handed::{self, read};
use guests::{Checks, guest};

guest!("pvh", run, pvh);

const MAGIC: u64 = 0x336e_c578;
/// CR0: protected mode, and the bit that is always set.
const CR0_PE_ET: u64 = 0x11;

fn run(checks: &mut Checks) {
    let registers = boot_registers();
    checks.equal("cr0", registers.cr0.into(), CR0_PE_ET);
    checks.equal("cr4", registers.cr4.into(), 0);
    let info = u64::from(registers.ebx);
    let magic = u64::from(read::<u32>(info));
    checks.equal("start-info-magic", magic, MAGIC);
    if magic != MAGIC {
        return;
    }
    checks.equal("start-info-version", read::<u32>(info + 4).into(), 1);
    handed::command_line(read(info + 24));
    let rsdp: u64 = read(info + 32);
    checks.equal("rsdp", read(rsdp), u64::from_le_bytes(*b"RSD PTR "));

    let (map, entries): (u64, u32) = (read(info + 40), read(info + 48));
    let entries = (0..u64::from(entries)).map(|n| map + n * 24);
    handed::memory_map(checks, entries.map(|at| (read(at), read(at + 8), read(at + 16))));

    let (modules, list): (u32, u64) = (read(info + 12), read(info + 16));
    for number in 0..modules {
        let at = list + u64::from(number) * 32;
        handed::module(checks, number, read(at), read(at + 8), read(at + 16));
    }
}
