//! What boot tells the kernel: one block of memory, versioned, checksummed, and believed only after it was checked.
//!
//! ```text
//! offset  bytes  header, little-endian
//!      0      8  magic "COFRDAM\x1A"
//!      8      2  version, 1
//!     10      2  length of the header, 32
//!     12      4  length of the payload
//!     16      8  zero
//!     24      4  CRC-32 of the payload
//!     28      4  CRC-32 of bytes 0..28
//!     32      n  payload: a CBOR map with numbered fields (`wire.rs`)
//! ```
//!
//! The kernel reads the header first, learns from it how many bytes to look at, and parses those.
//!
//! # Principles
//! - **The kernel's only input.** After it no firmware code runs, and nothing that is missing here can be asked for.
//! - **Valid by construction.** A [`Handoff`] that [`parse`] returns has been checked in full; its ranges can be
//!   used without a second thought, though what lies in them is as untrusted as before.
//! - **Grows without breaking.** A field's number is never used again; fields that are unknown are skipped. What a
//!   reader must not skip raises the version.
//! - **An error names the field and the value.**
//!
//! # What it must never do
//! Read memory that was not passed to it as a slice.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate alloc;

mod check;
mod error;
mod header;
mod model;
#[cfg(test)]
mod tests;
mod wire;

pub use error::{Field, HandoffError};
pub use header::{HEADER_BYTES, Header, MAX_TOTAL_BYTES, VERSION};
pub use model::{
    EntropySource, File, Handoff, IMAGE_AREA_BYTES, IMAGE_AREA_START, Image, MemoryRegion, Protection,
    RegionKind, Segment,
};

use alloc::vec::Vec;

/// The most regions in a memory map.
pub const MAX_REGIONS: usize = 8192;

/// The most files.
pub const MAX_FILES: usize = 4096;

/// The longest path of a file, in bytes.
pub const MAX_PATH_BYTES: usize = 255;

/// The longest text of boot overrides, in bytes.
pub const MAX_OVERRIDES_BYTES: usize = 1024;

/// The longest build id, in bytes.
pub const MAX_BUILD_ID_BYTES: usize = 128;

/// The block for `handoff`: header and payload.
///
/// # Errors
/// The first field that [`parse`] would refuse: what is wrong is better known before boot services are gone.
pub fn encode(handoff: &Handoff) -> Result<Vec<u8>, HandoffError> {
    check::check(handoff)?;
    let payload = wire::encode(handoff);
    let header = Header::for_payload(&payload)?;
    let mut block = Vec::with_capacity(HEADER_BYTES + payload.len());
    block.extend_from_slice(&header.to_bytes());
    block.extend_from_slice(&payload);
    Ok(block)
}

/// Reads the block at the start of `bytes`, which may be longer than it.
///
/// # Errors
/// The first thing that is wrong with the header, the checksum, the encoding or a field.
pub fn parse(bytes: &[u8]) -> Result<Handoff, HandoffError> {
    let short = || HandoffError::Truncated { len_bytes: bytes.len() };
    let header = Header::parse(bytes.first_chunk().ok_or_else(short)?)?;
    let payload = bytes.get(HEADER_BYTES..header.total_bytes()).ok_or_else(short)?;
    header.check_payload(payload)?;
    let handoff = wire::decode(payload)?;
    check::check(&handoff)?;
    Ok(handoff)
}
