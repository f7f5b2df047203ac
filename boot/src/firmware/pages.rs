//! Memory for what outlives boot, and the record of what it is for. `unsafe` to turn firmware's addresses into slices.

use alloc::vec::Vec;
use base::{Hpa, PAGE_BYTES, PhysRange};
use boot::Failure;
use boot::page_tables::Table;
use core::cell::RefCell;
use core::ptr::NonNull;
use core::slice;
use handoff::{MemoryRegion, RegionKind};
use uefi::boot::{AllocateType, MemoryType};

/// Memory that was allocated and zeroed.
pub(crate) struct Claim<'a> {
    /// The bytes that were asked for; the rest of the last page is zero.
    pub(crate) range: PhysRange,
    /// The same, at their own address, as all memory is under UEFI (UEFI 2.10, section 2.3.4).
    pub(crate) bytes: &'a mut [u8],
}

/// All claims so far, in whole pages. They are given back when this is dropped, so that the next boot entry has them
/// if boot fails; on the way to the hypervisor it never is.
#[derive(Default)]
pub(crate) struct Allocations {
    claims: RefCell<Vec<MemoryRegion>>,
}

impl Allocations {
    /// Whole pages, zeroed, that hold `len_bytes` and are to be handed over as `kind`.
    ///
    /// # Errors
    /// [`Failure::Memory`] naming `what`.
    pub(crate) fn claim(
        &self,
        what: &'static str,
        len_bytes: u64,
        kind: RegionKind,
    ) -> Result<Claim<'_>, Failure> {
        let (pages, range) = allocate(len_bytes).ok_or(Failure::Memory { what, len_bytes })?;
        self.claims.borrow_mut().push(MemoryRegion { range, kind });
        // SAFETY: firmware has just given these pages to boot alone; they stay until `self` is dropped, which the
        // slice cannot outlive; all of them are initialized here.
        let all = unsafe {
            pages.write_bytes(0, range.len_bytes() as usize);
            slice::from_raw_parts_mut(pages.as_ptr(), range.len_bytes() as usize)
        };
        let (bytes, _) = all.split_at_mut(len_bytes as usize);
        Ok(Claim { range: PhysRange::new(range.start(), len_bytes).unwrap_or(range), bytes })
    }

    /// What was claimed.
    pub(crate) fn claims(&self) -> Vec<MemoryRegion> {
        self.claims.borrow().clone()
    }
}

impl Drop for Allocations {
    fn drop(&mut self) {
        for region in self.claims.get_mut() {
            let Some(start) = NonNull::new(region.range.start().as_u64() as *mut u8) else { continue };
            // SAFETY: the pages were allocated with this start and count, and no slice of them is left. What firmware
            // refuses to take back is lost to the next boot entry, which is all that can be done.
            let _ =
                unsafe { uefi::boot::free_pages(start, (region.range.len_bytes() / PAGE_BYTES) as usize) };
        }
    }
}

fn allocate(len_bytes: u64) -> Option<(NonNull<u8>, PhysRange)> {
    let pages = len_bytes.div_ceil(PAGE_BYTES);
    let count = usize::try_from(pages).ok()?;
    let start = uefi::boot::allocate_pages(AllocateType::AnyPages, MemoryType::LOADER_DATA, count).ok()?;
    let range = PhysRange::new(Hpa::new(start.as_ptr() as u64).ok()?, pages.checked_mul(PAGE_BYTES)?).ok()?;
    Some((start, range))
}

/// `bytes` of a claim as page tables.
pub(crate) fn as_tables(bytes: &mut [u8]) -> &mut [Table] {
    // SAFETY: any bytes are a table; `align_to_mut` gives only what is aligned, and a claim is whole pages.
    let (_, tables, _) = unsafe { bytes.align_to_mut::<Table>() };
    tables
}
