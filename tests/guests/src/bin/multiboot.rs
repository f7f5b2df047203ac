//! Entered by its Multiboot 1 header: what the Multiboot information tells (Multiboot 0.6.96, section 3.3).

#![no_std]
#![no_main]

use guests::entry::boot_registers;
use guests::handed::{self, Text, read};
use guests::{Checks, guest, println};

guest!("multiboot", run, multiboot);

const MAGIC: u64 = 0x2bad_b002;
/// CR0: PE and PG.
const CR0_MODE: u32 = 0x8000_0001;
const CR0_PE: u64 = 1;

/// Flags: memory sizes, command line, modules, memory map, loader's name.
const FLAGS: u32 = 0x24d;
/// Memory below 1 MiB, at most, in KiB.
const LOW_MAX_KIB: u32 = 640;

fn run(checks: &mut Checks) {
    let registers = boot_registers();
    checks.equal("cr0-mode", (registers.cr0 & CR0_MODE).into(), CR0_PE);
    checks.equal("magic", registers.eax.into(), MAGIC);
    if u64::from(registers.eax) != MAGIC {
        return;
    }
    let info = u64::from(registers.ebx);
    let flags: u32 = read(info);
    checks.equal("flags", (flags & FLAGS).into(), FLAGS.into());
    let (lower, upper): (u32, u32) = (read(info + 4), read(info + 8));
    println!("guest: {lower} KiB below, {upper} KiB above 1 MiB");
    checks.check("mem-lower", (1..=LOW_MAX_KIB).contains(&lower), format_args!("saw {lower}"));
    handed::command_line(address(info + 16));
    println!("guest: loaded by \"{}\"", Text(address(info + 64)));

    let (len_bytes, map) = (address(info + 44), address(info + 48));
    // The size of an entry does not count its own field.
    let next = |at: &u64| Some(at + 4 + u64::from(read::<u32>(*at)));
    let entries = core::iter::successors(Some(map), next).take_while(|at| *at < map + len_bytes);
    handed::memory_map(checks, entries.map(|at| (read(at + 4), read(at + 12), read(at + 20))));

    let (modules, list) = (read::<u32>(info + 20), address(info + 24));
    for number in 0..modules {
        let at = list + u64::from(number) * 16;
        let (start, end) = (address(at), address(at + 4));
        handed::module(checks, number, start, end - start, address(at + 8));
    }
}

/// Reads an address or a size.
fn address(at: u64) -> u64 {
    read::<u32>(at).into()
}
