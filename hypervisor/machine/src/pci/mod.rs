//! The host's PCI functions: which there are, where their registers lie, and how they interrupt.
//!
//! ```text
//!  ConfigSpace (ECAM windows of MCFG, or ports 0xCF8/0xCFC)
//!     ├─ scan ──────────► Function: address, ids, class
//!     ├─ bar::memory ───► where its registers are
//!     ├─ capabilities ──► Capability: MSI, MSI-X, a vendor's
//!     └─ Command, Msix, Msi: memory decoding, bus mastering, a vector
//! ```
//! Firmware has numbered the buses and assigned the BARs; neither is changed here. Every bus number that there can be is
//! looked at, instead of following bridges: so the root buses of further sockets, which only AML names, are found, and
//! what a bridge claims can lead nobody in circles.
//!
//! What a function says of itself is input: bounded and checked. Only functions that are driven have their BARs measured,
//! since that makes them deaf for a moment.
//!
//! Unsafe is in `ports` alone, and in tests, where memory stands in for registers. Why no crate:
//! `docs/decisions/0013-host-devices.md`. Sources: PCI Local Bus 3.0 (chapter 6), PCI Express Base 5.0 (chapter 7).

pub mod bar;
pub mod capability;
pub mod config;
pub mod function;
pub mod interrupt;
mod ports;
#[cfg(test)]
mod testing;

pub use capability::{Capability, capabilities};
pub use config::{ConfigSpace, Ecam, HostConfig};
pub use function::{Class, Command, Function, scan};
pub use interrupt::{DeviceVector, Msi, Msix};
pub use ports::ConfigPorts;

use base::ApicId;
use core::fmt;

/// Where a function is: segment, bus, device and function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The segment; 0 where there is one only.
    pub segment: u16,
    /// The bus.
    pub bus: u8,
    /// The device on the bus, below 32.
    device: u8,
    /// The function of the device, below 8.
    function: u8,
}

impl Address {
    /// Function `function % 8` of device `device % 32`.
    pub const fn new(segment: u16, bus: u8, device: u8, function: u8) -> Self {
        Self { segment, bus, device: device % 32, function: function % 8 }
    }

    /// Device and function as configuration addresses hold them: `device << 3 | function`.
    const fn device_function(self) -> u32 {
        (self.device as u32) << 3 | self.function as u32
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.segment, self.bus, self.device, self.function)
    }
}

/// Why a function cannot be driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PciError {
    /// It has no memory BAR of this number.
    NoMemoryBar(u8),
    /// Firmware gave the BAR no address.
    Unassigned(u8),
    /// The BAR's size or address makes no sense.
    BadBar(u8),
    /// The MSI-X table is not where it can be reached.
    BadTable,
    /// Without interrupt remapping a message's destination has 8 bits.
    DestinationTooWide(ApicId),
}

impl fmt::Display for PciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemoryBar(bar) => {
                write!(f, "it has no memory BAR {bar}: not the device that it says it is")
            }
            Self::Unassigned(bar) => write!(
                f,
                "firmware gave no address to its BAR {bar}: enable the device, or memory above 4 GiB for PCI, in the firmware's setup"
            ),
            Self::BadBar(bar) => write!(f, "its BAR {bar} makes no sense: the device is broken"),
            Self::BadTable => f.write_str("its MSI-X table is outside of its BAR: the device is broken"),
            Self::DestinationTooWide(id) => {
                write!(f, "its interrupts cannot reach APIC id {} without interrupt remapping", id.0)
            }
        }
    }
}

impl core::error::Error for PciError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn an_address_is_printed_as_usual() {
        assert_eq!(Address::new(0, 0x1f, 31, 7).to_string(), "0000:1f:1f.7");
    }
}
