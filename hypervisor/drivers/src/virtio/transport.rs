//! A device's registers on PCI.
//!
//! ```text
//! common configuration (section 4.1.4.3)
//!  0 which device features  4 device features  8 which driver features  12 driver features  16 vector of changes (u16)
//!  20 status (u8)  22 which queue (u16)  24 its size  26 its vector  28 enabled  30 its place in the notification area
//!  32 descriptors (u64)  40 available ring (u64)  48 used ring (u64)
//! ```

use super::place::Place;
use super::queue::Queue;
use super::{ACCESS_PLATFORM, VERSION_1};
use crate::Signal;
use crate::error::DeviceError;
use seams::{DmaRing, Registers};

const ACKNOWLEDGED: u8 = 1;
const HAS_DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const NEEDS_RESET: u8 = 64;
const NO_ANSWER: u8 = 0xff;
const NO_VECTOR: u16 = 0xffff;

/// What the device wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing.
    Good,
    /// It has failed, and may work again after a reset.
    NeedsReset,
    /// It is not there any more.
    Vanished,
}

/// The registers.
pub struct Transport<R> {
    registers: R,
    place: Place,
    signal: Signal,
}

impl<R: Registers> Transport<R> {
    /// The device whose structures are at `place` in `registers`.
    pub const fn new(registers: R, place: Place, signal: Signal) -> Self {
        Self { registers, place, signal }
    }

    fn status(&self) -> u8 {
        self.registers.read8(self.place.common + 20)
    }

    fn set_status(&mut self, status: u8) {
        self.registers.write8(self.place.common + 20, status);
    }

    /// Tells the device to reset; [`Transport::has_reset`] says when it has.
    pub fn reset(&mut self) {
        self.set_status(0);
    }

    /// Whether it has reset: then it has none of the driver's memory any more.
    pub fn has_reset(&self) -> bool {
        self.status() == 0
    }

    /// How the device is.
    pub fn health(&self) -> Health {
        match self.status() {
            NO_ANSWER => Health::Vanished,
            status if status & NEEDS_RESET != 0 => Health::NeedsReset,
            _ => Health::Good,
        }
    }

    /// Agrees with a device that has been reset on those features of `wanted` that it offers.
    ///
    /// # Errors
    /// When it is no device of version 1, or refuses what it has offered.
    #[cold]
    pub fn negotiate(&mut self, wanted: u64) -> Result<u64, DeviceError> {
        self.set_status(ACKNOWLEDGED);
        self.set_status(ACKNOWLEDGED | HAS_DRIVER);
        let common = self.place.common;
        let mut offered = 0;
        for half in 0..2 {
            self.registers.write32(common, half);
            offered |= u64::from(self.registers.read32(common + 4)) << (32 * half);
        }
        if offered & VERSION_1 == 0 {
            return Err(DeviceError::Unsupported("a virtio device before version 1"));
        }
        // Behind an IOMMU or not: bus addresses are what the memory says they are.
        let accepted = offered & (wanted | VERSION_1 | ACCESS_PLATFORM);
        for half in 0..2 {
            self.registers.write32(common + 8, half);
            self.registers.write32(common + 12, (accepted >> (32 * half)) as u32);
        }
        self.set_status(ACKNOWLEDGED | HAS_DRIVER | FEATURES_OK);
        if self.status() & FEATURES_OK == 0 {
            return Err(DeviceError::Refused { what: "its own features", code: self.status().into() });
        }
        let vector = self.vector();
        self.registers.write16(common + 16, vector);
        Ok(accepted)
    }

    const fn vector(&self) -> u16 {
        match self.signal {
            Signal::Interrupt => 0,
            Signal::Polled => NO_VECTOR,
        }
    }

    /// The size of queue `index`; 0 when there is none.
    pub fn queue_size(&mut self, index: u16) -> u16 {
        self.registers.write16(self.place.common + 22, index);
        self.registers.read16(self.place.common + 24)
    }

    /// Shows the device `queue`, empty.
    ///
    /// # Errors
    /// When it does not take the vector.
    #[cold]
    pub fn enable(&mut self, queue: &mut Queue<impl DmaRing>) -> Result<(), DeviceError> {
        queue.reset();
        let common = self.place.common;
        self.registers.write16(common + 22, queue.index());
        self.registers.write16(common + 24, queue.size());
        let vector = self.vector();
        self.registers.write16(common + 26, vector);
        if self.registers.read16(common + 26) != vector {
            return Err(DeviceError::Refused { what: "an interrupt's vector", code: vector });
        }
        let place = usize::from(self.registers.read16(common + 30));
        queue.set_doorbell(
            self.place.notify.saturating_add(place.saturating_mul(self.place.notify_multiplier)),
        );
        for (offset, address) in [32, 40, 48].into_iter().zip(queue.addresses()) {
            self.registers.write64(common + offset, address.0);
        }
        self.registers.write16(common + 28, 1);
        Ok(())
    }

    /// The driver is ready: the device may begin.
    pub fn start(&mut self) {
        self.set_status(ACKNOWLEDGED | HAS_DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// Tells the device that `queue` has something new.
    pub fn notify(&mut self, queue: &Queue<impl DmaRing>) {
        self.registers.write16(queue.doorbell(), queue.index());
    }

    /// Reads the device's own configuration.
    pub fn config8(&self, offset: usize) -> u8 {
        self.registers.read8(self.place.device.saturating_add(offset))
    }

    /// As [`Transport::config8`], 16 bits.
    pub fn config16(&self, offset: usize) -> u16 {
        self.registers.read16(self.place.device.saturating_add(offset))
    }

    /// As [`Transport::config8`], 32 bits.
    pub fn config32(&self, offset: usize) -> u32 {
        self.registers.read32(self.place.device.saturating_add(offset))
    }
}
