//! Checks of single instructions on memory that the hypervisor emulates: by name, and at random.
//!
//! Each instruction is run in the [`sandbox`](crate::sandbox) twice, on plain and on emulated memory. That it does the
//! same is what the emulator owes; what it does on plain memory is the processor's.

mod arithmetic;
mod compatibility;
mod faults;
mod moves;
pub mod random;
mod snippet;
mod strings;

use crate::Checks;
use crate::sandbox::Sandbox;

/// Checks each instruction by its name.
pub fn check_named(checks: &mut Checks) {
    let mut sandbox = Sandbox::new();
    let tables = [
        moves::MOVES,
        moves::VECTORS,
        arithmetic::ARITHMETIC,
        strings::STRINGS,
        faults::FAULTS,
        compatibility::COMPATIBILITY,
    ];
    for table in tables {
        snippet::check(checks, &mut sandbox, table);
    }
}
