//! A million random instructions on memory that the hypervisor emulates do what the processor does.

#![no_std]
#![no_main]

use guests::{Checks, guest, instructions};

guest!("million-instructions", run);

fn run(checks: &mut Checks) {
    instructions::random::compare(checks, 1_000_000);
}
