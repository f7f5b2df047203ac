//! A request's data as the medium sees it.

use super::super::Cursor;
use super::request::HEADER_BYTES;
use crate::virtio::Chain;
use base::Gpa;
use seams::{BlockBuffers, BlockOperation, GuestMemory, MemoryError};

/// The data of one part of a request: as long as the part, and open in its direction only.
#[derive(Debug)]
pub(super) struct Buffers<'a, M> {
    memory: &'a M,
    cursor: Cursor<'a>,
    /// How much may still be put.
    put_bytes: u64,
    /// How much may still be taken.
    take_bytes: u64,
}

impl<'a, M: GuestMemory> Buffers<'a, M> {
    /// The `len_bytes` of the data in `chain` that follow the first `behind_bytes`.
    pub(super) fn new(
        memory: &'a M,
        chain: &'a Chain,
        operation: BlockOperation,
        behind_bytes: u64,
        len_bytes: u64,
    ) -> Self {
        let (segments, skip_bytes, put_bytes, take_bytes) = match operation {
            BlockOperation::Read => (chain.writable(), behind_bytes, len_bytes, 0),
            BlockOperation::Write => (chain.readable(), u64::from(HEADER_BYTES) + behind_bytes, 0, len_bytes),
            BlockOperation::Flush | BlockOperation::Discard | BlockOperation::WriteZeroes => {
                return Self::none(memory);
            }
        };
        let mut cursor = Cursor::new(segments);
        cursor.skip(skip_bytes);
        Self { memory, cursor, put_bytes, take_bytes }
    }

    /// No data.
    pub(super) const fn none(memory: &'a M) -> Self {
        Self { memory, cursor: Cursor::new(&[]), put_bytes: 0, take_bytes: 0 }
    }
}

impl<M: GuestMemory> BlockBuffers for Buffers<'_, M> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), MemoryError> {
        spend(&mut self.put_bytes, bytes.len() as u64)?;
        self.cursor.write(self.memory, bytes).map(drop)
    }

    fn put_zeroes(&mut self, len_bytes: u64) -> Result<(), MemoryError> {
        spend(&mut self.put_bytes, len_bytes)?;
        self.cursor.zero(self.memory, len_bytes).map(drop)
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<(), MemoryError> {
        spend(&mut self.take_bytes, bytes.len() as u64)?;
        self.cursor.read(self.memory, bytes).map(drop)
    }
}

/// A medium that wants more than the request has, or the other direction, gets nothing: there is no address to blame.
fn spend(left_bytes: &mut u64, len_bytes: u64) -> Result<(), MemoryError> {
    *left_bytes = left_bytes.checked_sub(len_bytes).ok_or(MemoryError::Unmapped(Gpa::ZERO))?;
    Ok(())
}
