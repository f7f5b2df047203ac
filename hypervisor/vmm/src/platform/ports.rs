//! Which device answers at which port. Everything else reads as ones and swallows writes, as on a PC.

use crate::platform::{Board, Claim};
use base::Port;
use devices::{Access, Device, PortAccess, Width, platform as place};

/// The ports of the guest's serial line.
const UART_FIRST: u16 = place::COM1.0;
const UART_LAST: u16 = UART_FIRST + 7;

/// ACPI's event and control blocks, and its timer behind them.
const PM_FIRST: u16 = place::PM1A_EVENT.0;
const PM_LAST: u16 = place::PM_TIMER.0 + 3;

/// PCI's CONFIG_DATA.
const PCI_DATA_FIRST: u16 = place::PCI_CONFIG_DATA.0;
const PCI_DATA_LAST: u16 = PCI_DATA_FIRST + 3;

impl Board {
    /// Whether a device answers at `port`.
    #[inline]
    pub fn answers_port(&self, port: Port) -> bool {
        match port {
            Port(UART_FIRST..=UART_LAST | PM_FIRST..=PM_LAST) => true,
            Port(
                0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 | 0x40..=0x43 | 0x61 | 0x70 | 0x71 | 0x60 | 0x64,
            ) => true,
            place::RESET_CONTROL => true,
            place::PCI_CONFIG_ADDRESS | Port(PCI_DATA_FIRST..=PCI_DATA_LAST) => true,
            place::DEBUG_EXIT => self.debug_exit.is_some(),
            _ => false,
        }
    }

    /// Whether `port` is one of the guest's serial line.
    #[inline]
    pub const fn is_serial(port: Port) -> bool {
        matches!(port, Port(UART_FIRST..=UART_LAST))
    }

    /// Whether a write to `port` can reach every register of a PCI device.
    #[inline]
    pub const fn may_kick_by_port(port: Port) -> bool {
        matches!(port, Port(PCI_DATA_FIRST..=PCI_DATA_LAST))
    }

    /// Reads a port.
    #[inline]
    pub fn read_port(&mut self, port: Port, width: Width) -> (u32, Claim) {
        let access = Access { at: port, width };
        // A kernel writes its console byte by byte: first.
        if Self::is_serial(port) {
            let value = self.uart.read(&mut self.fabric, access);
            // A read may have made room.
            self.receive();
            return (value, Claim::Claimed);
        }
        self.read_other_port(access)
    }

    fn read_other_port(&mut self, access: PortAccess) -> (u32, Claim) {
        let fabric = &mut self.fabric;
        let value = match access.at {
            Port(PM_FIRST..=PM_LAST) => self.pm.read(fabric, access),
            Port(0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1) => fabric.read_pic(access),
            Port(0x40..=0x43 | 0x61) => self.pit.read(fabric, access),
            Port(0x70 | 0x71) => self.rtc.read(fabric, access),
            Port(0x60 | 0x64) => self.keyboard.read(fabric, access),
            place::RESET_CONTROL => self.reset.read(fabric, access),
            place::PCI_CONFIG_ADDRESS | Port(PCI_DATA_FIRST..=PCI_DATA_LAST) => {
                self.pci.read_port(fabric, access)
            }
            place::DEBUG_EXIT => match &mut self.debug_exit {
                Some(debug_exit) => debug_exit.read(fabric, access),
                None => return (u32::MAX, Claim::Unclaimed),
            },
            _ => return (u32::MAX, Claim::Unclaimed),
        };
        (value, Claim::Claimed)
    }

    /// Writes a port.
    #[inline]
    pub fn write_port(&mut self, port: Port, width: Width, value: u32) -> Claim {
        let access = Access { at: port, width };
        if Self::is_serial(port) {
            self.uart.write(&mut self.fabric, access, value);
            return Claim::Claimed;
        }
        self.write_other_port(access, value)
    }

    fn write_other_port(&mut self, access: PortAccess, value: u32) -> Claim {
        let fabric = &mut self.fabric;
        match access.at {
            Port(PM_FIRST..=PM_LAST) => self.pm.write(fabric, access, value),
            Port(0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1) => fabric.write_pic(access, value),
            Port(0x40..=0x43 | 0x61) => self.pit.write(fabric, access, value),
            Port(0x70 | 0x71) => self.rtc.write(fabric, access, value),
            Port(0x60 | 0x64) => self.keyboard.write(fabric, access, value),
            place::RESET_CONTROL => self.reset.write(fabric, access, value),
            place::PCI_CONFIG_ADDRESS | Port(PCI_DATA_FIRST..=PCI_DATA_LAST) => {
                self.pci.write_port(fabric, access, value);
            }
            place::DEBUG_EXIT => match &mut self.debug_exit {
                Some(debug_exit) => debug_exit.write(fabric, access, value),
                None => return Claim::Unclaimed,
            },
            _ => return Claim::Unclaimed,
        }
        Claim::Claimed
    }
}
