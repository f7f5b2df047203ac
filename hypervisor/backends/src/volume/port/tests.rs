//! Ports against a drive with a volatile cache that ends requests in any order.

use super::super::testing::{Memory, TestBuffer, TestCpu, request};
use super::*;
use crate::volume::port::disk::PortDisk;
use proptest::prelude::*;
use seams::BlockOperation::{Discard, Flush, Read, Write, WriteZeroes};
use seams::{Begun, Block, BlockAccess, BlockGeometry, BlockRequest, Ticket};

type TestDrive = Drive<TestBuffer, TestCpu>;
type TestDisk = PortDisk<TestBuffer, TestCpu>;
type TestRequest = DriveRequest<TestBuffer, TestCpu>;

const DRIVE_SECTORS: u64 = 128;
const SHAPE: BlockGeometry =
    BlockGeometry { sectors: DRIVE_SECTORS, block_bytes: 512, access: BlockAccess::ReadWrite };

const LIMITS: DriveLimits = DriveLimits { transfer_sectors_max: 2, clear_sectors_max: 4 };

/// `count` buffers of three sectors, of which the drive takes two.
fn buffers(count: usize) -> Vec<TestBuffer> {
    (0..count).map(|_| TestBuffer(vec![0xbb; 1536])).collect()
}

fn connect(drive: &mut TestDrive, first_sector: u64, sectors: u64) -> TestDisk {
    drive.connect(first_sector, BlockGeometry { sectors, ..SHAPE }, buffers(4)).unwrap()
}

/// The drive's medium, and what is only in its cache.
struct Media {
    cached: Vec<u8>,
    durable: Vec<u8>,
}

impl Media {
    fn new() -> Self {
        let zeroes = vec![0; DRIVE_SECTORS as usize * 512];
        Self { cached: zeroes.clone(), durable: zeroes }
    }

    fn perform(&mut self, mut request: TestRequest) {
        let BlockRequest { operation, first_sector, sectors, .. } = request.request();
        let range = first_sector as usize * 512..(first_sector as usize + sectors as usize) * 512;
        let len = range.len();
        let mut buffer = request.take_buffer();
        match (operation, &mut buffer) {
            (Read, Some(buffer)) => buffer.0[..len].copy_from_slice(&self.cached[range]),
            (Write, Some(buffer)) => self.cached[range].copy_from_slice(&buffer.0[..len]),
            (WriteZeroes, None) => self.cached[range].fill(0),
            (Flush, None) => self.durable.copy_from_slice(&self.cached),
            other => panic!("{other:?}"),
        }
        request.complete(buffer, Ok(()));
    }

    /// Performs all that waits.
    fn perform_all(&mut self, drive: &mut TestDrive) {
        while let Some(request) = drive.take_request() {
            self.perform(request);
        }
    }
}

/// Begins, performs and collects one request.
fn run(
    disk: &mut TestDisk,
    drive: &mut TestDrive,
    media: &mut Media,
    asked: BlockRequest,
    memory: &mut Memory,
) -> Result<(), BlockError> {
    match disk.begin(&asked, memory) {
        Begun::Done(result) => result,
        Begun::Busy => panic!("busy"),
        Begun::Pending => {
            media.perform_all(drive);
            assert_eq!(disk.finished(), Some(asked.ticket));
            disk.collect(asked.ticket, memory)
        }
    }
}

#[test]
fn a_partition_is_its_part_of_the_drive() {
    let (mut drive, mut media) = (TestDrive::new(SHAPE, LIMITS), Media::new());
    let mut disk = connect(&mut drive, 10, 20);
    // Three parts, the last of one sector.
    let written =
        run(&mut disk, &mut drive, &mut media, request(Write, 3, 5), &mut Memory::of(&[7; 5 * 512]));
    assert_eq!(written, Ok(()));
    assert_eq!(media.cached[13 * 512..18 * 512], [7; 5 * 512]);
    assert_eq!(media.cached.iter().filter(|byte| **byte == 7).count(), 5 * 512);
    let mut memory = Memory::of(&[1; 3 * 512]);
    assert_eq!(run(&mut disk, &mut drive, &mut media, request(Read, 2, 3), &mut memory), Ok(()));
    assert_eq!(memory.bytes, [[0; 512], [7; 512], [7; 512]].concat());
    assert_eq!(
        run(&mut disk, &mut drive, &mut media, request(WriteZeroes, 4, 1), &mut Memory::of(&[])),
        Ok(())
    );
    assert_eq!(media.cached[14 * 512..15 * 512], [0; 512]);
}

#[test]
fn nothing_leaves_the_partition() {
    let (mut drive, mut media) = (TestDrive::new(SHAPE, LIMITS), Media::new());
    let mut disk = connect(&mut drive, 10, 20);
    for operation in [Read, Write, Discard, WriteZeroes] {
        for (first_sector, sectors) in [(20, 1), (19, 2), (u64::MAX, 1), (u64::MAX - 9, 30), (0, u32::MAX)] {
            let asked = request(operation, first_sector, sectors);
            assert_eq!(
                run(&mut disk, &mut drive, &mut media, asked, &mut Memory::of(&[])),
                Err(BlockError::OutOfRange)
            );
        }
    }
    assert!(drive.take_request().is_none());
}

#[test]
fn what_is_too_large_for_all_buffers_is_refused_and_what_is_too_much_now_waits() {
    let (mut drive, mut media) = (TestDrive::new(SHAPE, LIMITS), Media::new());
    let mut disk = connect(&mut drive, 0, 100);
    assert_eq!(disk.request_sectors_max(), 8);
    let too_large = disk.begin(&request(Read, 0, 9), &mut Memory::of(&[]));
    assert_eq!(too_large, Begun::Done(Err(BlockError::Unsupported)));
    assert_eq!(disk.begin(&request(Read, 0, 5), &mut Memory::of(&[])), Begun::Pending);
    let second = BlockRequest { ticket: Ticket(1), ..request(Read, 0, 3) };
    assert_eq!(disk.begin(&second, &mut Memory::of(&[])), Begun::Busy);
    media.perform_all(&mut drive);
    assert_eq!(disk.finished(), Some(Ticket(0)));
    assert_eq!(disk.collect(Ticket(0), &mut Memory::of(&[0; 5 * 512])), Ok(()));
    assert_eq!(disk.begin(&second, &mut Memory::of(&[])), Begun::Pending);
}

#[test]
fn the_largest_request_goes_through_however_little_the_drive_takes_at_once() {
    // The most sectors at once, and the block; then how many buffers of how many bytes.
    let cases = [
        (u32::MAX, 512, 12, 65536),
        (128, 4096, 12, 65536),
        (100, 4096, 12, 12 * 4096),
        (64, 512, 17, 32768),
        (8, 512, 129, 4096),
        (8, 4096, 129, 4096),
        (2, 512, 513, 1024),
    ];
    for (transfer_sectors_max, block_bytes, count, len_bytes) in cases {
        let shape = BlockGeometry { sectors: 4096, block_bytes, ..SHAPE };
        let mut drive = TestDrive::new(shape, DriveLimits { transfer_sectors_max, ..LIMITS });
        let need = drive.buffer_need();
        assert_eq!(need, BufferNeed { count, len_bytes });
        let buffers = (0..need.count).map(|_| TestBuffer(vec![0; need.len_bytes])).collect();
        let mut disk = drive.connect(0, shape, buffers).unwrap();
        let block_sectors = block_bytes / 512;
        let largest = request(Write, 0, 1024 + block_sectors);
        let mut memory = Memory::of(&vec![7; largest.sectors as usize * 512]);
        assert_eq!(disk.begin(&largest, &mut memory), Begun::Pending);
        let mut written = 0;
        while let Some(mut part) = drive.take_request() {
            assert!(part.request().sectors <= transfer_sectors_max);
            written += part.request().sectors;
            let buffer = part.take_buffer();
            part.complete(buffer, Ok(()));
        }
        assert_eq!((written, disk.finished()), (largest.sectors, Some(Ticket(0))));
        assert_eq!(disk.collect(Ticket(0), &mut memory), Ok(()));
    }
}

#[test]
fn a_drive_that_takes_less_than_its_block_gets_no_port() {
    let shape = BlockGeometry { block_bytes: 4096, ..SHAPE };
    let mut drive = TestDrive::new(shape, LIMITS);
    let need = drive.buffer_need();
    let buffers = (0..need.count).map(|_| TestBuffer(vec![0; need.len_bytes])).collect();
    assert_eq!(drive.connect(0, shape, buffers).err(), Some(PortError::BadBuffers));
}

#[test]
fn buffers_of_a_failed_request_are_free_again() {
    let (mut drive, mut media) = (TestDrive::new(SHAPE, LIMITS), Media::new());
    let mut disk = connect(&mut drive, 0, 100);
    for _ in 0..10 {
        let short = run(&mut disk, &mut drive, &mut media, request(Write, 0, 8), &mut Memory::of(&[0; 600]));
        assert!(matches!(short, Err(BlockError::Buffers(_))));
        let short = run(&mut disk, &mut drive, &mut media, request(Read, 0, 8), &mut Memory::of(&[0; 600]));
        assert!(matches!(short, Err(BlockError::Buffers(_))));
    }
}

#[test]
fn one_part_that_fails_fails_the_request_and_so_does_one_that_is_dropped() {
    let (mut drive, mut media) = (TestDrive::new(SHAPE, LIMITS), Media::new());
    let mut disk = connect(&mut drive, 0, 100);
    assert_eq!(disk.begin(&request(Write, 0, 4), &mut Memory::of(&[0; 2048])), Begun::Pending);
    let mut first = drive.take_request().unwrap();
    let buffer = first.take_buffer();
    first.complete(buffer, Err(BlockError::Medium));
    assert_eq!(disk.finished(), None);
    media.perform_all(&mut drive);
    assert_eq!(disk.finished(), Some(Ticket(0)));
    assert_eq!(disk.collect(Ticket(0), &mut Memory::of(&[])), Err(BlockError::Medium));
    assert_eq!(disk.begin(&request(Flush, 0, 0), &mut Memory::of(&[])), Begun::Pending);
    drop(drive.take_request());
    assert_eq!(disk.finished(), Some(Ticket(0)));
    assert_eq!(disk.collect(Ticket(0), &mut Memory::of(&[])), Err(BlockError::Medium));
}

#[test]
fn zeroes_are_written_as_the_drive_takes_them_and_others_have_their_turn_between() {
    let (mut drive, mut media) = (TestDrive::new(SHAPE, LIMITS), Media::new());
    media.cached.fill(7);
    let mut disks = [connect(&mut drive, 0, 20), connect(&mut drive, 20, 20)];
    assert_eq!(disks[0].begin(&request(WriteZeroes, 1, 10), &mut Memory::of(&[])), Begun::Pending);
    assert_eq!(disks[1].begin(&request(Read, 0, 1), &mut Memory::of(&[])), Begun::Pending);
    let mut turns = Vec::new();
    while let Some(turn) = drive.take_request() {
        turns.push((turn.request().first_sector, turn.request().sectors));
        media.perform(turn);
    }
    assert_eq!(turns, [(1, 4), (20, 1), (5, 4), (9, 2)]);
    assert_eq!(disks[0].finished(), Some(Ticket(0)));
    assert_eq!(disks[0].collect(Ticket(0), &mut Memory::of(&[])), Ok(()));
    assert_eq!(media.cached[512..11 * 512], [0; 10 * 512]);
    assert_eq!(media.cached.iter().filter(|byte| **byte == 0).count(), 10 * 512);
}

#[test]
fn buffers_that_a_dead_drive_keeps_are_missed_and_nobody_waits_for_them() {
    let mut drive = TestDrive::new(SHAPE, LIMITS);
    let mut disk = connect(&mut drive, 0, 100);
    assert_eq!(disk.begin(&request(Read, 0, 8), &mut Memory::of(&[])), Begun::Pending);
    while let Some(mut turn) = drive.take_request() {
        core::mem::forget(turn.take_buffer());
        turn.complete(None, Err(BlockError::Medium));
    }
    assert_eq!(disk.finished(), Some(Ticket(0)));
    assert_eq!(disk.collect(Ticket(0), &mut Memory::of(&[])), Err(BlockError::Medium));
    let again = disk.begin(&request(Read, 0, 1), &mut Memory::of(&[]));
    assert_eq!(again, Begun::Done(Err(BlockError::Medium)));
}

#[test]
fn ports_take_turns() {
    let mut drive = TestDrive::new(SHAPE, LIMITS);
    let mut disks = [connect(&mut drive, 0, 10), connect(&mut drive, 10, 10), connect(&mut drive, 20, 10)];
    for disk in &mut disks[..2] {
        assert_eq!(disk.begin(&request(Write, 0, 8), &mut Memory::of(&[0; 4096])), Begun::Pending);
    }
    let turns: Vec<_> = core::iter::from_fn(|| drive.take_request()).collect();
    let starts: Vec<_> = turns.iter().map(|turn| turn.request().first_sector).collect();
    assert_eq!(starts, [0, 10, 2, 12, 4, 14, 6, 16]);
}

#[test]
fn a_vm_that_ends_leaves_nothing_behind() {
    let mut drive = TestDrive::new(SHAPE, LIMITS);
    let mut disk = connect(&mut drive, 0, 10);
    assert_eq!(disk.begin(&request(Write, 0, 4), &mut Memory::of(&[0; 2048])), Begun::Pending);
    let under_way = drive.take_request().unwrap();
    assert!(!under_way.is_abandoned());
    drop(disk);
    assert!(under_way.is_abandoned());
    assert!(drive.take_request().is_none());
    assert_eq!(drive.ports(), 0);
    // Another VM has the same place now, and gets nothing of the first one's.
    let mut other = connect(&mut drive, 0, 10);
    assert_eq!(other.begin(&request(Read, 0, 1), &mut Memory::of(&[])), Begun::Pending);
    under_way.complete(None, Ok(()));
    assert_eq!(other.finished(), None);
}

#[test]
fn a_port_is_whole_blocks_of_the_drive() {
    let shape = BlockGeometry { block_bytes: 4096, ..SHAPE };
    let mut drive = TestDrive::new(shape, DriveLimits { transfer_sectors_max: 8, ..LIMITS });
    let part = |sectors| BlockGeometry { sectors, ..SHAPE };
    for (first, sectors) in [(4, 8), (0, 12), (128, 8), (u64::MAX - 7, 8)] {
        assert_eq!(drive.connect(first, part(sectors), buffers(1)).err(), Some(PortError::OutOfRange));
    }
    // Three sectors are no block.
    assert_eq!(drive.connect(0, part(8), buffers(1)).err(), Some(PortError::BadBuffers));
    assert_eq!(drive.connect(0, part(8), Vec::new()).err(), Some(PortError::BadBuffers));
    let large = vec![TestBuffer(vec![0; 4096])];
    let mut disk = drive.connect(8, part(16), large).unwrap();
    assert_eq!(disk.geometry().block_bytes, 4096);
    let unaligned = disk.begin(&request(Read, 1, 8), &mut Memory::of(&[]));
    assert_eq!(unaligned, Begun::Done(Err(BlockError::Unsupported)));
}

#[derive(Clone, Debug)]
enum Act {
    Begin(usize, u64, u32, u8),
    Take,
    Perform(usize),
    Collect(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_usize..2, 0_u64..16, 1_u32..7, 0_u8..4).prop_map(|(vm, at, n, what)| Act::Begin(vm, at, n, what)),
        4 => Just(Act::Take),
        3 => any::<usize>().prop_map(Act::Perform),
        3 => (0_usize..2).prop_map(Act::Collect),
    ]
}

/// What a VM knows of its disk: for each sector what the last write that has ended wrote, and the turn in which it ended.
struct Vm {
    disk: TestDisk,
    ended: Vec<(u8, usize)>,
    under_way: Vec<UnderWay>,
}

struct UnderWay {
    asked: BlockRequest,
    /// What it writes.
    number: u8,
    /// What had ended when it began.
    before: Vec<(u8, usize)>,
}

impl UnderWay {
    fn sectors(&self) -> core::ops::Range<usize> {
        let first = self.asked.first_sector as usize;
        first..first + self.asked.sectors as usize
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_flush_that_has_ended_holds_and_reads_give_what_was_written(acts in prop::collection::vec(act(), 1..120)) {
        let (mut drive, mut media) = (TestDrive::new(SHAPE, LIMITS), Media::new());
        let mut vms = [0, 32].map(|first| Vm { disk: connect(&mut drive, first, 32), ended: vec![(0, 0); 32], under_way: Vec::new() });
        let mut taken: Vec<TestRequest> = Vec::new();
        let mut number = 0_u8;
        for (turn, act) in acts.into_iter().enumerate() {
            match act {
                Act::Begin(vm, at, sectors, what) => {
                    let operation = [Read, Write, Flush, WriteZeroes][usize::from(what)];
                    number = number.wrapping_add(1).max(1);
                    let asked = BlockRequest { ticket: Ticket(turn as u16), ..request(operation, at, sectors) };
                    let vm = &mut vms[vm];
                    // Two requests at once for one sector may end either way.
                    let begins = UnderWay { asked, number, before: vm.ended.clone() };
                    let meets = |other: &UnderWay| {
                        let (one, other_is) = (begins.sectors(), other.sectors());
                        other.asked.operation != Flush && operation != Flush
                            && other_is.start < one.end && one.start < other_is.end
                    };
                    if vm.under_way.iter().any(meets) {
                        continue;
                    }
                    let mut memory = Memory::of(&vec![number; sectors as usize * 512]);
                    match vm.disk.begin(&asked, &mut memory) {
                        Begun::Pending => vm.under_way.push(begins),
                        begun => prop_assert_eq!(begun, Begun::Busy),
                    }
                }
                Act::Take => taken.extend(drive.take_request()),
                Act::Perform(which) => {
                    if !taken.is_empty() {
                        let which = which % taken.len();
                        media.perform(taken.remove(which));
                    }
                }
                Act::Collect(index) => {
                    let vm = &mut vms[index];
                    let Some(ticket) = vm.disk.finished() else { continue };
                    let at = vm.under_way.iter().position(|other| other.asked.ticket == ticket).unwrap();
                    let ended = vm.under_way.remove(at);
                    let range = ended.sectors();
                    let mut memory = Memory::of(&vec![0; range.len() * 512]);
                    prop_assert_eq!(vm.disk.collect(ticket, &mut memory), Ok(()));
                    match ended.asked.operation {
                        Write => vm.ended[range].fill((ended.number, turn)),
                        WriteZeroes => vm.ended[range].fill((0, turn)),
                        Read => {
                            for (read, sector) in memory.bytes.chunks(512).zip(range) {
                                prop_assert_eq!(read, [vm.ended[sector].0; 512]);
                            }
                        }
                        _ => {
                            let on_medium = |sector: usize| media.durable[(index * 32 + sector) * 512];
                            for (sector, known) in ended.before.iter().enumerate() {
                                // What was written since may be there as well.
                                let is_newer = || vm.ended[sector] != *known
                                    || vm.under_way.iter().any(|other| other.sectors().contains(&sector));
                                prop_assert!(on_medium(sector) == known.0 || is_newer());
                            }
                        }
                    }
                }
            }
        }
    }
}
