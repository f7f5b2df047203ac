//! Counters that run at a fixed rate from the VM's start: exact in integers, so that no rounding accumulates.

use base::Instant;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// A rate in hertz, at most 4 GHz, so that no product below overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) u32);

impl Rate {
    /// The number of ticks that have passed at `now`, rounded down.
    #[inline]
    pub(crate) const fn ticks_at(self, now: Instant) -> u64 {
        let hz = self.0 as u64;
        let (seconds, rest_ns) = (now.0 / NANOSECONDS_PER_SECOND, now.0 % NANOSECONDS_PER_SECOND);
        seconds.saturating_mul(hz).saturating_add(rest_ns * hz / NANOSECONDS_PER_SECOND)
    }

    /// When tick `tick` comes: the first instant at which [`Rate::ticks_at`] counts it.
    #[inline]
    pub(crate) const fn instant_of(self, tick: u64) -> Instant {
        let hz = self.0 as u64;
        let (seconds, rest) = (tick / hz, tick % hz);
        let rest_ns = (rest * NANOSECONDS_PER_SECOND).div_ceil(hz);
        Instant(seconds.saturating_mul(NANOSECONDS_PER_SECOND).saturating_add(rest_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_tick_comes_at_the_first_instant_that_counts_it(
            hz in 1..=4_000_000_000u32,
            seconds in 0..1_000_000_000u64,
            within in any::<u32>(),
        ) {
            let rate = Rate(hz);
            let tick = seconds * u64::from(hz) + u64::from(within % hz) + 1;
            let instant = rate.instant_of(tick);
            prop_assert!(rate.ticks_at(instant) >= tick);
            prop_assert!(rate.ticks_at(Instant(instant.0 - 1)) < tick);
        }

        #[test]
        fn no_time_overflows(hz in 1..=u32::MAX, value: u64) {
            let _ = (Rate(hz).ticks_at(Instant(value)), Rate(hz).instant_of(value));
        }
    }
}
