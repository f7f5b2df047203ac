//! How a VM's disk reaches a drive that another task owns.
//!
//! ```text
//!  VM's task                                                                   drive's task
//!   PortDisk::begin ── copies the guest's data into buffers ──> waiting ──>  Drive::take_request, one port after another
//!   PortDisk::finished                                                        the driver does it
//!   PortDisk::collect <── copies to the guest's memory <────── over <───────  DriveRequest::complete
//! ```
//! A buffer is moved with its request, so it is the VM's, in the queue, or the drive's, and neither side holds a reference
//! into the other. The lock around the two queues is held for one push or pop, never while something is copied. Queues
//! have room for all the requests that can exist, and nothing is allocated after a port is made.
//!
//! # Order
//! Requests of one port reach the drive in the order in which they began, and may end in any. A flush is handed to the drive
//! as it comes: all writes that had ended before it began have ended on the drive too, because that is where they end, and
//! its own flush covers them. A request that is larger than a buffer goes in parts, and ends when the last of them has.

mod disk;
mod drive;

pub use disk::PortDisk;
pub use drive::{BufferNeed, Drive, DriveLimits, DriveRequest, PortError};

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use seams::{BlockError, BlockOperation};
use sync::{Lock, ThisCpu};

/// The most requests of one port at a time: what a queue of 256 descriptors with three a request holds.
const REQUESTS_MAX: usize = 86;

/// The most bytes of a VM's buffer: contiguous, so no longer than memory in pieces still gives.
const BUFFER_BYTES_MAX: u64 = 64 << 10;

/// The fewest buffers of a VM's disk: small requests have theirs beside a large one.
const BUFFERS_MIN: u64 = 12;

/// What the model of a VM's disk moves at once, in bytes: all its buffers together hold that, and a block more for rounding.
const MOVED_BYTES_MAX: u64 = 512 << 10;

type SharedQueues<D, C> = Arc<Lock<Queues<D>, C>>;

/// What both sides of one port share.
#[derive(Debug)]
struct Queues<D> {
    vm: VmSide,
    waiting: VecDeque<Part<D>>,
    over: VecDeque<(Part<D>, Result<(), BlockError>)>,
}

/// Whether the VM is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VmSide {
    Present,
    Gone,
}

/// A request as the drive sees it, or a part of one.
#[derive(Debug)]
struct Part<D> {
    /// Which of the VM's requests.
    request: u16,
    /// Which buffer of the VM's it has.
    slot: Option<u16>,
    operation: BlockOperation,
    /// On the drive.
    first_sector: u64,
    sectors: u32,
    buffer: Option<D>,
}

#[cfg(test)]
mod tests;

impl<D> Queues<D> {
    /// Queues with room for all that a port with `buffers` can have under way; `None` when there is no memory.
    fn new(buffers: usize) -> Option<Self> {
        let room = buffers.checked_add(REQUESTS_MAX)?;
        let (mut waiting, mut over) = (VecDeque::new(), VecDeque::new());
        waiting.try_reserve_exact(room).ok()?;
        over.try_reserve_exact(room).ok()?;
        Some(Self { vm: VmSide::Present, waiting, over })
    }
}

/// Gives a part back to its VM.
fn give_back<D, C: ThisCpu>(queues: &SharedQueues<D, C>, part: Part<D>, result: Result<(), BlockError>) {
    let mut shared = queues.lock();
    if shared.vm == VmSide::Present {
        shared.over.push_back((part, result));
    } else {
        // The buffer's end takes locks of its own, and the port's need not be among them.
        drop(shared);
        drop(part);
    }
}
