//! Guest maps on a machine of 64 MiB.

extern crate std;

use super::trees::Trees;
use super::*;
use crate::SharedMemory;
use crate::frames::{BLOCK_BYTES, Block, Content, Usage};
use crate::host::Charged;
use crate::testing::{is_zero, machine, machine_with, range, shared};
use base::{GIB, Gpa, Hpa, KIB, MIB, PAGE_BYTES, VmId};
use handoff::RegionKind;
use paging::{EntryFormat, Ept, Host, Level, Npt, Permissions, Slot, TableMemory};
use proptest::prelude::*;
use std::vec::Vec;

const BUDGET: u64 = 256 * KIB;

fn config(ram_bytes: u64, format: NestedFormat) -> GuestMapConfig {
    GuestMapConfig {
        vm: VmId(3),
        ram_bytes,
        format,
        executable: ExecutablePages::AnySize,
        budget_bytes: BUDGET,
    }
}

fn map_of(memory: &'static SharedMemory, ram_bytes: u64, format: NestedFormat) -> GuestMap {
    GuestMap::new(memory, config(ram_bytes, format)).unwrap()
}

fn gpa(value: u64) -> Gpa {
    Gpa::new(value).unwrap()
}

/// Bytes that anybody could have: what must be the same before and after a VM.
fn available(usage: Usage) -> u64 {
    usage.free_clean_bytes + usage.free_dirty_bytes + usage.hypervisor_spare_bytes
}

/// Walks the tables as a processor does.
fn walk<F: EntryFormat>(
    memory: &SharedMemory,
    root: Hpa,
    top: Level,
    address: u64,
) -> Option<(Hpa, Permissions)> {
    leaf::<F>(memory, root, top, address).map(|(_, hpa, permissions)| (hpa, permissions))
}

/// The level of the entry that translates `address`, and what it says.
fn leaf<F: EntryFormat>(
    memory: &SharedMemory,
    root: Hpa,
    top: Level,
    address: u64,
) -> Option<(Level, Hpa, Permissions)> {
    let mut host = memory.lock();
    let tables = Charged { memory: &mut host, left_frames: &mut 0 };
    let (mut table, mut level) = (root, top);
    loop {
        match F::decode(tables.read_entry(table, level.index(address)), level) {
            Slot::Empty => return None,
            Slot::Table(next) => (table, level) = (next, level.below()?),
            Slot::Leaf(hpa, attributes) => {
                let offset = address % level.entry_bytes();
                return Some((level, hpa.checked_add(offset)?, attributes.permissions));
            }
        }
    }
}

#[test]
fn guest_memory_is_zero_and_not_in_the_direct_window() {
    let memory = shared(machine());
    let map = map_of(memory, 16 * MIB, NestedFormat::Npt);
    for extent in map.extents() {
        let hpa = extent.kind.hpa().unwrap();
        let mut host = memory.lock();
        assert!(is_zero(host.direct, range(hpa.as_u64(), extent.len_bytes)));
        assert_eq!(host.frames.block(hpa), Block::Private(VmId(3), Content::Clean));
        assert_eq!(host.lookup(crate::layout::direct(hpa)), None);
    }
    assert_eq!(map.extents().iter().map(|extent| extent.len_bytes).sum::<u64>(), 16 * MIB);
}

#[test]
fn both_trees_say_what_the_extents_say() {
    let memory = shared(machine());
    for format in [NestedFormat::Npt, NestedFormat::Ept] {
        let mut map = map_of(memory, 6 * MIB + 3 * PAGE_BYTES, format);
        map.make_read_only(gpa(0xe_0000), 0x2_0000).unwrap();
        for address in (0..8 * MIB).step_by(PAGE_BYTES as usize) {
            let expected = map.find(gpa(address)).map(|extent| {
                let hpa = extent.kind.hpa().unwrap().checked_add(address - extent.start.as_u64()).unwrap();
                (hpa, matches!(extent.kind, ExtentKind::Ram(_)))
            });
            let guest = match format {
                NestedFormat::Npt => walk::<Npt>(memory, map.nested_root(), Level::Root, address),
                NestedFormat::Ept => walk::<Ept>(memory, map.nested_root(), Level::Root, address),
            };
            let window = walk::<Host>(memory, map.window_root(), Level::Pointer, address);
            let writable =
                |(hpa, permissions): (Hpa, Permissions)| (hpa, permissions.contains(Permissions::WRITE));
            assert_eq!(guest.map(writable), expected, "{address:#x}");
            assert_eq!(window.map(writable), expected, "{address:#x}");
            assert!(guest.is_none_or(|(_, permissions)| permissions.contains(Permissions::EXECUTE)));
            assert!(window.is_none_or(|(_, permissions)| !permissions.contains(Permissions::EXECUTE)));
        }
    }
}

#[test]
fn a_guest_that_must_not_execute_from_large_pages_has_none() {
    let memory = shared(machine());
    for (executable, expected) in
        [(ExecutablePages::AnySize, Level::Directory), (ExecutablePages::SmallOnly, Level::Page)]
    {
        let config = GuestMapConfig { executable, ..config(8 * MIB, NestedFormat::Ept) };
        let map = GuestMap::new(memory, config).unwrap();
        for address in (0..8 * MIB).step_by(PAGE_BYTES as usize) {
            let (level, ..) = leaf::<Ept>(memory, map.nested_root(), Level::Root, address).unwrap();
            assert_eq!(level, expected, "{address:#x}");
        }
        // The hypervisor executes nothing there.
        let (level, ..) = leaf::<Host>(memory, map.window_root(), Level::Pointer, 0).unwrap();
        assert_eq!(level, Level::Directory);
    }
}

#[test]
fn dropping_a_map_returns_all_that_it_took_and_dirty() {
    let memory = shared(machine());
    let before = memory.lock().usage();
    let map = map_of(memory, 9 * MIB, NestedFormat::Npt);
    assert_eq!(memory.lock().usage().private_bytes, 10 * MIB);
    assert!(map.budget_left_bytes() < BUDGET);
    drop(map);
    let after = memory.lock().usage();
    assert_eq!(available(after), available(before));
    assert_eq!((after.private_bytes, after.hypervisor_bytes), (0, before.hypervisor_bytes));
    assert_eq!(after.free_clean_bytes, 0);
}

#[test]
fn what_cannot_be_had_is_refused_and_nothing_stays_taken() {
    let memory = shared(machine());
    let before = memory.lock().usage();
    let refused = |config| GuestMap::new(memory, config).err();
    let npt = NestedFormat::Npt;
    assert_eq!(refused(config(0, npt)), Some(GuestMapError::BadSize(0)));
    assert_eq!(refused(config(4097, npt)), Some(GuestMapError::BadSize(4097)));
    assert_eq!(refused(config(1 << 39, npt)), Some(GuestMapError::BadSize(1 << 39)));
    assert!(matches!(refused(config(GIB, npt)), Some(GuestMapError::OutOfMemory { .. })));
    let tight = GuestMapConfig { budget_bytes: 3 * PAGE_BYTES, ..config(4 * MIB, npt) };
    assert_eq!(refused(tight), Some(GuestMapError::OutOfTables));
    let after = memory.lock().usage();
    assert_eq!(available(after), available(before));
    assert_eq!((after.private_bytes, after.hypervisor_bytes), (0, before.hypervisor_bytes));
}

#[test]
fn devices_and_memory_do_not_overlap() {
    let memory = shared(machine());
    let mut map = map_of(memory, 4 * MIB, NestedFormat::Npt);
    map.add_device(gpa(0xfec0_0000), PAGE_BYTES).unwrap();
    assert_eq!(map.add_device(gpa(0x1000), PAGE_BYTES), Err(GuestMapError::Overlap(gpa(0x1000))));
    assert_eq!(
        map.make_read_only(gpa(0xfec0_0000), PAGE_BYTES),
        Err(GuestMapError::NotRam(gpa(0xfec0_0000)))
    );
    assert_eq!(
        map.make_read_only(gpa(4 * MIB - PAGE_BYTES), 2 * PAGE_BYTES),
        Err(GuestMapError::NotRam(gpa(4 * MIB)))
    );
}

#[test]
fn a_scattered_machine_gives_a_guest_contiguous_memory() {
    // Every second block is firmware's.
    let mut regions: Vec<_> = (0..16)
        .map(|block| (4 * block * MIB + 8 * MIB, 4 * block * MIB + 10 * MIB, RegionKind::Usable))
        .collect();
    regions.insert(0, (MIB, MIB + 0x2000, RegionKind::HypervisorImage));
    let memory = shared(machine_with(&crate::testing::handoff(&regions)));
    let map = map_of(memory, 20 * MIB, NestedFormat::Npt);
    assert_eq!(map.extents().len(), 10);
    assert!(map.extents().iter().all(|extent| extent.len_bytes == BLOCK_BYTES));
    let mut next = 0;
    for extent in map.extents() {
        assert_eq!(extent.start.as_u64(), next);
        next = extent.end();
    }
}

#[test]
fn running_out_of_budget_halfway_leaks_no_table() {
    let memory = shared(machine());
    for frames in 0..10 {
        let before = memory.lock().usage().hypervisor_bytes;
        let mut left = frames;
        let mut host = memory.lock();
        let mut tables = Charged { memory: &mut host, left_frames: &mut left };
        if let Ok(mut trees) =
            Trees::new(&mut tables, NestedFormat::Ept, Level::Pointer, ExecutablePages::AnySize)
        {
            let hpa = Hpa::new(GIB + PAGE_BYTES).unwrap();
            let extent = Extent { start: Gpa::ZERO, len_bytes: 4 * MIB, kind: ExtentKind::Ram(hpa) };
            let _ = trees.update(&mut tables, &extent);
            trees.destroy(&mut tables);
        }
        drop(host);
        assert_eq!((left, memory.lock().usage().hypervisor_bytes), (frames, before));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn vms_come_and_go_without_sharing_or_losing_memory(
        steps in prop::collection::vec((0usize..4, 1u64..3000), 1..12)
    ) {
        let memory = shared(machine());
        let before = memory.lock().usage();
        let mut maps: [Option<GuestMap>; 4] = [const { None }; 4];
        for (slot, pages) in steps {
            if maps[slot].take().is_some() {
                continue;
            }
            let vm = VmId(slot as u16);
            let wanted = GuestMapConfig { vm, ..config(pages * PAGE_BYTES, NestedFormat::Npt) };
            maps[slot] = GuestMap::new(memory, wanted).ok();
            let mut ranges: Vec<_> = maps.iter().flatten().flat_map(|map| {
                map.extents().iter().map(|e| (e.kind.hpa().unwrap().as_u64(), e.len_bytes, map.vm()))
            }).collect();
            ranges.sort_unstable();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
            for (hpa, _, vm) in ranges {
                prop_assert_eq!(memory.lock().frames.block(Hpa::new(hpa).unwrap()), Block::Private(vm, Content::Clean));
            }
        }
        drop(maps);
        let after = memory.lock().usage();
        prop_assert_eq!(available(after), available(before));
        prop_assert_eq!(after.hypervisor_bytes, before.hypervisor_bytes);
    }
}
