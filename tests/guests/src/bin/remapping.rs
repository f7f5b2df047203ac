//! What the hypervisor changes in the nested tables of a running guest holds at once: two pages exchanged, exchanged back,
//! and one that may no longer be written, which ends the VM.
//!
//! Only for a hypervisor that does so when asked by a word in memory: one with seeded faults, started with `remapping`.
//!
//! Unsafe because it writes model-specific registers.

#![no_std]
#![no_main]

use guests::interrupts::{APIC_VECTOR, SPURIOUS_VECTOR};
use guests::{Checks, apic, cpu, guest, pages, println};

guest!("remapping", run);

/// The pages that change, the one that is protected, and the one with the word.
const FIRST: u64 = 0xc0_0000;
const SECOND: u64 = FIRST + pages::BYTES;
const PROTECTED: u64 = SECOND + pages::BYTES;
const WORD: u64 = PROTECTED + pages::BYTES;

/// Words, and the answer.
const EXCHANGE: u64 = 1;
const RESTORE: u64 = 2;
const PROTECT: u64 = 3;
const DONE: u64 = 0;

const OF_FIRST: u64 = 0x1111_1111;
const OF_SECOND: u64 = 0x2222_2222;

/// How often the answer is looked for, and the timer's ticks between.
const WAITS_MAX: u32 = 100;
const TICKS: u64 = 1_000_000;

fn run(checks: &mut Checks) {
    apic::enable(SPURIOUS_VECTOR);
    pages::put(FIRST, OF_FIRST);
    pages::put(SECOND, OF_SECOND);
    pages::put(PROTECTED, 0);
    if !obeyed(checks, "the-host-exchanges", EXCHANGE) {
        return;
    }
    checks.equal("the-first-page-shows-the-second", pages::get(FIRST), OF_SECOND);
    checks.equal("the-second-page-shows-the-first", pages::get(SECOND), OF_FIRST);
    if !obeyed(checks, "the-host-restores", RESTORE) {
        return;
    }
    checks.equal("the-first-page-is-back", pages::get(FIRST), OF_FIRST);
    checks.equal("the-second-page-is-back", pages::get(SECOND), OF_SECOND);
    pages::put(PROTECTED, 1);
    if !obeyed(checks, "the-host-protects", PROTECT) {
        return;
    }
    println!("guest: writing to the protected page");
    pages::put(PROTECTED, 2);
    checks.check("a-protected-page-refuses", false, format_args!("the page took the write"));
}

/// Asks the host for `change`; whether it has been made.
fn obeyed(checks: &mut Checks, name: &str, change: u64) -> bool {
    let answer = ask(change);
    checks.equal(name, answer, DONE);
    answer == DONE
}

/// Asks the host for `change`, and waits until it has been made. What the word is then.
fn ask(change: u64) -> u64 {
    pages::put(WORD, change);
    for _ in 0..WAITS_MAX {
        if pages::get(WORD) == DONE {
            break;
        }
        // SAFETY: the vector has a handler.
        unsafe {
            cpu::wrmsr(apic::LVT_TIMER, APIC_VECTOR.into());
            cpu::wrmsr(apic::INITIAL_COUNT, TICKS);
        }
        cpu::wait_for_interrupt();
    }
    pages::get(WORD)
}
