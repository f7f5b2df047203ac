//! A window on device registers in memory.
//!
//! Unsafe because registers are reached through raw pointers: whoever makes a window vouches for the mapping, and
//! every access is checked against its length.

use core::ptr::{read_volatile, with_exposed_provenance_mut, write_volatile};
use seams::Registers;

/// Registers mapped at a virtual address.
#[derive(Debug)]
pub struct Mmio {
    base: usize,
    len_bytes: usize,
}

impl Mmio {
    /// The window of `len_bytes` at the virtual address `base`.
    ///
    /// # Safety
    /// For as long as the window lives, `base` and `len_bytes` name device registers that are mapped uncached and
    /// writable and are used through this window alone. Through them no memory of the hypervisor can be changed but what
    /// was given to the device for that: a device with DMA gets a driver that names only memory of `iommu::dma` to it.
    pub const unsafe fn new(base: usize, len_bytes: usize) -> Self {
        Self { base, len_bytes }
    }

    /// The window's length.
    pub const fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Reads the aligned 32-bit register at `offset`; all ones outside the window, as a bus without an answer reads.
    pub fn read32(&self, offset: usize) -> u32 {
        self.read(offset).unwrap_or(u32::MAX)
    }

    /// Writes the aligned 32-bit register at `offset`; nothing happens outside the window.
    pub fn write32(&self, offset: usize, value: u32) {
        self.write(offset, value);
    }

    #[inline]
    fn read<T: Register>(&self, offset: usize) -> Option<T> {
        // SAFETY: `register` gives aligned addresses inside the window, which the maker vouched for.
        self.register(offset).map(|register| unsafe { read_volatile(register) })
    }

    #[inline]
    fn write<T: Register>(&self, offset: usize, value: T) {
        if let Some(register) = self.register(offset) {
            // SAFETY: as in `read`.
            unsafe { write_volatile(register, value) }
        }
    }

    #[inline]
    fn register<T: Register>(&self, offset: usize) -> Option<*mut T> {
        let end = offset.checked_add(size_of::<T>())?;
        let inside = end <= self.len_bytes && offset.is_multiple_of(align_of::<T>());
        inside.then(|| with_exposed_provenance_mut(self.base.wrapping_add(offset)))
    }
}

/// What one access moves: any bits are a value.
trait Register: Copy {}
impl Register for u8 {}
impl Register for u16 {}
impl Register for u32 {}

// Not inlined: an access takes as long as a hundred instructions, and drivers have many.
impl Registers for Mmio {
    #[inline(never)]
    fn read8(&self, offset: usize) -> u8 {
        self.read(offset).unwrap_or(u8::MAX)
    }

    #[inline(never)]
    fn read16(&self, offset: usize) -> u16 {
        self.read(offset).unwrap_or(u16::MAX)
    }

    #[inline(never)]
    fn read32(&self, offset: usize) -> u32 {
        Self::read32(self, offset)
    }

    #[inline(never)]
    fn write8(&mut self, offset: usize, value: u8) {
        self.write(offset, value);
    }

    #[inline(never)]
    fn write16(&mut self, offset: usize, value: u16) {
        self.write(offset, value);
    }

    #[inline(never)]
    fn write32(&mut self, offset: usize, value: u32) {
        Self::write32(self, offset, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_stay_inside_the_window_and_aligned() {
        let mut registers = [0x11_u32, 0x22, 0x33];
        // SAFETY: the first two words of an array that outlives the window stand in for registers.
        let window = unsafe { Mmio::new(registers.as_mut_ptr().expose_provenance(), 8) };
        assert_eq!(window.read32(4), 0x22);
        window.write32(4, 0x44);
        assert_eq!(window.read32(4), 0x44);
        for offset in [1, 2, 5, 8, usize::MAX] {
            window.write32(offset, 0);
            assert_eq!(window.read32(offset), u32::MAX, "{offset}");
        }
        // SAFETY: the array is still there; it is read as the window wrote it.
        assert_eq!(unsafe { (&raw const registers).read_volatile() }, [0x11, 0x44, 0x33]);
    }

    #[test]
    fn narrow_registers_are_accessed_as_such() {
        let mut registers = [0x4433_2211_u32, 0x8877_6655];
        // SAFETY: an array that outlives the window stands in for registers.
        let mut window = unsafe { Mmio::new(registers.as_mut_ptr().expose_provenance(), 8) };
        assert_eq!(
            (window.read8(3), window.read16(6), window.read64(0)),
            (0x44, 0x8877, 0x8877_6655_4433_2211)
        );
        window.write8(0, 0xaa);
        window.write16(2, 0xbbcc);
        assert_eq!(window.read32(0), 0xbbcc_22aa);
        assert_eq!((window.read8(8), window.read16(7)), (0xff, 0xffff));
    }
}
