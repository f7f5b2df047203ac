//! Twenty thousand random instructions on memory that the hypervisor emulates do what the processor does.

#![no_std]
#![no_main]

use guests::{Checks, guest, instructions};

guest!("random-instructions", run);

fn run(checks: &mut Checks) {
    instructions::random::compare(checks, 20_000);
}
