//! What a loader handed over, read from its structures and printed for whoever knows what it should be.
//!
//! Unsafe because the structures are at addresses that the loader tells.

use crate::{Checks, println};
use core::fmt;

/// A page: modules are to begin at one.
const PAGE_BYTES: u64 = 4096;
/// The longest text that is shown, in bytes.
const TEXT_MAX_BYTES: usize = 200;
/// The first byte of every guest.
const GUEST_START: u64 = 0x10_0000;

/// A memory map's type for memory that may be used.
const USABLE: u32 = 1;

/// Reads a number of the loader's, below 4 GiB, which is mapped.
pub fn read<T: Copy>(address: u64) -> T {
    // SAFETY: the first 4 GiB are mapped one to one, and every number is a value of the integer types that are asked for.
    unsafe { core::ptr::read_unaligned(address as *const T) }
}

/// A text of the loader's that ends with a NUL.
pub struct Text(pub u64);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = (self.0..).take(TEXT_MAX_BYTES).map(read::<u8>).take_while(|byte| *byte != 0);
        bytes.into_iter().try_for_each(|byte| write!(f, "{}", byte.escape_ascii()))
    }
}

/// Prints the command line.
pub fn command_line(address: u64) {
    println!("guest: command line \"{}\"", Text(address));
}

/// Prints a memory map's entries of start, length in bytes and type, and checks that they are in order and hold us.
pub fn memory_map(checks: &mut Checks, entries: impl Iterator<Item = (u64, u64, u32)>) {
    let (mut end_before, mut ordered, mut holds_us) = (0, true, false);
    for (start, len_bytes, kind) in entries {
        let end = start.saturating_add(len_bytes);
        println!("guest: memory {start:#x}..{end:#x} type {kind}");
        ordered &= start >= end_before && end > start;
        holds_us |= kind == USABLE && start <= GUEST_START && end > GUEST_START + PAGE_BYTES;
        end_before = end;
    }
    checks.check("memory-map-in-order", ordered, format_args!("another order"));
    checks.check("memory-map-has-the-guest", holds_us, format_args!("no entry"));
}

/// Prints a module with the sum of its bytes, and checks that it begins at a page and behind the guest's start.
pub fn module(checks: &mut Checks, number: u32, start: u64, len_bytes: u64, text: u64) {
    let sum: u64 = (start..start + len_bytes).map(|at| u64::from(read::<u8>(at))).sum();
    println!("guest: module {number} has {len_bytes} bytes of sum {sum}, \"{}\"", Text(text));
    let placed = start.is_multiple_of(PAGE_BYTES) && start > GUEST_START;
    checks.check("module-at-a-page", placed, format_args!("module {number} at {start:#x}"));
}
