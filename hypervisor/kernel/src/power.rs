//! Switching the host off.

use core::convert::Infallible;
use core::fmt::Write;
use drivers::power::{PowerError, PowerOff, PowerRegisters};
use machine::clock::HostClock;
use machine::serial::dying::DyingWriter;
use machine::{GrantedPorts, interrupts};
use seams::Clock;

/// The host's power switch.
pub struct Power(pub PowerRegisters);

impl Power {
    /// Switches the host off; where that does not work, says why and stops.
    pub fn off(&self, clock: &HostClock) -> ! {
        let Err(error) = self.try_off(clock);
        let _ = writeln!(DyingWriter::take_over(), "cofferdam: {error}");
        interrupts::halt_for_ever()
    }

    fn try_off(&self, clock: &HostClock) -> Result<Infallible, PowerError> {
        let mut ports = GrantedPorts::new(self.0.ports());
        let mut switch = PowerOff::new(self.0)?;
        loop {
            switch.step(&mut ports, clock.now())?;
        }
    }
}
