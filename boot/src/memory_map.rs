//! The memory map for the kernel, from firmware's and from what boot has put where.
//!
//! Boot's own allocations are laid over firmware's map rather than marked by custom memory types, which some firmware
//! cannot bear. Where firmware's entries overlap, the more restrictive kind wins.

use alloc::vec::Vec;
use base::{Hpa, PAGE_BYTES, PhysRange};
use handoff::{MemoryRegion, RegionKind};

/// An entry of firmware's map (UEFI 2.10, section 7.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// `EFI_MEMORY_TYPE`.
    pub kind: u32,
    /// The first byte.
    pub start: u64,
    /// The number of 4 KiB pages.
    pub pages: u64,
    /// `EFI_MEMORY_*` attributes.
    pub attributes: u64,
}

/// Memory that its owner has set aside (`EFI_MEMORY_SP`): not for general use.
const SPECIFIC_PURPOSE: u64 = 1 << 18;

impl Descriptor {
    /// What the kernel is to know the memory as.
    fn region_kind(&self) -> RegionKind {
        match self.kind {
            // EfiLoaderCode and -Data, which is what boot consists of; EfiBootServicesCode and -Data.
            1..=4 => RegionKind::BootServices,
            5 | 6 => RegionKind::RuntimeServices,
            7 if self.attributes & SPECIFIC_PURPOSE == 0 => RegionKind::Usable,
            8 => RegionKind::Unusable,
            9 => RegionKind::AcpiReclaim,
            10 => RegionKind::AcpiNvs,
            11 | 12 => RegionKind::Mmio,
            14 => RegionKind::Persistent,
            // Reserved, specific-purpose, PAL code, unaccepted, and what is not yet invented.
            _ => RegionKind::Reserved,
        }
    }

    /// The memory, unless there is none or no CPU could address it.
    fn range(&self) -> Option<PhysRange> {
        let start = Hpa::new(self.start).ok()?.align_down(PAGE_BYTES);
        let range = PhysRange::new(start, self.pages.checked_mul(PAGE_BYTES)?).ok()?;
        (!range.is_empty()).then_some(range)
    }
}

/// The kernel's map: firmware's `descriptors`, and over them `claims`, boot's own allocations.
pub fn build(descriptors: &[Descriptor], claims: &[MemoryRegion]) -> Vec<MemoryRegion> {
    let region = |d: &Descriptor| d.range().map(|range| MemoryRegion { range, kind: d.region_kind() });
    let mut layers: Vec<MemoryRegion> = descriptors.iter().filter_map(region).collect();
    // The numbers of kinds grow with restriction.
    layers.sort_by_key(|layer| layer.kind);
    let mut map = Vec::new();
    for layer in layers.iter().chain(claims) {
        overlay(&mut map, *layer);
    }
    merge(map)
}

/// The end of RAM in `descriptors`, 0 without any.
pub fn ram_end(descriptors: &[Descriptor]) -> u64 {
    let ram = descriptors.iter().filter(|d| d.region_kind().is_ram());
    ram.filter_map(Descriptor::range).map(PhysRange::end_u64).max().unwrap_or(0)
}

/// Puts `layer` over the sorted `map`, cutting away what it covers.
fn overlay(map: &mut Vec<MemoryRegion>, layer: MemoryRegion) {
    let overlaps = |region: &MemoryRegion| region.range.overlaps(layer.range);
    let first = map.partition_point(|region| region.range.end_u64() <= layer.range.start().as_u64());
    let covered = map.iter().skip(first).take_while(|region| overlaps(region)).count();
    let end = first.saturating_add(covered);
    let mut replacement: Vec<MemoryRegion> = Vec::new();
    for region in map.iter().skip(first).take(covered) {
        replacement.extend(piece(region, region.range.start().as_u64(), layer.range.start().as_u64()));
    }
    replacement.push(layer);
    for region in map.iter().skip(first).take(covered) {
        replacement.extend(piece(region, layer.range.end_u64(), region.range.end_u64()));
    }
    map.splice(first..end, replacement);
}

/// The part of `region` from `start` to `end`, if there is any.
fn piece(region: &MemoryRegion, start: u64, end: u64) -> Option<MemoryRegion> {
    let len_bytes = end.checked_sub(start).filter(|len| *len > 0)?;
    let range = PhysRange::new(Hpa::new(start).ok()?, len_bytes).ok()?;
    Some(MemoryRegion { range, kind: region.kind })
}

/// Joins neighbours of one kind.
fn merge(map: Vec<MemoryRegion>) -> Vec<MemoryRegion> {
    let mut merged: Vec<MemoryRegion> = Vec::with_capacity(map.len());
    for region in map {
        let neighbour = merged.last_mut();
        let neighbour = neighbour
            .filter(|last| last.kind == region.kind && last.range.end_u64() == region.range.start().as_u64());
        let joined = neighbour.as_ref().and_then(|last| {
            PhysRange::new(last.range.start(), last.range.len_bytes() + region.range.len_bytes()).ok()
        });
        match (neighbour, joined) {
            (Some(last), Some(range)) => last.range = range,
            _ => merged.push(region),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const CONVENTIONAL: u32 = 7;
    const RESERVED: u32 = 0;

    fn descriptor(kind: u32, start: u64, pages: u64) -> Descriptor {
        Descriptor { kind, start, pages, attributes: 0 }
    }

    fn region(start: u64, len_bytes: u64, kind: RegionKind) -> MemoryRegion {
        MemoryRegion { range: PhysRange::new(Hpa::new(start).unwrap(), len_bytes).unwrap(), kind }
    }

    #[test]
    fn firmwares_map_is_sorted_and_neighbours_are_joined() {
        let map =
            build(&[descriptor(4, 0x3000, 1), descriptor(CONVENTIONAL, 0, 2), descriptor(3, 0x2000, 1)], &[]);
        assert_eq!(
            map,
            [region(0, 0x2000, RegionKind::Usable), region(0x2000, 0x2000, RegionKind::BootServices)]
        );
    }

    #[test]
    fn boots_own_memory_is_cut_out_of_firmwares() {
        let claims =
            [region(0x2000, 0x1000, RegionKind::Files), region(0x3000, 0x1000, RegionKind::BootStack)];
        let map = build(&[descriptor(2, 0x1000, 8)], &claims);
        let expected = vec![
            region(0x1000, 0x1000, RegionKind::BootServices),
            region(0x2000, 0x1000, RegionKind::Files),
            region(0x3000, 0x1000, RegionKind::BootStack),
            region(0x4000, 0x5000, RegionKind::BootServices),
        ];
        assert_eq!(map, expected);
    }

    #[test]
    fn where_entries_overlap_the_more_restrictive_wins() {
        let map = build(&[descriptor(RESERVED, 0x1000, 2), descriptor(CONVENTIONAL, 0, 10)], &[]);
        let expected = vec![
            region(0, 0x1000, RegionKind::Usable),
            region(0x1000, 0x2000, RegionKind::Reserved),
            region(0x3000, 0x7000, RegionKind::Usable),
        ];
        assert_eq!(map, expected);
    }

    #[test]
    fn memory_set_aside_and_unknown_kinds_are_reserved() {
        let special = Descriptor { attributes: SPECIFIC_PURPOSE, ..descriptor(CONVENTIONAL, 0, 1) };
        let map = build(&[special, descriptor(99, 0x1000, 1)], &[]);
        assert_eq!(map, [region(0, 0x2000, RegionKind::Reserved)]);
    }

    #[test]
    fn the_end_of_ram_ignores_devices() {
        let descriptors = [descriptor(CONVENTIONAL, 0, 16), descriptor(11, 0xFED0_0000, 16)];
        assert_eq!(ram_end(&descriptors), 0x10000);
    }

    proptest! {
        #[test]
        fn any_map_comes_out_sorted_and_without_overlap(
            entries in prop::collection::vec((0_u32..18, any::<u64>(), any::<u64>(), any::<bool>()), 0..60),
            claims in prop::collection::vec((0_u64..64, 1_u64..8), 0..8),
        ) {
            let near = |(kind, start, pages, small): (u32, u64, u64, bool)| {
                let (start, pages) = if small { (start % 64 * 4096, pages % 16) } else { (start, pages) };
                descriptor(kind, start, pages)
            };
            let descriptors: Vec<_> = entries.into_iter().map(near).collect();
            let claims: Vec<_> =
                claims.into_iter().map(|(p, n)| region(p * 4096, n * 4096, RegionKind::Files)).collect();
            let map = build(&descriptors, &claims);
            for pair in map.windows(2) {
                prop_assert!(pair[0].range.end_u64() <= pair[1].range.start().as_u64());
            }
            for claim in &claims {
                prop_assert!(map.iter().any(|r| r.kind == RegionKind::Files && r.range.encloses(claim.range)));
            }
        }
    }
}
