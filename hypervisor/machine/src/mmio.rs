//! A window on device registers in memory.
//!
//! Unsafe because registers are reached through raw pointers: whoever makes a window vouches for the mapping, and
//! every access is checked against its length.

use core::ptr::{read_volatile, write_volatile};

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
    /// writable, are used through this window alone, and through which no memory of the hypervisor can be changed.
    pub const unsafe fn new(base: usize, len_bytes: usize) -> Self {
        Self { base, len_bytes }
    }

    /// The window's length.
    pub const fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Reads the aligned 32-bit register at `offset`; all ones outside the window, as a bus without an answer reads.
    pub fn read32(&self, offset: usize) -> u32 {
        match self.register(offset) {
            // SAFETY: `register` gives aligned addresses inside the window, which the maker vouched for.
            Some(register) => unsafe { read_volatile(register) },
            None => u32::MAX,
        }
    }

    /// Writes the aligned 32-bit register at `offset`; nothing happens outside the window.
    pub fn write32(&self, offset: usize, value: u32) {
        if let Some(register) = self.register(offset) {
            // SAFETY: as in `read32`.
            unsafe { write_volatile(register, value) }
        }
    }

    fn register(&self, offset: usize) -> Option<*mut u32> {
        let end = offset.checked_add(size_of::<u32>())?;
        let inside = end <= self.len_bytes && offset.is_multiple_of(align_of::<u32>());
        inside.then(|| core::ptr::with_exposed_provenance_mut(self.base.wrapping_add(offset)))
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
}
