//! The host's power switch: off by ACPI's S5 state, and reset by whatever works.
//!
//! Both are state machines that a task steps until the machine is gone, or an error says that it is not:
//!
//! ```text
//! PowerOff: enter ACPI mode -> wait for SCI_EN -> write SLP_TYP, SLP_EN -> wait -> StillOn
//! Reset:    FADT register -> wait -> 0xCF9 -> wait -> keyboard controller -> wait -> StillRunning
//! ```
//! Source: ACPI 6.5, sections 4.8.3.2 (PM1 control), 4.8.3.6 (reset register) and 16.1.6 (entering S5).

use base::{Instant, Nanoseconds, Port};
use core::fmt;
use machine::PortRange;
use machine::acpi::fadt::AcpiEnable;
use machine::acpi::{Fadt, RegisterSpace, SleepTypes};
use seams::PortIo;

/// PM1 control: the SCI is enabled, so the board is in ACPI mode.
const SCI_ENABLED: u16 = 1 << 0;
/// PM1 control: the sleep type.
const SLEEP_TYPE_SHIFT: u16 = 10;
const SLEEP_TYPE_MASK: u16 = 0b111 << SLEEP_TYPE_SHIFT;
/// PM1 control: go to sleep.
const SLEEP_ENABLE: u16 = 1 << 13;

/// The chipset's reset control register (Intel ICH and later; AMD FCH alike).
const RESET_CONTROL: Port = Port(0xcf9);
/// A hard reset is prepared, then triggered.
const HARD_RESET: [u8; 2] = [0x02, 0x06];

/// The keyboard controller's command and status port (IBM PC/AT technical reference).
const KEYBOARD: Port = Port(0x64);
const KEYBOARD_BUSY: u8 = 1 << 1;
const PULSE_RESET_LINE: u8 = 0xfe;
const NO_DEVICE: u8 = 0xff;

/// Firmware's SMI handler may take this long to switch to ACPI mode; Linux waits as long.
const ENABLE_TIME: Nanoseconds = Nanoseconds::from_secs(3);
/// A machine that is still there after this long was not switched off by what was tried.
const SETTLE_TIME: Nanoseconds = Nanoseconds::from_millis(500);
/// How long the keyboard controller may be busy.
const KEYBOARD_TIME: Nanoseconds = Nanoseconds::from_millis(50);

/// The registers, as firmware describes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PowerRegisters {
    /// PM1a control.
    pub pm1a_control: Option<Port>,
    /// PM1b control, where there are two.
    pub pm1b_control: Option<Port>,
    /// What to write there for S5.
    pub sleep_types: Option<SleepTypes>,
    /// How ACPI mode is entered.
    pub enable: Option<AcpiEnable>,
    /// The reset register, if it is a port, and what to write.
    pub reset: Option<(Port, u8)>,
}

impl PowerRegisters {
    /// What the FADT and `\_S5` say. A reset register that is no port is left out: the others will do.
    pub fn from_acpi(fadt: &Fadt, sleep_types: Option<SleepTypes>) -> Self {
        let reset = fadt.reset.and_then(|(register, value)| match register {
            RegisterSpace::Port(port) => Some((port, value)),
            RegisterSpace::Memory(_) | RegisterSpace::PciConfig { .. } => None,
        });
        Self {
            pm1a_control: fadt.pm1a_control,
            pm1b_control: fadt.pm1b_control,
            sleep_types,
            enable: fadt.enable,
            reset,
        }
    }

    /// The ports to grant for [`PowerOff`] and [`Reset`].
    pub fn ports(&self) -> [PortRange; 6] {
        let some =
            |port: Option<Port>, count| port.map_or(PortRange::EMPTY, |port| PortRange::new(port, count));
        [
            some(self.pm1a_control, 2),
            some(self.pm1b_control, 2),
            some(self.enable.map(|enable| enable.port), 1),
            some(self.reset.map(|(port, _)| port), 1),
            PortRange::new(RESET_CONTROL, 1),
            PortRange::new(KEYBOARD, 1),
        ]
    }
}

/// Why the machine is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerError {
    /// Firmware names no PM1a control register.
    NoPm1Control,
    /// Firmware's tables hold no readable `\_S5`.
    NoSleepTypes,
    /// The board did not enter ACPI mode.
    NoAcpiMode(AcpiEnable),
    /// Everything was written, and nothing happened.
    StillOn(Port),
    /// No way of resetting has worked.
    StillRunning,
}

impl fmt::Display for PowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPm1Control => f.write_str("power-off: the FADT names no PM1a control register")?,
            Self::NoSleepTypes => f.write_str("power-off: no \\_S5 in the firmware's tables")?,
            Self::NoAcpiMode(AcpiEnable { port, value }) => {
                write!(f, "power-off: writing {value:#x} to port {port} did not enter ACPI mode")?;
            }
            Self::StillOn(port) => write!(f, "power-off: PM1a control at port {port} had no effect")?,
            Self::StillRunning => {
                f.write_str("reset: neither the FADT's register, 0xcf9 nor the keyboard controller worked")?;
            }
        }
        f.write_str("; use the power button")
    }
}

impl core::error::Error for PowerError {}

/// Step again: the machine is still on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OffState {
    Start,
    AwaitAcpiMode { until: Instant },
    AwaitOff { until: Instant },
}

/// The way to S5.
#[derive(Clone, Copy, Debug)]
pub struct PowerOff {
    registers: PowerRegisters,
    pm1a: Port,
    types: SleepTypes,
    state: OffState,
}

impl PowerOff {
    /// Ready for the first step.
    ///
    /// # Errors
    /// When firmware has not said how.
    pub fn new(registers: PowerRegisters) -> Result<Self, PowerError> {
        let pm1a = registers.pm1a_control.ok_or(PowerError::NoPm1Control)?;
        let types = registers.sleep_types.ok_or(PowerError::NoSleepTypes)?;
        Ok(Self { registers, pm1a, types, state: OffState::Start })
    }

    /// Goes on. Returns only while, or because, the machine is still on.
    ///
    /// # Errors
    /// When the machine will not go off.
    pub fn step(&mut self, ports: &mut impl PortIo, now: Instant) -> Result<Pending, PowerError> {
        match self.state {
            OffState::Start => match self.registers.enable {
                Some(enable) if !self.in_acpi_mode(ports) => {
                    ports.write_u8(enable.port, enable.value);
                    self.state = OffState::AwaitAcpiMode { until: now.after(ENABLE_TIME) };
                }
                _ => self.sleep(ports, now),
            },
            OffState::AwaitAcpiMode { .. } if self.in_acpi_mode(ports) => self.sleep(ports, now),
            OffState::AwaitAcpiMode { until } if now >= until => {
                return Err(self.registers.enable.map_or(PowerError::NoPm1Control, PowerError::NoAcpiMode));
            }
            OffState::AwaitOff { until } if now >= until => return Err(PowerError::StillOn(self.pm1a)),
            OffState::AwaitAcpiMode { .. } | OffState::AwaitOff { .. } => {}
        }
        Ok(Pending)
    }

    fn in_acpi_mode(&self, ports: &mut impl PortIo) -> bool {
        ports.read_u16(self.pm1a) & SCI_ENABLED != 0
    }

    /// Writes the types to both registers, then lets both go: a chipset with two wants both.
    fn sleep(&mut self, ports: &mut impl PortIo, now: Instant) {
        let registers =
            [Some((self.pm1a, self.types.pm1a)), self.registers.pm1b_control.map(|b| (b, self.types.pm1b))];
        for enable in [0, SLEEP_ENABLE] {
            for (port, sleep_type) in registers.into_iter().flatten() {
                let kept = ports.read_u16(port) & !(SLEEP_TYPE_MASK | SLEEP_ENABLE);
                let sleep_type = u16::from(sleep_type) << SLEEP_TYPE_SHIFT & SLEEP_TYPE_MASK;
                ports.write_u16(port, kept | sleep_type | enable);
            }
        }
        self.state = OffState::AwaitOff { until: now.after(SETTLE_TIME) };
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResetState {
    Firmware,
    Chipset { from: Instant },
    Keyboard { from: Instant },
    Settle { until: Instant },
}

/// The way to a reset.
#[derive(Clone, Copy, Debug)]
pub struct Reset {
    register: Option<(Port, u8)>,
    state: ResetState,
}

impl Reset {
    /// Ready for the first step.
    pub const fn new(registers: &PowerRegisters) -> Self {
        Self { register: registers.reset, state: ResetState::Firmware }
    }

    /// Goes on. Returns only while, or because, the machine still runs.
    ///
    /// # Errors
    /// [`PowerError::StillRunning`] when everything was tried.
    pub fn step(&mut self, ports: &mut impl PortIo, now: Instant) -> Result<Pending, PowerError> {
        self.state = match self.state {
            ResetState::Firmware => match self.register {
                Some((port, value)) => {
                    ports.write_u8(port, value);
                    ResetState::Chipset { from: now.after(SETTLE_TIME) }
                }
                None => ResetState::Chipset { from: now },
            },
            ResetState::Chipset { from } if now >= from => {
                HARD_RESET.into_iter().for_each(|value| ports.write_u8(RESET_CONTROL, value));
                ResetState::Keyboard { from: now.after(SETTLE_TIME) }
            }
            ResetState::Keyboard { from } if now >= from => Self::keyboard(ports, now, from),
            ResetState::Settle { until } if now >= until => return Err(PowerError::StillRunning),
            waiting => waiting,
        };
        Ok(Pending)
    }

    /// Pulses the reset line, once the controller listens; one that never does is told nevertheless.
    fn keyboard(ports: &mut impl PortIo, now: Instant, from: Instant) -> ResetState {
        let status = ports.read_u8(KEYBOARD);
        let busy = status & KEYBOARD_BUSY != 0 && status != NO_DEVICE;
        if busy && now.since(from) < KEYBOARD_TIME {
            return ResetState::Keyboard { from };
        }
        ports.write_u8(KEYBOARD, PULSE_RESET_LINE);
        ResetState::Settle { until: now.after(SETTLE_TIME) }
    }
}

#[cfg(test)]
mod tests;
