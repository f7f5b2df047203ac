//! What a driver asks a disk for (VIRTIO 5.2.6).
//!
//! ```text
//!   header:  type u32 | reserved u32 | sector u64
//!   range:   sector u64 | sectors u32 | flags u32        the data of a discard or write-zeroes
//! ```

use super::super::queue::Chain;
use super::super::{Broken, Cursor};
use super::{Blk, RANGE_SECTORS_MAX, feature};
use base::Gpa;
use seams::{BlockAccess, BlockError, BlockOperation, GuestMemory, SECTOR_BYTES};

/// The length of a request's header.
pub(super) const HEADER_BYTES: u32 = 16;
/// The length of its status.
pub(super) const STATUS_BYTES: u32 = 1;
const RANGE_BYTES: u32 = 16;

// Types.
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

/// A range's flag: its sectors may be given back to the medium.
const UNMAP: u32 = 1;

/// How a request ended, as its driver reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

impl From<Result<(), BlockError>> for Status {
    fn from(result: Result<(), BlockError>) -> Self {
        match result {
            Ok(()) => Self::Ok,
            Err(BlockError::Unsupported) => Self::Unsupported,
            Err(_) => Self::IoError,
        }
    }
}

/// What is to be done with the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) operation: BlockOperation,
    pub(super) first_sector: u64,
    /// None for a flush.
    pub(super) sectors: u32,
}

impl Transfer {
    /// For slots that hold none.
    pub(super) const NONE: Self = Self { operation: BlockOperation::Flush, first_sector: 0, sectors: 0 };

    /// Whether it changes what is on the medium.
    pub(super) const fn is_change(&self) -> bool {
        !matches!(self.operation, BlockOperation::Read | BlockOperation::Flush)
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Something of the medium.
    Transfer(Transfer),
    /// The disk's name.
    Id,
    /// What can be answered at once.
    Answer(Status),
}

impl Asked {
    const IO_ERROR: Self = Self::Answer(Status::IoError);
    const UNSUPPORTED: Self = Self::Answer(Status::Unsupported);
}

impl Blk {
    /// Reads what the request in `chain` asks for. What asks for the impossible is answered; what is no request at all is the
    /// driver's breach.
    pub(super) fn parse(&self, memory: &impl GuestMemory, chain: &Chain) -> Result<Asked, Broken> {
        if chain.readable_bytes() < HEADER_BYTES || chain.writable_bytes() < STATUS_BYTES {
            return Err(Broken::Request("a disk's request has no header or no place for a status"));
        }
        let mut cursor = Cursor::new(chain.readable());
        let raw = cursor.read_u128(memory)?;
        let (kind, sector) = (raw as u32, (raw >> 64) as u64);
        let (in_bytes, out_bytes) =
            (chain.writable_bytes() - STATUS_BYTES, chain.readable_bytes() - HEADER_BYTES);
        Ok(match kind {
            IN => self.sectors(BlockOperation::Read, sector, in_bytes),
            OUT => self.sectors(BlockOperation::Write, sector, out_bytes),
            FLUSH if self.has(feature::FLUSH) => {
                Asked::Transfer(Transfer { operation: BlockOperation::Flush, first_sector: 0, sectors: 0 })
            }
            GET_ID => Asked::Id,
            DISCARD if self.has(feature::DISCARD) => {
                self.range(BlockOperation::Discard, memory, &mut cursor, out_bytes, 0)?
            }
            WRITE_ZEROES if self.has(feature::WRITE_ZEROES) => {
                self.range(BlockOperation::WriteZeroes, memory, &mut cursor, out_bytes, UNMAP)?
            }
            _ => Asked::UNSUPPORTED,
        })
    }

    /// A transfer of whole sectors that the medium has, and takes.
    fn sectors(&self, operation: BlockOperation, first_sector: u64, len_bytes: u32) -> Asked {
        let sectors = len_bytes / SECTOR_BYTES as u32;
        let transfer = Transfer { operation, first_sector, sectors };
        let is_whole = len_bytes.is_multiple_of(SECTOR_BYTES as u32);
        if is_whole && self.has_sectors(&transfer) { Asked::Transfer(transfer) } else { Asked::IO_ERROR }
    }

    /// A discard or write-zeroes: one range is offered, so there is one.
    fn range(
        &self,
        operation: BlockOperation,
        memory: &impl GuestMemory,
        cursor: &mut Cursor<'_>,
        len_bytes: u32,
        flags_allowed: u32,
    ) -> Result<Asked, Broken> {
        if len_bytes != RANGE_BYTES {
            return Ok(Asked::IO_ERROR);
        }
        let raw = cursor.read_u128(memory)?;
        let (first_sector, sectors, flags) = (raw as u64, (raw >> 64) as u32, (raw >> 96) as u32);
        let transfer = Transfer { operation, first_sector, sectors };
        Ok(if flags & !flags_allowed != 0 {
            Asked::UNSUPPORTED
        } else if sectors <= RANGE_SECTORS_MAX && self.has_sectors(&transfer) {
            Asked::Transfer(transfer)
        } else {
            Asked::IO_ERROR
        })
    }

    /// Whether there are sectors, the medium has them all, and it takes changes if this is one.
    pub(super) fn has_sectors(&self, transfer: &Transfer) -> bool {
        let end = transfer.first_sector.checked_add(transfer.sectors.into());
        let is_allowed = self.geometry.access == BlockAccess::ReadWrite || !transfer.is_change();
        transfer.sectors != 0 && end.is_some_and(|end| end <= self.geometry.sectors) && is_allowed
    }
}

/// Writes the disk's name to the data of the request in `chain`, as much as there is room for; tells how much.
pub(super) fn write_id(memory: &impl GuestMemory, chain: &Chain, id: &[u8]) -> Result<u32, Broken> {
    let room = chain.writable_bytes().saturating_sub(STATUS_BYTES) as usize;
    let id = id.get(..room).unwrap_or(id);
    Ok(Cursor::new(chain.writable()).write(memory, id)? as u32)
}

/// Writes `status` to the last byte of the request in `chain`.
pub(super) fn write_status(memory: &impl GuestMemory, chain: &Chain, status: Status) -> Result<(), Broken> {
    let Some(last) = chain.writable().last() else { return Ok(()) };
    let at = Gpa::from_low_bits(last.gpa.as_u64() + u64::from(last.len_bytes.saturating_sub(STATUS_BYTES)));
    Ok(memory.write(at, &[status as u8])?)
}
