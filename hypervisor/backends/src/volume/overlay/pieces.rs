//! What was written, by sector.
//!
//! ```text
//!   leaves: one for every 4 MiB of the disk, present when something there was written
//!     leaf: 256 pieces of 16 KiB
//!       piece: a bit for each of its 32 sectors that was written, and their data
//! ```
//! Written sectors of a piece without data are zero. Data come when the first sector that is not zero does, and go when the
//! whole piece is zeroed; leaves stay. Table, leaves and data all count against the limit.
//!
//! 16 KiB, because guests write 4 KiB here and there and 64 KiB would be mostly air, while smaller pieces would make the
//! allocator the cost of every write.

use super::{Cover, OverlayError};
use alloc::boxed::Box;
use alloc::vec::Vec;
use base::ByteSize;
use seams::{BlockBuffers, BlockError, SECTOR_BYTES};

const SECTORS_PER_PIECE: u64 = u32::BITS as u64;
const PIECE_BYTES: usize = (SECTORS_PER_PIECE * SECTOR_BYTES) as usize;
const PIECES_PER_LEAF: usize = 256;
const SECTORS_PER_LEAF: u64 = SECTORS_PER_PIECE * PIECES_PER_LEAF as u64;
const LEAF_BYTES: u64 = size_of::<Leaf>() as u64;
const LEAF_POINTER_BYTES: u64 = size_of::<Option<Box<Leaf>>>() as u64;

type Data = Box<[u8; PIECE_BYTES]>;
type Leaf = [Piece; PIECES_PER_LEAF];

#[derive(Clone, Debug, Default)]
struct Piece {
    data: Option<Data>,
    /// Bit n: sector n of the piece was written.
    written: u32,
}

/// What was written.
#[derive(Debug)]
pub(super) struct Pieces {
    leaves: Vec<Option<Box<Leaf>>>,
    left_bytes: u64,
}

/// What stands in a run of sectors.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// What the base has.
    Base,
    /// Zeros.
    Zeroes,
    /// These bytes.
    Data(&'a [u8]),
}

/// Sectors within one piece.
struct Part {
    leaf: usize,
    piece: usize,
    first: u32,
    sectors: u32,
}

impl Part {
    /// The sectors of a range, piece by piece.
    fn each(first_sector: u64, sectors: u32) -> impl Iterator<Item = Self> {
        let end = first_sector.saturating_add(sectors.into());
        let mut at = first_sector;
        core::iter::from_fn(move || {
            let part = Self::at(at, end)?;
            at = at.saturating_add(part.sectors.into());
            Some(part)
        })
    }

    /// The sectors from `at` on, before `end`, of the piece that `at` is in.
    fn at(at: u64, end: u64) -> Option<Self> {
        let first = at % SECTORS_PER_PIECE;
        let sectors = end.checked_sub(at)?.min(SECTORS_PER_PIECE - first);
        (sectors != 0).then_some(Self {
            leaf: (at / SECTORS_PER_LEAF) as usize,
            piece: (at / SECTORS_PER_PIECE) as usize % PIECES_PER_LEAF,
            first: first as u32,
            sectors: sectors as u32,
        })
    }

    const fn bits(&self) -> u32 {
        (u32::MAX >> (u32::BITS - self.sectors)) << self.first
    }

    fn data<'a>(&self, data: &'a mut Data) -> Option<&'a mut [u8]> {
        let sector = SECTOR_BYTES as usize;
        let start = self.first as usize * sector;
        data.get_mut(start..start + self.sectors as usize * sector)
    }
}

impl Pieces {
    /// Nothing written to a disk of `sectors`, and `limit_bytes` for all that will be.
    pub fn new(sectors: u64, limit_bytes: u64) -> Result<Self, OverlayError> {
        let count = sectors.div_ceil(SECTORS_PER_LEAF);
        let needed = ByteSize(count.saturating_mul(LEAF_POINTER_BYTES));
        let left_bytes = limit_bytes.checked_sub(needed.0).ok_or(OverlayError::LimitTooLow { needed })?;
        let no_memory = OverlayError::NoMemory { needed };
        let count = usize::try_from(count).map_err(|_| no_memory)?;
        let mut leaves = Vec::new();
        leaves.try_reserve_exact(count).map_err(|_| no_memory)?;
        leaves.resize_with(count, || None);
        Ok(Self { leaves, left_bytes })
    }

    pub const fn left_bytes(&self) -> u64 {
        self.left_bytes
    }

    /// What stands at `at_byte` of the disk, and for how many bytes, up to the end of its piece, the same holds.
    pub fn run(&self, at_byte: u64) -> (Found<'_>, u64) {
        let piece_at = at_byte % PIECE_BYTES as u64;
        let Some(piece) = self.piece(at_byte / SECTOR_BYTES) else {
            return (Found::Base, PIECE_BYTES as u64 - piece_at);
        };
        // The bits from the first sector on: the lowest decides, and as many as are like it.
        let written = piece.written >> (piece_at / SECTOR_BYTES);
        let like = if written & 1 == 0 { written.trailing_zeros() } else { written.trailing_ones() };
        let first_byte = piece_at - at_byte % SECTOR_BYTES;
        let end = first_byte.saturating_add(u64::from(like) * SECTOR_BYTES).min(PIECE_BYTES as u64);
        let found = match &piece.data {
            _ if written & 1 == 0 => Found::Base,
            None => Found::Zeroes,
            Some(data) => Found::Data(data.get(piece_at as usize..end as usize).unwrap_or_default()),
        };
        (found, end - piece_at)
    }

    /// How much of a range was written.
    pub fn cover(&self, first_sector: u64, sectors: u32) -> Cover {
        let mut any = false;
        let mut all = true;
        for part in Part::each(first_sector, sectors) {
            let piece =
                self.leaves.get(part.leaf).and_then(Option::as_ref).and_then(|leaf| leaf.get(part.piece));
            let written = piece.map_or(0, |piece| piece.written & part.bits());
            any |= written != 0;
            all &= written == part.bits();
        }
        match (any, all) {
            (false, _) => Cover::None,
            (true, false) => Cover::Some,
            (true, true) => Cover::All,
        }
    }

    /// Takes the data of a range from `buffers`. What was taken before an error is written.
    pub fn write(
        &mut self,
        first_sector: u64,
        sectors: u32,
        buffers: &mut impl BlockBuffers,
    ) -> Result<(), BlockError> {
        for part in Part::each(first_sector, sectors) {
            let mut left_bytes = self.left_bytes;
            let piece = self.piece_mut(&part, &mut left_bytes)?;
            let data = match &mut piece.data {
                Some(data) => data,
                none => {
                    charge(&mut left_bytes, PIECE_BYTES as u64)?;
                    none.insert(boxed(0).ok_or(BlockError::Full)?)
                }
            };
            let taken = buffers.take(part.data(data).ok_or(BlockError::OutOfRange)?);
            // The bits come last: a sector that was only half taken is still what it was, or was the guest's before.
            if taken.is_ok() {
                piece.written |= part.bits();
            }
            self.left_bytes = left_bytes;
            taken?;
        }
        Ok(())
    }

    /// Zeroes a range, and gives the data of whole pieces back.
    pub fn write_zeroes(&mut self, first_sector: u64, sectors: u32) -> Result<(), BlockError> {
        for part in Part::each(first_sector, sectors) {
            let mut left_bytes = self.left_bytes;
            let freed_bytes = self.piece_mut(&part, &mut left_bytes)?.zero(&part);
            self.left_bytes = left_bytes.saturating_add(freed_bytes);
        }
        Ok(())
    }

    /// Forgets a range: what needs no memory for it becomes zero, and the rest stays the base's.
    pub fn discard(&mut self, first_sector: u64, sectors: u32) {
        for part in Part::each(first_sector, sectors) {
            let leaf = self.leaves.get_mut(part.leaf).and_then(Option::as_mut);
            if let Some(piece) = leaf.and_then(|leaf| leaf.get_mut(part.piece)) {
                self.left_bytes = self.left_bytes.saturating_add(piece.zero(&part));
            }
        }
    }

    fn piece(&self, sector: u64) -> Option<&Piece> {
        let part = Part::at(sector, sector.saturating_add(1))?;
        self.leaves.get(part.leaf)?.as_ref()?.get(part.piece)
    }

    /// The piece of `part`, with a new leaf if need be, which is taken off `left_bytes`.
    fn piece_mut(&mut self, part: &Part, left_bytes: &mut u64) -> Result<&mut Piece, BlockError> {
        let slot = self.leaves.get_mut(part.leaf).ok_or(BlockError::OutOfRange)?;
        let leaf = match slot {
            Some(leaf) => leaf,
            none => {
                charge(left_bytes, LEAF_BYTES)?;
                let leaf = boxed(Piece::default()).ok_or(BlockError::Full)?;
                // It is there from now on, whatever becomes of the piece.
                self.left_bytes = *left_bytes;
                none.insert(leaf)
            }
        };
        leaf.get_mut(part.piece).ok_or(BlockError::OutOfRange)
    }
}

impl Piece {
    /// Zeroes `part`; returns how many bytes of memory that gives back.
    fn zero(&mut self, part: &Part) -> u64 {
        self.written |= part.bits();
        if part.bits() == u32::MAX {
            return self.data.take().map_or(0, |_| PIECE_BYTES as u64);
        }
        if let Some(data) = self.data.as_mut().and_then(|data| part.data(data)) {
            data.fill(0);
        }
        0
    }
}

/// Takes `len_bytes` off the budget.
fn charge(left_bytes: &mut u64, len_bytes: u64) -> Result<(), BlockError> {
    *left_bytes = left_bytes.checked_sub(len_bytes).ok_or(BlockError::Full)?;
    Ok(())
}

/// `N` times `value` on the heap; `None` when there is no memory.
fn boxed<T: Clone, const N: usize>(value: T) -> Option<Box<[T; N]>> {
    let mut values = Vec::new();
    values.try_reserve_exact(N).ok()?;
    values.resize(N, value);
    values.into_boxed_slice().try_into().ok()
}

/// The limit at which a disk of `sectors` can be written whole.
pub const fn limit_for_all(sectors: u64) -> u64 {
    let leaves = sectors.div_ceil(SECTORS_PER_LEAF).saturating_mul(LEAF_POINTER_BYTES + LEAF_BYTES);
    leaves.saturating_add(sectors.div_ceil(SECTORS_PER_PIECE).saturating_mul(PIECE_BYTES as u64))
}
