//! What a VM that is served asks of the CPU.

use crate::Alarm;
use base::{ApicId, Instant, Vector};
use machine::{tsc, vectors};
use seams::Clock;
use vmm::Moment;

/// The CPU as the VM that is served sees it.
pub struct Serving<'a> {
    alarm: &'a Alarm,
    slice_end: Instant,
}

impl<'a> Serving<'a> {
    /// A turn until `slice_end`, at which `alarm` will take the CPU from the guest.
    #[must_use]
    pub fn new(alarm: &'a Alarm, slice_end: Instant) -> Self {
        Self { alarm, slice_end }
    }
}

impl vmm::Host for Serving<'_> {
    #[inline]
    fn now(&self) -> Instant {
        self.alarm.clock.now()
    }

    #[inline]
    fn moment(&self) -> Moment {
        let tsc = tsc::read();
        Moment { time: self.alarm.clock.time_at(tsc), tsc }
    }

    #[inline]
    fn set_guest_timer(&mut self, deadline: Option<Instant>) {
        let first = deadline.map_or(self.slice_end, |deadline| deadline.min(self.slice_end));
        self.alarm.set(first);
    }

    /// One that cannot be sent is found posted when the VM is served next.
    fn notify(&mut self, vector: Vector, destination: ApicId) {
        _ = self.alarm.apic.send(destination, vector);
    }

    /// Interrupts are masked until the guest is entered. One that cannot be sent leaves the guest its turn.
    fn interrupt_entry(&mut self) {
        let apic = self.alarm.apic;
        _ = apic.send(apic.id(), vectors::MESSAGE);
    }

    #[cfg(feature = "exit-shares")]
    fn mark(&self, label: u8) {
        machine::shares::mark(label);
    }
}
