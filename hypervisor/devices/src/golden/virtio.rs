//! Golden states of virtio devices and of a queue. What they are compared by is their images: a device also keeps room for
//! requests, which has anything in it.

extern crate std;

use super::{file, write_missing};
use crate::testing::{load, saved};
use crate::virtio::blk::fake::{FakeDisk, Pace};
use crate::virtio::blk::{Blk, ID_BYTES};
use crate::virtio::console::Console;
use crate::virtio::net::{Link, Net};
use crate::virtio::queue::testing::{BUFFERS, Buffer, Driver, Layout};
use crate::virtio::rng::Rng;
use crate::virtio::{Chain, Queue, VirtioDevice, feature};
use base::MacAddress;
use base::state::{Reader, SavedState};
use core::fmt::Debug;
use proptest::prelude::*;
use seams::{Block, ByteSink, ByteSource};
use std::{fs, vec::Vec};

const RING: u64 = feature::RING_INDIRECT_DESC | feature::RING_EVENT_IDX;

fn load_golden<D: SavedState>(golden: &D, mut new: D)
where
    D::Image: PartialEq + Debug,
{
    let path = file(D::SECTION, 1);
    let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    load(&mut new, &bytes);
    assert_eq!(new.save(), golden.save());
}

#[test]
fn every_golden_file_loads() {
    load_golden(&queue(), Queue::new(256));
    load_golden(&blk().0, new_blk());
    load_golden(&net(), new_net());
    load_golden(&console(), Console::new());
    load_golden(&Rng::new(), Rng::new());
}

#[test]
#[ignore = "writes into the source tree"]
fn write_golden_files() {
    write_missing(&queue());
    write_missing(&blk().0);
    write_missing(&net());
    write_missing(&console());
    write_missing(&Rng::new());
}

/// A queue with one chain given back that the driver has seen, one that it has not, one taken and one left.
fn queue() -> Queue {
    let (mut driver, mut queue) = Driver::new(8, RING);
    let mut chain = Chain::new();
    for _ in 0..4 {
        driver.add(Layout::Indirect, &[Buffer::Readable(BUFFERS, 16), Buffer::Writable(BUFFERS, 1)]);
    }
    for turn in 0..3 {
        let head = queue.next_chain(&driver.memory, &mut chain).unwrap().unwrap();
        if turn < 2 {
            queue.push_used(&driver.memory, head, 1).unwrap();
        }
        if turn == 0 {
            let _ = queue.settle(&driver.memory).unwrap();
        }
    }
    queue
}

const ID: [u8; ID_BYTES] = [b'd'; ID_BYTES];

fn new_blk() -> Blk {
    Blk::new(FakeDisk::new(64, Pace::Later).geometry(), ID).unwrap()
}

/// A disk with a read, a write that is to be flushed, and a discard in flight; with its driver and its queue.
fn blk() -> (Blk, Driver, Queue, FakeDisk) {
    let (mut driver, mut queue) = Driver::new(16, RING);
    let (mut disk, mut medium) = (new_blk(), FakeDisk::new(64, Pace::Later));
    let accepted = disk.features() & !(1 << 9);
    disk.features_accepted(accepted);
    let range = (3_u128 | 2 << 64).to_le_bytes();
    for (i, (kind, out, in_bytes)) in [(1, 512, 0), (0, 0, 1024), (11, 16, 0)].into_iter().enumerate() {
        let at = BUFFERS + 0x1000 * i as u64;
        driver.memory.put(at, &[kind, 0, 0, 0, 0, 0, 0, 0, 5]);
        driver.memory.put(at + 0x100, &range);
        let mut buffers = [Buffer::Readable(at, 16)].to_vec();
        if out != 0 {
            buffers.push(Buffer::Readable(at + 0x100, out));
        }
        if in_bytes != 0 {
            buffers.push(Buffer::Writable(at + 0x100, in_bytes));
        }
        buffers.push(Buffer::Writable(at + 0x800, 1));
        driver.add(Layout::Indirect, &buffers);
    }
    disk.run(&mut queue, &driver.memory, &mut medium).unwrap();
    assert!(medium.end(0));
    disk.run(&mut queue, &driver.memory, &mut medium).unwrap();
    (disk, driver, queue, medium)
}

fn new_net() -> Net {
    Net::new(MacAddress([0x52, 0x54, 0, 1, 2, 3]), None)
}

/// A network device of a driver that takes all it is offered, unplugged.
fn net() -> Net {
    let mut net = new_net();
    net.features_accepted(net.features());
    let _ = net.set_link(Link::Down);
    net
}

/// The host's end of a console: bytes to come, and room for some.
struct HostEnd(&'static [u8], usize);

impl ByteSource for HostEnd {
    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
}

impl ByteSink for HostEnd {
    fn offer(&mut self, byte: u8) -> Result<(), u8> {
        self.1 = self.1.checked_sub(1).ok_or(byte)?;
        Ok(())
    }
}

/// A console in the middle of a chain, with a byte that the guest has no buffer for.
fn console() -> Console {
    let (mut driver, mut transmit) = Driver::new(8, RING);
    driver.add(Layout::Direct, &[Buffer::Readable(BUFFERS, 100)]);
    let (mut console, mut receive) = (Console::new(), Queue::new(8));
    let (mut source, mut sink) = (HostEnd(b"x", 0), HostEnd(b"", 42));
    console.run(&mut receive, &mut transmit, &driver.memory, &mut source, &mut sink).unwrap();
    console
}

/// The state of `golden`, damaged, loaded into `new`; `None` when it is refused, which must leave no trace.
fn damaged<D: SavedState>(golden: &D, mut new: D, changes: &[(usize, u8)]) -> Option<D>
where
    D::Image: PartialEq + Debug,
{
    let mut bytes = saved(golden);
    let len = bytes.len();
    for (at, bits) in changes {
        bytes[at % len] ^= bits;
    }
    let before = new.save();
    let section = Reader::new(&bytes).next_section().ok()??;
    if section.load_into(&mut new).is_err() {
        assert_eq!(new.save(), before);
        return None;
    }
    Some(new)
}

proptest! {
    #[test]
    fn damaged_state_is_refused_or_harmless(
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let (golden, driver, golden_queue, mut medium) = blk();
        medium.lose_requests();
        let mut disk = damaged(&golden, new_blk(), &changes).unwrap_or_else(new_blk);
        let mut queue = damaged(&golden_queue, Queue::new(256), &changes).unwrap_or(golden_queue);
        for _ in 0..4 {
            let outcome = disk.run(&mut queue, &driver.memory, &mut medium);
            let _ = queue.settle(&driver.memory);
            if outcome.is_err() {
                break;
            }
            medium.end(0);
        }
        let copy: Vec<u8> = saved(&disk);
        let mut new = new_blk();
        load(&mut new, &copy);
        prop_assert_eq!(saved(&new), copy);
        damaged(&net(), new_net(), &changes);
        damaged(&console(), Console::new(), &changes);
    }
}
