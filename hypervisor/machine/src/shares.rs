//! Whose ticks of the TSC have passed: a guest's, a sleep's, and all others are the hypervisor's. For benches, where a tick
//! is a known number of instructions; no release has this.
//!
//! ```text
//!   virt: entry ──guest──> exit     kernel: sleep ──slept──> interrupt     a guest writes to MARKS: a snapshot is kept
//! ```
//! One CPU counts. Snapshots are told when a VM ends: telling at once would cost what is measured.

use crate::tsc;
use core::fmt;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What is counted. Relaxed throughout: one CPU counts.
static GUEST: AtomicU64 = AtomicU64::new(0);
static SLEPT: AtomicU64 = AtomicU64::new(0);
static EXITS: AtomicU64 = AtomicU64::new(0);
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

/// How many snapshots are kept.
const MARKS_MAX: usize = 64;
/// What a snapshot consists of: who asked for it, the time, and the counters in the order above.
const FIELDS: usize = 6;

/// What the counters were at each mark.
static MARKS: [[AtomicU64; FIELDS]; MARKS_MAX] = [const { [const { AtomicU64::new(0) }; FIELDS] }; MARKS_MAX];
/// How many marks there have been since they were taken.
static MARKED: AtomicUsize = AtomicUsize::new(0);

/// Lets a guest run by `run`, and counts. The switch's own instructions, as many each time, count as the guest's: who reads
/// takes them off, by what an exit adds whose guest executes one instruction.
#[inline(always)]
pub fn in_guest(run: impl FnOnce()) {
    let entered = tsc::read();
    run();
    GUEST.fetch_add(tsc::read().wrapping_sub(entered), Ordering::Relaxed);
    EXITS.fetch_add(1, Ordering::Relaxed);
}

/// Sleeps by `sleep`, and counts how long.
pub fn sleeping(sleep: impl FnOnce()) {
    let began = tsc::read();
    sleep();
    SLEPT.fetch_add(tsc::read().wrapping_sub(began), Ordering::Relaxed);
}

/// Counts an interrupt that a guest gets.
#[inline]
pub fn count_interrupt() {
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
}

/// Keeps what the counters are now, under the name `label`. What finds no place is lost.
pub fn mark(label: u8) {
    let number = MARKED.fetch_add(1, Ordering::Relaxed);
    let Some(place) = MARKS.get(number) else { return };
    let [guest, slept, exits, interrupts] = [&GUEST, &SLEPT, &EXITS, &INTERRUPTS].map(load);
    let values = [label.into(), tsc::read(), guest, slept, exits, interrupts];
    place.iter().zip(values).for_each(|(place, value)| place.store(value, Ordering::Relaxed));
}

/// A snapshot, as a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark([u64; FIELDS]);

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([label, at, guest, slept, exits, interrupts]) = self;
        write!(
            f,
            "mark {label}: at {at}, guest {guest}, slept {slept}, exits {exits}, interrupts {interrupts}"
        )
    }
}

/// Takes the snapshots that were kept.
pub fn take_marks() -> impl Iterator<Item = Mark> {
    let kept = MARKED.swap(0, Ordering::Relaxed);
    MARKS.iter().take(kept).map(|place| Mark(place.each_ref().map(load)))
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
