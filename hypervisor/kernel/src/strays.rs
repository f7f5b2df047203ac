//! Interrupts that nobody asked for, told to the log: an NMI is how a board tells of an error, and a vector that nobody
//! owns means a line that is routed wrongly.

use core::sync::atomic::Ordering;
use log::warn;
use machine::{PerCpu, trap};

/// How many have been told of.
#[derive(Default)]
pub struct Strays {
    nmis: u64,
    unexpected: u64,
}

impl Strays {
    /// Tells of those that have come since the last call.
    #[inline]
    pub fn tell_new(&mut self) {
        // Counters that only this CPU's handlers change.
        let nmis = trap::NMIS.load(Ordering::Relaxed);
        let unexpected = PerCpu::boot_cpu().unexpected.load(Ordering::Relaxed);
        if (nmis, unexpected) != (self.nmis, self.unexpected) {
            self.tell(nmis, unexpected);
        }
    }

    #[cold]
    fn tell(&mut self, nmis: u64, unexpected: u64) {
        if nmis != self.nmis {
            warn!("NMI: {nmis} so far: the board reports an error, or a watchdog has run out");
        }
        if unexpected != self.unexpected {
            warn!("interrupts with a vector that nobody owns: {unexpected} so far");
        }
        *self = Self { nmis, unexpected };
    }
}
