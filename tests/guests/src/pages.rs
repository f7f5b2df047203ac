//! Pages that a guest maps as it likes: 2 MiB of linear addresses, beyond the RAM of every guest that uses them.
//!
//! Unsafe because it changes page tables. No page of the program is among those, so that no compiled code notices.

use crate::checks::Probe;
use crate::probe;
use core::arch::asm;
use core::cell::UnsafeCell;

/// Where the first page is.
pub const LINEAR: u64 = 0x4000_0000;
/// The bytes of a page.
pub const BYTES: u64 = 4096;

const PRESENT: u64 = 1 << 0;
/// An entry's flag: may be written.
pub const WRITABLE: u64 = 1 << 1;
/// An entry's flag: users may pass.
pub const USER: u64 = 1 << 2;
/// An entry's flag: stays cached when CR3 is loaded.
pub const GLOBAL: u64 = 1 << 8;

#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);

// SAFETY: used on the only CPU, with interrupts masked, by functions that keep no reference.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([0; 512]));

/// Where page `n` is.
pub const fn linear(n: usize) -> u64 {
    LINEAR + n as u64 * BYTES
}

/// Maps page `n` by `entry`, an address and flags, and drops what the processor has cached of it.
pub fn set(n: usize, entry: u64) {
    set_only(n, entry);
    // SAFETY: it changes nothing but what is cached.
    unsafe { asm!("invlpg [{}]", in(reg) linear(n), options(nostack)) };
}

/// Maps page `n` by `entry`, of which the processor may take notice when it likes.
pub fn set_only(n: usize, entry: u64) {
    // SAFETY: nothing refers to what the page showed.
    unsafe { (&raw mut (*TABLE.0.get())[n]).write_volatile(entry | PRESENT) };
}

/// Takes page `n` away, of which the processor may take notice when it likes.
pub fn clear_only(n: usize) {
    // SAFETY: nothing refers to what the page showed.
    unsafe { (&raw mut (*TABLE.0.get())[n]).write_volatile(0) };
}

/// Reads the first word of page `n`.
pub fn read(n: usize) -> u64 {
    let value: u64;
    // SAFETY: the page is mapped; by assembly, since what it shows changes behind the compiler's back.
    unsafe { asm!("mov {}, [{}]", out(reg) value, in(reg) linear(n), options(nostack, readonly)) };
    value
}

/// Writes the first word of page `n`, which may fault.
pub fn write(n: usize, value: u64) -> Probe {
    // SAFETY: nothing refers to what the page shows.
    unsafe { probe!("mov [{place}], {value}", place = in(reg) linear(n), value = in(reg) value) }
}

/// Writes the first word of the identity-mapped page at `address`, where no program is.
pub fn put(address: u64, value: u64) {
    // SAFETY: nothing refers to that page.
    unsafe { asm!("mov [{}], {}", in(reg) address, in(reg) value, options(nostack)) };
}

/// Reads the first word of the identity-mapped page at `address`.
pub fn get(address: u64) -> u64 {
    let value: u64;
    // SAFETY: memory is there.
    unsafe { asm!("mov {}, [{}]", out(reg) value, in(reg) address, options(nostack, readonly)) };
    value
}

/// Makes the pages' addresses lead to their table, which maps nothing yet. Users may pass on the way there; no page of
/// the program is a user's.
pub fn allow() {
    unsafe extern "C" {
        static mut pml4: [u64; 512];
    }
    const ADDRESS: u64 = !0xfff;
    // SAFETY: the entry code's tables are identity-mapped and nobody else changes them; nothing has been at these
    // addresses, and the tables live for ever.
    unsafe {
        let root = &raw mut pml4[0];
        root.write_volatile(root.read_volatile() | USER);
        let pointer = ((root.read_volatile() & ADDRESS) as *mut u64).add((LINEAR >> 30) as usize);
        pointer.write_volatile(pointer.read_volatile() | USER);
        let directory = (pointer.read_volatile() & ADDRESS) as *mut u64;
        directory.write_volatile(TABLE.0.get() as u64 | USER | WRITABLE | PRESENT);
        asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack));
    }
}
