//! What of a queue is saved. The rings themselves are in the guest's memory.

use super::rings::Rings;
use super::{Queue, RING_FEATURES};
use base::state::{SavedState, StateError};
use minicbor::{Decode, Encode};

/// A queue as saved; a transport keeps one of each of its queues in its own section.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct QueueState {
    #[n(0)]
    pub(super) size: u16,
    #[n(1)]
    pub(super) descriptors: u64,
    #[n(2)]
    pub(super) available: u64,
    #[n(3)]
    pub(super) used: u64,
    #[n(4)]
    pub(super) enabled: bool,
    /// Those of [`RING_FEATURES`] that were negotiated.
    #[n(5)]
    pub(super) features: u64,
    /// The index of the next chain to take.
    #[n(6)]
    pub(super) next_available: u16,
    /// The driver's index as last read.
    #[n(7)]
    pub(super) available_seen: u16,
    /// The index of the next used entry.
    #[n(8)]
    pub(super) next_used: u16,
    /// The index that the driver sees.
    #[n(9)]
    pub(super) published_used: u16,
    /// The index of the chain that was asked to bring a kick, when one was; by flag, of when it was asked.
    #[n(10)]
    pub(super) kick_at: Option<u16>,
}

impl QueueState {
    /// After reset: the size offered, and nothing done.
    pub(super) const fn new(size: u16) -> Self {
        Self {
            size,
            descriptors: 0,
            available: 0,
            used: 0,
            enabled: false,
            features: 0,
            next_available: 0,
            available_seen: 0,
            next_used: 0,
            published_used: 0,
            kick_at: None,
        }
    }

    /// Whether nothing was done but to set the registers.
    fn is_untouched(&self) -> bool {
        let Self { size, descriptors, available, used, .. } = *self;
        *self == Self { descriptors, available, used, ..Self::new(size) }
    }

    /// Whether the indices are in the order that the module's picture shows.
    const fn is_in_order(&self) -> bool {
        let from = self.published_used;
        let used = self.next_used.wrapping_sub(from);
        let taken = self.next_available.wrapping_sub(from);
        let seen = self.available_seen.wrapping_sub(from);
        used <= taken && taken <= seen && seen <= self.size
    }
}

impl SavedState for Queue {
    const SECTION: &'static str = "virtqueue";
    const VERSION: u16 = 1;
    type Image = QueueState;

    fn save(&self) -> QueueState {
        self.state.clone()
    }

    fn load(&mut self, image: QueueState) -> Result<(), StateError> {
        let out_of_range = |field| StateError::OutOfRange { section: Self::SECTION, field };
        if image.features & !RING_FEATURES != 0 {
            return Err(out_of_range("features"));
        }
        if !image.enabled && !image.is_untouched() {
            return Err(out_of_range("enabled"));
        }
        if !image.is_in_order() {
            return Err(out_of_range("next_used"));
        }
        let rings = image.enabled.then(|| Rings::new(&image, self.size_max)).transpose();
        self.rings = rings.map_err(|_| out_of_range("enabled"))?;
        self.state = image;
        Ok(())
    }
}
