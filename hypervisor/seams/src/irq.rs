//! Interrupt lines from devices to interrupt controllers.

use base::Gsi;

/// The logical level of a line; polarity is the controller's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The device asks for service.
    Asserted,
    /// The device does not.
    Deasserted,
}

/// Where devices drive their lines to.
pub trait IrqSink {
    /// Drives line `gsi`; driving the level that it has already changes nothing.
    fn set_line(&mut self, gsi: Gsi, level: Level);
}
