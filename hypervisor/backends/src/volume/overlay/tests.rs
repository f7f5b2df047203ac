//! The overlay against a disk that is simply written.

use super::super::ram::{RamDisk, ReadOnly};
use super::super::testing::{Memory, SlowDisk, request};
use super::*;
use proptest::prelude::*;
use seams::BlockOperation::{Discard, Flush, Read, Write, WriteZeroes};
use std::sync::LazyLock;

/// Enough for two leaves: the second begins with sector 8192.
const SECTORS: u64 = 8192 + 100;

fn base_bytes() -> Vec<u8> {
    static BYTES: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..SECTORS).flat_map(|sector| [sector as u8 | 1; 512]).collect());
    BYTES.clone()
}

fn over(bytes: &[u8], limit: u64) -> Overlay<RamDisk<&[u8], ReadOnly>> {
    Overlay::new(RamDisk::new(bytes), ByteSize(limit)).unwrap()
}

fn read(overlay: &mut impl Block, first_sector: u64, sectors: u32) -> Vec<u8> {
    let mut memory = Memory::of(&vec![0xee; sectors as usize * 512]);
    let begun = overlay.begin(&request(Read, first_sector, sectors), &mut memory);
    assert_eq!(begun, Begun::Done(Ok(())));
    memory.bytes
}

fn write(overlay: &mut impl Block, first_sector: u64, bytes: &[u8]) -> Result<(), BlockError> {
    let sectors = u32::try_from(bytes.len() / 512).unwrap();
    match overlay.begin(&request(Write, first_sector, sectors), &mut Memory::of(bytes)) {
        Begun::Done(result) => result,
        begun => panic!("{begun:?}"),
    }
}

#[test]
fn the_base_is_not_changed() {
    let bytes = base_bytes();
    let mut overlay = over(&bytes, 1 << 20);
    assert_eq!(write(&mut overlay, 3, &[9; 1024]), Ok(()));
    assert_eq!(read(&mut overlay, 3, 2), [9; 1024]);
    assert_eq!(overlay.begin(&request(Flush, 0, 0), &mut Memory::of(&[])), Begun::Done(Ok(())));
    assert_eq!(bytes, base_bytes());
    assert_eq!(overlay.geometry().access, BlockAccess::ReadWrite);
}

#[test]
fn what_takes_too_much_memory_is_full_and_nothing_else_changes() {
    let bytes = base_bytes();
    // The table, one leaf and two pieces.
    let mut overlay = over(&bytes, 2 * 8 + 4096 + 2 * 16384);
    assert_eq!(write(&mut overlay, 0, &[9; 512]), Ok(()));
    assert_eq!(write(&mut overlay, 100, &[9; 512]), Ok(()));
    assert_eq!(overlay.left(), ByteSize(0));
    assert_eq!(write(&mut overlay, 200, &[9; 512]), Err(BlockError::Full));
    assert_eq!(write(&mut overlay, 8192, &[9; 512]), Err(BlockError::Full));
    assert_eq!(
        overlay.begin(&request(WriteZeroes, 8192, 1), &mut Memory::of(&[])),
        Begun::Done(Err(BlockError::Full))
    );
    assert_eq!(read(&mut overlay, 200, 1), [200 | 1; 512]);
    // What is forgotten makes room.
    assert_eq!(overlay.begin(&request(Discard, 96, 32), &mut Memory::of(&[])), Begun::Done(Ok(())));
    assert_eq!(overlay.left(), ByteSize(16384));
    assert_eq!(write(&mut overlay, 200, &[9; 512]), Ok(()));
    assert_eq!(read(&mut overlay, 100, 1), [0; 512]);
}

#[test]
fn zeroes_take_no_memory_but_for_their_leaf() {
    let bytes = base_bytes();
    let mut overlay = over(&bytes, 2 * 8 + 4096);
    assert_eq!(overlay.begin(&request(WriteZeroes, 5, 8000), &mut Memory::of(&[])), Begun::Done(Ok(())));
    assert_eq!(read(&mut overlay, 4, 3), [[4 | 1; 512], [0; 512], [0; 512]].concat());
}

#[test]
fn a_table_that_does_not_fit_the_limit_is_refused() {
    let geometry = BlockGeometry { sectors: 1 << 40, block_bytes: 512, access: BlockAccess::ReadOnly };
    let overlay = Overlay::new(SlowDisk::new(Vec::new(), geometry), ByteSize(1 << 20));
    assert_eq!(overlay.err().unwrap(), OverlayError::LimitTooLow { needed: ByteSize(1 << 30) });
}

#[test]
fn the_limit_for_all_is_exactly_enough() {
    let bytes = base_bytes();
    let mut overlay = over(&bytes, limit_for_all(SECTORS));
    for sector in 0..SECTORS {
        assert_eq!(write(&mut overlay, sector, &[1; 512]), Ok(()));
    }
    assert_eq!(overlay.left(), ByteSize(0));
}

#[test]
fn a_half_written_request_leaves_old_or_new() {
    let bytes = base_bytes();
    let mut overlay = over(&bytes, 1 << 20);
    let begun = overlay.begin(&request(Write, 30, 4), &mut Memory::of(&[9; 1100]));
    assert!(matches!(begun, Begun::Done(Err(BlockError::Buffers(_)))));
    assert_eq!(read(&mut overlay, 30, 4), [[9; 512], [9; 512], [32 | 1; 512], [33; 512]].concat());
}

#[derive(Clone, Debug)]
enum Act {
    Write(u64, u8, u8),
    Zero(u64, u8),
    Forget(u64, u8),
    Check(u64, u8),
}

fn act() -> impl Strategy<Value = Act> {
    // Close to where pieces and leaves meet.
    let at = || prop_oneof![0_u64..80, 8192_u64 - 40..8192 + 20];
    prop_oneof![
        (at(), 1_u8..70, any::<u8>()).prop_map(|(at, n, byte)| Act::Write(at, n, byte)),
        (at(), 1_u8..70).prop_map(|(at, n)| Act::Zero(at, n)),
        (at(), 1_u8..70).prop_map(|(at, n)| Act::Forget(at, n)),
        (at(), 1_u8..70).prop_map(|(at, n)| Act::Check(at, n)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_overlay_reads_as_a_disk_that_was_written(acts in prop::collection::vec(act(), 1..40)) {
        let bytes = base_bytes();
        let mut model = bytes.clone();
        // None: was forgotten, and may be anything.
        let mut known = vec![true; SECTORS as usize];
        let mut overlay = over(&bytes, limit_for_all(SECTORS));
        for act in acts {
            let range = |at: u64, n: u8| at as usize * 512..(at as usize + usize::from(n)) * 512;
            match act {
                Act::Write(at, n, byte) => {
                    let data = vec![byte; usize::from(n) * 512];
                    prop_assert_eq!(write(&mut overlay, at, &data), Ok(()));
                    model[range(at, n)].copy_from_slice(&data);
                    known[at as usize..][..usize::from(n)].fill(true);
                }
                Act::Zero(at, n) => {
                    let begun = overlay.begin(&request(WriteZeroes, at, n.into()), &mut Memory::of(&[]));
                    prop_assert_eq!(begun, Begun::Done(Ok(())));
                    model[range(at, n)].fill(0);
                    known[at as usize..][..usize::from(n)].fill(true);
                }
                Act::Forget(at, n) => {
                    let begun = overlay.begin(&request(Discard, at, n.into()), &mut Memory::of(&[]));
                    prop_assert_eq!(begun, Begun::Done(Ok(())));
                    known[at as usize..][..usize::from(n)].fill(false);
                }
                Act::Check(at, n) => {
                    let found = read(&mut overlay, at, n.into());
                    for (index, sector) in found.chunks(512).enumerate() {
                        let on_disk = at as usize + index;
                        prop_assert!(!known[on_disk] || *sector == model[on_disk * 512..][..512]);
                    }
                }
            }
        }
    }

    #[test]
    fn reads_over_a_slow_base_are_put_together(
        written in prop::collection::vec((0_u64..90, 1_u8..9, any::<u8>()), 0..6),
        reads in prop::collection::vec((0_u64..60, 1_u8..40), 1..6),
        order in prop::collection::vec(any::<usize>(), 6),
    ) {
        let mut model = base_bytes();
        let geometry = BlockGeometry { sectors: SECTORS, block_bytes: 512, access: BlockAccess::ReadWrite };
        let mut overlay = Overlay::new(SlowDisk::new(base_bytes(), geometry), ByteSize(1 << 20)).unwrap();
        for (at, n, byte) in written {
            let data = vec![byte; usize::from(n) * 512];
            prop_assert_eq!(write(&mut overlay, at, &data), Ok(()));
            model[at as usize * 512..][..data.len()].copy_from_slice(&data);
        }
        let expected = |at: u64, n: u8| model[at as usize * 512..][..usize::from(n) * 512].to_vec();
        for (index, (at, n)) in reads.iter().enumerate() {
            let ticket = Ticket(index as u16);
            let mut memory = Memory::of(&vec![0; usize::from(*n) * 512]);
            let asked = BlockRequest { ticket, ..request(Read, *at, (*n).into()) };
            match overlay.begin(&asked, &mut memory) {
                Begun::Done(result) => {
                    prop_assert_eq!(result, Ok(()));
                    prop_assert_eq!(memory.bytes, expected(*at, *n));
                }
                begun => prop_assert_eq!(begun, Begun::Pending),
            }
        }
        for which in order {
            overlay.base.go_on(which);
            while let Some(ticket) = overlay.finished() {
                let (at, n) = reads[usize::from(ticket.0)];
                let mut memory = Memory::of(&vec![0; usize::from(n) * 512]);
                prop_assert_eq!(overlay.collect(ticket, &mut memory), Ok(()));
                prop_assert_eq!(memory.bytes, expected(at, n));
            }
        }
        prop_assert!(overlay.base.pending.is_empty() && overlay.reads.is_empty());
    }
}
