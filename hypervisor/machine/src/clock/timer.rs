//! The one-shot timer: the local APIC's, by a TSC deadline where the CPU has that, else by a count.

use super::HostClock;
use super::calibrate::{self, CalibrationError};
use super::reference::MeasuredTsc;
use crate::apic::{LocalApic, TimerSource};
use crate::cpu::{Cpu, Features};
use base::{Instant, Nanoseconds, TscScale};
use core::fmt;
use seams::Clock;

/// How the timer counts.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// By the TSC.
    TscDeadline,
    /// Down, at this frequency.
    Count(TscScale),
}

/// The timer of this CPU.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    kind: Kind,
}

/// What the timer uses, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerReport {
    /// The TSC deadline.
    TscDeadline,
    /// A count at so many hertz.
    Count(u64),
}

impl fmt::Display for TimerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TscDeadline => f.write_str("local APIC, TSC deadline"),
            Self::Count(hz) => {
                write!(f, "local APIC, one-shot at {}.{:03} MHz", hz / 1_000_000, hz / 1_000 % 1_000)
            }
        }
    }
}

impl Timer {
    /// Makes `apic`'s timer ready, disarmed; its frequency is measured by `clock` where it counts by itself.
    ///
    /// # Errors
    /// When the timer does not run steadily.
    pub fn start(apic: &LocalApic, cpu: &Cpu, clock: &HostClock) -> Result<Self, CalibrationError> {
        if cpu.has(Features::TSC_DEADLINE) {
            apic.set_timer_source(TimerSource::TscDeadline);
            return Ok(Self { kind: Kind::TscDeadline });
        }
        apic.set_timer_source(TimerSource::Count);
        apic.arm_count(u32::MAX);
        let counted = || u64::from(u32::MAX - apic.remaining_count());
        let measured = calibrate::measure(&mut MeasuredTsc(clock.tsc().scale), counted);
        apic.disarm_count();
        let hz = measured.ok_or(CalibrationError::UnsteadyTimer)?.hz;
        let scale = TscScale::new(hz).map_err(CalibrationError::Frequency)?;
        Ok(Self { kind: Kind::Count(scale) })
    }

    /// Lets the timer fire at `deadline` or soon after, once; at once when that has passed.
    ///
    /// A deadline further off than the count reaches fires early: whoever armed it looks at the clock and arms again.
    /// [`Instant::FAR_FUTURE`] disarms.
    #[inline]
    pub fn arm(&self, apic: &LocalApic, clock: &HostClock, deadline: Instant) {
        if deadline == Instant::FAR_FUTURE {
            return self.disarm(apic);
        }
        match self.kind {
            Kind::TscDeadline => apic.arm_deadline(clock.tsc_at(deadline)),
            Kind::Count(scale) => apic.arm_count(count_for(&scale, deadline.since(clock.now()))),
        }
    }

    /// Stops the timer. An interrupt that it has raised already still comes.
    pub fn disarm(&self, apic: &LocalApic) {
        match self.kind {
            Kind::TscDeadline => apic.arm_deadline(0),
            Kind::Count(_) => apic.disarm_count(),
        }
    }

    /// What it uses.
    pub const fn report(&self) -> TimerReport {
        match self.kind {
            Kind::TscDeadline => TimerReport::TscDeadline,
            Kind::Count(scale) => TimerReport::Count(scale.hz()),
        }
    }
}

/// By how much two calibrated frequencies may disagree: a part in so many powers of two, 122 ppm.
const DISAGREEMENT_SHIFT: u32 = 13;

/// The count that lasts at least `span` by the clock too, or the largest: never 0, which would stop the timer. One that
/// ended early would wake the CPU twice.
fn count_for(scale: &TscScale, span: Nanoseconds) -> u32 {
    let ticks = scale.ticks(span);
    let margin = (ticks >> DISAGREEMENT_SHIFT).saturating_add(1);
    u32::try_from(ticks.saturating_add(margin)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_count_is_never_zero_and_never_wraps() {
        let scale = TscScale::new(1_000_000_000).unwrap();
        assert_eq!(count_for(&scale, Nanoseconds(0)), 1);
        assert_eq!(count_for(&scale, Nanoseconds(1_000)), 1_001);
        assert_eq!(count_for(&scale, Nanoseconds::from_secs(4)), 4_000_488_282);
        assert_eq!(count_for(&scale, Nanoseconds::from_secs(5)), u32::MAX);
        assert_eq!(count_for(&scale, Nanoseconds(u64::MAX)), u32::MAX);
    }

    #[test]
    fn the_report_says_what_is_used() {
        assert_eq!(TimerReport::Count(62_500_000).to_string(), "local APIC, one-shot at 62.500 MHz");
        assert_eq!(TimerReport::TscDeadline.to_string(), "local APIC, TSC deadline");
    }
}
