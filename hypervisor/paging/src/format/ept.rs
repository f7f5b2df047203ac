//! VT-x's extended page tables (Intel SDM 325462, volume 3, section 29.3.2).
//!
//! ```text
//! 51..12 address | 9 dirty | 8 accessed | 7 large | 6 ignore PAT | 5..3 memory type | 2 execute | 1 write | 0 read
//! ```
//! An entry is present when any of its permissions is. Accessed and dirty are the processor's to set, when the EPT
//! pointer enables them; decoding passes over them.

use super::{Attributes, CacheMode, Permissions, leaf_address, table_address};
use crate::{EntryFormat, Level, Slot};
use base::Hpa;

const READ: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const EXECUTE: u64 = 1 << 2;
const MEMORY_TYPE: u64 = 7 << 3;
const UNCACHEABLE: u64 = 0 << 3;
const WRITE_BACK: u64 = 6 << 3;
const LARGE: u64 = 1 << 7;

/// VT-x's nested tables. The guest's PAT stays in force: "ignore PAT" is clear.
#[derive(Debug)]
pub struct Ept;

impl EntryFormat for Ept {
    fn table(table: Hpa) -> u64 {
        table.as_u64() | READ | WRITE | EXECUTE
    }

    fn leaf(hpa: Hpa, level: Level, attributes: Attributes) -> u64 {
        let permissions =
            [(Permissions::READ, READ), (Permissions::WRITE, WRITE), (Permissions::EXECUTE, EXECUTE)];
        let mut entry = hpa.as_u64();
        for (permission, bit) in permissions {
            if attributes.permissions.contains(permission) {
                entry |= bit;
            }
        }
        entry |= match attributes.cache {
            CacheMode::WriteBack => WRITE_BACK,
            CacheMode::Uncacheable => UNCACHEABLE,
        };
        if level > Level::Page {
            entry |= LARGE;
        }
        entry
    }

    fn decode(entry: u64, level: Level) -> Slot {
        if entry & (READ | WRITE | EXECUTE) == 0 {
            return Slot::Empty;
        }
        if level > Level::Page && entry & LARGE == 0 {
            return Slot::Table(table_address(entry));
        }
        let mut permissions = Permissions::empty();
        permissions.set(Permissions::READ, entry & READ != 0);
        permissions.set(Permissions::WRITE, entry & WRITE != 0);
        permissions.set(Permissions::EXECUTE, entry & EXECUTE != 0);
        let cache =
            if entry & MEMORY_TYPE == UNCACHEABLE { CacheMode::Uncacheable } else { CacheMode::WriteBack };
        Slot::Leaf(leaf_address(entry, level), Attributes { permissions, cache })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_page_of_memory_is_write_back_and_large() {
        let hpa = Hpa::new(0x4000_0000).unwrap();
        let attributes = Attributes::memory(Permissions::all());
        assert_eq!(Ept::leaf(hpa, Level::Pointer, attributes), 0x4000_0000 | 0xb7);
    }

    #[test]
    fn what_the_processor_sets_does_not_change_the_meaning() {
        let hpa = Hpa::new(0x1000).unwrap();
        let attributes = Attributes::memory(Permissions::READ);
        let entry = Ept::leaf(hpa, Level::Page, attributes) | 3 << 8;
        assert_eq!(Ept::decode(entry, Level::Page), Slot::Leaf(hpa, attributes));
    }
}
