//! Copy on write: what a guest writes stays in memory, what it does not write comes from the base, which is only read.
//!
//! ```text
//!   read   all sectors written ──> from memory, at once
//!          none                ──> the base's, unchanged
//!          some                ──> the base's, and on their way to the guest those written are replaced
//!   write  ──> memory, at once; Full beyond the limit
//!   flush  ──> at once: nothing here outlives the VM
//! ```
//! A read of the base is one request of the base's, of the same name, so that nothing has to be put together again. A
//! sector that was written is never the base's again, so that a read which waits for the base can look at its end for what
//! is written.

mod pieces;

use super::check;
use alloc::vec::Vec;
use base::ByteSize;
use core::fmt;
use pieces::{Found, Pieces};
use seams::{
    Begun, Block, BlockAccess, BlockBuffers, BlockError, BlockGeometry, BlockOperation, BlockRequest,
    MemoryError, SECTOR_BYTES, Ticket,
};

pub use pieces::limit_for_all;

/// How many reads can wait for the base that need sectors replaced.
const READS_MAX: usize = 64;

/// A disk that keeps what is written to it in memory.
#[derive(Debug)]
pub struct Overlay<B> {
    base: B,
    pieces: Pieces,
    /// Reads that wait for the base and need sectors replaced: at most [`READS_MAX`].
    reads: Vec<Read>,
}

#[derive(Debug)]
struct Read {
    ticket: Ticket,
    first_sector: u64,
}

/// Why there is no overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlayError {
    /// The limit is less than what the table of a disk of this size takes, before anything is written.
    LimitTooLow {
        /// What the table takes.
        needed: ByteSize,
    },
    /// The host has no memory for a table.
    NoMemory {
        /// What the table takes.
        needed: ByteSize,
    },
}

impl fmt::Display for OverlayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LimitTooLow { needed } => {
                write!(
                    f,
                    "overlay: a disk of this size takes {needed} before anything is written: write a larger overlay"
                )
            }
            Self::NoMemory { needed } => {
                write!(f, "the host has no {needed} for the disk's tables: give VMs less memory")
            }
        }
    }
}

impl core::error::Error for OverlayError {}

impl<B: Block> Overlay<B> {
    /// An overlay over `base` that takes `limit` of memory at most.
    ///
    /// # Errors
    /// When its table does not fit the limit or the host's memory.
    pub fn new(base: B, limit: ByteSize) -> Result<Self, OverlayError> {
        let pieces = Pieces::new(base.geometry().sectors, limit.0)?;
        let mut reads = Vec::new();
        let needed = ByteSize((READS_MAX * size_of::<Read>()) as u64);
        reads.try_reserve_exact(READS_MAX).map_err(|_| OverlayError::NoMemory { needed })?;
        Ok(Self { base, pieces, reads })
    }

    /// How much memory it may take yet.
    pub fn left(&self) -> ByteSize {
        ByteSize(self.pieces.left_bytes())
    }

    fn read(&mut self, request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Begun {
        match self.pieces.cover(request.first_sector, request.sectors) {
            Cover::None => self.base.begin(request, buffers),
            Cover::All => Begun::Done(self.read_written(request, buffers)),
            Cover::Some if self.reads.len() >= READS_MAX => Begun::Busy,
            Cover::Some => {
                let first_sector = request.first_sector;
                let begun = self.base.begin(request, &mut Replaced::new(&self.pieces, first_sector, buffers));
                if begun == Begun::Pending {
                    self.reads.push(Read { ticket: request.ticket, first_sector });
                }
                begun
            }
        }
    }

    /// A read of sectors that all were written: nothing of the zeros that stand for the base's arrives.
    fn read_written(
        &self,
        request: &BlockRequest,
        buffers: &mut impl BlockBuffers,
    ) -> Result<(), BlockError> {
        let len_bytes = u64::from(request.sectors) * SECTOR_BYTES;
        Ok(Replaced::new(&self.pieces, request.first_sector, buffers).put_zeroes(len_bytes)?)
    }
}

/// How much of a range was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cover {
    None,
    Some,
    All,
}

impl<B: Block> Block for Overlay<B> {
    fn geometry(&self) -> BlockGeometry {
        BlockGeometry { access: BlockAccess::ReadWrite, ..self.base.geometry() }
    }

    fn begin(&mut self, request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Begun {
        if let Err(error) = check(&self.geometry(), request) {
            return Begun::Done(Err(error));
        }
        let (first_sector, sectors) = (request.first_sector, request.sectors);
        match request.operation {
            BlockOperation::Read => self.read(request, buffers),
            BlockOperation::Write => Begun::Done(self.pieces.write(first_sector, sectors, buffers)),
            BlockOperation::Flush => Begun::Done(Ok(())),
            BlockOperation::Discard => {
                self.pieces.discard(first_sector, sectors);
                Begun::Done(Ok(()))
            }
            BlockOperation::WriteZeroes => Begun::Done(self.pieces.write_zeroes(first_sector, sectors)),
        }
    }

    fn finished(&mut self) -> Option<Ticket> {
        self.base.finished()
    }

    fn collect(&mut self, ticket: Ticket, buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
        let Some(index) = self.reads.iter().position(|read| read.ticket == ticket) else {
            return self.base.collect(ticket, buffers);
        };
        let first_sector = self.reads.swap_remove(index).first_sector;
        self.base.collect(ticket, &mut Replaced::new(&self.pieces, first_sector, buffers))
    }
}

/// The guest's buffers as the base sees them: written sectors arrive there instead of the base's.
struct Replaced<'a, T> {
    pieces: &'a Pieces,
    /// The next byte's place on the disk.
    at_byte: u64,
    inner: &'a mut T,
}

impl<'a, T: BlockBuffers> Replaced<'a, T> {
    fn new(pieces: &'a Pieces, first_sector: u64, inner: &'a mut T) -> Self {
        Self { pieces, at_byte: first_sector.saturating_mul(SECTOR_BYTES), inner }
    }

    /// Brings the next bytes, at most `len_bytes`, to the guest, those of the base by `put_base`; returns how many.
    fn step(
        &mut self,
        len_bytes: u64,
        put_base: impl FnOnce(&mut T, u64) -> Result<(), MemoryError>,
    ) -> Result<u64, MemoryError> {
        let (found, run_bytes) = self.pieces.run(self.at_byte);
        let len_bytes = len_bytes.min(run_bytes);
        match found {
            Found::Base => put_base(self.inner, len_bytes)?,
            Found::Zeroes => self.inner.put_zeroes(len_bytes)?,
            Found::Data(data) => self.inner.put(data.get(..len_bytes as usize).unwrap_or(data))?,
        }
        self.at_byte = self.at_byte.saturating_add(len_bytes);
        Ok(len_bytes)
    }
}

impl<T: BlockBuffers> BlockBuffers for Replaced<'_, T> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), MemoryError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let put_base = |inner: &mut T, len: u64| inner.put(rest.get(..len as usize).unwrap_or_default());
            let done = self.step(rest.len() as u64, put_base)?;
            rest = rest.get(done as usize..).unwrap_or_default();
        }
        Ok(())
    }

    fn put_zeroes(&mut self, len_bytes: u64) -> Result<(), MemoryError> {
        let mut rest = len_bytes;
        while rest != 0 {
            let done = self.step(rest, |inner, len| inner.put_zeroes(len))?;
            rest = rest.saturating_sub(done);
        }
        Ok(())
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<(), MemoryError> {
        self.inner.take(bytes)
    }
}

#[cfg(test)]
mod tests;
