//! Whose work the CPU's time goes to, besides guests' own: what a device does for its guest is that guest's.

use crate::guests::Guest;
use base::{Instant, Nanoseconds, VmId};
use machine::clock::HostClock;
use sched::RunQueue;
use seams::Clock;

/// Divides a stretch of time between the VMs for which something was done in it.
pub struct Meter<'a> {
    clock: &'static HostClock,
    queue: &'a mut RunQueue,
    /// Before it all is divided.
    since: Instant,
}

impl<'a> Meter<'a> {
    /// Of the time from `since` on.
    #[inline]
    pub const fn new(clock: &'static HostClock, queue: &'a mut RunQueue, since: Instant) -> Self {
        Self { clock, queue, since }
    }

    /// What has passed up to now was for `vm`, which is `guest`.
    #[inline]
    pub fn charge(&mut self, vm: VmId, guest: &mut Guest) {
        let now = self.clock.now();
        charge(self.queue, vm, guest, now.since(self.since));
        self.since = now;
    }

    /// `vm` has sent a part of a stream.
    #[inline]
    pub const fn note_stream(&mut self, vm: VmId) {
        self.queue.streams(vm);
    }

    /// What has passed up to now was the host's own.
    #[inline]
    pub fn skip(&mut self) {
        self.since = self.clock.now();
    }

    /// Up to when all is divided.
    #[inline]
    pub const fn since(&self) -> Instant {
        self.since
    }
}

/// Accounts `took` to `vm`, which is `guest`.
#[inline]
pub fn charge(queue: &mut RunQueue, vm: VmId, guest: &mut Guest, took: Nanoseconds) {
    queue.charge(vm, took);
    guest.served = Nanoseconds(guest.served.0.saturating_add(took.0));
}
