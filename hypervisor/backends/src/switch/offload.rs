//! What a sender left to the NIC, done for a receiver that wants it done.
//!
//! Between guests frames go as they are: without the sum of their payload, and longer than any line takes. Only where a
//! receiver did not agree to that, the sum is finished, and long TCP frames are cut into segments, as a NIC would.

mod checksum;
mod segments;

pub use checksum::finish_checksum;
pub use segments::Segments;

use core::fmt;

/// Why a frame cannot be made what its receiver takes. It is the sender's fault, and the frame is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffloadError {
    /// The sum is outside of what it is of, or of the frame.
    BadChecksum,
    /// It is not TCP over IPv4 or IPv6, without extension headers or fragments.
    NotTcp,
    /// Its headers are longer than it is.
    Short,
    /// It is longer than any frame.
    TooLong,
    /// Segments would be shorter than [`Segments::PAYLOAD_BYTES_MIN`].
    SegmentsTooSmall,
    /// The buffer does not hold a segment.
    NoRoom,
}

impl fmt::Display for OffloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadChecksum => "a checksum outside of its frame",
            Self::NotTcp => "a frame to segment that is not TCP",
            Self::Short => "a frame shorter than its headers",
            Self::TooLong => "a frame longer than any",
            Self::SegmentsTooSmall => "segments of nearly nothing",
            Self::NoRoom => "a segment longer than the receiver's buffer",
        })
    }
}

impl core::error::Error for OffloadError {}
