//! The guest's time: its TSC, and the KVM clock that tells it how to read that.
//!
//! The guest's TSC is the host's plus an offset that the hardware adds; it starts at 0 with the VM.

use crate::exits::msr::REFUSED;
use crate::vm::{Host, Moment, Vm};
use base::{Instant, Nanoseconds, TscLine, TscScale};
use seams::GuestMemory;
use vcpu::kvmclock::{self, Reference, SystemTimeRegister};
use vcpu::{Exception, Vcpu};

/// A VM's clocks.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// The guest's TSC in time.
    tsc: TscLine,
    /// When the VM was started: its system time counts from here.
    began: Instant,
    system_time: SystemTimeRegister,
    wall_clock: u64,
}

impl Clock {
    /// The clocks of a VM that starts now, its TSC at 0.
    pub(crate) const fn starting(now: Instant, scale: TscScale) -> Self {
        let tsc = TscLine { scale, ticks: 0, at: now };
        Self { tsc, began: now, system_time: SystemTimeRegister(0), wall_clock: 0 }
    }

    /// The guest's TSC in time.
    pub(super) const fn tsc(&self) -> &TscLine {
        &self.tsc
    }

    pub(super) const fn system_time_register(&self) -> u64 {
        self.system_time.0
    }

    pub(super) const fn wall_clock_register(&self) -> u64 {
        self.wall_clock
    }
}

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    /// The guest's TSC now.
    pub(super) fn guest_tsc(&self, host: &impl Host) -> u64 {
        self.guest_tsc_at(host.moment())
    }

    fn guest_tsc_at(&self, moment: Moment) -> u64 {
        moment.tsc.wrapping_add(self.vcpu.tsc_offset())
    }

    /// Moves the guest's TSC to `value`: deadlines set by it come at another time, and the KVM clock stays right.
    pub(super) fn set_guest_tsc(&mut self, value: u64, host: &impl Host) {
        let moment = host.moment();
        self.vcpu.set_tsc_offset(value.wrapping_sub(moment.tsc));
        let tsc = TscLine { ticks: value, at: moment.time, ..self.msrs.clock.tsc };
        self.msrs.clock.tsc = tsc;
        self.board_at(host).fabric.local.lapic.move_tsc(&tsc);
        // A guest that took its own clock page away does not want it.
        let _ = self.publish_system_time(host);
    }

    pub(super) fn set_system_time_register(&mut self, value: u64, host: &impl Host) -> Result<(), Exception> {
        let before = core::mem::replace(&mut self.msrs.clock.system_time, SystemTimeRegister(value));
        self.publish_system_time(host).inspect_err(|_| self.msrs.clock.system_time = before)
    }

    fn publish_system_time(&self, host: &impl Host) -> Result<(), Exception> {
        let Some(gpa) = self.msrs.clock.system_time.enabled() else { return Ok(()) };
        let moment = host.moment();
        let system_time = moment.time.since(self.msrs.clock.began);
        let reference = Reference { tsc: self.guest_tsc_at(moment), system_time };
        let Self { settings, memory, .. } = self;
        kvmclock::publish_system_time(memory, gpa, &settings.tsc, reference, settings.tsc_stability)
            .map_err(|_| REFUSED)
    }

    pub(super) fn set_wall_clock_register(&mut self, value: u64) -> Result<(), Exception> {
        let gpa = base::Gpa::new(value).map_err(|_| REFUSED)?;
        let at_zero = self.settings.wall_clock_at_zero.0;
        let began = Nanoseconds(at_zero.saturating_add(self.msrs.clock.began.0));
        kvmclock::publish_wall_clock(&self.memory, gpa, began).map_err(|_| REFUSED)?;
        self.msrs.clock.wall_clock = value;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{FakeHost, FakeVcpu, created, settings, start};
    use crate::vm::Host;
    use base::Nanoseconds;

    #[test]
    fn a_cpu_that_is_held_up_between_looks_at_its_clock_parts_no_guests_tsc_from_its_deadlines() {
        let host = FakeHost { held_up: Nanoseconds::from_millis(50), ..FakeHost::default() };
        let mut vm = created(settings(), FakeVcpu::new());
        start(&mut vm, &host);
        for tsc in [0, 123_456_789] {
            if tsc != 0 {
                vm.set_guest_tsc(tsc, &host);
            }
            let moment = host.moment();
            let due = vm.msrs.clock.tsc().instant_of(vm.guest_tsc_at(moment));
            // Conversions round up by two nanoseconds at most.
            assert!(due >= moment.time && due.since(moment.time) <= Nanoseconds(2), "{due:?}, {moment:?}");
        }
    }
}
