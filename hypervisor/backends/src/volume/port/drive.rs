//! The drive's side of its ports.

use super::{
    BUFFER_BYTES_MAX, BUFFERS_MIN, MOVED_BYTES_MAX, Part, PortDisk, Queues, SharedQueues, VmSide, give_back,
};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use seams::{BlockError, BlockGeometry, BlockOperation, BlockRequest, DmaBuffer, SECTOR_BYTES, Ticket};
use sync::{Lock, Rank, ThisCpu};

/// What a drive does at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriveLimits {
    /// The most sectors of a read or a write.
    pub transfer_sectors_max: u32,
    /// The most sectors of a discard or of zeroes.
    pub clear_sectors_max: u32,
}

/// What buffers a VM's disk on a drive has to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferNeed {
    /// How many.
    pub count: usize,
    /// The length of each, in bytes.
    pub len_bytes: usize,
}

/// The ports of one drive. Its owner takes requests here, has the driver do them, and completes them.
#[derive(Debug)]
pub struct Drive<D: DmaBuffer, C: ThisCpu> {
    geometry: BlockGeometry,
    limits: DriveLimits,
    ports: Vec<SharedQueues<D, C>>,
    /// Whose turn it is.
    next: usize,
}

/// Why a port could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortError {
    /// The part of the drive is not on it, or not in whole blocks of it.
    OutOfRange,
    /// There are no buffers, more than 65535, or one, or what the drive takes at once, is less than a block of it.
    BadBuffers,
    /// The host has no memory for the queues.
    NoMemory,
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "not a part of the drive in whole blocks: check its partition table",
            Self::BadBuffers => "too few or too many buffers, or too small for the drive's blocks",
            Self::NoMemory => "no memory for the disk's queues: give VMs less memory",
        })
    }
}

impl core::error::Error for PortError {}

impl<D: DmaBuffer, C: ThisCpu> Drive<D, C> {
    /// A drive of this shape, with these limits, without ports.
    pub const fn new(geometry: BlockGeometry, limits: DriveLimits) -> Self {
        Self { geometry, limits, ports: Vec::new(), next: 0 }
    }

    /// The drive's shape.
    pub const fn geometry(&self) -> BlockGeometry {
        self.geometry
    }

    /// What buffers a disk on this drive needs for the largest request that a VM's disk makes: the less the drive takes at
    /// once, the more they are, and the shorter.
    pub fn buffer_need(&self) -> BufferNeed {
        let block_bytes = u64::from(self.geometry.block_bytes).max(SECTOR_BYTES);
        let most_bytes = u64::from(self.limits.transfer_sectors_max) * SECTOR_BYTES;
        // A drive that takes less than its own block is refused by `connect`.
        let len_bytes = (most_bytes.min(BUFFER_BYTES_MAX) / block_bytes * block_bytes).max(block_bytes);
        let count = (MOVED_BYTES_MAX + block_bytes).div_ceil(len_bytes).max(BUFFERS_MIN);
        BufferNeed { count: count as usize, len_bytes: len_bytes as usize }
    }

    /// A disk for a VM that is the drive from `first_sector` on, of the shape `part`; `buffers` are the VM's, and bound
    /// both what it can have under way and its largest request.
    ///
    /// # Errors
    /// See [`PortError`].
    pub fn connect(
        &mut self,
        first_sector: u64,
        part: BlockGeometry,
        buffers: Vec<D>,
    ) -> Result<PortDisk<D, C>, PortError> {
        let block_sectors = u64::from(self.geometry.block_bytes) / SECTOR_BYTES;
        let is_whole = |sector: u64| block_sectors != 0 && sector.is_multiple_of(block_sectors);
        let end = first_sector.checked_add(part.sectors).ok_or(PortError::OutOfRange)?;
        if end > self.geometry.sectors || !is_whole(first_sector) || !is_whole(part.sectors) {
            return Err(PortError::OutOfRange);
        }
        let queues = Queues::new(buffers.len()).ok_or(PortError::NoMemory)?;
        let queues = Arc::new(Lock::new(Rank::Port, queues));
        let part = BlockGeometry { block_bytes: self.geometry.block_bytes, ..part };
        let most = self.limits.transfer_sectors_max;
        let disk = PortDisk::new(Arc::clone(&queues), first_sector, part, buffers, most)?;
        self.ports.try_reserve(1).map_err(|_| PortError::NoMemory)?;
        self.ports.push(queues);
        Ok(disk)
    }

    /// The next request, from each port that has one in turn.
    pub fn take_request(&mut self) -> Option<DriveRequest<D, C>> {
        for _ in 0..self.ports.len() {
            let index = if self.next < self.ports.len() { self.next } else { 0 };
            let queues = self.ports.get(index)?;
            let (vm, part) = {
                let mut shared = queues.lock();
                (shared.vm, shared.waiting.pop_front())
            };
            if vm == VmSide::Gone {
                self.ports.remove(index);
                continue;
            }
            self.next = index.wrapping_add(1);
            if let Some(part) = part {
                let most = self.limits.clear_sectors_max;
                return Some(DriveRequest {
                    queues: Arc::clone(queues),
                    part: Some(part),
                    clear_sectors_max: most,
                });
            }
        }
        None
    }

    /// How many ports there are, of VMs that are there or have only just gone.
    pub fn ports(&self) -> usize {
        self.ports.len()
    }
}

/// A request on its way through the drive. One that is dropped has failed.
pub struct DriveRequest<D: DmaBuffer, C: ThisCpu> {
    queues: SharedQueues<D, C>,
    /// There until it is completed.
    part: Option<Part<D>>,
    clear_sectors_max: u32,
}

impl<D: DmaBuffer, C: ThisCpu> DriveRequest<D, C> {
    /// What is to be done, in sectors of the drive. The ticket has no meaning; of the buffer, the request's length from the
    /// start on is meant.
    pub fn request(&self) -> BlockRequest {
        let part = self.part.as_ref();
        BlockRequest {
            ticket: Ticket(0),
            operation: part.map_or(BlockOperation::Flush, |part| part.operation),
            first_sector: part.map_or(0, |part| part.first_sector),
            sectors: part.map_or(0, |part| self.sectors_now(part)),
        }
    }

    /// How much of `part` is done now: all that has a buffer, and of the others what the drive does at once.
    fn sectors_now(&self, part: &Part<D>) -> u32 {
        match part.operation {
            BlockOperation::Discard | BlockOperation::WriteZeroes => part.sectors.min(self.clear_sectors_max),
            _ => part.sectors,
        }
    }

    /// Whether the VM that wanted it has ended.
    pub fn is_abandoned(&self) -> bool {
        self.queues.lock().vm == VmSide::Gone
    }

    /// The buffer of a read or a write, which the driver may keep until it calls [`DriveRequest::complete`].
    pub fn take_buffer(&mut self) -> Option<D> {
        self.part.as_mut()?.buffer.take()
    }

    /// The request is over; `buffer` is the one that was taken. What the drive could not do at once waits for its turn
    /// again.
    pub fn complete(mut self, buffer: Option<D>, result: Result<(), BlockError>) {
        let Some(mut part) = self.part.take() else { return };
        let done = self.sectors_now(&part);
        let left = part.sectors.saturating_sub(done);
        if result.is_ok() && left != 0 && done != 0 {
            part.first_sector = part.first_sector.saturating_add(done.into());
            part.sectors = left;
            let mut queues = self.queues.lock();
            if queues.vm == VmSide::Present {
                queues.waiting.push_back(part);
            }
            return;
        }
        part.buffer = buffer.or(part.buffer);
        give_back(&self.queues, part, result);
    }
}

impl<D: DmaBuffer, C: ThisCpu> Drop for DriveRequest<D, C> {
    fn drop(&mut self) {
        if let Some(part) = self.part.take() {
            give_back(&self.queues, part, Err(BlockError::Medium));
        }
    }
}

impl<D: DmaBuffer, C: ThisCpu> fmt::Debug for DriveRequest<D, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request().fmt(f)
    }
}
