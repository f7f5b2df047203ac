//! The device status: how far driver and device have come with each other (VIRTIO 2.1, 3.1).
//!
//! ```text
//!   Reset ──ACKNOWLEDGE──▶ Acknowledged ──DRIVER──▶ Driver ──FEATURES_OK──▶ FeaturesOk ──DRIVER_OK──▶ DriverOk
//!     ▲                                                │ refused: stays
//!     └── 0, from everywhere
//! ```
//! Beside the phase, the driver can give up (FAILED) and the device can ask to be reset (DEVICE_NEEDS_RESET).

use minicbor::{Decode, Encode};

const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const NEEDS_RESET: u8 = 64;
const FAILED: u8 = 128;

/// How far the driver has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Phase {
    /// Nothing was done since the reset.
    #[n(0)]
    Reset,
    /// The guest has noticed the device.
    #[n(1)]
    Acknowledged,
    /// It has a driver for it.
    #[n(2)]
    Driver,
    /// The features are agreed upon.
    #[n(3)]
    FeaturesOk,
    /// The device works.
    #[n(4)]
    DriverOk,
}

/// Whether the device lets the driver have the features that it chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Features {
    /// It does.
    Acceptable,
    /// It does not: FEATURES_OK stays clear.
    Refused,
}

impl Phase {
    /// The next phase, and the bit that leads there.
    const fn next(self) -> Option<(Self, u8)> {
        match self {
            Self::Reset => Some((Self::Acknowledged, ACKNOWLEDGE)),
            Self::Acknowledged => Some((Self::Driver, DRIVER)),
            Self::Driver => Some((Self::FeaturesOk, FEATURES_OK)),
            Self::FeaturesOk => Some((Self::DriverOk, DRIVER_OK)),
            Self::DriverOk => None,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Reset => 0,
            Self::Acknowledged => ACKNOWLEDGE,
            Self::Driver => ACKNOWLEDGE | DRIVER,
            Self::FeaturesOk => ACKNOWLEDGE | DRIVER | FEATURES_OK,
            Self::DriverOk => ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK,
        }
    }
}

/// The status register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Status {
    #[n(0)]
    phase: Phase,
    /// The driver has given up.
    #[n(1)]
    failed: bool,
    /// The device works no more until it is reset.
    #[n(2)]
    needs_reset: bool,
}

impl Status {
    /// After reset.
    pub const RESET: Self = Self { phase: Phase::Reset, failed: false, needs_reset: false };

    /// How far the driver has come.
    pub const fn phase(self) -> Phase {
        self.phase
    }

    /// Whether the device works no more.
    pub const fn needs_reset(self) -> bool {
        self.needs_reset
    }

    /// What the driver reads.
    pub const fn bits(self) -> u8 {
        let failed = if self.failed { FAILED } else { 0 };
        let needs_reset = if self.needs_reset { NEEDS_RESET } else { 0 };
        self.phase.bits() | failed | needs_reset
    }

    /// Takes what the driver writes, not 0. It sets bits in their order; one that is left out is not cleared (2.1.1), and
    /// those behind it are not set.
    pub fn write(&mut self, value: u8, features: Features) {
        self.failed |= value & FAILED != 0;
        while let Some((next, bit)) = self.phase.next() {
            let refused = next == Phase::FeaturesOk && features == Features::Refused;
            if value & bit == 0 || refused {
                return;
            }
            self.phase = next;
        }
    }

    /// The device asks to be reset.
    pub const fn ask_for_reset(&mut self) {
        self.needs_reset = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_follows_the_order_reads_what_it_wrote() {
        let mut status = Status::RESET;
        for bits in [1, 3, 3, 11, 15] {
            status.write(bits, Features::Acceptable);
            assert_eq!(status.bits(), bits);
        }
        assert_eq!(status.phase(), Phase::DriverOk);
    }

    #[test]
    fn no_bit_is_set_before_its_turn_and_none_is_cleared() {
        let mut status = Status::RESET;
        status.write(DRIVER | FEATURES_OK | DRIVER_OK, Features::Acceptable);
        assert_eq!(status.bits(), 0);
        status.write(ACKNOWLEDGE | DRIVER | DRIVER_OK, Features::Acceptable);
        assert_eq!(status.bits(), ACKNOWLEDGE | DRIVER);
        status.write(ACKNOWLEDGE, Features::Acceptable);
        assert_eq!(status.bits(), ACKNOWLEDGE | DRIVER);
    }

    #[test]
    fn refused_features_stop_the_driver_there() {
        let mut status = Status::RESET;
        status.write(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK, Features::Refused);
        assert_eq!(status.bits(), ACKNOWLEDGE | DRIVER);
        status.write(ACKNOWLEDGE | DRIVER | FEATURES_OK, Features::Acceptable);
        assert_eq!(status.phase(), Phase::FeaturesOk);
    }

    #[test]
    fn only_the_device_asks_for_a_reset_and_only_the_driver_gives_up() {
        let mut status = Status::RESET;
        status.write(NEEDS_RESET | FAILED, Features::Acceptable);
        assert_eq!(status.bits(), FAILED);
        status.ask_for_reset();
        assert_eq!(status.bits(), FAILED | NEEDS_RESET);
    }
}
