//! GUID partition tables (UEFI 2.10, section 5.3).
//!
//! ```text
//!   block 0   protective MBR          says that the rest is not free
//!   block 1   header, entries         the table
//!   ...       partitions
//!   end       entries, header         the same again, for when the first is damaged or cannot be read
//! ```
//! A guest that has a disk whole writes what it wants into its table, and one that has a partition must not reach the
//! table through it. So a copy of the table is taken only when every number in it makes sense; and what two partitions of
//! one table could share is refused here, though [`claims`](super::claims) would find it too.

mod header;
mod locate;
#[cfg(test)]
mod tests;

pub use locate::{Found, LocateError, Numbered, locate};
pub use uguid::Guid;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use crc::{CRC_32_ISO_HDLC, Crc};
use header::Header;
use seams::{BlockError, SECTOR_BYTES};

/// The check sum of header and entries (section 5.3.2).
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// The most entries that are read: tables have 128.
const ENTRIES_MAX: u32 = 1024;

/// The largest entry that is read, in bytes: they have 128.
const ENTRY_BYTES_MAX: u32 = 512;

/// How much is read at once, in bytes: a multiple of every block and of every entry.
const CHUNK_BYTES: usize = 4096;

/// Characters of a label, in UTF-16 code units (table 5.7).
const LABEL_UNITS: usize = 36;

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its place in the table, counted from 1.
    pub number: u32,
    /// Its name; characters that a terminal would act on are replaced.
    pub label: String,
    /// Its UUID.
    pub guid: Guid,
    /// The UUID of what it is for.
    pub kind: Guid,
    /// Where it begins.
    pub first_sector: u64,
    /// Its length.
    pub sectors: u64,
}

impl Partition {
    fn end_sector(&self) -> u64 {
        self.first_sector.saturating_add(self.sectors)
    }
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The partitions, by number.
    pub partitions: Vec<Partition>,
    /// What is wrong with the first copy, when this is the second.
    pub primary: Result<(), Damage>,
}

/// Which number of a header makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The header's own length.
    HeaderLength,
    /// Where the header says that it is.
    OwnPlace,
    /// What partitions may use.
    UsableRange,
    /// Number, length or place of the entries.
    Entries,
}

/// What is wrong with one copy of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It could not be read.
    Unread,
    /// No header is there.
    NoHeader,
    /// The header's check sum is not that of its bytes.
    HeaderSum,
    /// A number in the header makes no sense.
    Header(Field),
    /// The check sum of the entries is not that of their bytes.
    EntriesSum,
    /// A partition ends before it begins, or is not where partitions may be.
    Bounds {
        /// Its number.
        number: u32,
    },
    /// Two partitions have sectors in common.
    Overlap {
        /// The number of one.
        number: u32,
        /// The number of the other.
        other: u32,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread => f.write_str("it cannot be read"),
            Self::NoHeader => f.write_str("no header"),
            Self::HeaderSum => f.write_str("wrong check sum of the header"),
            Self::Header(field) => f.write_str(match field {
                Field::HeaderLength => "impossible length of the header",
                Field::OwnPlace => "a header that belongs elsewhere",
                Field::UsableRange => "impossible range for partitions",
                Field::Entries => "impossible place or number of entries",
            }),
            Self::EntriesSum => f.write_str("wrong check sum of the entries"),
            Self::Bounds { number } => write!(f, "partition {number} is not where partitions may be"),
            Self::Overlap { number, other } => write!(f, "partitions {number} and {other} overlap"),
        }
    }
}

/// Why there is no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GptError {
    /// The disk has no GPT: another table, or none.
    NotGpt,
    /// Both copies are damaged.
    Damaged {
        /// What is wrong with the first.
        primary: Damage,
        /// What is wrong with the second.
        backup: Damage,
    },
    /// The disk could not be read where it says that it has a GPT, or in one copy, and the other is no better.
    Disk(BlockError),
    /// Its blocks are not 512 to 4096 bytes long.
    BlockSize(u32),
    /// The host has no memory for it.
    NoMemory,
    /// A guest has had the whole disk to write to since the table was read.
    Outdated,
}

impl fmt::Display for GptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGpt => f.write_str("the disk has no GPT: make one, or use the whole disk"),
            Self::Damaged { primary, backup } => write!(
                f,
                "the disk's GPT is damaged: {primary}; and in its second copy: {backup}: repair it, or use the whole disk"
            ),
            Self::Disk(error) => write!(f, "the disk's GPT cannot be read: {error}: check the disk"),
            Self::BlockSize(len_bytes) => {
                write!(f, "the disk has blocks of {len_bytes} bytes: use one with 512 to 4096")
            }
            Self::NoMemory => f.write_str("no memory for the disk's GPT: give VMs less memory"),
            Self::Outdated => {
                f.write_str("a VM has had the whole disk since the host read its GPT: restart the host")
            }
        }
    }
}

impl core::error::Error for GptError {}

/// Why one copy was not taken.
enum Refused {
    /// The other may be better.
    Damage(Damage),
    /// The other may be readable.
    Unread(BlockError),
    /// It would fare no better.
    Error(GptError),
}

impl From<Damage> for Refused {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<BlockError> for Refused {
    fn from(error: BlockError) -> Self {
        Self::Unread(error)
    }
}

impl From<GptError> for Refused {
    fn from(error: GptError) -> Self {
        Self::Error(error)
    }
}

/// Reads the table of a disk with so many sectors and blocks of `block_bytes`. `read` fills whole blocks from a sector on.
///
/// # Errors
/// See [`GptError`]; that only the first copy is damaged or cannot be read is none, and told by [`Table::primary`].
pub fn read(
    sectors: u64,
    block_bytes: u32,
    read: impl FnMut(u64, &mut [u8]) -> Result<(), BlockError>,
) -> Result<Table, GptError> {
    let is_possible = (512..=CHUNK_BYTES as u32).contains(&block_bytes) && block_bytes.is_power_of_two();
    if !is_possible {
        return Err(GptError::BlockSize(block_bytes));
    }
    let mut chunk = Vec::new();
    chunk.try_reserve_exact(CHUNK_BYTES).map_err(|_| GptError::NoMemory)?;
    chunk.resize(CHUNK_BYTES, 0);
    let sectors_per_block = u64::from(block_bytes) / SECTOR_BYTES;
    let mut disk = Disk { blocks: sectors / sectors_per_block, block_bytes, sectors_per_block, read, chunk };
    if !is_protective(disk.block(0).map_err(GptError::Disk)?) {
        return Err(GptError::NotGpt);
    }
    let (primary, unread) = match disk.copy(1) {
        Ok(partitions) => return Ok(Table { partitions, primary: Ok(()) }),
        Err(Refused::Damage(damage)) => (damage, None),
        Err(Refused::Unread(error)) => (Damage::Unread, Some(error)),
        Err(Refused::Error(error)) => return Err(error),
    };
    match disk.copy(disk.blocks.saturating_sub(1)) {
        Ok(partitions) => Ok(Table { partitions, primary: Err(primary) }),
        Err(Refused::Damage(backup)) => {
            Err(unread.map_or(GptError::Damaged { primary, backup }, GptError::Disk))
        }
        Err(Refused::Unread(error)) => Err(GptError::Disk(unread.unwrap_or(error))),
        Err(Refused::Error(error)) => Err(error),
    }
}

/// Whether an MBR says that a GPT has the disk: its signature, and a partition of type 0xEE among the four (section 5.2.3).
fn is_protective(mbr: &[u8]) -> bool {
    let kinds = (0..4).filter_map(|index| mbr.get(446 + 16 * index + 4));
    mbr.get(510..512) == Some(&[0x55, 0xaa]) && kinds.into_iter().any(|kind| *kind == 0xee)
}

struct Disk<F> {
    blocks: u64,
    block_bytes: u32,
    sectors_per_block: u64,
    read: F,
    /// What was read last.
    chunk: Vec<u8>,
}

impl<F: FnMut(u64, &mut [u8]) -> Result<(), BlockError>> Disk<F> {
    /// One block.
    fn block(&mut self, block: u64) -> Result<&[u8], BlockError> {
        self.fill(block, self.block_bytes as usize)
    }

    /// So many bytes from a block on, whole blocks and one chunk at most.
    fn fill(&mut self, block: u64, len_bytes: usize) -> Result<&[u8], BlockError> {
        let outside = BlockError::OutOfRange;
        let blocks = len_bytes as u64 / u64::from(self.block_bytes);
        if block.checked_add(blocks).is_none_or(|end| end > self.blocks) {
            return Err(outside);
        }
        let first_sector = block.checked_mul(self.sectors_per_block).ok_or(outside)?;
        let chunk = self.chunk.get_mut(..len_bytes).ok_or(outside)?;
        (self.read)(first_sector, chunk)?;
        Ok(chunk)
    }

    /// The partitions by the copy whose header is at `place`.
    fn copy(&mut self, place: u64) -> Result<Vec<Partition>, Refused> {
        if place == 0 || place >= self.blocks {
            return Err(Damage::NoHeader.into());
        }
        let (blocks, block_bytes) = (self.blocks, self.block_bytes);
        let header = Header::parse(self.block(place)?, place, blocks, block_bytes)?;
        let mut partitions = self.entries(&header)?;
        check_overlap(&mut partitions)?;
        Ok(partitions)
    }

    /// Reads the entries once: they are of no use before their sum is known to be right.
    fn entries(&mut self, header: &Header) -> Result<Vec<Partition>, Refused> {
        let sectors_per_block = self.sectors_per_block;
        let block_bytes = self.block_bytes as usize;
        let (mut digest, mut partitions) = (CRC.digest(), Vec::new());
        let (mut bounds, mut number) = (Ok(()), 0_u32);
        let (mut block, mut left) = (header.entries_at, header.entries_bytes());
        while left != 0 {
            let here = left.min(CHUNK_BYTES);
            let whole_blocks = here.next_multiple_of(block_bytes);
            let bytes = self.fill(block, whole_blocks)?.get(..here).unwrap_or_default();
            digest.update(bytes);
            for entry in bytes.chunks(header.entry_bytes as usize) {
                number = number.saturating_add(1);
                match parse_entry(entry, number, header, sectors_per_block)? {
                    Ok(None) => {}
                    Ok(Some(partition)) => {
                        partitions.try_reserve(1).map_err(|_| GptError::NoMemory)?;
                        partitions.push(partition);
                    }
                    Err(damage) => bounds = bounds.and(Err(damage)),
                }
            }
            block = block.saturating_add((whole_blocks / block_bytes) as u64);
            left = left.saturating_sub(here);
        }
        if digest.finalize() != header.entries_sum {
            return Err(Damage::EntriesSum.into());
        }
        bounds?;
        Ok(partitions)
    }
}

/// The partition of an entry, if it has one.
fn parse_entry(
    entry: &[u8],
    number: u32,
    header: &Header,
    sectors_per_block: u64,
) -> Result<Result<Option<Partition>, Damage>, GptError> {
    let kind = header::guid(entry, 0);
    if kind.is_zero() {
        return Ok(Ok(None));
    }
    let (first, last) = (header::u64_at(entry, 32), header::u64_at(entry, 40));
    let out = Damage::Bounds { number };
    if first > last || first < header.first_usable || last > header.last_usable {
        return Ok(Err(out));
    }
    // Usable blocks are on the disk, so that none of this leaves 64 bits.
    let first_sector = first.saturating_mul(sectors_per_block);
    let sectors = (last - first).saturating_add(1).saturating_mul(sectors_per_block);
    let label = label(entry.get(56..).unwrap_or_default()).ok_or(GptError::NoMemory)?;
    Ok(Ok(Some(Partition { number, label, guid: header::guid(entry, 16), kind, first_sector, sectors })))
}

/// A label up to its first NUL; `None` when there is no memory.
fn label(bytes: &[u8]) -> Option<String> {
    let units = bytes.chunks_exact(2).take(LABEL_UNITS);
    let units = units.map(|unit| unit.iter().rev().fold(0, |value, byte| value << 8 | u16::from(*byte)));
    let mut label = String::new();
    for unit in char::decode_utf16(units.take_while(|unit| *unit != 0)) {
        let character = unit.ok().filter(|c| !c.is_control()).unwrap_or(char::REPLACEMENT_CHARACTER);
        label.try_reserve(character.len_utf8()).ok()?;
        label.push(character);
    }
    Some(label)
}

/// Refuses partitions with sectors in common; leaves them by number.
fn check_overlap(partitions: &mut [Partition]) -> Result<(), Damage> {
    partitions.sort_unstable_by_key(|partition| partition.first_sector);
    let pairs = partitions.iter().zip(partitions.iter().skip(1));
    for (before, after) in pairs {
        if before.end_sector() > after.first_sector {
            return Err(Damage::Overlap { number: before.number, other: after.number });
        }
    }
    partitions.sort_unstable_by_key(|partition| partition.number);
    Ok(())
}
