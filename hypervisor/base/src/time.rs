//! Points in time and spans between them, in nanoseconds.

use core::fmt;

/// A span of time. The largest is 584 years; arithmetic saturates there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanoseconds(pub u64);

impl Nanoseconds {
    /// `n` microseconds.
    pub const fn from_micros(n: u64) -> Self {
        Self(n.saturating_mul(1_000))
    }

    /// `n` milliseconds.
    pub const fn from_millis(n: u64) -> Self {
        Self(n.saturating_mul(1_000_000))
    }

    /// `n` seconds.
    pub const fn from_secs(n: u64) -> Self {
        Self(n.saturating_mul(1_000_000_000))
    }
}

/// A point in time: nanoseconds since the hypervisor started its clock. It never runs backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// A point that is never reached.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// The point `span` later, at most [`Instant::FAR_FUTURE`].
    pub const fn after(self, span: Nanoseconds) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The time since `earlier`; zero when that lies in the future.
    pub const fn since(self, earlier: Self) -> Nanoseconds {
        Nanoseconds(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0 / 1_000;
        write!(f, "{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn time_saturates_instead_of_wrapping() {
        assert_eq!(Instant(u64::MAX - 1).after(Nanoseconds(5)), Instant::FAR_FUTURE);
        assert_eq!(Instant(1).since(Instant(2)), Nanoseconds(0));
    }

    #[test]
    fn an_instant_prints_as_seconds_with_microseconds() {
        assert_eq!(Instant(12_345_678_999).to_string(), "12.345678");
    }
}
