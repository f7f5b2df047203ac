//! The three formats of a guest's page tables (SDM tables 4-4 to 4-20).

use super::Paging;
use crate::control::{cr0, cr4, efer};
use base::{Gpa, addr::PHYSICAL_ADDRESS_BITS};

pub(super) const PRESENT: u64 = 1 << 0;
pub(super) const WRITABLE: u64 = 1 << 1;
pub(super) const USER: u64 = 1 << 2;
pub(super) const ACCESSED: u64 = 1 << 5;
pub(super) const DIRTY: u64 = 1 << 6;
pub(super) const LARGE: u64 = 1 << 7;
pub(super) const NO_EXECUTE: u64 = 1 << 63;

/// Bits 51:12 of an 8-byte entry.
pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// How tables are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Two levels of 4-byte entries; 4 MiB pages where CR4.PSE says so.
    Legacy { large_pages: bool },
    /// Three levels of 8-byte entries, the first of four entries without rights.
    Pae,
    /// Four or five levels of 8-byte entries.
    Long { levels: u32 },
}

/// The bits `low..high` of a word.
const fn bits(low: u32, high: u32) -> u64 {
    if low >= high { 0 } else { (u64::MAX >> (64 - (high - low))) << low }
}

impl Format {
    /// The format in force, or `None` without paging.
    pub(super) const fn of(paging: &Paging) -> Option<Self> {
        if paging.cr0 & cr0::PG == 0 {
            return None;
        }
        Some(if paging.efer & efer::LMA != 0 {
            Self::Long { levels: if paging.cr4 & cr4::LA57 != 0 { 5 } else { 4 } }
        } else if paging.cr4 & cr4::PAE != 0 {
            Self::Pae
        } else {
            Self::Legacy { large_pages: paging.cr4 & cr4::PSE != 0 }
        })
    }

    /// The linear address as it is translated; `None` when it is not canonical.
    pub(super) const fn linear(self, linear: u64) -> Option<u64> {
        let Self::Long { levels } = self else { return Some(linear & u32::MAX as u64) };
        let unused = 64 - (12 + 9 * levels);
        let extended = ((linear << unused) as i64 >> unused) as u64;
        if extended == linear { Some(linear) } else { None }
    }

    pub(super) const fn levels(self) -> u32 {
        match self {
            Self::Legacy { .. } => 2,
            Self::Pae => 3,
            Self::Long { levels } => levels,
        }
    }

    pub(super) const fn entry_bytes(self) -> u8 {
        match self {
            Self::Legacy { .. } => 4,
            _ => 8,
        }
    }

    /// Bits of the linear address that select within a table.
    const fn index_bits(self) -> u32 {
        match self {
            Self::Legacy { .. } => 10,
            _ => 9,
        }
    }

    /// The lowest bit of the linear address that selects at `level`, counted from 1 at the leaves.
    const fn shift(self, level: u32) -> u32 {
        12 + self.index_bits() * (level - 1)
    }

    /// The first table, from CR3.
    pub(super) const fn root(self, cr3: u64) -> u64 {
        match self {
            Self::Legacy { .. } => cr3 & 0xffff_f000,
            Self::Pae => cr3 & 0xffff_ffe0,
            Self::Long { .. } => cr3 & ADDRESS,
        }
    }

    /// The offset in bytes of the entry for `linear` in its table at `level`.
    pub(super) const fn index(self, linear: u64, level: u32) -> u64 {
        let index = linear >> self.shift(level) & bits(0, self.index_bits());
        index * self.entry_bytes() as u64
    }

    /// Whether an entry at `level` carries rights and marks: PAE's pointers do not.
    pub(super) const fn has_rights(self, level: u32) -> bool {
        !matches!((self, level), (Self::Pae, 3))
    }

    /// Whether `entry` maps a page.
    pub(super) const fn is_leaf(self, entry: u64, level: u32) -> bool {
        let may_be_large = match self {
            Self::Legacy { large_pages } => large_pages && level == 2,
            Self::Pae => level == 2,
            Self::Long { .. } => level == 2 || level == 3,
        };
        level == 1 || may_be_large && entry & LARGE != 0
    }

    /// Whether instruction fetches can be refused at all: by NX, or by SMEP.
    pub(super) const fn refuses_fetches(self, paging: &Paging) -> bool {
        let no_execute = paging.efer & efer::NXE != 0 && !matches!(self, Self::Legacy { .. });
        no_execute || paging.cr4 & cr4::SMEP != 0
    }

    /// The bits that must be zero in `entry` at `level`.
    pub(super) const fn reserved(self, entry: u64, level: u32, paging: &Paging) -> u64 {
        let is_large = level > 1 && self.is_leaf(entry, level);
        if let Self::Legacy { .. } = self {
            // PSE-36: bits 20:13 are the page's bits 39:32, as far as addresses reach; bit 21 is none.
            let beyond = if paging.physical_bits < 40 { paging.physical_bits.saturating_sub(32) } else { 8 };
            return if is_large { bits(13 + beyond, 22) } else { 0 };
        }
        let above_address = bits(paging.physical_bits, PHYSICAL_ADDRESS_BITS);
        let no_execute = if paging.efer & efer::NXE != 0 { 0 } else { NO_EXECUTE };
        match self {
            // The pointers also lack rights, large pages and NX (SDM table 4-8). Bit 5 is reserved too, but QEMU's
            // processor marks them accessed as it does other entries.
            Self::Pae if level == 3 => above_address | bits(52, 64) | bits(6, 9) | WRITABLE | USER,
            Self::Pae => above_address | bits(52, 63) | no_execute | self.large_reserved(level, is_large),
            _ => above_address | no_execute | self.large_reserved(level, is_large),
        }
    }

    const fn large_reserved(self, level: u32, is_large: bool) -> u64 {
        match level {
            // The low bits of a large page's address; bit 12 is its PAT bit.
            _ if is_large => bits(13, self.shift(level)),
            // No page of 512 GiB or more.
            4 | 5 => LARGE,
            _ => 0,
        }
    }

    /// The table that `entry` points to.
    pub(super) const fn next_table(self, entry: u64) -> u64 {
        match self {
            Self::Legacy { .. } => entry & 0xffff_f000,
            _ => entry & ADDRESS,
        }
    }

    /// Where `linear` lies in the page that `entry` maps at `level`.
    pub(super) const fn leaf(self, entry: u64, level: u32, linear: u64) -> Gpa {
        let offset = bits(0, self.shift(level));
        let page = match self {
            Self::Legacy { .. } if level == 2 => entry & 0xffc0_0000 | (entry >> 13 & 0xff) << 32,
            Self::Legacy { .. } => entry & 0xffff_f000,
            _ => entry & ADDRESS & !offset,
        };
        Gpa::from_low_bits(page | linear & offset)
    }
}
