//! A structure in the making that a kernel reads: little-endian fields, one after the other.

use alloc::vec::Vec;

/// The fields so far.
#[derive(Default)]
pub(super) struct Record(Vec<u8>);

impl Record {
    /// Adds four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds the low four bytes of an address or size that is known to lie below 4 GiB.
    pub fn low_half(&mut self, value: u64) -> &mut Self {
        self.u32(value as u32)
    }

    /// The fields as bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
