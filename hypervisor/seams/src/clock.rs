//! The host's clock.

use base::Instant;

/// Tells the time since the hypervisor started; it never runs backwards.
pub trait Clock {
    /// The time now.
    fn now(&self) -> Instant;
}
