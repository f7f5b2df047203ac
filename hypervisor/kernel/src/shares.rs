//! How many ticks of the TSC the CPU has slept, for benches: what is neither that nor a guest's is the hypervisor's.

use core::sync::atomic::{AtomicU64, Ordering};
use log::info;
use machine::tsc;

static SLEPT: AtomicU64 = AtomicU64::new(0);

/// Sleeps by `sleep`, and counts how long.
pub fn sleeping(sleep: impl FnOnce()) {
    let began = tsc::read();
    sleep();
    // Relaxed: one CPU counts.
    SLEPT.fetch_add(tsc::read().wrapping_sub(began), Ordering::Relaxed);
}

/// Tells the log the time and how much of it was slept.
pub fn tell() {
    info!("shares: at {} ticks, slept {}", tsc::read(), SLEPT.load(Ordering::Relaxed));
}
