//! A triple fault ends this VM, and only this VM.
//!
//! Unsafe because it takes the processor's IDT away.

#![no_std]
#![no_main]

use core::arch::asm;
use guests::interrupts::TablePointer;
use guests::{Checks, guest, println};

guest!("triple-fault", run);

fn run(checks: &mut Checks) {
    let empty = TablePointer { limit: 0, base: 0 };
    println!("guest: triple fault now");
    // SAFETY: without gates the breakpoint cannot be delivered, nor the double fault that follows: the processor stops.
    unsafe { asm!("lidt [{}]", "int3", in(reg) &raw const empty) };
    checks.check("triple-fault", false, format_args!("the program went on"));
}
