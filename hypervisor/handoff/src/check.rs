//! The rules that a handoff's fields obey together. Boot checks them before it writes, the kernel after it has read.

use crate::error::{Field, HandoffError};
use crate::model::{
    Handoff, IMAGE_AREA_BYTES, IMAGE_AREA_START, Image, MemoryRegion, Protection, RegionKind,
};
use crate::{MAX_BUILD_ID_BYTES, MAX_FILES, MAX_OVERRIDES_BYTES, MAX_PATH_BYTES, MAX_REGIONS};
use alloc::vec::Vec;
use base::{Hpa, PAGE_BYTES, PhysRange};

/// The last second of the year 9999.
const MAX_WALL_CLOCK_S: u64 = 253_402_300_799;

/// Checks every rule.
pub(crate) fn check(handoff: &Handoff) -> Result<(), HandoffError> {
    let map = &handoff.memory_map;
    check_memory_map(map)?;
    check_pointer(Field::Rsdp, handoff.rsdp)?;
    check_pointer(Field::Smbios, handoff.smbios)?;
    if handoff.entropy == [0; 64] {
        return Err(HandoffError::NoEntropy);
    }
    if let Some(seconds) = handoff.wall_clock_s.filter(|&s| s > MAX_WALL_CLOCK_S) {
        return Err(HandoffError::OutOfRange(Field::WallClock, seconds));
    }
    check_files(handoff)?;
    check_text(Field::BootBuildId, &handoff.boot_build_id, MAX_BUILD_ID_BYTES)?;
    check_image(&handoff.image, map)?;
    check_owned(Field::BootStack, handoff.boot_stack, RegionKind::BootStack, map)?;
    check_owned(Field::BootTables, handoff.boot_tables, RegionKind::BootTables, map)?;
    check_text(Field::Overrides, &handoff.overrides, MAX_OVERRIDES_BYTES)?;
    handoff.preserved.iter().try_for_each(|range| check_pages(Field::Preserved, *range))?;
    check_order(Field::Preserved, handoff.preserved.iter().copied())
}

fn check_memory_map(map: &[MemoryRegion]) -> Result<(), HandoffError> {
    if map.is_empty() || map.len() > MAX_REGIONS {
        return Err(HandoffError::BadCount(Field::MemoryMap, map.len()));
    }
    map.iter().try_for_each(|region| check_pages(Field::MemoryMap, region.range))?;
    check_order(Field::MemoryMap, map.iter().map(|region| region.range))
}

fn check_pointer(field: Field, pointer: Option<Hpa>) -> Result<(), HandoffError> {
    match pointer {
        Some(Hpa::ZERO) => Err(HandoffError::OutOfRange(field, 0)),
        _ => Ok(()),
    }
}

fn check_files(handoff: &Handoff) -> Result<(), HandoffError> {
    let files = &handoff.files;
    if files.is_empty() || files.len() > MAX_FILES {
        return Err(HandoffError::BadCount(Field::Files, files.len()));
    }
    for file in files {
        if file.path.is_empty() {
            return Err(HandoffError::BadText(Field::FilePath, 0));
        }
        check_text(Field::FilePath, &file.path, MAX_PATH_BYTES)?;
        let start = file.range.start().as_u64();
        if !start.is_multiple_of(PAGE_BYTES) {
            return Err(HandoffError::NotWholePages(Field::Files, start));
        }
        check_inside(Field::Files, file.range, RegionKind::Files, &handoff.memory_map)?;
    }
    let mut ranges: Vec<PhysRange> = files.iter().map(|file| file.range).collect();
    ranges.sort_unstable_by_key(|range| range.start());
    check_order(Field::Files, ranges.into_iter())
}

fn check_image(image: &Image, map: &[MemoryRegion]) -> Result<(), HandoffError> {
    check_owned(Field::Image, image.range, RegionKind::HypervisorImage, map)?;
    let offset = image.virtual_start.checked_sub(IMAGE_AREA_START);
    let room = offset.and_then(|offset| IMAGE_AREA_BYTES.checked_sub(offset));
    let fits = room.is_some_and(|room| image.range.len_bytes() <= room);
    if !fits || !image.virtual_start.is_multiple_of(PAGE_BYTES) {
        return Err(HandoffError::OutOfRange(Field::ImageVirtualStart, image.virtual_start));
    }
    check_segments(image)
}

/// Segments are whole pages within the image, in order; one of them can be executed.
fn check_segments(image: &Image) -> Result<(), HandoffError> {
    let field = Field::ImageSegments;
    let mut end = 0;
    for segment in &image.segments {
        let start = segment.offset_bytes;
        for value in [start, segment.len_bytes] {
            if !value.is_multiple_of(PAGE_BYTES) {
                return Err(HandoffError::NotWholePages(field, value));
            }
        }
        if segment.len_bytes == 0 {
            return Err(HandoffError::EmptyRange(field, start));
        }
        if start < end {
            return Err(HandoffError::OutOfOrder(field, start));
        }
        let new_end = start.checked_add(segment.len_bytes).filter(|&e| e <= image.range.len_bytes());
        end = new_end.ok_or(HandoffError::OutOfRange(field, start))?;
    }
    if !image.segments.iter().any(|segment| segment.protection == Protection::ReadExecute) {
        return Err(HandoffError::BadCount(field, image.segments.len()));
    }
    Ok(())
}

/// `range` is whole pages in memory of `kind`.
fn check_owned(
    field: Field,
    range: PhysRange,
    kind: RegionKind,
    map: &[MemoryRegion],
) -> Result<(), HandoffError> {
    check_pages(field, range)?;
    check_inside(field, range, kind, map)
}

/// `range` holds a byte and lies in one region of `kind`.
fn check_inside(
    field: Field,
    range: PhysRange,
    kind: RegionKind,
    map: &[MemoryRegion],
) -> Result<(), HandoffError> {
    let start = range.start().as_u64();
    if range.is_empty() {
        return Err(HandoffError::EmptyRange(field, start));
    }
    if !map.iter().any(|region| region.kind == kind && region.range.encloses(range)) {
        return Err(HandoffError::OutsideItsRegion(field, start));
    }
    Ok(())
}

/// `range` is at least one whole page.
fn check_pages(field: Field, range: PhysRange) -> Result<(), HandoffError> {
    let start = range.start().as_u64();
    for value in [start, range.len_bytes()] {
        if !value.is_multiple_of(PAGE_BYTES) {
            return Err(HandoffError::NotWholePages(field, value));
        }
    }
    if range.is_empty() {
        return Err(HandoffError::EmptyRange(field, start));
    }
    Ok(())
}

/// Each of `ranges` begins where the one before it has ended, or later.
fn check_order(field: Field, ranges: impl Iterator<Item = PhysRange>) -> Result<(), HandoffError> {
    let mut end = 0;
    for range in ranges {
        let start = range.start().as_u64();
        if start < end {
            return Err(HandoffError::OutOfOrder(field, start));
        }
        end = range.end_u64();
    }
    Ok(())
}

fn check_text(field: Field, text: &str, max_bytes: usize) -> Result<(), HandoffError> {
    let printable = text.bytes().all(|b| matches!(b, b' '..=b'~'));
    if text.len() > max_bytes || !printable {
        return Err(HandoffError::BadText(field, text.len()));
    }
    Ok(())
}
