//! Bring-up without a CPU to tell, and what the space must look like afterwards.
//!
//! Unsafe because the pool and the metadata are raw memory of the tests' buffer.

extern crate std;

use super::early::{Plan, Pool};
use super::{HostMemory, HostSpace, View, start};
use crate::direct::Direct;
use crate::error::HostMemoryError;
use crate::frames::{BLOCK_BYTES, Block, Content, FrameError};
use crate::layout::{STACKS_BASE, direct};
use crate::testing::{buffer, handoff, is_zero, machine, machine_with, range, shared, usual_handoff};
use base::{GIB, Hpa, MIB, PAGE_BYTES};
use handoff::{Handoff, RegionKind};
use paging::{CacheMode, Level, Permissions};

/// Takes over the memory of `handoff`, seen through `direct`.
pub fn take_over(handoff: &Handoff, direct: Direct) -> Result<HostMemory, HostMemoryError> {
    let plan = Plan::new(handoff);
    // SAFETY: the buffer holds the pool, and nobody uses it.
    let pool = unsafe { Pool::new(plan.pool(handoff)?, direct) };
    let space = HostSpace::build_in(handoff, plan, pool, Level::Pointer)?;
    // SAFETY: `direct` maps all of the buffer.
    unsafe { start::take_over(space, direct, handoff) }
}

#[test]
fn every_usable_byte_from_the_first_mebibyte_on_has_an_owner_and_no_other_has() {
    let memory = machine();
    let usage = memory.usage();
    let total = usage.free_clean_bytes
        + usage.free_dirty_bytes
        + usage.hypervisor_bytes
        + usage.hypervisor_spare_bytes;
    let usable = (30 * MIB + 0x3000) - (MIB + 0x2000) + 29 * MIB + MIB;
    assert_eq!(total, usable);
    for foreign in [range(0, MIB), range(MIB, 0x2000), range(31 * MIB, 2 * MIB), range(62 * MIB, MIB)] {
        assert!(memory.frames.is_foreign(foreign), "{foreign}");
    }
}

#[test]
fn the_image_is_mapped_with_its_protections_and_nothing_between() {
    let mut memory = machine();
    let image = handoff::IMAGE_AREA_START + BLOCK_BYTES;
    let text = memory.lookup(image).unwrap();
    assert_eq!((text.hpa.as_u64(), text.attributes.permissions), (MIB, Permissions::READ_EXECUTE));
    let data = memory.lookup(image + PAGE_BYTES).unwrap();
    assert_eq!((data.hpa.as_u64(), data.attributes.permissions), (MIB + PAGE_BYTES, Permissions::READ_WRITE));
    assert_eq!(memory.lookup(image + 2 * PAGE_BYTES), None);
    assert_eq!(memory.lookup(0), None, "no identity map");
}

#[test]
fn the_direct_window_shows_just_the_hypervisors_frames() {
    let mut memory = machine();
    for frame in (0..64 * MIB).step_by(PAGE_BYTES as usize) {
        let hpa = Hpa::new(frame).unwrap();
        let owned = matches!(memory.frames.block(hpa), Block::Small(_))
            && !memory.frames.is_foreign(range(frame, PAGE_BYTES));
        let shown = memory.lookup(direct(hpa));
        assert_eq!(shown.is_some(), owned, "{hpa}");
        if let Some(page) = shown {
            assert_eq!(page.hpa.as_u64() + (frame % page.len_bytes), frame);
            assert_eq!(page.attributes.permissions, Permissions::READ_WRITE);
        }
    }
}

#[test]
fn a_stack_lies_above_an_unmapped_page() {
    let mut memory = machine();
    let first = memory.space.boot_stack().0;
    assert_eq!(first, STACKS_BASE + PAGE_BYTES + super::space::STACK_BYTES);
    let second = memory.allocate_stack(2 * PAGE_BYTES).unwrap().0;
    assert!(memory.lookup(second - 1).is_some() && memory.lookup(second - 2 * PAGE_BYTES).is_some());
    assert_eq!(memory.lookup(second - 2 * PAGE_BYTES - 1), None);
    assert_eq!(memory.lookup(second), None);
}

#[test]
fn devices_are_mapped_uncached_and_never_over_memory() {
    let mut memory = machine();
    let window = memory.map_device(range(0xfed0_0010, 0x400)).unwrap();
    let page = memory.lookup(window.address as u64).unwrap();
    assert_eq!(page.attributes.cache, CacheMode::Uncacheable);
    assert_eq!((window.address % 0x1000, window.len_bytes), (0x10, 0x400));
    // Free memory, the image, a file, firmware's tables.
    for ram in [range(40 * MIB, 4), range(MIB, 4), range(31 * MIB, 4), range(31 * MIB - 4, 4)] {
        assert_eq!(memory.map_device(ram), Err(HostMemoryError::Owned(ram)), "{ram}");
    }
}

#[test]
fn a_large_window_on_a_device_is_mapped_by_large_pages() {
    let mut memory = machine();
    let window = memory.map_device(range(0xb010_0000, 16 * MIB)).unwrap();
    let inner = memory.lookup(window.address as u64 + 8 * MIB).unwrap();
    assert_eq!((inner.len_bytes, inner.hpa.as_u64()), (BLOCK_BYTES, 0xb080_0000));
    assert_eq!(inner.attributes.cache, CacheMode::Uncacheable);
    assert!(memory.lookup(window.address as u64 - 1).is_none(), "nothing before it");
}

#[test]
fn a_mapping_finds_frames_for_its_tables_when_none_are_spare() {
    let mut memory = machine();
    while memory.frames.take_frames(1).is_some() {}
    memory.map_device(range(0xfed0_0000, 0x1000)).unwrap();
    let memory = shared(memory);
    while memory.lock().frames.take_frames(1).is_some() {}
    assert!(View::new(memory, range(31 * MIB, 2 * MIB)).is_ok());
}

#[test]
fn no_frame_is_taken_that_the_direct_window_does_not_show() {
    let mut memory = machine();
    while let Some(taken) = memory.frames.take_frames(1) {
        assert!(memory.lookup(direct(taken.start())).is_some());
    }
    let block = memory.frames.block_to_open().unwrap();
    assert_eq!(memory.frames.take_frames(1), None, "the block is not open yet");
    memory.frames.open_block(block.start()).unwrap();
    assert_eq!(
        memory.frames.open_block(block.start()),
        Err(FrameError::WrongOwner(block.start())),
        "it is open already"
    );
}

#[test]
fn frames_are_zero_and_contiguous_and_growth_returns_what_it_took() {
    let mut memory = machine();
    let before = memory.usage();
    let mut taken = std::vec::Vec::new();
    while let Ok(frames) = memory.allocate(100) {
        assert!(is_zero(memory.direct, frames.range()));
        // SAFETY: the frames are ours.
        unsafe { frames.pointer().write_bytes(0x5a, frames.range().len_bytes() as usize) }
        taken.push(frames);
    }
    assert!(taken.len() as u64 * 100 * PAGE_BYTES > 40 * MIB, "most of the memory was to be had");
    for frames in taken {
        memory.free(frames).unwrap();
    }
    let after = memory.usage();
    assert_eq!(after.hypervisor_bytes, before.hypervisor_bytes, "tables went back too");
    assert!(after.hypervisor_spare_bytes <= before.hypervisor_spare_bytes + 2 * BLOCK_BYTES);
}

#[test]
fn frames_cannot_be_freed_twice() {
    let mut memory = machine();
    let range = memory.allocate(2).unwrap().into_range();
    memory.free_range(range).unwrap();
    assert!(memory.free_range(range).is_err());
}

#[test]
fn a_file_can_be_released_once() {
    let mut memory = machine();
    let file = range(31 * MIB, 2 * MIB);
    let before = memory.usage();
    memory.release(file).unwrap();
    assert!(memory.release(file).is_err());
    let after = memory.usage();
    assert!(
        after.free_dirty_bytes + after.hypervisor_spare_bytes
            > before.free_dirty_bytes + before.hypervisor_spare_bytes
    );
}

#[test]
fn scrubbing_ends_with_all_free_memory_zero() {
    let mut memory = machine();
    let mut steps = 0;
    while memory.scrub_step() {
        steps += 1;
    }
    let usage = memory.usage();
    assert_eq!(usage.free_dirty_bytes, 0);
    assert_eq!(steps, usage.free_clean_bytes / (32 << 10));
    for block in (0..64 * MIB).step_by(BLOCK_BYTES as usize) {
        if memory.frames.block(Hpa::new(block).unwrap()) == Block::Free(Content::Clean) {
            assert!(is_zero(memory.direct, range(block, BLOCK_BYTES)));
        }
    }
}

#[test]
fn a_block_taken_while_it_is_scrubbed_is_not_called_clean() {
    let mut memory = machine();
    assert!(memory.scrub_step());
    let vm = base::VmId(0);
    let blocks = (memory.usage().free_dirty_bytes / BLOCK_BYTES) as usize;
    let mut runs = std::vec::Vec::new();
    for _ in 0..blocks {
        runs.push(memory.frames.take_private(vm, 1, 1, crate::Zone::Any).unwrap());
    }
    for run in runs {
        memory.frames.give_back(vm, run).unwrap();
    }
    while memory.scrub_step() {}
    assert_eq!(memory.usage().free_clean_bytes, blocks as u64 * BLOCK_BYTES);
    for block in (0..64 * MIB).step_by(BLOCK_BYTES as usize) {
        if memory.frames.block(Hpa::new(block).unwrap()) == Block::Free(Content::Clean) {
            assert!(is_zero(memory.direct, range(block, BLOCK_BYTES)));
        }
    }
}

#[test]
fn a_machine_without_room_says_how_much_is_missing() {
    let small = handoff(&[
        (MIB, MIB + 0x2000, RegionKind::HypervisorImage),
        (MIB + 0x2000, 3 * MIB, RegionKind::Usable),
    ]);
    assert_eq!(
        take_over(&small, buffer(&small)).err(),
        Some(HostMemoryError::NoRoomToStart { len_bytes: BLOCK_BYTES })
    );
}

#[test]
fn what_an_earlier_hypervisor_left_stays_foreign() {
    let mut map = usual_handoff();
    map.preserved.push(range(40 * MIB + 0x1000, 0x1000));
    let memory = machine_with(&map);
    assert!(memory.frames.is_foreign(range(40 * MIB + 0x1000, 0x1000)));
    assert!(!memory.frames.is_foreign(range(40 * MIB, 0x1000)));
}

#[test]
fn a_terabyte_needs_six_mebibytes_at_most_to_start() {
    let large =
        handoff(&[(MIB, MIB + 0x2000, RegionKind::HypervisorImage), (GIB, 1024 * GIB, RegionKind::Usable)]);
    let pool = Plan::new(&large).pool(&large).unwrap();
    assert!(pool.len_bytes() <= 6 * MIB, "{}", pool.len_bytes());
}
