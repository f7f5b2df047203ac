//! Where a disk's model meets the medium behind it.
//!
//! ```text
//!   model                                       medium
//!     begin(request, buffers) ────────────────────>     Done: over already, data copied
//!                                                        Pending: later
//!     finished() <──────────────────────────────── ticket
//!     collect(ticket, buffers) ───────────────────>     data copied, the result
//! ```
//! Requests end in any order. A request's buffers are the guest's: each side copies, neither keeps a reference.

use crate::memory::MemoryError;
use core::fmt;

/// The unit of addresses and lengths on a medium, in bytes, whatever its own block size is.
pub const SECTOR_BYTES: u64 = 512;

/// What a request is known by, chosen by who makes it: no two in flight have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u16);

/// What is to be done with sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOperation {
    /// Copy them to the buffers.
    Read,
    /// Replace them by what is in the buffers.
    Write,
    /// Bring all writes that have ended to the medium, so that they outlive a loss of power. Names no sectors.
    Flush,
    /// Forget them: what they read as afterwards is anything.
    Discard,
    /// Make them zero.
    WriteZeroes,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRequest {
    /// Its name.
    pub ticket: Ticket,
    /// What is to be done.
    pub operation: BlockOperation,
    /// The first sector.
    pub first_sector: u64,
    /// How many sectors; the buffers of a read or a write are as long.
    pub sectors: u32,
}

/// Why a request failed. Nothing else is known of the sectors of a failed write: each is old or new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// Sectors past the medium's end.
    OutOfRange,
    /// A change of what is read-only.
    ReadOnly,
    /// An operation that the medium does not have.
    Unsupported,
    /// No room is left for what was to be written.
    Full,
    /// The guest's own buffers refused.
    Buffers(MemoryError),
    /// The medium failed, or is gone.
    Medium,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange => f.write_str("past the end of the disk"),
            Self::ReadOnly => f.write_str("the disk is read-only"),
            Self::Unsupported => f.write_str("the disk cannot do that"),
            Self::Full => f.write_str("no room is left for writes: make the overlay larger"),
            Self::Buffers(error) => write!(f, "a buffer of the request: {error}"),
            Self::Medium => f.write_str("the disk failed"),
        }
    }
}

impl core::error::Error for BlockError {}

impl From<MemoryError> for BlockError {
    fn from(error: MemoryError) -> Self {
        Self::Buffers(error)
    }
}

/// How a request began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is over.
    Done(Result<(), BlockError>),
    /// [`Block::finished`] will name it. A write's data has been copied.
    Pending,
    /// Nothing was begun: too many are in flight. Worth another try when one has finished.
    Busy,
}

/// The shape of a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockGeometry {
    /// Its size in sectors.
    pub sectors: u64,
    /// The least that it reads and writes at once, in bytes: a power of two, 512 or more. Other requests are correct but slow.
    pub block_bytes: u32,
    /// Whether writes are refused.
    pub access: BlockAccess,
}

/// Whether a medium takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockAccess {
    /// It does.
    ReadWrite,
    /// It does not.
    ReadOnly,
}

/// The guest's buffers of one request, gone through from the start.
pub trait BlockBuffers {
    /// Copies the next bytes of a read to the guest.
    ///
    /// # Errors
    /// The address that refused; nothing more is to be copied then.
    fn put(&mut self, bytes: &[u8]) -> Result<(), MemoryError>;

    /// Zeroes the next bytes of a read.
    ///
    /// # Errors
    /// As [`BlockBuffers::put`].
    fn put_zeroes(&mut self, len_bytes: u64) -> Result<(), MemoryError>;

    /// Copies the next bytes of a write from the guest.
    ///
    /// # Errors
    /// As [`BlockBuffers::put`].
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), MemoryError>;
}

/// A medium as one disk's model sees it.
pub trait Block {
    /// Its shape.
    fn geometry(&self) -> BlockGeometry;

    /// Begins `request`.
    fn begin(&mut self, request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Begun;

    /// A pending request that is over and was not collected yet.
    fn finished(&mut self) -> Option<Ticket>;

    /// The result of a request that [`Block::finished`] has named; a read's data is copied to `buffers`.
    ///
    /// # Errors
    /// As [`BlockError`] says.
    fn collect(&mut self, ticket: Ticket, buffers: &mut impl BlockBuffers) -> Result<(), BlockError>;
}
