//! A limit on what a port sends.
//!
//! A token bucket kept as one time: the moment up to which the line is paid for. A frame costs the time that it takes at the
//! rate; a port that was silent may be behind `now` by the burst at most (the generic cell rate algorithm, ITU-T I.371).

use super::FRAME_BYTES_MAX;
use base::{BitRate, Instant, Nanoseconds};

/// How much time a silent port can save up.
const BURST: Nanoseconds = Nanoseconds::from_millis(10);

/// What one port may send.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// How long a byte takes, in nanoseconds with 32 bits after the point.
    nanoseconds_per_byte: u64,
    burst: Nanoseconds,
    paid_until: Instant,
}

impl RateLimit {
    /// A limit of `rate`; a port can always send the largest frame, if it waited for it.
    pub fn new(rate: BitRate) -> Self {
        Self {
            nanoseconds_per_byte: rate.time_for(1 << 32).0,
            burst: BURST.max(rate.time_for(FRAME_BYTES_MAX.into())),
            paid_until: Instant(0),
        }
    }

    /// Pays for a frame.
    ///
    /// # Errors
    /// The moment at which it could be paid.
    pub fn take(&mut self, len_bytes: u32, now: Instant) -> Result<(), Instant> {
        let ready = self.ready_at(len_bytes, now);
        if ready > now {
            return Err(ready);
        }
        self.paid_until = ready;
        Ok(())
    }

    /// The moment at which a frame could be paid.
    pub fn ready_at(&self, len_bytes: u32, now: Instant) -> Instant {
        let saved_from = Instant(now.since(Instant(self.burst.0)).0);
        self.paid_until.max(saved_from).after(self.cost(len_bytes))
    }

    /// Takes the payment for a frame back.
    pub fn give_back(&mut self, len_bytes: u32) {
        self.paid_until = Instant(self.paid_until.0.saturating_sub(self.cost(len_bytes).0));
    }

    fn cost(&self, len_bytes: u32) -> Nanoseconds {
        let cost = (u128::from(self.nanoseconds_per_byte) * u128::from(len_bytes)) >> 32;
        Nanoseconds(u64::try_from(cost).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_port_sends_its_rate_and_what_it_saved_up() {
        let mut limit = RateLimit::new(BitRate(1_000_000_000));
        let second = 1_000_000_000;
        let mut sent = 0;
        // Frames of 1,250 bytes take 10 µs; one is offered every 5 µs for a second.
        for offer in 0..200_000 {
            if limit.take(1250, Instant(second + offer * 5_000)).is_ok() {
                sent += 1;
            }
        }
        // The last offer comes 5 µs before the second is over; 10 ms were saved up.
        assert_eq!(sent, 99_999 + 1_000);
    }

    #[test]
    fn what_is_refused_passes_at_the_moment_that_is_told() {
        let mut limit = RateLimit::new(BitRate(64_000));
        let start = Instant(100_000_000_000);
        assert_eq!(limit.take(FRAME_BYTES_MAX, start), Ok(()));
        let ready = limit.take(1500, start).unwrap_err();
        assert_eq!(ready, start.after(Nanoseconds(187_500_000)));
        assert!(limit.take(1500, Instant(ready.0 - 1)).is_err());
        assert_eq!(limit.take(1500, ready), Ok(()));
    }

    proptest! {
        #[test]
        fn no_span_carries_more_than_the_rate_and_one_burst(
            bits in 64_000_u64..1_000_000_000_000,
            offers in prop::collection::vec((0_u64..3_000_000, 60_u32..65_000), 1..300),
        ) {
            let rate = BitRate(bits);
            let mut limit = RateLimit::new(rate);
            let mut now = Instant(10_000_000_000);
            let (start, mut paid) = (now, 0_u128);
            for (wait, len_bytes) in offers {
                now = now.after(Nanoseconds(wait));
                if limit.take(len_bytes, now).is_ok() {
                    // Time with 32 bits after the point rounds down by less than a nanosecond a frame.
                    paid += u128::from(rate.time_for(len_bytes.into()).0) - 1;
                }
                let allowed = u128::from(now.since(start).0) + u128::from(limit.burst.0);
                prop_assert!(paid <= allowed + 300);
            }
        }
    }
}
