//! The CPU's one timer.

use base::Instant;
#[cfg(feature = "seeded-faults")]
use core::sync::atomic::{AtomicBool, Ordering};
use machine::apic::LocalApic;
use machine::clock::{HostClock, Timer};

/// The CPU's one timer, shared by the slice of the VM that is served and that VM's own deadline.
pub struct Alarm {
    /// Whose timer it is.
    pub apic: &'static LocalApic,
    /// How it is armed.
    pub timer: Timer,
    /// The time that deadlines are in.
    pub clock: &'static HostClock,
}

impl Alarm {
    /// Wakes the CPU at `deadline`, or at once if that has passed; no longer at what was set before.
    #[inline]
    pub fn set(&self, deadline: Instant) {
        #[cfg(feature = "seeded-faults")]
        if DEAF.load(Ordering::Relaxed) {
            return;
        }
        self.timer.arm(self.apic, self.clock, deadline);
    }
}

/// Whether alarms are never set. Global, so that no type of an ordinary build has a field for it.
#[cfg(feature = "seeded-faults")]
static DEAF: AtomicBool = AtomicBool::new(false);

/// A fault on purpose: from now on no alarm is set.
#[cfg(feature = "seeded-faults")]
pub fn deafen_timers() {
    DEAF.store(true, Ordering::Relaxed);
}
