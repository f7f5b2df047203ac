//! Why the host's memory could not be had or mapped.

use crate::frames::FrameError;
use base::{ByteSize, PhysRange};
use core::fmt;
use paging::{MapError, OutOfTables};

/// Why something was refused by [`crate::HostMemory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostMemoryError {
    /// No contiguous memory of that many bytes is free.
    OutOfMemory {
        /// What was asked for.
        len_bytes: u64,
    },
    /// The range belongs to the hypervisor or to a VM: no device, table or file can lie there.
    Owned(PhysRange),
    /// The part of the address space for such mappings is used up.
    OutOfAddresses,
    /// The frames are not in the state that the change of owner needs.
    Frames(FrameError),
    /// The page tables refused.
    Map(MapError),
    /// The boot memory map has no free block large enough for the hypervisor's first tables.
    NoRoomToStart {
        /// The contiguous bytes that are needed.
        len_bytes: u64,
    },
}

impl From<FrameError> for HostMemoryError {
    fn from(error: FrameError) -> Self {
        Self::Frames(error)
    }
}

impl From<MapError> for HostMemoryError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

impl From<OutOfTables> for HostMemoryError {
    fn from(error: OutOfTables) -> Self {
        Self::Map(error.into())
    }
}

impl fmt::Display for HostMemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory { len_bytes } => {
                write!(
                    f,
                    "no {} of contiguous host memory are free: end a VM or add memory",
                    ByteSize(*len_bytes)
                )
            }
            Self::Owned(range) => {
                write!(f, "host-physical {range} is memory in use, no device, table or file")
            }
            Self::OutOfAddresses => write!(f, "no host addresses are left for such mappings"),
            Self::Frames(error) => error.fmt(f),
            Self::Map(error) => write!(f, "host tables: {error}"),
            Self::NoRoomToStart { len_bytes } => write!(
                f,
                "the firmware's memory map has no {} of contiguous free memory for the hypervisor itself",
                ByteSize(*len_bytes)
            ),
        }
    }
}

impl core::error::Error for HostMemoryError {}
