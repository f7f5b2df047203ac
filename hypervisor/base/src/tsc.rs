//! The time-stamp counter as a measure of time: ticks to nanoseconds and back, without dividing.
//!
//! A frequency becomes a 64-bit factor with its top bit set and a shift. A product of 128 bits then errs by less than
//! two nanoseconds (or ticks) over the counter's whole range; conversions round down, [`TscScale::nanoseconds_until`]
//! rounds up.

use crate::{Instant, Nanoseconds};
use core::fmt;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// A frequency that no time-stamp counter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidFrequency(
    /// The frequency in hertz.
    pub u64,
);

impl fmt::Display for InvalidFrequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(hz) = self;
        write!(f, "a TSC of {hz} Hz is outside {}..={}", TscScale::MIN_HZ, TscScale::MAX_HZ)
    }
}

impl core::error::Error for InvalidFrequency {}

/// `value * factor >> shift`, where `factor` has its top bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ratio {
    factor: u64,
    shift: u32,
}

impl Ratio {
    /// `numerator / denominator`, neither of them zero.
    const fn new(numerator: u64, denominator: u64) -> Self {
        // 127 significant bits over at most 37 leave more than 64: halve until 64 are left.
        let lead = numerator.leading_zeros();
        let scaled = (numerator as u128) << lead << 63;
        let mut shift = lead + 63;
        let mut factor = scaled / denominator as u128;
        while factor > u64::MAX as u128 {
            factor >>= 1;
            shift -= 1;
        }
        Self { factor: factor as u64, shift }
    }

    const fn apply(self, value: u64) -> u64 {
        let product = (value as u128 * self.factor as u128) >> self.shift;
        if product > u64::MAX as u128 { u64::MAX } else { product as u64 }
    }
}

/// A TSC's frequency, ready to convert with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscScale {
    hz: u64,
    to_nanoseconds: Ratio,
    to_ticks: Ratio,
}

impl TscScale {
    /// The lowest frequency accepted.
    pub const MIN_HZ: u64 = 1_000_000;
    /// The highest frequency accepted.
    pub const MAX_HZ: u64 = 100_000_000_000;

    /// The scale of a counter of `hz` ticks a second.
    ///
    /// # Errors
    /// [`InvalidFrequency`] outside [`TscScale::MIN_HZ`] to [`TscScale::MAX_HZ`].
    pub const fn new(hz: u64) -> Result<Self, InvalidFrequency> {
        if hz < Self::MIN_HZ || hz > Self::MAX_HZ {
            return Err(InvalidFrequency(hz));
        }
        let to_nanoseconds = Ratio::new(NANOSECONDS_PER_SECOND, hz);
        let to_ticks = Ratio::new(hz, NANOSECONDS_PER_SECOND);
        Ok(Self { hz, to_nanoseconds, to_ticks })
    }

    /// Ticks a second.
    pub const fn hz(&self) -> u64 {
        self.hz
    }

    /// How long `ticks` last, rounded down.
    pub const fn nanoseconds(&self, ticks: u64) -> Nanoseconds {
        Nanoseconds(self.to_nanoseconds.apply(ticks))
    }

    /// A span in which at least `ticks` pass: at most two nanoseconds more than needed.
    pub const fn nanoseconds_until(&self, ticks: u64) -> Nanoseconds {
        Nanoseconds(match ticks {
            0 => 0,
            _ => self.to_nanoseconds.apply(ticks).saturating_add(2),
        })
    }

    /// How many ticks pass in `span`, rounded down.
    pub const fn ticks(&self, span: Nanoseconds) -> u64 {
        self.to_ticks.apply(span.0)
    }
}

/// A counter in time: what it showed at one instant, and how fast it runs. A guest's TSC is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscLine {
    /// The frequency.
    pub scale: TscScale,
    /// What the counter showed.
    pub ticks: u64,
    /// When it showed that.
    pub at: Instant,
}

impl TscLine {
    /// What the counter shows at `time`; before the reference it stands still.
    pub const fn ticks_at(&self, time: Instant) -> u64 {
        self.ticks.wrapping_add(self.scale.ticks(time.since(self.at)))
    }

    /// The first instant at which the counter shows at least `ticks`; the reference itself when it did then already.
    ///
    /// Values are compared as the hardware compares a deadline: unsigned, without wrapping.
    pub const fn instant_of(&self, ticks: u64) -> Instant {
        match ticks.checked_sub(self.ticks) {
            Some(ahead) => self.at.after(self.scale.nanoseconds_until(ahead)),
            None => self.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exact(value: u64, numerator: u64, denominator: u64) -> u128 {
        u128::from(value) * u128::from(numerator) / u128::from(denominator)
    }

    #[test]
    fn a_counter_of_one_gigahertz_counts_nanoseconds() {
        let scale = TscScale::new(1_000_000_000).unwrap();
        for ticks in [0, 1, 999, 1 << 40, u64::MAX] {
            assert_eq!(scale.nanoseconds(ticks), Nanoseconds(ticks));
            assert_eq!(scale.ticks(Nanoseconds(ticks)), ticks);
        }
    }

    #[test]
    fn frequencies_that_no_counter_has_are_refused() {
        for hz in [0, 999_999, 100_000_000_001, u64::MAX] {
            assert_eq!(TscScale::new(hz), Err(InvalidFrequency(hz)));
        }
    }

    #[test]
    fn a_deadline_that_has_passed_is_due_at_the_reference() {
        let line = TscLine { scale: TscScale::new(2_000_000_000).unwrap(), ticks: 1000, at: Instant(50) };
        assert_eq!(line.instant_of(999), Instant(50));
        assert_eq!(line.instant_of(1000), Instant(50));
        assert_eq!(line.ticks_at(Instant(60)), 1020);
    }

    proptest! {
        #[test]
        fn conversions_err_by_less_than_two(hz in TscScale::MIN_HZ..=TscScale::MAX_HZ, value: u64) {
            let scale = TscScale::new(hz).unwrap();
            let max = u128::from(u64::MAX);
            let exact_ns = exact(value, 1_000_000_000, hz).min(max);
            let ns = u128::from(scale.nanoseconds(value).0);
            prop_assert!(ns <= exact_ns && exact_ns - ns <= 2);
            let exact_ticks = exact(value, hz, 1_000_000_000).min(max);
            let ticks = u128::from(scale.ticks(Nanoseconds(value)));
            prop_assert!(ticks <= exact_ticks && exact_ticks - ticks <= 2);
        }

        #[test]
        fn a_deadline_is_never_early(
            hz in TscScale::MIN_HZ..=10_000_000_000_u64, start in 0..1_u64 << 50, ahead in 0..1_u64 << 50,
        ) {
            let line = TscLine { scale: TscScale::new(hz).unwrap(), ticks: start, at: Instant(7) };
            let due = line.instant_of(start + ahead);
            let shown = start as u128 + exact(due.0 - 7, hz, 1_000_000_000);
            prop_assert!(shown >= u128::from(start + ahead));
        }
    }
}
