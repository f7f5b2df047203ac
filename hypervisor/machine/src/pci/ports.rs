//! Configuration mechanism 1: an address port and a data port (PCI Local Bus 3.0, section 3.2.2.3.2).
//!
//! Unsafe because ports are accessed by instructions, and because a device can be configured to write to memory.

use super::{Address, ConfigSpace};
use core::arch::asm;
use core::ops::RangeInclusive;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

/// Configuration space by ports: segment 0, 256 bytes a function.
#[derive(Debug)]
pub struct ConfigPorts(());

impl ConfigPorts {
    /// The ports.
    ///
    /// # Safety
    /// There is one such value, on one CPU, and nobody else uses the ports while it is there. Whoever has it lets no
    /// device write to memory that was not given to it for that.
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

fn select(at: Address, offset: u16) -> Option<()> {
    if at.segment != 0 || offset > 0xff {
        return None;
    }
    let address = ENABLE | u32::from(at.bus) << 16 | at.device_function() << 8 | u32::from(offset & 0xfc);
    // SAFETY: the port only says which register the data port shows; who made the value vouches for its being alone.
    unsafe {
        asm!("out dx, eax", in("dx") ADDRESS, in("eax") address, options(nomem, nostack, preserves_flags));
    }
    Some(())
}

impl ConfigSpace for ConfigPorts {
    fn buses(&self) -> impl Iterator<Item = (u16, RangeInclusive<u8>)> {
        core::iter::once((0, 0..=u8::MAX))
    }

    fn read32(&self, at: Address, offset: u16) -> u32 {
        if select(at, offset).is_none() {
            return u32::MAX;
        }
        let value: u32;
        // SAFETY: reading configuration changes no memory.
        unsafe {
            asm!("in eax, dx", in("dx") DATA, out("eax") value, options(nomem, nostack, preserves_flags));
        }
        value
    }

    fn write32(&mut self, at: Address, offset: u16, value: u32) {
        if select(at, offset).is_some() {
            // SAFETY: who has the value vouches for what its writes bring about.
            unsafe {
                asm!("out dx, eax", in("dx") DATA, in("eax") value, options(nomem, nostack, preserves_flags));
            }
        }
    }
}
