//! The header of a table (UEFI 2.10, table 5.5).

use super::{CRC, Damage, ENTRIES_MAX, ENTRY_BYTES_MAX, Field};
use uguid::Guid;

/// "EFI PART".
const SIGNATURE: u64 = 0x5452_4150_2049_4645;

/// How much of a header is defined, in bytes.
const DEFINED_BYTES: u32 = 92;

/// Where the header's own sum is, which counts as zero in it.
const SUM_AT: usize = 16;

/// The least entry, in bytes.
const ENTRY_BYTES_MIN: u32 = 128;

/// A header whose numbers make sense on its disk.
pub(super) struct Header {
    /// The first block that partitions may have.
    pub first_usable: u64,
    /// The last one.
    pub last_usable: u64,
    /// The first block of the entries.
    pub entries_at: u64,
    entries: u32,
    /// The length of one, in bytes: a power of two.
    pub entry_bytes: u32,
    /// The sum of all of them.
    pub entries_sum: u32,
}

impl Header {
    /// The header in `block`, which is block number `place` of `blocks`.
    pub fn parse(block: &[u8], place: u64, blocks: u64, block_bytes: u32) -> Result<Self, Damage> {
        if u64_at(block, 0) != SIGNATURE {
            return Err(Damage::NoHeader);
        }
        let len_bytes = u32_at(block, 12);
        if !(DEFINED_BYTES..=block_bytes).contains(&len_bytes) {
            return Err(Damage::Header(Field::HeaderLength));
        }
        if sum(block, len_bytes as usize) != u32_at(block, SUM_AT) {
            return Err(Damage::HeaderSum);
        }
        if u64_at(block, 24) != place {
            return Err(Damage::Header(Field::OwnPlace));
        }
        let header = Self {
            first_usable: u64_at(block, 40),
            last_usable: u64_at(block, 48),
            entries_at: u64_at(block, 72),
            entries: u32_at(block, 80),
            entry_bytes: u32_at(block, 84),
            entries_sum: u32_at(block, 88),
        };
        header.check(blocks, block_bytes)?;
        Ok(header)
    }

    fn check(&self, blocks: u64, block_bytes: u32) -> Result<(), Damage> {
        let is_entry = self.entry_bytes.is_power_of_two()
            && (ENTRY_BYTES_MIN..=ENTRY_BYTES_MAX).contains(&self.entry_bytes);
        if !is_entry || self.entries == 0 || self.entries > ENTRIES_MAX {
            return Err(Damage::Header(Field::Entries));
        }
        let len_blocks = (self.entries_bytes() as u64).div_ceil(block_bytes.into());
        // A partition over block 1 or the last one would let its guest write a copy of the table; so would one over the entries
        // of this copy, and over those of the other, which has as many at the other end of the disk.
        let last_free = blocks.saturating_sub(2).saturating_sub(len_blocks);
        let usable = self.first_usable..=self.last_usable;
        if usable.is_empty() || self.first_usable < 2 + len_blocks || self.last_usable > last_free {
            return Err(Damage::Header(Field::UsableRange));
        }
        let end = self.entries_at.checked_add(len_blocks).filter(|end| *end <= blocks);
        let is_apart = |end: u64| end <= self.first_usable || self.entries_at > self.last_usable;
        match end {
            Some(end) if self.entries_at >= 2 && is_apart(end) => Ok(()),
            _ => Err(Damage::Header(Field::Entries)),
        }
    }

    /// The length of all entries.
    pub const fn entries_bytes(&self) -> usize {
        self.entries.saturating_mul(self.entry_bytes) as usize
    }
}

/// The sum of a header of this length.
fn sum(block: &[u8], len_bytes: usize) -> u32 {
    let mut digest = CRC.digest();
    digest.update(block.get(..SUM_AT).unwrap_or_default());
    digest.update(&[0; 4]);
    digest.update(block.get(SUM_AT + 4..len_bytes).unwrap_or_default());
    digest.finalize()
}

/// A little-endian number; zero past the end.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes_at(bytes, at).map_or(0, u64::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes_at(bytes, at).map_or(0, u32::from_le_bytes)
}

/// A GUID; zero past the end.
pub(super) fn guid(bytes: &[u8], at: usize) -> Guid {
    bytes_at(bytes, at).map_or(Guid::ZERO, Guid::from_bytes)
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
