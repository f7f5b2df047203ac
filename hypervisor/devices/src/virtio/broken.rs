//! How a driver broke the rules: what puts a device into `DEVICE_NEEDS_RESET`.

use core::fmt;
use seams::MemoryError;

/// A rule that the driver broke. The device stays as it is until it is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A queue's size is no power of two from 2 to what was offered (VIRTIO 2.7).
    QueueSize(u16),
    /// A queue's area is not aligned, or reaches past the guest-physical space (VIRTIO 2.7).
    QueueAddress(u64),
    /// A ring, a descriptor or a part of a request that the device needs is not in usable memory.
    Memory(MemoryError),
    /// The available index is further on than the queue is long: index found, entries used (VIRTIO 2.7.13).
    AvailableIndex(u16, u16),
    /// An available entry names a descriptor past the table's end.
    Head(u16),
    /// A descriptor's `next` lies past the table's end.
    Next(u16),
    /// A chain leads back into itself: it is longer than its table.
    Loop,
    /// A chain has more descriptors than any request needs: [`super::queue::SEGMENTS_MAX`].
    TooLong,
    /// A chain's buffers hold 4 GiB or more (VIRTIO 2.7.5.2).
    TooManyBytes,
    /// A buffer without bytes, or past the guest-physical space: address, length in bytes.
    Buffer(u64, u32),
    /// A buffer for the device to read follows one for it to write (VIRTIO 2.7.4.2).
    Order,
    /// An indirect descriptor, and they were not negotiated (VIRTIO 2.7.5.3.1).
    IndirectNotNegotiated,
    /// An indirect descriptor inside an indirect table (VIRTIO 2.7.5.3.1).
    NestedIndirect,
    /// An indirect descriptor that has a next one (VIRTIO 2.7.5.3.1).
    IndirectWithNext,
    /// An indirect table of this many bytes, which are no descriptors (VIRTIO 2.7.5.3.2).
    IndirectLength(u32),
    /// A request without the parts that each of its kind has.
    Request(&'static str),
}

impl From<MemoryError> for Broken {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::QueueSize(size) => {
                write!(f, "the queue size {size} is not a power of two that was offered")
            }
            Self::QueueAddress(at) => write!(f, "no ring can be at {at:#x}"),
            Self::Memory(error) => error.fmt(f),
            Self::AvailableIndex(found, used) => {
                write!(
                    f,
                    "the available index {found} is further from the used index {used} than the queue is long"
                )
            }
            Self::Head(index) => {
                write!(f, "the available ring names descriptor {index}, past the table's end")
            }
            Self::Next(index) => write!(f, "a chain leads to descriptor {index}, past the table's end"),
            Self::Loop => f.write_str("a chain leads back into itself"),
            Self::TooLong => f.write_str("a chain has more descriptors than any request"),
            Self::TooManyBytes => f.write_str("a chain's buffers hold 4 GiB or more"),
            Self::Buffer(at, len) => write!(f, "no buffer can have {len} bytes at {at:#x}"),
            Self::Order => f.write_str("a buffer to read follows one to write"),
            Self::IndirectNotNegotiated => f.write_str("indirect descriptors were not negotiated"),
            Self::NestedIndirect => f.write_str("an indirect table holds an indirect descriptor"),
            Self::IndirectWithNext => f.write_str("an indirect descriptor has a next one"),
            Self::IndirectLength(len) => {
                write!(f, "an indirect table of {len} bytes holds no whole descriptors")
            }
            Self::Request(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for Broken {}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use base::Gpa;
    use std::string::ToString;

    #[test]
    fn a_broken_rule_says_what_was_found_and_where() {
        let texts = [
            (Broken::QueueSize(3), "the queue size 3 is not a power of two that was offered"),
            (Broken::QueueAddress(0x11), "no ring can be at 0x11"),
            (Broken::Memory(MemoryError::Unmapped(Gpa::ZERO)), "guest-physical 0x0 is not memory"),
            (
                Broken::AvailableIndex(9, 0),
                "the available index 9 is further from the used index 0 than the queue is long",
            ),
            (Broken::Head(8), "the available ring names descriptor 8, past the table's end"),
            (Broken::Next(8), "a chain leads to descriptor 8, past the table's end"),
            (Broken::Loop, "a chain leads back into itself"),
            (Broken::Buffer(0x1000, 0), "no buffer can have 0 bytes at 0x1000"),
            (Broken::IndirectLength(24), "an indirect table of 24 bytes holds no whole descriptors"),
        ];
        for (broken, text) in texts {
            assert_eq!(broken.to_string(), text);
        }
    }
}
