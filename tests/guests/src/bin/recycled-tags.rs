//! A guest that remaps a page and drops its translation sees the new page ever after, whatever other guests ran in between
//! and under whichever tag its translations are cached now.
//!
//! In each round a page is mapped anew and looked at, and the CPU is left to others, some times over. Where a hypervisor
//! gives this guest a tag that it had before, without dropping what was cached then, an old page appears.
//!
//! Unsafe because it writes model-specific registers.

#![no_std]
#![no_main]

use guests::interrupts::{APIC_VECTOR, SPURIOUS_VECTOR};
use guests::pages::{GLOBAL, WRITABLE};
use guests::{Checks, apic, control, cpu, guest, pages};

guest!("recycled-tags", run);

/// Memory of no other use, a page for each of the words below.
const MEMORY: u64 = 0xd0_0000;
const PAGES: u64 = 5;
const WORD: u64 = 0x0101_0101;

const CR4_PGE: u64 = 1 << 7;

const ROUNDS: u64 = 100;
const LOOKS: u32 = 3;
/// How long the CPU is left to others, in the timer's ticks.
const TICKS: u64 = 200_000;

fn run(checks: &mut Checks) {
    apic::enable(SPURIOUS_VECTOR);
    pages::allow();
    checks.passed("cr4-pge", control::set_cr4(control::cr4() | CR4_PGE));
    let place = |n: u64| MEMORY + n * pages::BYTES;
    (0..PAGES).for_each(|n| pages::put(place(n), n * WORD));
    let mut wrong = None;
    for round in 0..ROUNDS {
        let n = round % PAGES;
        pages::set(0, place(n) | WRITABLE | GLOBAL);
        for _ in 0..LOOKS {
            let seen = pages::read(0);
            if seen != n * WORD {
                wrong.get_or_insert((round, seen));
            }
            leave_the_cpu();
        }
    }
    checks.check("no-page-appears-again", wrong.is_none(), format_args!("round and contents {wrong:x?}"));
}

fn leave_the_cpu() {
    // SAFETY: the vector has a handler.
    unsafe {
        cpu::wrmsr(apic::LVT_TIMER, APIC_VECTOR.into());
        cpu::wrmsr(apic::INITIAL_COUNT, TICKS);
    }
    cpu::wait_for_interrupt();
}
