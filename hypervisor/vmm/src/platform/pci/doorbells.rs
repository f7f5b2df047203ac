//! The pages by which drivers kick queues, to be found in a few instructions: each has a place by its address.
//!
//! A page whose place is taken already is not here, and is found as any other register. With BARs where they are after reset,
//! or where Linux moves them, that is so for few or none.

use base::{Gpa, PAGE_BYTES};
use devices::WindowOffset;
use devices::pci::Slot;

/// How many there are at most; a power of two.
const COUNT: u64 = 8;
/// From one device's BARs to the next one's, if nobody has moved them: BAR 0 and as much for BAR 1.
const STRIDE_BYTES: u64 = 8 * PAGE_BYTES;

/// A page and whose it is.
#[derive(Clone, Copy, Debug)]
struct Doorbell {
    page: Gpa,
    slot: Slot,
}

/// The pages known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doorbells([Doorbell; COUNT as usize]);

impl Default for Doorbells {
    /// None: page 0 is RAM.
    fn default() -> Self {
        Self([Doorbell { page: Gpa::from_low_bits(0), slot: Slot::HOST_BRIDGE }; COUNT as usize])
    }
}

impl Doorbells {
    /// Keeps `page`, which is the device's in `slot`, if there is room.
    pub fn put(&mut self, page: Gpa, slot: Slot) {
        let free = self.0.get_mut(place(page)).filter(|kept| kept.slot == Slot::HOST_BRIDGE);
        if let Some(free) = free {
            *free = Doorbell { page, slot };
        }
    }

    /// Whose page `gpa` is in, and where in it.
    #[inline]
    pub fn find(&self, gpa: Gpa) -> Option<(Slot, WindowOffset)> {
        let kept = self.0.get(place(gpa)).filter(|kept| kept.page == gpa.align_down(PAGE_BYTES))?;
        Some((kept.slot, WindowOffset((gpa.as_u64() % PAGE_BYTES) as u32)))
    }
}

const fn place(gpa: Gpa) -> usize {
    (gpa.as_u64() / STRIDE_BYTES % COUNT) as usize
}
