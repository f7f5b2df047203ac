//! The frames against a model: a list of who was given what.

extern crate std;

use super::*;
use crate::testing::range;
use proptest::prelude::*;
use std::boxed::Box;
use std::vec::Vec;

const BLOCKS: usize = 24;
const SMALL_BLOCKS: usize = 4;

/// All blocks but the first free.
fn frames() -> Frames {
    let blocks = Box::leak(std::vec![Block::Foreign; BLOCKS].into_boxed_slice());
    let small = Box::leak(std::vec![SmallBlock::UNUSED; SMALL_BLOCKS].into_boxed_slice());
    let mut frames = Frames::new(blocks, small);
    frames.add_blocks(range(BLOCK_BYTES, (BLOCKS as u64 - 1) * BLOCK_BYTES)).unwrap();
    frames
}

#[derive(Clone, Debug)]
enum Operation {
    TakeBlocks(u16, usize, usize),
    GiveBack(usize),
    Open,
    TakeFrames(usize),
    FreeFrames(usize),
    Close(usize),
}

fn operations() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (0u16..3, 0usize..6, 0u32..3).prop_map(|(vm, count, shift)| Operation::TakeBlocks(
            vm,
            count,
            1 << shift
        )),
        any::<usize>().prop_map(Operation::GiveBack),
        Just(Operation::Open),
        (0usize..520).prop_map(Operation::TakeFrames),
        any::<usize>().prop_map(Operation::FreeFrames),
        (0usize..BLOCKS).prop_map(Operation::Close),
    ]
}

/// What has been given out and not been taken back.
#[derive(Default)]
struct Model {
    private: Vec<(VmId, PhysRange)>,
    frames: Vec<PhysRange>,
}

impl Model {
    fn assert_new(&self, given: PhysRange) {
        let others = self.private.iter().map(|(_, range)| range).chain(&self.frames);
        for other in others {
            assert!(!other.overlaps(given), "{given} and {other} have two owners");
        }
    }

    fn apply(&mut self, frames: &mut Frames, operation: &Operation) {
        match *operation {
            Operation::TakeBlocks(vm, count, alignment) => {
                let Some(run) = frames.take_private(VmId(vm), count, alignment, Zone::Any) else { return };
                assert!(run.start().is_aligned(alignment as u64 * BLOCK_BYTES));
                assert_eq!(run.len_bytes(), count as u64 * BLOCK_BYTES);
                self.assert_new(run);
                self.private.push((VmId(vm), run));
            }
            Operation::GiveBack(pick) if !self.private.is_empty() => {
                let (vm, run) = self.private.swap_remove(pick % self.private.len());
                assert!(frames.give_back(VmId(vm.0 + 1), run).is_err(), "another VM gave it back");
                frames.give_back(vm, run).unwrap();
            }
            Operation::Open => {
                let Some(block) = frames.block_to_open() else { return };
                if frames.open_block(block.start()).is_ok() {
                    self.assert_new(block);
                }
            }
            Operation::TakeFrames(count) => {
                let Some(run) = frames.take_frames(count) else { return };
                assert_eq!(run.len_bytes(), count as u64 * PAGE_BYTES);
                self.assert_new(run);
                self.frames.push(run);
            }
            Operation::FreeFrames(pick) if !self.frames.is_empty() => {
                let run = self.frames.swap_remove(pick % self.frames.len());
                frames.free_frames(run).unwrap();
                assert!(frames.free_frames(run).is_err(), "freed twice");
            }
            Operation::Close(block) => {
                let block = address_of(block);
                let range = PhysRange::new(block, BLOCK_BYTES).unwrap();
                let used = self.frames.iter().any(|run| run.overlaps(range));
                assert!(!(frames.close_block(block) && used), "{block} was taken away from its user");
            }
            Operation::GiveBack(_) | Operation::FreeFrames(_) => {}
        }
    }
}

proptest! {
    #[test]
    fn nothing_has_two_owners_and_all_of_it_comes_back(operations in prop::collection::vec(operations(), 1..60)) {
        let mut frames = frames();
        let mut model = Model::default();
        for operation in &operations {
            model.apply(&mut frames, operation);
            let usage = frames.usage();
            prop_assert_eq!(usage.private_bytes, model.private.iter().map(|(_, run)| run.len_bytes()).sum::<u64>());
            prop_assert_eq!(usage.hypervisor_bytes, model.frames.iter().map(|run| run.len_bytes()).sum::<u64>());
        }
        for (vm, run) in model.private {
            frames.give_back(vm, run).unwrap();
        }
        for run in model.frames {
            frames.free_frames(run).unwrap();
        }
        for block in 0..BLOCKS {
            frames.close_block(address_of(block));
        }
        prop_assert_eq!(frames.usage().free_dirty_bytes, (BLOCKS as u64 - 1) * BLOCK_BYTES);
    }
}

#[test]
fn a_block_in_pieces_gives_frames_from_its_own_pieces_only() {
    let mut frames = frames();
    frames.add_frames(range(0x3000, 0x2000)).unwrap();
    frames.add_frames(range(0x8000, 0x1000)).unwrap();
    assert_eq!(frames.take_frames(3), None);
    assert_eq!(frames.take_frames(2), Some(range(0x3000, 0x2000)));
    assert_eq!(frames.take_frames(1), Some(range(0x8000, 0x1000)));
    assert_eq!(frames.take_frames(1), None);
    assert!(!frames.close_block(Hpa::ZERO));
    assert_eq!(
        frames.add_frames(range(0x4000, 0x1000)),
        Err(FrameError::WrongOwner(Hpa::new(0x4000).unwrap()))
    );
}

#[test]
fn more_blocks_in_pieces_than_bitmaps_are_refused() {
    let mut frames = frames();
    for _ in 0..SMALL_BLOCKS {
        frames.open_block(frames.block_to_open().unwrap().start()).unwrap();
    }
    let next = frames.block_to_open().unwrap().start();
    assert_eq!(frames.open_block(next), Err(FrameError::TooManySmallBlocks));
}

#[test]
fn shared_memory_is_free_when_its_last_sharer_has_gone() {
    let mut frames = frames();
    let vm = VmId(1);
    let block = frames.take_private(vm, 1, 1, Zone::Any).unwrap().start();
    assert!(frames.share(VmId(2), block).is_err());
    frames.share(vm, block).unwrap();
    frames.add_sharer(block).unwrap();
    assert_eq!(frames.usage().shared_bytes, BLOCK_BYTES);
    frames.drop_sharer(block).unwrap();
    assert_eq!(frames.block(block), Block::SharedReadOnly(1));
    frames.drop_sharer(block).unwrap();
    assert_eq!(frames.block(block), Block::Free(Content::Dirty));
    assert!(frames.drop_sharer(block).is_err());
}

#[test]
fn pinned_memory_cannot_be_given_back() {
    let mut frames = frames();
    let vm = VmId(1);
    let run = frames.take_private(vm, 1, 1, Zone::Any).unwrap();
    assert!(frames.pin(vm, run.start()).is_err(), "it has not been zeroed");
    frames.set_clean(run.start()).unwrap();
    frames.pin(vm, run.start()).unwrap();
    frames.pin(vm, run.start()).unwrap();
    frames.unpin(vm, run.start()).unwrap();
    assert_eq!(frames.give_back(vm, run), Err(FrameError::WrongOwner(run.start())));
    frames.unpin(vm, run.start()).unwrap();
    frames.give_back(vm, run).unwrap();
}

#[test]
fn pinned_frames_cannot_be_freed() {
    let mut frames = frames();
    let block = frames.block_to_open().unwrap().start();
    frames.open_block(block).unwrap();
    let (pinned, other) = (frames.take_frames(3).unwrap(), frames.take_frames(1).unwrap());
    frames.pin_frames(pinned).unwrap();
    assert_eq!(frames.usage().pinned_bytes, 3 * PAGE_BYTES);
    assert_eq!(frames.free_frames(pinned), Err(FrameError::WrongOwner(pinned.start())));
    assert_eq!(frames.pin_frames(pinned), Err(FrameError::WrongOwner(pinned.start())));
    assert_eq!(frames.unpin_frames(other), Err(FrameError::WrongOwner(other.start())));
    frames.free_frames(other).unwrap();
    assert!(frames.pin_frames(other).is_err(), "nobody uses it");
    frames.unpin_frames(pinned).unwrap();
    frames.free_frames(pinned).unwrap();
    assert!(frames.close_block(block));
}

#[test]
fn poisoned_memory_is_never_given_out_again() {
    let mut frames = frames();
    let top = address_of(BLOCKS - 1);
    frames.poison(top).unwrap();
    assert_eq!(frames.take_private(VmId(0), 1, 1, Zone::Any).unwrap().start(), address_of(BLOCKS - 2));
    assert_eq!(frames.usage().poisoned_bytes, BLOCK_BYTES);
    assert!(frames.poison(top).is_err());
}
