//! Which functions there are, and the register that switches them on.

use super::{Address, ConfigSpace};
use core::fmt;

/// Registers of the header (PCI Local Bus 3.0, section 6.1).
mod register {
    pub const IDS: u16 = 0x00;
    pub const COMMAND: u16 = 0x04;
    pub const CLASS: u16 = 0x08;
    pub const HEADER_TYPE: u16 = 0x0e;
}

/// The device has more functions than number 0.
const MULTI_FUNCTION: u8 = 1 << 7;

/// What a function is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// The base class: 1 is mass storage, 2 a network controller.
    pub base: u8,
    /// The class within it.
    pub sub: u8,
    /// The programming interface.
    pub interface: u8,
}

impl Class {
    /// An NVMe controller with the interface of the specification.
    pub const NVME: Self = Self { base: 1, sub: 8, interface: 2 };
}

/// One function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Where it is.
    pub address: Address,
    /// Who made it.
    pub vendor: u16,
    /// Which of the maker's devices it is.
    pub device: u16,
    /// What it is for.
    pub class: Class,
    /// The kind of header: 0 is an endpoint, 1 a bridge.
    pub header: u8,
}

impl Function {
    /// The function at `address`; `None` when there is none.
    pub fn at(config: &impl ConfigSpace, address: Address) -> Option<Self> {
        let ids = config.read32(address, register::IDS);
        let (vendor, device) = (ids as u16, (ids >> 16) as u16);
        if vendor == u16::MAX || vendor == 0 {
            return None;
        }
        let [_, interface, sub, base] = config.read32(address, register::CLASS).to_le_bytes();
        let header = config.read8(address, register::HEADER_TYPE) & !MULTI_FUNCTION;
        Some(Self { address, vendor, device, class: Class { base, sub, interface }, header })
    }

    /// Whether it is no bridge.
    pub const fn is_endpoint(&self) -> bool {
        self.header == 0
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Class { base, sub, interface } = self.class;
        write!(
            f,
            "{} {:04x}:{:04x} class {base:02x}{sub:02x}{interface:02x}",
            self.address, self.vendor, self.device
        )
    }
}

/// Gives every function that can be reached to `found`.
pub fn scan(config: &impl ConfigSpace, mut found: impl FnMut(Function)) {
    for (segment, buses) in config.buses() {
        for bus in buses {
            for device in 0..32 {
                scan_device(config, Address::new(segment, bus, device, 0), &mut found);
            }
        }
    }
}

fn scan_device(config: &impl ConfigSpace, first: Address, found: &mut impl FnMut(Function)) {
    let Some(function) = Function::at(config, first) else { return };
    found(function);
    if config.read8(first, register::HEADER_TYPE) & MULTI_FUNCTION == 0 {
        return;
    }
    (1..8).filter_map(|function| Function::at(config, Address { function, ..first })).for_each(found);
}

bitflags::bitflags! {
    /// The command register (PCI Local Bus 3.0, section 6.2.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Command: u16 {
        /// It answers at its port BARs.
        const PORTS = 1 << 0;
        /// It answers at its memory BARs.
        const MEMORY = 1 << 1;
        /// It may read and write memory, and send messages.
        const BUS_MASTER = 1 << 2;
        /// It leaves its interrupt pin alone.
        const PIN_OFF = 1 << 10;
        const _ = !0;
    }
}

impl Command {
    /// The register of the function at `at`.
    pub fn read(config: &impl ConfigSpace, at: Address) -> Self {
        Self::from_bits_retain(config.read16(at, register::COMMAND))
    }

    /// Writes it. The status register shares its 32 bits, and clears nothing where zeros are written.
    pub fn write(self, config: &mut impl ConfigSpace, at: Address) {
        config.write32(at, register::COMMAND, self.bits().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::testing::FakeConfig;
    use std::string::ToString;
    use std::vec::Vec;

    fn found(config: &FakeConfig) -> Vec<Function> {
        let mut found = Vec::new();
        scan(config, |function| found.push(function));
        found
    }

    #[test]
    fn functions_are_found_on_every_bus_a_second_root_included() {
        let mut config = FakeConfig::default();
        config.put(Address::new(0, 0, 0, 0), 0, &[0x29c0_8086, 0, 0x0600_0000, 0]);
        config.put(Address::new(0, 0x80, 3, 0), 0, &[0x0010_1b36, 0, 0x0108_0202, 0]);
        let found = found(&config);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].to_string(), "0000:80:03.0 1b36:0010 class 010802");
        assert!(found[1].class == Class::NVME && found[1].is_endpoint());
    }

    #[test]
    fn further_functions_are_looked_for_where_the_first_says_so() {
        let mut config = FakeConfig::default();
        for (device, header) in [(1, 0), (2, 0x81_0000)] {
            config.put(Address::new(0, 0, device, 0), 0, &[0x1234_8086, 0, 0, header]);
            config.put(Address::new(0, 0, device, 5), 0, &[0x1234_8086, 0, 0, 0]);
        }
        let addresses: Vec<_> = found(&config).iter().map(|function| function.address.to_string()).collect();
        assert_eq!(addresses, ["0000:00:01.0", "0000:00:02.0", "0000:00:02.5"]);
    }

    #[test]
    fn a_change_of_the_command_leaves_the_status_alone() {
        let mut config = FakeConfig::default();
        let at = Address::new(0, 0, 1, 0);
        config.put(at, 0, &[0x1234_8086, 0xf010_0002]);
        (Command::read(&config, at) | Command::BUS_MASTER).write(&mut config, at);
        assert_eq!(config.writes(), [(at, 4, 0x0006)]);
    }
}
