//! Memory that a host device reaches by DMA, and the registers of one.
//!
//! A buffer has one owner at a time: whoever gives it to a device moves it into the driver, and gets it back when the
//! device has let go of it. So neither side ever sees half a change of the other. What both use at once, a ring, is
//! [`DmaRing`], and is reached by single loads and stores.

/// An address as a device puts it on its bus. Without an IOMMU it is the physical one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BusAddress(pub u64);

/// Memory for one transfer, contiguous on the bus, whole pages.
pub trait DmaBuffer {
    /// Where the device finds it.
    fn bus_address(&self) -> BusAddress;
    /// Its bytes. No device has it now.
    fn bytes(&self) -> &[u8];
    /// Its bytes, to change. No device has it now.
    fn bytes_mut(&mut self) -> &mut [u8];
}

/// Memory that device and driver both use at any moment, contiguous on the bus, zero at first, from the start of a page.
///
/// Offsets are in bytes, and aligned to what is accessed. Outside of the memory a load gives zero and a store does nothing.
pub trait DmaRing {
    /// Where the device finds it.
    fn bus_address(&self) -> BusAddress;
    /// Loads 32 bits; loads and stores after it stay after it.
    fn load32(&self, offset: usize) -> u32;
    /// Stores 32 bits; loads and stores before it stay before it.
    fn store32(&mut self, offset: usize, value: u32);
    /// Loads 64 bits, as [`DmaRing::load32`].
    fn load64(&self, offset: usize) -> u64;
    /// Stores 64 bits, as [`DmaRing::store32`].
    fn store64(&mut self, offset: usize, value: u64);
}

/// Where the memory for one device comes from.
pub trait DmaMemory {
    /// A buffer.
    type Buffer: DmaBuffer;
    /// A ring.
    type Ring: DmaRing;

    /// A buffer of at least `len_bytes`, with any contents; `None` when there is no memory.
    fn buffer(&mut self, len_bytes: usize) -> Option<Self::Buffer>;
    /// A ring of at least `len_bytes`, zero; `None` when there is no memory.
    fn ring(&mut self, len_bytes: usize) -> Option<Self::Ring>;
}

/// A device's registers. Offsets are in bytes, and aligned; outside of the window a read gives ones and a write goes nowhere.
pub trait Registers {
    /// Reads 8 bits.
    fn read8(&self, offset: usize) -> u8;
    /// Reads 16 bits.
    fn read16(&self, offset: usize) -> u16;
    /// Reads 32 bits.
    fn read32(&self, offset: usize) -> u32;
    /// Writes 8 bits.
    fn write8(&mut self, offset: usize, value: u8);
    /// Writes 16 bits.
    fn write16(&mut self, offset: usize, value: u16);
    /// Writes 32 bits.
    fn write32(&mut self, offset: usize, value: u32);

    /// Reads 64 bits, the low half first: what devices take that have no 64-bit access.
    fn read64(&self, offset: usize) -> u64 {
        u64::from(self.read32(offset)) | u64::from(self.read32(offset.wrapping_add(4))) << 32
    }

    /// Writes 64 bits, the low half first.
    fn write64(&mut self, offset: usize, value: u64) {
        self.write32(offset, value as u32);
        self.write32(offset.wrapping_add(4), (value >> 32) as u32);
    }
}
