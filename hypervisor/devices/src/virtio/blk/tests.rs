extern crate std;

mod model;

use super::fake::{FakeDisk, Pace};
use super::*;
use crate::testing::{load, saved};
use crate::virtio::queue::testing::{BUFFERS, Buffer, Driver, Layout, Used};
use crate::virtio::{Broken, Progress, Queue, Signal, feature as ring};
use base::state::SavedState;
use seams::{Block, BlockError, BlockOperation};
use std::{vec, vec::Vec};

const RING: u64 = ring::RING_INDIRECT_DESC | ring::RING_EVENT_IDX;
const ID: [u8; ID_BYTES] = *b"cofferdam-disk-0\0\0\0\0";
const SECTORS: usize = 64;
/// Each request of a test has this much memory: header, status and data.
const SLOT_BYTES: u64 = 0x2000;
/// More than any test has in flight.
const SLOTS: u64 = 256;
const DATA: u64 = 0x200;
/// A status that no device writes.
const NO_STATUS: u8 = 0xee;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

/// A driver, its disk and the medium.
struct Bench {
    driver: Driver,
    queue: Queue,
    disk: Blk,
    medium: FakeDisk,
    /// Where the next request's memory is.
    next_slot: u64,
}

fn bench(features: u64, medium: FakeDisk) -> Bench {
    let (driver, queue) = Driver::new(128, RING);
    let mut disk = Blk::new(medium.geometry(), ID).unwrap();
    disk.features_accepted(features);
    Bench { driver, queue, disk, medium, next_slot: 0 }
}

fn at_once() -> Bench {
    bench(OFFERED | OFFERED_WRITABLE, FakeDisk::new(SECTORS, Pace::AtOnce))
}

fn later() -> Bench {
    bench(OFFERED | OFFERED_WRITABLE, FakeDisk::new(SECTORS, Pace::Later))
}

/// A request that was made: where its parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Made {
    head: u16,
    at: u64,
}

impl Bench {
    /// Makes a request with data to write (`out`) and room for data to read.
    fn request(&mut self, kind: u32, sector: u64, out: &[u8], in_bytes: u32) -> Made {
        let at = BUFFERS + SLOT_BYTES * (self.next_slot % SLOTS);
        self.next_slot += 1;
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        let memory = &self.driver.memory;
        memory.put(at, &header);
        memory.put(at + 0x100, &[NO_STATUS]);
        let mut buffers = vec![Buffer::Readable(at, 16)];
        if !out.is_empty() {
            memory.put(at + DATA, out);
            // In two pieces that are no sectors.
            let cut = out.len() / 3 + 1;
            buffers.push(Buffer::Readable(at + DATA, cut as u32));
            buffers.push(Buffer::Readable(at + DATA + cut as u64, (out.len() - cut) as u32));
        }
        if in_bytes != 0 {
            buffers.push(Buffer::Writable(at + DATA, in_bytes));
        }
        buffers.push(Buffer::Writable(at + 0x100, 1));
        Made { head: self.driver.add(Layout::Indirect, &buffers).unwrap(), at }
    }

    fn run(&mut self) -> Progress {
        let progress = self.disk.run(&mut self.queue, &self.driver.memory, &mut self.medium).unwrap();
        let _ = self.queue.settle(&self.driver.memory).unwrap();
        progress
    }

    fn status(&self, made: Made) -> u8 {
        self.driver.memory.bytes(made.at + 0x100, 1)[0]
    }

    fn data(&self, made: Made, len: usize) -> Vec<u8> {
        self.driver.memory.bytes(made.at + DATA, len)
    }

    /// Makes a request, runs until it has ended, and tells its status.
    fn status_of(&mut self, kind: u32, sector: u64, out: &[u8], in_bytes: u32) -> u8 {
        let made = self.request(kind, sector, out, in_bytes);
        while self.run() == Progress::More || self.medium.end(0) {}
        assert_eq!(self.driver.take_used().len(), 1);
        self.status(made)
    }

    /// Replaces the disk by one that takes over its state, and the medium's requests by none.
    fn move_to_new_disk(&mut self) {
        let mut copy = Blk::new(self.medium.geometry(), ID).unwrap();
        load(&mut copy, &saved(&self.disk));
        assert_eq!(copy.save(), self.disk.save());
        self.disk = copy;
        self.medium.lose_requests();
    }
}

fn range(sector: u64, sectors: u32, flags: u32) -> [u8; 16] {
    (u128::from(sector) | u128::from(sectors) << 64 | u128::from(flags) << 96).to_le_bytes()
}

#[test]
fn what_is_written_is_read_and_flushed() {
    for mut bench in [at_once(), later()] {
        let data: Vec<u8> = (0..1024).map(|i| (i % 253) as u8).collect();
        assert_eq!(bench.status_of(OUT, 5, &data, 0), 0);
        assert_eq!(bench.medium.cache[5 * 512..7 * 512], data);
        assert_ne!(bench.medium.medium, bench.medium.cache);
        assert_eq!(bench.status_of(FLUSH, 0, &[], 0), 0);
        assert_eq!(bench.medium.medium, bench.medium.cache);
        let read = bench.request(IN, 4, &[], 1536);
        while bench.run() == Progress::More || bench.medium.end(0) {}
        assert_eq!(bench.data(read, 1536), bench.medium.cache[4 * 512..7 * 512]);
        assert_eq!(bench.driver.take_used(), [Used { head: read.head, written_bytes: 1537 }]);
    }
}

#[test]
fn a_flush_ends_when_the_mediums_flush_has() {
    let mut bench = later();
    let flush = bench.request(FLUSH, 0, &[], 0);
    assert_eq!((bench.run(), bench.status(flush)), (Progress::Idle, NO_STATUS));
    assert_eq!(bench.driver.take_used(), []);
    assert!(bench.medium.end(0));
    assert_eq!((bench.run(), bench.status(flush)), (Progress::Idle, 0));
    assert_eq!(bench.driver.take_used(), [Used { head: flush.head, written_bytes: 1 }]);
}

#[test]
fn without_flush_every_change_is_on_the_medium_before_it_ends() {
    let without = OFFERED_WRITABLE;
    for (kind, out) in
        [(OUT, vec![7; 512]), (WRITE_ZEROES, range(3, 2, 1).into()), (DISCARD, range(3, 2, 0).into())]
    {
        let mut bench = bench(without, FakeDisk::new(SECTORS, Pace::Later));
        let write = bench.request(kind, 3, &out, 0);
        bench.run();
        assert!(bench.medium.end(0));
        assert_eq!((bench.run(), bench.status(write)), (Progress::Idle, NO_STATUS));
        assert_ne!(bench.medium.medium, bench.medium.cache);
        assert!(bench.medium.end(0));
        assert_eq!((bench.run(), bench.status(write)), (Progress::Idle, 0));
        assert_eq!(bench.medium.medium, bench.medium.cache);
    }
    let mut bench = bench(without, FakeDisk::new(SECTORS, Pace::AtOnce));
    assert_eq!(bench.status_of(OUT, 0, &[1; 512], 0), 0);
    assert_eq!(bench.medium.medium, bench.medium.cache);
    assert_eq!(bench.status_of(FLUSH, 0, &[], 0), 2, "it was not negotiated");
}

#[test]
fn a_range_is_discarded_or_made_zero() {
    let mut bench = at_once();
    assert_eq!(bench.status_of(WRITE_ZEROES, 0, &range(2, 3, 1), 0), 0);
    assert_eq!(bench.medium.cache[2 * 512..5 * 512], [0; 3 * 512]);
    assert_eq!(bench.status_of(DISCARD, 0, &range(60, 4, 0), 0), 0);
    assert_eq!(bench.medium.cache[60 * 512..], [0xdd; 4 * 512]);
}

#[test]
fn what_cannot_be_done_is_answered() {
    let end = SECTORS as u64;
    let tests: [(u32, u64, &[u8], u32, u8); 17] = [
        (IN, end - 1, &[], 512, 0),
        (IN, end, &[], 512, 1),
        (IN, end - 1, &[], 1024, 1),
        (IN, u64::MAX, &[], 512, 1),
        (IN, 0, &[], 513, 1),
        (IN, 0, &[], 0, 1),
        (OUT, 0, &[0; 100], 0, 1),
        (OUT, end, &[0; 512], 0, 1),
        (2, 0, &[], 0, 2),
        (u32::MAX, 0, &[], 512, 2),
        (DISCARD, 0, &range(0, 1, 1), 0, 2),
        (WRITE_ZEROES, 0, &range(0, 1, 2), 0, 2),
        (WRITE_ZEROES, 0, &range(end, 1, 0), 0, 1),
        (WRITE_ZEROES, 0, &range(0, 0, 0), 0, 1),
        (WRITE_ZEROES, 0, &range(u64::MAX, u32::MAX, 0), 0, 1),
        (DISCARD, 0, &[0; 32], 0, 1),
        (DISCARD, 0, &[], 0, 1),
    ];
    for (i, (kind, sector, out, in_bytes, status)) in tests.into_iter().enumerate() {
        assert_eq!(at_once().status_of(kind, sector, out, in_bytes), status, "test {i}");
    }
}

#[test]
fn what_fails_on_the_medium_fails_for_the_driver() {
    for (failure, status) in [(BlockError::Medium, 1), (BlockError::Full, 1), (BlockError::Unsupported, 2)] {
        for mut bench in [at_once(), later()] {
            bench.medium.failure = Some(failure);
            assert_eq!(bench.status_of(IN, 0, &[], 512), status);
            assert_eq!(bench.status_of(FLUSH, 0, &[], 0), status);
            bench.medium.failure = None;
            assert_eq!(bench.status_of(IN, 0, &[], 512), 0);
        }
    }
}

#[test]
fn data_that_is_no_memory_fails_the_request_and_nothing_else() {
    let mut bench = at_once();
    let made = bench.request(IN, 0, &[], 512);
    bench.driver.describe_raw_indirect(made.head, 1, (1 << 40, 512, 3, 2));
    bench.run();
    assert_eq!(bench.status(made), 1);
    assert_eq!(bench.driver.take_used().len(), 1);
}

#[test]
fn what_is_no_request_is_a_breach() {
    let broken = |buffers: &[Buffer]| {
        let mut bench = at_once();
        bench.driver.add(Layout::Direct, buffers).unwrap();
        bench.disk.run(&mut bench.queue, &bench.driver.memory, &mut bench.medium)
    };
    let request = Err(Broken::Request("a disk's request has no header or no place for a status"));
    assert_eq!(broken(&[Buffer::Readable(BUFFERS, 15), Buffer::Writable(BUFFERS, 1)]), request);
    assert_eq!(broken(&[Buffer::Readable(BUFFERS, 16)]), request);
    let unmapped = broken(&[Buffer::Readable(BUFFERS, 16), Buffer::Writable(1 << 40, 513)]);
    assert!(matches!(unmapped, Err(Broken::Memory(_))), "a status has to be written: {unmapped:?}");
}

#[test]
fn a_read_only_disk_says_so_and_takes_no_change() {
    let mut medium = FakeDisk::new(SECTORS, Pace::AtOnce);
    medium.access = BlockAccess::ReadOnly;
    let mut bench = bench(u64::MAX, medium);
    assert_eq!(bench.disk.features() & (feature::RO | OFFERED_WRITABLE), feature::RO);
    assert_eq!(bench.status_of(IN, 0, &[], 512), 0);
    assert_eq!(bench.status_of(OUT, 0, &[0; 512], 0), 1);
    assert_eq!(bench.status_of(WRITE_ZEROES, 0, &range(0, 1, 0), 0), 2);
    assert_eq!(bench.medium.begun.len(), 1);
}

#[test]
fn a_disk_has_a_name() {
    let mut bench = at_once();
    let (all, some) = (bench.request(GET_ID, 0, &[], 30), bench.request(GET_ID, 0, &[], 9));
    bench.run();
    assert_eq!(
        (bench.data(all, 30)[..20].to_vec(), bench.data(some, 9)),
        (ID.to_vec(), b"cofferdam".to_vec())
    );
    assert_eq!(bench.driver.take_used().iter().map(|used| used.written_bytes).collect::<Vec<_>>(), [21, 10]);
}

#[test]
fn requests_end_in_any_order() {
    let mut bench = later();
    let made: Vec<_> = (0..4).map(|sector| bench.request(IN, sector, &[], 512)).collect();
    assert_eq!(bench.run(), Progress::Idle);
    assert!(bench.medium.end(2) && bench.medium.end(0));
    assert_eq!(bench.run(), Progress::Idle);
    let heads: Vec<_> = bench.driver.take_used().iter().map(|used| used.head).collect();
    assert_eq!(heads, [made[2].head, made[0].head]);
    for index in [0, 2] {
        assert_eq!(bench.data(made[index], 512), bench.medium.cache[index * 512..][..512]);
    }
}

#[test]
fn a_long_request_is_done_in_parts_and_a_step_ends_after_a_while() {
    let mut bench = bench(OFFERED, FakeDisk::new(8192, Pace::AtOnce));
    let (count, sectors) = (7, 8192);
    // 4 MiB that all go to the same 32 KiB.
    let mut buffers = vec![Buffer::Readable(BUFFERS, 16)];
    buffers.extend(vec![Buffer::Writable(BUFFERS + DATA, 0x8000); 128]);
    buffers.push(Buffer::Writable(BUFFERS + 0x100, 1));
    bench.driver.add(Layout::Indirect, &buffers).unwrap();
    for _ in 0..3 {
        assert_eq!(bench.run(), Progress::More);
        assert_eq!(bench.driver.take_used(), []);
    }
    while bench.run() == Progress::More {}
    assert_eq!(bench.driver.take_used().len(), 1);
    assert_eq!(bench.medium.begun.len(), count + 1);
    assert_eq!(bench.medium.begun.iter().map(|request| request.sectors).sum::<u32>(), sectors);
    assert_eq!(
        bench.data(Made { head: 0, at: BUFFERS }, 0x8000),
        bench.medium.cache[sectors as usize * 512 - 0x8000..]
    );
    assert_eq!(u64::from(PART_SECTORS) * 2 * SECTOR_BYTES, STEP_BYTES);
}

#[test]
fn a_step_takes_so_many_requests() {
    let mut bench = at_once();
    for _ in 0..STEP_CHAINS + 1 {
        bench.request(FLUSH, 0, &[], 0);
    }
    assert_eq!(bench.run(), Progress::More);
    assert_eq!(bench.driver.take_used().len(), STEP_CHAINS as usize);
    assert_eq!(bench.run(), Progress::Idle);
    assert_eq!(bench.driver.take_used().len(), 1);
}

#[test]
fn what_finds_no_slot_or_a_busy_medium_waits() {
    for depth in [0, 1, 64] {
        let mut bench = later();
        bench.medium.depth = depth;
        for _ in 0..IN_FLIGHT_MAX + 3 {
            bench.request(FLUSH, 0, &[], 0);
        }
        let expected = if depth == 0 { Progress::More } else { Progress::Idle };
        assert_eq!(bench.run(), expected, "depth {depth}");
        assert_eq!(bench.medium.pending.len(), depth.min(IN_FLIGHT_MAX));
        bench.medium.depth = 64;
        while bench.run() == Progress::More || bench.medium.end(0) {}
        assert_eq!(bench.driver.take_used().len(), IN_FLIGHT_MAX + 3);
    }
}

#[test]
fn after_a_reset_what_was_begun_ends_unseen() {
    let mut bench = later();
    let old = bench.request(IN, 1, &[], 512);
    bench.run();
    bench.disk.reset();
    bench.queue.reset();
    assert!(bench.disk.save().requests.is_empty());
    let (driver, queue) = Driver::over(bench.driver.memory.clone(), 128, RING);
    driver.lie_about_index(0);
    (bench.driver, bench.queue) = (driver, queue);
    let new = bench.request(IN, 2, &[], 512);
    assert_eq!(bench.run(), Progress::Idle);
    assert!(bench.medium.end(0));
    assert_eq!(bench.run(), Progress::Idle);
    assert_eq!((bench.status(old), bench.status(new)), (NO_STATUS, NO_STATUS));
    assert_eq!(bench.data(old, 512), [0; 512]);
    assert!(bench.medium.end(0));
    bench.run();
    assert_eq!((bench.status(old), bench.status(new)), (NO_STATUS, 0));
}

#[test]
fn the_configuration_describes_the_medium() {
    let disk = at_once().disk;
    let word = |offset: u32| {
        let mut bytes = [0; 4];
        disk.read_config(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    };
    assert_eq!((word(0), word(4)), (SECTORS as u32, 0));
    assert_eq!((word(12), word(20), word(24), word(28)), (128, 512, 8 << 16 | 3, 0));
    assert_eq!((word(36), word(40), word(44)), (1 << 16, 1, 8));
    assert_eq!((word(48), word(52), word(56), word(60)), (1 << 16, 1, 0, 0));
    let mut bytes = [9; 4];
    disk.read_config(u32::MAX, &mut bytes);
    assert_eq!(bytes, [0; 4]);
}

#[test]
fn impossible_states_are_refused() {
    let mut bench = later();
    bench.request(OUT, 3, &[1; 1024], 0);
    bench.run();
    let good = bench.disk.save();
    let mut disk = Blk::new(bench.medium.geometry(), ID).unwrap();
    let mut refused = |change: fn(&mut RequestState)| {
        let mut image = good.clone();
        change(&mut image.requests[0]);
        let before = disk.save();
        disk.load(image).is_err() && disk.save() == before
    };
    assert!(refused(|request| request.operation = 5));
    assert!(refused(|request| request.operation = 0), "no room for data to read");
    assert!(refused(|request| request.operation = 2), "a flush names no sectors");
    assert!(refused(|request| request.sectors = 1));
    assert!(refused(|request| request.first_sector = SECTORS as u64 - 1));
    assert!(refused(|request| request.done_sectors = 2), "then it is over");
    assert!(refused(|request| request.settles = true), "there is still something to do");
    assert!(refused(|request| request.writable.clear()));
    assert!(refused(|request| request.readable[0].len_bytes = 0));
    assert!(refused(|request| request.readable[0].address = 1 << 52));
    assert!(refused(|request| request.writable = vec![request.writable[0]; 131]));
    let mut image = good.clone();
    image.requests = vec![good.requests[0].clone(); IN_FLIGHT_MAX + 1];
    assert!(disk.load(image).is_err());
    assert!(disk.load(BlkState { features: 1 << 20, ..good.clone() }).is_err());
    assert!(disk.load(good).is_ok());
}

#[test]
fn a_request_that_ends_brings_one_interrupt() {
    let mut bench = at_once();
    bench.request(IN, 0, &[], 512);
    bench.disk.run(&mut bench.queue, &bench.driver.memory, &mut bench.medium).unwrap();
    assert_eq!(bench.queue.settle(&bench.driver.memory), Ok(Signal::Needed));
    assert_eq!(bench.queue.settle(&bench.driver.memory), Ok(Signal::NotNeeded));
    assert_eq!(bench.medium.begun[0].operation, BlockOperation::Read);
}
