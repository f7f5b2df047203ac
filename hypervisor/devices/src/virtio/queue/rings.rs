//! Where the parts of a queue's areas are (VIRTIO 2.7).

use super::super::Broken;
use super::QueueState;
use base::Gpa;

/// Bytes of a descriptor.
pub(super) const DESCRIPTOR_BYTES: u64 = 16;
/// Bytes of an entry of the available ring.
const AVAILABLE_ENTRY_BYTES: u64 = 2;
/// Bytes of an entry of the used ring.
const USED_ENTRY_BYTES: u64 = 8;
/// Bytes before the entries of a ring: flags and index.
const RING_HEADER_BYTES: u64 = 4;
/// Bytes behind them: the event index, whether negotiated or not.
const RING_TRAILER_BYTES: u64 = 2;

/// The areas of a queue that was checked: each lies wholly in the guest-physical space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rings {
    descriptors: Gpa,
    available: Gpa,
    used: Gpa,
    /// A power of two.
    size: u16,
}

impl Rings {
    /// The areas as the registers name them.
    pub(super) fn new(state: &QueueState, size_max: u16) -> Result<Self, Broken> {
        let size = state.size;
        if size < 2 || size > size_max || !size.is_power_of_two() {
            return Err(Broken::QueueSize(size));
        }
        let entries = u64::from(size);
        let ring = |entry_bytes| RING_HEADER_BYTES + entries * entry_bytes + RING_TRAILER_BYTES;
        Ok(Self {
            descriptors: area(state.descriptors, 16, entries * DESCRIPTOR_BYTES)?,
            available: area(state.available, 2, ring(AVAILABLE_ENTRY_BYTES))?,
            used: area(state.used, 4, ring(USED_ENTRY_BYTES))?,
            size,
        })
    }

    /// The descriptor table.
    pub(super) const fn descriptors(&self) -> Gpa {
        self.descriptors
    }

    /// The number of descriptors.
    pub(super) const fn size(&self) -> u16 {
        self.size
    }

    /// Which place of a ring an index means.
    const fn place(&self, index: u16) -> u64 {
        (index & self.size.wrapping_sub(1)) as u64
    }

    pub(super) const fn available_flags(&self) -> Gpa {
        self.available
    }

    pub(super) const fn available_index(&self) -> Gpa {
        plus(self.available, 2)
    }

    pub(super) const fn available_entry(&self, index: u16) -> Gpa {
        plus(self.available, RING_HEADER_BYTES + self.place(index) * AVAILABLE_ENTRY_BYTES)
    }

    pub(super) const fn used_event(&self) -> Gpa {
        plus(self.available, RING_HEADER_BYTES + self.size as u64 * AVAILABLE_ENTRY_BYTES)
    }

    pub(super) const fn used_flags(&self) -> Gpa {
        self.used
    }

    pub(super) const fn used_index(&self) -> Gpa {
        plus(self.used, 2)
    }

    pub(super) const fn used_entry(&self, index: u16) -> Gpa {
        plus(self.used, RING_HEADER_BYTES + self.place(index) * USED_ENTRY_BYTES)
    }

    pub(super) const fn available_event(&self) -> Gpa {
        plus(self.used, RING_HEADER_BYTES + self.size as u64 * USED_ENTRY_BYTES)
    }
}

/// `base` plus an offset inside its area, which was checked.
const fn plus(base: Gpa, offset_bytes: u64) -> Gpa {
    Gpa::from_low_bits(base.as_u64() + offset_bytes)
}

fn area(at: u64, alignment: u64, len_bytes: u64) -> Result<Gpa, Broken> {
    let base = Gpa::new(at).ok().filter(|base| base.is_aligned(alignment));
    base.filter(|base| base.checked_add(len_bytes - 1).is_some()).ok_or(Broken::QueueAddress(at))
}
