//! Interrupts that other CPUs and devices post to a vCPU: one 64-byte descriptor in the posted-interrupt format.
//!
//! ```text
//! bytes  0..32  PIR      one bit a vector
//! bytes 32..40  control  bit 0 ON    a notification is outstanding
//!                        bit 1 SN    notifications are suppressed
//!                        bits 16-23  NV    the notification's vector
//!                        bits 32-63  NDST  the notification's destination (APIC id)
//! bytes 40..64  reserved
//! ```
//! Source: Intel SDM 325462, volume 3, section 30.6 (posted-interrupt descriptor); VT-d specification, section 9.11.
//! Hardware may write the first 40 bytes at any time. AMD-V uses the same descriptor, in software only.
//!
//! No interrupt is lost: a poster sets the PIR bit before it touches ON, a taker clears ON before it reads PIR. Both
//! touch `control` by a read-modify-write, which are totally ordered: either the taker's comes later and then sees the
//! bit, or the poster's does and then finds ON clear and notifies.

use crate::atomic::{AtomicU64, Ordering};
use base::{ApicId, Vector};

const ON: u64 = 1 << 0;
const SN: u64 = 1 << 1;
const NV_SHIFT: u32 = 16;
const NV_MASK: u64 = 0xff << NV_SHIFT;
const NDST_SHIFT: u32 = 32;
const NDST_MASK: u64 = 0xffff_ffff << NDST_SHIFT;

/// What the poster of an interrupt has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an interrupt that needs a notification is not seen until that is sent"]
pub enum Notification {
    /// Send the notification vector to the destination.
    Needed {
        /// The vector to send.
        vector: Vector,
        /// The CPU to send it to.
        destination: ApicId,
    },
    /// One is on its way already, or the vCPU's owner has suppressed them and will look by itself.
    NotNeeded,
}

/// A set of vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VectorSet(pub [u64; 4]);

impl VectorSet {
    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == [0; 4]
    }

    /// Whether `vector` is in the set.
    pub fn contains(self, vector: Vector) -> bool {
        let (word, bit) = position(vector);
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Takes the highest vector out: the one of the highest priority.
    pub fn pop_highest(&mut self) -> Option<Vector> {
        let (index, word) = self.0.iter_mut().enumerate().rev().find(|(_, word)| **word != 0)?;
        let bit = word.ilog2();
        *word &= !(1 << bit);
        u8::try_from(index as u32 * 64 + bit).ok().map(Vector)
    }
}

fn position(vector: Vector) -> (usize, u64) {
    (usize::from(vector.0 >> 6), 1 << (vector.0 & 63))
}

/// The descriptor.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct PendingInterrupts {
    pir: [AtomicU64; 4],
    control: AtomicU64,
    reserved: [u64; 3],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<PendingInterrupts>() == 64);

impl PendingInterrupts {
    /// Nothing pending; notifications suppressed until a destination is set.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { pir: [const { AtomicU64::new(0) }; 4], control: AtomicU64::new(SN), reserved: [0; 3] }
    }

    /// Nothing pending; notifications suppressed until a destination is set.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            pir: core::array::from_fn(|_| AtomicU64::new(0)),
            control: AtomicU64::new(SN),
            reserved: [0; 3],
        }
    }

    /// Owner: from now on posters notify `destination` by `vector`. Take what was posted before.
    pub fn notify_by(&self, vector: Vector, destination: ApicId) {
        let aim = u64::from(vector.0) << NV_SHIFT | u64::from(destination.0) << NDST_SHIFT;
        self.update(|control| control & !(SN | NV_MASK | NDST_MASK) | aim);
    }

    /// Owner: from now on nobody notifies; the owner looks by itself before it runs the vCPU again.
    pub fn suppress(&self) {
        self.control.fetch_or(SN, Ordering::AcqRel);
    }

    /// Anyone: makes `vector` pending.
    pub fn post(&self, vector: Vector) -> Notification {
        let (word, bit) = position(vector);
        if let Some(pir) = self.pir.get(word) {
            // Ordered before the update of `control` by that one's Release.
            pir.fetch_or(bit, Ordering::Relaxed);
        }
        let before = self.control.fetch_or(ON, Ordering::AcqRel);
        if before & (ON | SN) != 0 {
            return Notification::NotNeeded;
        }
        Notification::Needed {
            vector: Vector((before >> NV_SHIFT) as u8),
            destination: ApicId((before >> NDST_SHIFT) as u32),
        }
    }

    /// Owner: takes all that is pending.
    pub fn take(&self) -> VectorSet {
        // Acquire: whoever set ON before has set its PIR bit before, and it is seen below.
        self.control.fetch_and(!ON, Ordering::AcqRel);
        let mut taken = VectorSet::default();
        for (word, pir) in taken.0.iter_mut().zip(&self.pir) {
            *word = pir.swap(0, Ordering::Relaxed);
        }
        taken
    }

    /// Whether something may be pending: a cheap look before [`PendingInterrupts::take`].
    pub fn is_posted(&self) -> bool {
        self.control.load(Ordering::Acquire) & ON != 0
    }

    fn update(&self, change: impl Fn(u64) -> u64) {
        let mut current = self.control.load(Ordering::Relaxed);
        while let Err(seen) =
            self.control.compare_exchange(current, change(current), Ordering::AcqRel, Ordering::Relaxed)
        {
            current = seen;
        }
    }
}

impl Default for PendingInterrupts {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const NEEDED: Notification = Notification::Needed { vector: Vector(0xf2), destination: ApicId(7) };

    fn notified() -> PendingInterrupts {
        let pending = PendingInterrupts::new();
        pending.notify_by(Vector(0xf2), ApicId(7));
        pending
    }

    #[test]
    fn the_first_post_notifies_and_later_ones_ride_along() {
        let pending = notified();
        assert_eq!(pending.post(Vector(0x31)), NEEDED);
        assert_eq!(pending.post(Vector(0x32)), Notification::NotNeeded);
        assert!(pending.is_posted());
        let taken = pending.take();
        assert!(taken.contains(Vector(0x31)) && taken.contains(Vector(0x32)));
        assert!(!pending.is_posted());
        assert_eq!(pending.post(Vector(0x31)), NEEDED);
    }

    #[test]
    fn a_suppressed_descriptor_collects_in_silence() {
        let pending = notified();
        pending.suppress();
        assert_eq!(pending.post(Vector(255)), Notification::NotNeeded);
        assert!(pending.is_posted());
        assert!(pending.take().contains(Vector(255)));
    }

    #[test]
    fn vectors_pop_from_the_highest_priority_down() {
        let pending = notified();
        for vector in [0, 63, 64, 191, 192, 255] {
            let _ = pending.post(Vector(vector));
        }
        let mut taken = pending.take();
        for vector in [255, 192, 191, 64, 63, 0] {
            assert_eq!(taken.pop_highest(), Some(Vector(vector)));
        }
        assert_eq!(taken.pop_highest(), None);
        assert!(taken.is_empty());
    }

    #[test]
    fn the_layout_is_the_posted_interrupt_descriptor() {
        assert_eq!(core::mem::offset_of!(PendingInterrupts, control), 32);
        let pending = notified();
        let _ = pending.post(Vector(65));
        assert_eq!(pending.pir[1].load(Ordering::Relaxed), 2);
        assert_eq!(pending.control.load(Ordering::Relaxed), 7 << 32 | 0xf2 << 16 | ON);
    }
}

#[cfg(all(test, loom))]
mod interleavings {
    use super::*;
    use loom::{sync::Arc, thread};

    /// Two posters against an owner that takes once: what it did not get must have been announced after its take.
    #[test]
    fn no_interrupt_is_lost_between_posters_and_the_owner() {
        loom::model(|| {
            let pending = Arc::new(PendingInterrupts::new());
            pending.notify_by(Vector(0xf2), ApicId(0));
            let posters = [3_u8, 200].map(|vector| {
                let pending = Arc::clone(&pending);
                thread::spawn(move || pending.post(Vector(vector)) != Notification::NotNeeded)
            });
            let first = pending.take();
            let notifications = posters.map(|p| p.join().unwrap());
            let left_posted = pending.is_posted();
            let second = pending.take();
            for vector in [Vector(3), Vector(200)] {
                assert!(first.contains(vector) != second.contains(vector), "lost or doubled: {vector:?}");
            }
            assert!(second.is_empty() || left_posted, "left behind without a sign");
            assert!(notifications.contains(&true));
        });
    }
}
