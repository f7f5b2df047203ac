//! The place where the hypervisor sees a guest's memory: one entry of the host's root table, which leads to the
//! tables of the VM that this CPU serves.
//!
//! Unsafe because that entry changes what 512 GiB of addresses mean. Nothing holds a reference there: `access` copies
//! through raw pointers, and asks for the window each time.

use super::map::GuestMap;
use crate::direct::Direct;
use crate::layout::{DIRECT_BASE, GUEST_BASE, root_index};
use base::Hpa;
use core::sync::atomic::{AtomicU64, Ordering};
use paging::{EntryFormat, Host};

/// No table: frame 0 is never the hypervisor's.
const NONE: u64 = 0;

/// The host's root table. One CPU now; with more, each has a root table, and both of these become the CPU's own.
static ROOT: AtomicU64 = AtomicU64::new(NONE);

/// The table that the window leads to.
static ACTIVE: AtomicU64 = AtomicU64::new(NONE);

/// Where guest memory can be reached by its guest-physical address.
///
/// # Safety
/// Until the next call for another guest, every extent of memory of this guest is mapped at `base()` plus its guest-physical
/// address, with the extent's permissions, and no reference exists there.
pub unsafe trait Window {
    /// Where guest-physical address 0 would be.
    fn base(&self) -> *mut u8;

    /// As [`Window::base`], and whether nothing has to be switched before that may be accessed.
    #[inline(always)]
    fn base_and_whether_shown(&self) -> (*mut u8, bool) {
        (self.base(), true)
    }
}

/// The guest window of the CPU that runs this, made to show a map's memory when it shows another's.
#[derive(Debug)]
pub struct MappedWindow {
    pub(super) map: GuestMap,
}

// SAFETY: the map owns its memory and its tables, which mirror its extents, and `activate` makes the window lead to them.
unsafe impl Window for MappedWindow {
    fn base(&self) -> *mut u8 {
        activate(self.map.window_root());
        core::ptr::with_exposed_provenance_mut(GUEST_BASE as usize)
    }

    #[inline(always)]
    fn base_and_whether_shown(&self) -> (*mut u8, bool) {
        let is_shown = ACTIVE.load(Ordering::Relaxed) == self.map.window_root().as_u64();
        (core::ptr::with_exposed_provenance_mut(GUEST_BASE as usize), is_shown)
    }
}

/// Names the root table that this CPU runs on.
pub(crate) fn set_root(root: Hpa) {
    ROOT.store(root.as_u64(), Ordering::Relaxed);
}

/// Makes the window lead to the tables at `window_root`.
fn activate(window_root: Hpa) {
    // Relaxed: only this CPU switches its window, with interrupts masked.
    if ACTIVE.load(Ordering::Relaxed) != window_root.as_u64() {
        switch(window_root.as_u64());
    }
}

/// Takes the tables at `window_root` out of the window, if it shows them.
pub(super) fn deactivate(window_root: Hpa) {
    if ACTIVE.load(Ordering::Relaxed) == window_root.as_u64() {
        switch(NONE);
    }
}

/// Drops what the CPU remembers of the window, if it shows the tables at `window_root`.
pub(super) fn flush(window_root: Hpa) {
    if ACTIVE.load(Ordering::Relaxed) == window_root.as_u64() {
        crate::host::flush_all();
    }
}

#[cold]
fn switch(window_root: u64) {
    let root = ROOT.load(Ordering::Relaxed);
    if root == NONE {
        return;
    }
    let entry = if window_root == NONE { 0 } else { Host::table(Hpa::from_low_bits(window_root)) };
    // SAFETY: once a root is named, the direct window shows it. The guest window's entry is in nobody's use but ours,
    // and no reference points through it.
    unsafe {
        let direct = Direct::new(DIRECT_BASE as usize);
        direct.write_entry(Hpa::from_low_bits(root), root_index(GUEST_BASE), entry);
    }
    let before = ACTIVE.swap(window_root, Ordering::Relaxed);
    if before != NONE {
        crate::host::flush_all();
    }
}
