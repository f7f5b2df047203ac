//! The host's clock: the TSC, calibrated against a counter of known frequency.
//!
//! Neither an invariant TSC nor CPUID's word for its frequency is assumed: it is measured at start
//! ([`calibrate`]), and what was used is reported. The clock starts at zero when it is made.

pub mod calibrate;
pub mod reference;
pub mod timer;

pub use calibrate::{Calibration, CalibrationError, Source};
pub use timer::{Timer, TimerReport};

use crate::cpu::Cpu;
use crate::port::{GrantedPorts, PortRange};
use crate::tsc;
use base::{Instant, Nanoseconds, Port, TscLine, TscScale};
use reference::{Pit, PmTimer};
use seams::Clock;
use spin::Once;

/// The host's clock. Copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct HostClock {
    line: TscLine,
}

static CLOCK: Once<HostClock> = Once::new();

/// The time since the clock was started; zero before.
pub fn now() -> Instant {
    CLOCK.get().map_or(Instant(0), Clock::now)
}

/// The clock, once it was started.
pub fn get() -> Option<&'static HostClock> {
    CLOCK.get()
}

impl HostClock {
    /// Measures the TSC and starts the clock, for [`now`] too; takes about a tenth of a second.
    ///
    /// # Errors
    /// When there is nothing to measure against, or the measurement makes no sense.
    pub fn start(
        cpu: &Cpu,
        pm_timer: Option<PmTimerPort>,
    ) -> Result<(&'static Self, Calibration), CalibrationError> {
        let by_pm_timer = pm_timer.and_then(|pm| {
            let ports = GrantedPorts::new([PortRange::new(pm.port, 4)]);
            calibrate::measure(&mut PmTimer::new(ports, pm), tsc::read)
        });
        let pit_ports =
            GrantedPorts::new([PortRange::new(reference::PIT, 4), PortRange::new(reference::PIT_GATE, 1)]);
        let by_pit = calibrate::measure(&mut Pit::new(pit_ports), tsc::read);
        let calibration = calibrate::choose(by_pm_timer, by_pit, cpu.claimed_tsc_hz)?;
        let scale = TscScale::new(calibration.hz).map_err(CalibrationError::Frequency)?;
        let line = TscLine { scale, ticks: tsc::read(), at: Instant(0) };
        Ok((CLOCK.call_once(|| Self { line }), calibration))
    }

    /// How the TSC relates to this clock.
    pub const fn tsc(&self) -> TscLine {
        self.line
    }

    /// The time at which the TSC is `ticks`.
    #[inline]
    pub const fn time_at(&self, ticks: u64) -> Instant {
        // TSC values before the start can only be a CPU's that is not synchronized: time stands still there.
        let ticks = ticks.saturating_sub(self.line.ticks);
        self.line.at.after(self.line.scale.nanoseconds(ticks))
    }

    /// The TSC value at or just after `time`.
    pub fn tsc_at(&self, time: Instant) -> u64 {
        let ticks = self.line.scale.ticks(time.since(self.line.at));
        // Conversions round down by less than two ticks.
        self.line.ticks.saturating_add(ticks).saturating_add(2)
    }
}

impl Clock for HostClock {
    #[inline]
    fn now(&self) -> Instant {
        self.time_at(tsc::read())
    }
}

/// Where the PM timer is, as the FADT says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PmTimerPort {
    /// Its port.
    pub port: Port,
    /// How wide it counts.
    pub width: crate::acpi::fadt::PmTimerWidth,
}

impl From<(Port, crate::acpi::fadt::PmTimerWidth)> for PmTimerPort {
    fn from((port, width): (Port, crate::acpi::fadt::PmTimerWidth)) -> Self {
        Self { port, width }
    }
}

/// How long one sample of a calibration lasts.
const SAMPLE: Nanoseconds = Nanoseconds::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(hz: u64) -> HostClock {
        HostClock { line: TscLine { scale: TscScale::new(hz).unwrap(), ticks: tsc::read(), at: Instant(0) } }
    }

    #[test]
    fn it_never_runs_backwards() {
        let clock = clock(1_000_000_000);
        let mut last = clock.now();
        for _ in 0..10_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn a_tsc_value_for_a_time_is_not_before_it() {
        let clock = clock(2_399_999_999);
        for ns in [0, 1, 999, 1_000_000_007, 1 << 50] {
            let ticks = clock.tsc_at(Instant(ns)) - clock.line.ticks;
            assert!(clock.line.scale.nanoseconds(ticks) >= Nanoseconds(ns), "{ns}");
        }
        assert_eq!(clock.tsc_at(Instant::FAR_FUTURE), u64::MAX);
    }
}
