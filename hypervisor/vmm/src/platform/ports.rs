//! Which device answers at which port. Everything else reads as ones and swallows writes, as on a PC.

use crate::platform::{Board, Claim};
use base::Port;
use devices::{Access, Device, PortAccess, Width};

/// The ports of the guest's serial line.
const UART: (u16, u16) = (0x3f8, 0x3ff);

impl Board {
    /// Reads a port.
    #[inline]
    pub fn read_port(&mut self, port: Port, width: Width) -> (u32, Claim) {
        let access = Access { at: port, width };
        // A kernel writes its console byte by byte: first.
        if (UART.0..=UART.1).contains(&port.0) {
            let value = self.uart.read(&mut self.fabric, access);
            // A read may have made room.
            self.receive();
            return (value, Claim::Claimed);
        }
        self.read_other_port(access)
    }

    fn read_other_port(&mut self, access: PortAccess) -> (u32, Claim) {
        let fabric = &mut self.fabric;
        let value = match access.at.0 {
            0x600..=0x60b => self.pm.read(fabric, access),
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => fabric.read_pic(access),
            0x40..=0x43 | 0x61 => self.pit.read(fabric, access),
            0x70 | 0x71 => self.rtc.read(fabric, access),
            0x60 | 0x64 => self.keyboard.read(fabric, access),
            0xcf9 => self.reset.read(fabric, access),
            0xf4 => match &mut self.debug_exit {
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
        if (UART.0..=UART.1).contains(&port.0) {
            self.uart.write(&mut self.fabric, access, value);
            return Claim::Claimed;
        }
        self.write_other_port(access, value)
    }

    fn write_other_port(&mut self, access: PortAccess, value: u32) -> Claim {
        let fabric = &mut self.fabric;
        match access.at.0 {
            0x600..=0x60b => self.pm.write(fabric, access, value),
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => fabric.write_pic(access, value),
            0x40..=0x43 | 0x61 => self.pit.write(fabric, access, value),
            0x70 | 0x71 => self.rtc.write(fabric, access, value),
            0x60 | 0x64 => self.keyboard.write(fabric, access, value),
            0xcf9 => self.reset.write(fabric, access, value),
            0xf4 => match &mut self.debug_exit {
                Some(debug_exit) => debug_exit.write(fabric, access, value),
                None => return Claim::Unclaimed,
            },
            _ => return Claim::Unclaimed,
        }
        Claim::Claimed
    }
}
