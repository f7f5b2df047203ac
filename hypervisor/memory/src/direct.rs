//! The way to the hypervisor's own frames by their physical address.
//!
//! Unsafe because frames are raw memory. Whoever makes a [`Direct`] vouches for the mapping; who passes an address
//! vouches that the frame is the hypervisor's and that nobody holds a reference into it.

use base::Hpa;
use core::ptr::{self, NonNull};

/// Memory at `base + hpa`: boot's identity map first, the direct window afterwards, a buffer in tests.
#[derive(Clone, Copy, Debug)]
pub struct Direct {
    base: usize,
}

impl Direct {
    /// The mapping that begins at the virtual address `base`.
    ///
    /// # Safety
    /// As long as it or a copy is used, every frame that its users name is mapped at `base` plus its address, readable
    /// and writable, with exposed provenance.
    pub const unsafe fn new(base: usize) -> Self {
        Self { base }
    }

    /// Where the frame at `hpa` is mapped.
    pub fn pointer(self, hpa: Hpa) -> NonNull<u8> {
        let address = self.base.wrapping_add(hpa.as_u64() as usize);
        NonNull::new(ptr::with_exposed_provenance_mut(address)).unwrap_or(NonNull::dangling())
    }

    /// Reads entry `index` (below 512) of the table at `table`.
    ///
    /// # Safety
    /// The table is a frame of the hypervisor.
    pub unsafe fn read_entry(self, table: Hpa, index: u16) -> u64 {
        let entry = self.pointer(table).cast::<u64>();
        // SAFETY: the caller vouches for the frame; the index stays inside it. Volatile: processors write there too.
        unsafe { entry.as_ptr().add(usize::from(index % 512)).read_volatile() }
    }

    /// Writes entry `index` (below 512) of the table at `table`.
    ///
    /// # Safety
    /// The table is a frame of the hypervisor, and the entry maps nothing that breaks a reference somebody holds.
    pub unsafe fn write_entry(self, table: Hpa, index: u16, value: u64) {
        let entry = self.pointer(table).cast::<u64>();
        // SAFETY: as in `read_entry`.
        unsafe { entry.as_ptr().add(usize::from(index % 512)).write_volatile(value) }
    }

    /// Zeroes `len_bytes`, a multiple of 8, from `hpa` on.
    ///
    /// # Safety
    /// They are frames of the hypervisor that nobody holds a reference into.
    pub unsafe fn zero(self, hpa: Hpa, len_bytes: u64) {
        // SAFETY: the caller vouches for the frames.
        unsafe { zero(self.pointer(hpa), len_bytes) }
    }
}

/// Zeroes `len_bytes`, a multiple of 8, from `start` on.
///
/// # Safety
/// They are mapped, writable, and nobody holds a reference into them.
pub unsafe fn zero(start: NonNull<u8>, len_bytes: u64) {
    // Eight bytes an iteration: where instructions are counted each iteration is one.
    // SAFETY: the caller vouches for the memory; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!(
            "rep stosq",
            inout("rcx") len_bytes / 8 => _,
            inout("rdi") start.as_ptr() => _,
            in("rax") 0_u64,
            options(nostack, preserves_flags),
        );
    }
}
