//! Why translations are dropped. In builds with the feature `seeded-faults` one reason can be left out, to show that tests
//! notice; in others nothing here remains.

#[cfg(feature = "seeded-faults")]
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flush {
    /// The guest changed a register that its own tables depend on.
    Guest = 1,
    /// The nested tables changed.
    Nested,
    /// The vCPU got a tag that another may have had.
    Tag,
    /// An entry was refused, which has not carried out what was due.
    Refusal,
}

/// The reason that is left out as its number, or 0.
#[cfg(feature = "seeded-faults")]
static LEFT_OUT: AtomicU8 = AtomicU8::new(0);

/// The end of the tags that CPUs hand out.
#[cfg(feature = "seeded-faults")]
static TAGS_END: AtomicU32 = AtomicU32::new(u32::MAX);

impl Flush {
    /// Leaves translations in place for this reason from now on.
    #[cfg(feature = "seeded-faults")]
    pub fn leave_out(self) {
        LEFT_OUT.store(self as u8, Ordering::Relaxed);
    }

    #[cfg(feature = "seeded-faults")]
    pub(crate) fn is_left_out(self) -> bool {
        LEFT_OUT.load(Ordering::Relaxed) == self as u8
    }

    #[cfg(not(feature = "seeded-faults"))]
    #[inline(always)]
    pub(crate) const fn is_left_out(self) -> bool {
        false
    }
}

/// Makes CPUs that are brought up from now on hand out only tags below `end`, so that they are soon used again.
#[cfg(feature = "seeded-faults")]
pub fn limit_tags(end: u32) {
    TAGS_END.store(end, Ordering::Relaxed);
}

/// The end of the tags that a CPU with those below `end` hands out.
#[cfg(feature = "seeded-faults")]
pub(crate) fn tags_end(end: u32) -> u32 {
    end.min(TAGS_END.load(Ordering::Relaxed))
}

/// The end of the tags that a CPU with those below `end` hands out.
#[cfg(not(feature = "seeded-faults"))]
pub(crate) const fn tags_end(end: u32) -> u32 {
    end
}
