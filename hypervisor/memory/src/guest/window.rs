//! The places where the hypervisor sees guests' memory: two entries of the host's root table. One leads to the tables of
//! the VM that this CPU serves; the other, for as long as a [`Peer`] lives, to those of a VM that exchanges something with
//! it, so that what goes from one to the other is copied once.
//!
//! Unsafe because such an entry changes what 512 GiB of addresses mean. Nothing holds a reference there: `access` copies
//! through raw pointers, and asks for the window each time.

use super::map::GuestMap;
use crate::direct::Direct;
use crate::layout::{DIRECT_BASE, GUEST_BASE, PEER_BASE, root_index};
use base::Hpa;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use paging::{EntryFormat, Host};

/// No table: frame 0 is never the hypervisor's.
const NONE: u64 = 0;

/// The host's root table. One CPU now; with more, each has a root table, and all of these become the CPU's own.
static ROOT: AtomicU64 = AtomicU64::new(NONE);

/// The table that the guest window leads to.
static ACTIVE: AtomicU64 = AtomicU64::new(NONE);

/// The table that the peer window leads to.
static PEER: AtomicU64 = AtomicU64::new(NONE);

/// Where guest memory can be reached by its guest-physical address.
///
/// # Safety
/// Until the next call for another guest, every extent of memory of this guest is mapped at `base()` plus its guest-physical
/// address, with the extent's permissions, and no reference exists there.
pub unsafe trait Window {
    /// Where guest-physical address 0 would be.
    fn base(&self) -> *mut u8;

    /// As [`Window::base`] where nothing has to be switched for it, else `None`.
    fn shown_at(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.base())
    }

    /// As [`Window::base`], and whether nothing has to be switched before that may be accessed.
    #[inline(always)]
    fn base_and_whether_shown(&self) -> (*mut u8, bool) {
        (self.base(), true)
    }
}

/// The window of the CPU that runs this in which a map's memory is; the guest window is made to show it when none does.
#[derive(Debug)]
pub struct MappedWindow {
    pub(super) map: GuestMap,
}

// SAFETY: the map owns its memory and its tables, which mirror its extents, and `activate` makes the window lead to them.
unsafe impl Window for MappedWindow {
    fn base(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(activate(self.map.window_root()) as usize)
    }

    #[inline(always)]
    fn shown_at(&self) -> Option<NonNull<u8>> {
        let base = shown_at(self.map.window_root())?;
        NonNull::new(core::ptr::with_exposed_provenance_mut(base as usize))
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

/// A VM's memory in the peer window, beside that of the VM in the guest window. A map that goes away meanwhile takes itself
/// out of the window.
#[derive(Debug)]
pub struct Peer(PhantomData<*const ()>);

impl Peer {
    /// Shows the memory of `map` in the peer window, unless the guest window shows it. There is one at a time: who opens
    /// another one ends the first.
    pub(super) fn open(map: &GuestMap) -> Self {
        let window_root = map.window_root().as_u64();
        if ACTIVE.load(Ordering::Relaxed) != window_root && PEER.load(Ordering::Relaxed) != window_root {
            switch(&PEER, PEER_BASE, window_root);
        }
        Self(PhantomData)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if PEER.load(Ordering::Relaxed) != NONE {
            switch(&PEER, PEER_BASE, NONE);
        }
    }
}

/// Where a window shows the memory whose tables are at `window_root`, if one does.
#[inline(always)]
fn shown_at(window_root: Hpa) -> Option<u64> {
    // Relaxed: only this CPU switches its windows, with interrupts masked.
    let shows = |window: &AtomicU64| window.load(Ordering::Relaxed) == window_root.as_u64();
    if shows(&ACTIVE) {
        return Some(GUEST_BASE);
    }
    shows(&PEER).then_some(PEER_BASE)
}

/// As [`shown_at`], in the guest window if no window showed it before.
fn activate(window_root: Hpa) -> u64 {
    shown_at(window_root).unwrap_or_else(|| {
        switch(&ACTIVE, GUEST_BASE, window_root.as_u64());
        GUEST_BASE
    })
}

/// Takes the tables at `window_root` out of the windows.
pub(super) fn deactivate(window_root: Hpa) {
    for (window, base) in [(&ACTIVE, GUEST_BASE), (&PEER, PEER_BASE)] {
        if window.load(Ordering::Relaxed) == window_root.as_u64() {
            switch(window, base, NONE);
        }
    }
}

/// Drops what the CPU remembers of the windows, if one shows the tables at `window_root`.
pub(super) fn flush(window_root: Hpa) {
    let shows = |window: &AtomicU64| window.load(Ordering::Relaxed) == window_root.as_u64();
    if shows(&ACTIVE) || shows(&PEER) {
        crate::host::flush_all();
    }
}

/// Makes the window at `base` lead to the tables at `window_root`.
#[cold]
fn switch(window: &AtomicU64, base: u64, window_root: u64) {
    let root = ROOT.load(Ordering::Relaxed);
    if root == NONE {
        return;
    }
    let entry = if window_root == NONE { 0 } else { Host::table(Hpa::from_low_bits(window_root)) };
    // SAFETY: once a root is named, the direct window shows it. The windows' entries are in nobody's use but ours, and
    // no reference points through them.
    unsafe {
        let direct = Direct::new(DIRECT_BASE as usize);
        direct.write_entry(Hpa::from_low_bits(root), root_index(base), entry);
    }
    let before = window.swap(window_root, Ordering::Relaxed);
    if before != NONE {
        crate::host::flush_all();
    }
}
