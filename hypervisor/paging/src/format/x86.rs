//! Long mode's entries (Intel SDM 325462, volume 3, section 4.5; AMD APM 24593, volume 2, section 5.3), which AMD-V
//! also uses for nested tables (APM, volume 2, section 15.25).
//!
//! ```text
//! 63 NX | 51..12 address | 7 page size | 6 dirty | 5 accessed | 4 PCD | 3 PWT | 2 user | 1 writable | 0 present
//! ```
//! PCD and PWT together select entry 3 of the PAT, "uncacheable" after reset and never changed by us.

use super::{Attributes, CacheMode, Permissions, leaf_address, table_address};
use crate::{EntryFormat, Level, Slot};
use base::Hpa;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const PAGE_SIZE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

/// The hypervisor's own tables. Needs EFER.NXE. Accessed and dirty are set in advance: nobody asks for them, and
/// the processor then never writes to a table.
#[derive(Debug)]
pub struct Host;

/// AMD-V's nested tables: a guest's accesses count as user accesses (APM, volume 2, section 15.25.5), hence U everywhere.
#[derive(Debug)]
pub struct Npt;

fn leaf(hpa: Hpa, level: Level, attributes: Attributes) -> u64 {
    let mut entry = hpa.as_u64() | PRESENT;
    if attributes.permissions.contains(Permissions::WRITE) {
        entry |= WRITABLE;
    }
    if !attributes.permissions.contains(Permissions::EXECUTE) {
        entry |= NO_EXECUTE;
    }
    if attributes.cache == CacheMode::Uncacheable {
        entry |= CACHE_DISABLE | WRITE_THROUGH;
    }
    if level > Level::Page {
        entry |= PAGE_SIZE;
    }
    entry
}

fn decode(entry: u64, level: Level) -> Slot {
    if entry & PRESENT == 0 {
        return Slot::Empty;
    }
    // Bit 7 of a 4 KiB page is a bit of its cache mode, not a size.
    if level > Level::Page && entry & PAGE_SIZE == 0 {
        return Slot::Table(table_address(entry));
    }
    let mut permissions = Permissions::READ;
    permissions.set(Permissions::WRITE, entry & WRITABLE != 0);
    permissions.set(Permissions::EXECUTE, entry & NO_EXECUTE == 0);
    let cache = if entry & CACHE_DISABLE != 0 { CacheMode::Uncacheable } else { CacheMode::WriteBack };
    Slot::Leaf(leaf_address(entry, level), Attributes { permissions, cache })
}

impl EntryFormat for Host {
    fn table(table: Hpa) -> u64 {
        table.as_u64() | PRESENT | WRITABLE | ACCESSED
    }

    fn leaf(hpa: Hpa, level: Level, attributes: Attributes) -> u64 {
        leaf(hpa, level, attributes) | ACCESSED | DIRTY
    }

    fn decode(entry: u64, level: Level) -> Slot {
        decode(entry, level)
    }
}

impl EntryFormat for Npt {
    fn table(table: Hpa) -> u64 {
        table.as_u64() | PRESENT | WRITABLE | USER
    }

    fn leaf(hpa: Hpa, level: Level, attributes: Attributes) -> u64 {
        leaf(hpa, level, attributes) | USER
    }

    fn decode(entry: u64, level: Level) -> Slot {
        decode(entry, level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_page_is_supervisor_only_and_a_nested_one_is_not() {
        let hpa = Hpa::new(0x20_0000).unwrap();
        let attributes = Attributes::memory(Permissions::READ_WRITE);
        assert_eq!(Host::leaf(hpa, Level::Directory, attributes), NO_EXECUTE | 0x20_0000 | 0xe3);
        assert_eq!(Npt::leaf(hpa, Level::Directory, attributes), NO_EXECUTE | 0x20_0000 | 0x87);
    }

    #[test]
    fn registers_of_devices_use_the_uncacheable_pat_entry() {
        let entry = Host::leaf(Hpa::new(0xfee0_0000).unwrap(), Level::Page, Attributes::DEVICE);
        assert_eq!(entry & (CACHE_DISABLE | WRITE_THROUGH), CACHE_DISABLE | WRITE_THROUGH);
    }
}
