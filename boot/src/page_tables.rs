//! The page tables at the hypervisor's entry.
//!
//! ```text
//! 0 .. limit                      all memory at its own address: written, not executed, in the largest pages
//!   except one page               the code of the jump: executed, not written
//! image's virtual start ..        the image: each segment with its own protection, in 4 KiB pages
//! ```
//!
//! They serve until the kernel has built its own. Four levels, AMD APM 24593, volume 2, section 5.3; Intel SDM
//! 325462, volume 3, section 4.5.

use base::{GIB, Hpa, MIB, PAGE_BYTES, PhysRange};
use core::fmt;
use handoff::{IMAGE_AREA_START, Image, Protection};

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

/// The least that is mapped at its own address: where devices and firmware's tables are.
pub const LEAST_IDENTITY_BYTES: u64 = 4 * GIB;

/// A table of any level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(4096))]
pub struct Table(pub [u64; 512]);

impl Table {
    /// A table that maps nothing.
    pub const EMPTY: Self = Self([0; 512]);
}

/// A size of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageSize {
    /// 4 KiB, in a table of level 1.
    Small,
    /// 2 MiB, in a table of level 2.
    Large,
    /// 1 GiB, in a table of level 3.
    Huge,
}

impl PageSize {
    const fn bytes(self) -> u64 {
        match self {
            Self::Small => PAGE_BYTES,
            Self::Large => 2 * MIB,
            Self::Huge => GIB,
        }
    }

    const fn level(self) -> u32 {
        match self {
            Self::Small => 1,
            Self::Large => 2,
            Self::Huge => 3,
        }
    }
}

/// The tables that were set aside do not suffice, or an address is mapped twice: a mistake of boot's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableError {
    /// The address that could not be mapped.
    pub virtual_address: u64,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no page table for {:#x}", self.virtual_address)
    }
}

impl core::error::Error for TableError {}

/// What the tables have to map.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// The image, at its virtual start.
    pub image: &'a Image,
    /// The end of what is mapped at its own address.
    pub identity_end: u64,
    /// The largest pages that the CPU has.
    pub largest: PageSize,
    /// The page of the jump.
    pub jump_page: Hpa,
}

impl Layout<'_> {
    /// How many tables are enough.
    pub fn tables_needed(&self) -> u64 {
        let image_bytes = self.image.range.len_bytes();
        let image = 1 + (image_bytes.div_ceil(GIB) + 1) + (image_bytes.div_ceil(2 * MIB) + 1);
        // The jump's page takes its gigabyte apart, and its 2 MiB within that.
        let middle = if self.largest == PageSize::Huge { 1 } else { self.identity_end.div_ceil(GIB) };
        1 + self.identity_end.div_ceil(512 * GIB) + middle + 1 + image
    }
}

/// Tables under construction: the first is the root.
#[derive(Debug)]
pub struct Tables<'a> {
    tables: &'a mut [Table],
    start: Hpa,
    used: usize,
}

impl<'a> Tables<'a> {
    /// Builds the tables for `layout` in `tables`, which lie at `start`.
    ///
    /// # Errors
    /// [`TableError`] when there are too few.
    pub fn build(tables: &'a mut [Table], start: Hpa, layout: &Layout<'_>) -> Result<(), TableError> {
        tables.fill(Table::EMPTY);
        let mut this = Self { tables, start, used: 1 };
        this.map_identity(layout)?;
        this.map_image(layout.image)
    }

    fn map_identity(&mut self, layout: &Layout<'_>) -> Result<(), TableError> {
        let mut address = 0;
        while address < layout.identity_end {
            let size = self.identity_page(layout, address);
            let is_jump = size == PageSize::Small && address == layout.jump_page.as_u64();
            let protection = if is_jump { Protection::ReadExecute } else { Protection::ReadWrite };
            self.map(address, Hpa::from_low_bits(address), size, protection)?;
            address += size.bytes();
        }
        Ok(())
    }

    /// The largest page at `address` that does not hold the page of the jump, or that page itself.
    fn identity_page(&self, layout: &Layout<'_>, address: u64) -> PageSize {
        let fits = |size: &PageSize| {
            let holds_jump = layout.jump_page.align_down(size.bytes()).as_u64() == address;
            *size <= layout.largest && address.is_multiple_of(size.bytes()) && !holds_jump
        };
        [PageSize::Huge, PageSize::Large].into_iter().find(fits).unwrap_or(PageSize::Small)
    }

    fn map_image(&mut self, image: &Image) -> Result<(), TableError> {
        for segment in &image.segments {
            for offset in (0..segment.len_bytes).step_by(PAGE_BYTES as usize) {
                let offset = segment.offset_bytes.wrapping_add(offset);
                let address = image.virtual_start.wrapping_add(offset);
                let frame = Hpa::from_low_bits(image.range.start().as_u64().wrapping_add(offset));
                self.map(address, frame, PageSize::Small, segment.protection)?;
            }
        }
        Ok(())
    }

    fn map(
        &mut self,
        address: u64,
        to: Hpa,
        size: PageSize,
        protection: Protection,
    ) -> Result<(), TableError> {
        let error = TableError { virtual_address: address };
        let mut table = 0;
        for level in (size.level() + 1..=4).rev() {
            table = self.next(table, index(address, level)).ok_or(error)?;
        }
        let entry =
            self.entry(table, index(address, size.level())).filter(|entry| **entry == 0).ok_or(error)?;
        let large = if size == PageSize::Small { 0 } else { LARGE };
        *entry = to.as_u64() | large | bits(protection);
        Ok(())
    }

    /// The table that entry `index` of `table` leads to, made if there is none.
    fn next(&mut self, table: usize, index: usize) -> Option<usize> {
        let (used, start) = (self.used, self.start.as_u64());
        let entry = self.entry(table, index)?;
        if *entry != 0 {
            let offset = (*entry & ADDRESS).checked_sub(start)?;
            return (*entry & LARGE == 0).then_some((offset / PAGE_BYTES) as usize);
        }
        *entry = (start + used as u64 * PAGE_BYTES) | PRESENT | WRITABLE;
        self.used += 1;
        (used < self.tables.len()).then_some(used)
    }

    fn entry(&mut self, table: usize, index: usize) -> Option<&mut u64> {
        self.tables.get_mut(table)?.0.get_mut(index)
    }
}

/// The index of `address` in a table of `level`, 1 to 4.
const fn index(address: u64, level: u32) -> usize {
    ((address >> (12 + 9 * (level - 1))) & 0x1FF) as usize
}

const fn bits(protection: Protection) -> u64 {
    match protection {
        Protection::ReadOnly => PRESENT | NO_EXECUTE,
        Protection::ReadWrite => PRESENT | WRITABLE | NO_EXECUTE,
        Protection::ReadExecute => PRESENT,
    }
}

/// The end of what has to be mapped at its own address, for memory that ends at `ram_end`. It is whole gigabytes, and
/// stays in the lower half of the virtual space, far from the image.
pub fn identity_end(ram_end: u64) -> u64 {
    let end = ram_end.next_multiple_of(GIB).max(LEAST_IDENTITY_BYTES);
    end.min(1 << 47)
}

/// Where the image can begin: multiples of 2 MiB so that it ends within 512 MiB of the image area.
pub fn image_slots(image: PhysRange) -> u64 {
    const SLIDE_BYTES: u64 = 512 * MIB;
    SLIDE_BYTES.saturating_sub(image.len_bytes()) / (2 * MIB)
}

/// The virtual start for the slot that `random` picks.
pub fn image_start(image: PhysRange, random: u64) -> u64 {
    let slot = random.checked_rem(image_slots(image)).unwrap_or(0);
    IMAGE_AREA_START + slot * 2 * MIB
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};
    use handoff::Segment;

    const START: u64 = 0x70_0000;

    fn image() -> Image {
        Image {
            range: PhysRange::new(Hpa::new(0x123_4000).unwrap(), 0x4000).unwrap(),
            virtual_start: IMAGE_AREA_START + 6 * MIB,
            segments: vec![
                Segment { offset_bytes: 0, len_bytes: 0x1000, protection: Protection::ReadExecute },
                Segment { offset_bytes: 0x2000, len_bytes: 0x2000, protection: Protection::ReadWrite },
            ],
            sha256: [0; 32],
        }
    }

    fn layout(image: &Image, largest: PageSize) -> Layout<'_> {
        Layout { image, identity_end: 6 * GIB, largest, jump_page: Hpa::new(0x4030_1000).unwrap() }
    }

    fn build(layout: &Layout<'_>) -> Vec<Table> {
        let mut tables = vec![Table::EMPTY; layout.tables_needed() as usize];
        Tables::build(&mut tables, Hpa::new(START).unwrap(), layout).unwrap();
        tables
    }

    /// What the CPU would find: physical address, writable, executable.
    fn walk(tables: &[Table], address: u64) -> Option<(u64, bool, bool)> {
        let mut table = 0;
        for level in (1..=4).rev() {
            let entry = tables[table].0[index(address, level)];
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 1 || entry & LARGE != 0 {
                let offset = address & ((PAGE_BYTES << (9 * (level - 1))) - 1);
                return Some(((entry & ADDRESS) + offset, entry & WRITABLE != 0, entry & NO_EXECUTE == 0));
            }
            table = ((entry & ADDRESS) - START) as usize / 4096;
        }
        None
    }

    #[test]
    fn memory_is_at_its_own_address_and_only_the_jump_can_be_executed() {
        let image = image();
        for largest in [PageSize::Large, PageSize::Huge] {
            let tables = build(&layout(&image, largest));
            for address in [0, 0x1000, 0x4030_0FFF, 0x4030_2000, 0x4060_0000, 5 * GIB + 7] {
                assert_eq!(walk(&tables, address), Some((address, true, false)));
            }
            assert_eq!(walk(&tables, 0x4030_1040), Some((0x4030_1040, false, true)));
            assert_eq!(walk(&tables, 6 * GIB), None);
        }
    }

    #[test]
    fn the_image_has_its_protections_and_its_holes() {
        let image = image();
        let tables = build(&layout(&image, PageSize::Huge));
        let start = image.virtual_start;
        assert_eq!(walk(&tables, start + 5), Some((0x123_4005, false, true)));
        assert_eq!(walk(&tables, start + 0x1000), None);
        assert_eq!(walk(&tables, start + 0x3000), Some((0x123_7000, true, false)));
        assert_eq!(walk(&tables, start + 0x4000), None);
    }

    #[test]
    fn too_few_tables_are_an_error() {
        let image = image();
        let mut tables = vec![Table::EMPTY; 3];
        let error = Tables::build(&mut tables, Hpa::new(START).unwrap(), &layout(&image, PageSize::Large));
        assert_eq!(error, Err(TableError { virtual_address: GIB }));
    }

    #[test]
    fn an_image_across_table_borders_has_enough_tables() {
        let mut image = image();
        image.virtual_start = IMAGE_AREA_START + GIB - 0x1000;
        assert_eq!(
            walk(&build(&layout(&image, PageSize::Large)), image.virtual_start + 0x2000).unwrap().0,
            0x123_6000
        );
    }

    #[test]
    fn the_identity_map_ends_at_whole_gigabytes_and_covers_four() {
        assert_eq!(identity_end(0x1000), 4 * GIB);
        assert_eq!(identity_end(5 * GIB + 1), 6 * GIB);
        assert_eq!(identity_end(1 << 52), 1 << 47);
    }

    #[test]
    fn the_image_begins_at_a_random_multiple_of_two_mebibytes_below_512() {
        let range = image().range;
        for random in [0, 1, 254, 255, u64::MAX] {
            let start = image_start(range, random);
            assert_eq!(start % (2 * MIB), 0);
            assert!(start + range.len_bytes() <= IMAGE_AREA_START + 512 * MIB);
        }
        assert_eq!(image_start(range, 3), IMAGE_AREA_START + 6 * MIB);
    }
}
