//! What an operation on a tree leaves to do, and why it can be refused.

use crate::OutOfTables;
use core::fmt;

/// The cached translations that a change made stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a stale translation lets its owner reach memory that is no longer his"]
pub enum Flush {
    /// None: only absent translations became present, and no processor caches an absent one
    /// (Intel SDM 325462, volume 3, section 4.10.2.3; AMD APM 24593, volume 2, section 5.5.2).
    Nothing,
    /// Those of these addresses, and what leads to them.
    Span {
        /// The first address of the tree's space, a multiple of 4 KiB.
        start: u64,
        /// The length in bytes, a multiple of 4 KiB.
        len_bytes: u64,
    },
}

/// Why an operation was refused; no translation has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// A start or length is no multiple of 4 KiB, or reaches past the tree's space: the range's start and length.
    BadSpan {
        /// The first address.
        start: u64,
        /// The length in bytes.
        len_bytes: u64,
    },
    /// The host-physical address is no multiple of 4 KiB.
    UnalignedTarget(base::Hpa),
    /// Something is mapped at this address already.
    AlreadyMapped(u64),
    /// Permissions without reading cannot be expressed in every format.
    Unreadable,
    /// No memory is left for another table.
    OutOfTables,
}

impl From<OutOfTables> for MapError {
    fn from(_: OutOfTables) -> Self {
        Self::OutOfTables
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSpan { start, len_bytes } => {
                write!(f, "{len_bytes:#x} bytes from {start:#x} are not whole pages of the tree's space")
            }
            Self::UnalignedTarget(hpa) => write!(f, "host-physical {hpa} is not the start of a page"),
            Self::AlreadyMapped(address) => write!(f, "{address:#x} is mapped already"),
            Self::Unreadable => write!(f, "a mapping must be readable"),
            Self::OutOfTables => write!(f, "no memory is left for page tables"),
        }
    }
}

impl core::error::Error for MapError {}
