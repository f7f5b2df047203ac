//! The VM's side of a port.

use super::{Part, PortError, REQUESTS_MAX, SharedQueues, VmSide};
use crate::volume::check;
use alloc::vec::Vec;
use seams::{
    Begun, Block, BlockBuffers, BlockError, BlockGeometry, BlockOperation, BlockRequest, DmaBuffer,
    SECTOR_BYTES, Ticket,
};
use sync::ThisCpu;

/// A disk whose medium is a drive, or a part of one, that another task owns.
#[derive(Debug)]
pub struct PortDisk<D: DmaBuffer, C: ThisCpu> {
    queues: SharedQueues<D, C>,
    /// Where the disk begins on the drive.
    first_sector: u64,
    geometry: BlockGeometry,
    /// What of each buffer is used, in sectors: whole blocks of the drive.
    buffer_sectors: u32,
    slots: Vec<Slot<D>>,
    /// The slots that no request has.
    free: Vec<u16>,
    /// How many buffers a drive has kept that no longer answers.
    lost: usize,
    requests: Vec<Option<InFlight>>,
}

/// The place of one buffer.
#[derive(Debug)]
struct Slot<D> {
    /// Here, or on its way.
    buffer: Option<D>,
    /// The slot with the request's next part.
    next: Option<u16>,
}

/// A request that is not collected yet.
#[derive(Debug)]
struct InFlight {
    ticket: Ticket,
    operation: BlockOperation,
    sectors: u32,
    /// The slot with its first part.
    first: Option<u16>,
    /// How many parts are not back yet.
    away: u16,
    /// The first error of a part.
    result: Result<(), BlockError>,
}

impl<D: DmaBuffer, C: ThisCpu> PortDisk<D, C> {
    pub(super) fn new(
        queues: SharedQueues<D, C>,
        first_sector: u64,
        geometry: BlockGeometry,
        buffers: Vec<D>,
        transfer_sectors_max: u32,
    ) -> Result<Self, PortError> {
        let len_bytes = buffers.iter().map(|buffer| buffer.bytes().len()).min();
        let block_bytes = u64::from(geometry.block_bytes).max(SECTOR_BYTES);
        let most_bytes = u64::from(transfer_sectors_max) * SECTOR_BYTES;
        let used_bytes =
            len_bytes.map_or(0, |len_bytes| most_bytes.min(len_bytes as u64) / block_bytes * block_bytes);
        let buffer_sectors = u32::try_from(used_bytes / SECTOR_BYTES).map_err(|_| PortError::BadBuffers)?;
        let count = u16::try_from(buffers.len()).map_err(|_| PortError::BadBuffers)?;
        if buffer_sectors == 0 {
            return Err(PortError::BadBuffers);
        }
        let mut free = Vec::new();
        free.try_reserve_exact(count.into()).map_err(|_| PortError::NoMemory)?;
        free.extend(0..count);
        let mut slots = Vec::new();
        slots.try_reserve_exact(count.into()).map_err(|_| PortError::NoMemory)?;
        slots.extend(buffers.into_iter().map(|buffer| Slot { buffer: Some(buffer), next: None }));
        let mut requests = Vec::new();
        requests.try_reserve_exact(REQUESTS_MAX).map_err(|_| PortError::NoMemory)?;
        requests.resize_with(REQUESTS_MAX, || None);
        Ok(Self { queues, first_sector, geometry, buffer_sectors, slots, free, lost: 0, requests })
    }

    /// The largest read or write, in sectors; a larger one is [`BlockError::Unsupported`]: its data must all be in buffers
    /// at once.
    pub fn request_sectors_max(&self) -> u32 {
        self.buffer_sectors.saturating_mul(self.slots.len() as u32)
    }

    /// Begins a request that needs no data.
    fn begin_without_data(&mut self, request: &BlockRequest, index: u16) -> Begun {
        let part = Part {
            request: index,
            slot: None,
            operation: request.operation,
            first_sector: self.first_sector.saturating_add(request.first_sector),
            sectors: request.sectors,
            buffer: None,
        };
        self.keep(request, index, None, 1);
        self.queues.lock().waiting.push_back(part);
        Begun::Pending
    }

    /// Begins a read or a write.
    fn begin_with_data(
        &mut self,
        request: &BlockRequest,
        index: u16,
        buffers: &mut impl BlockBuffers,
    ) -> Begun {
        let parts = request.sectors.div_ceil(self.buffer_sectors) as usize;
        if parts == 0 {
            return Begun::Done(Ok(()));
        }
        if parts > self.slots.len() {
            return Begun::Done(Err(BlockError::Unsupported));
        }
        if parts > self.slots.len().saturating_sub(self.lost) {
            return Begun::Done(Err(BlockError::Medium));
        }
        if parts > self.free.len() {
            return Begun::Busy;
        }
        let first = self.claim(parts);
        if request.operation == BlockOperation::Write
            && let Err(error) = self.take_data(first, request.sectors, buffers)
        {
            self.release(first);
            return Begun::Done(Err(error));
        }
        self.keep(request, index, first, parts as u16);
        self.send(request, index, first);
        Begun::Pending
    }

    /// Remembers a request whose parts are about to leave.
    fn keep(&mut self, request: &BlockRequest, index: u16, first: Option<u16>, away: u16) {
        let &BlockRequest { ticket, operation, sectors, .. } = request;
        if let Some(place) = self.requests.get_mut(usize::from(index)) {
            *place = Some(InFlight { ticket, operation, sectors, first, away, result: Ok(()) });
        }
    }

    /// Takes so many free slots, and returns the first of them, which leads to the others.
    fn claim(&mut self, parts: usize) -> Option<u16> {
        let mut first = None;
        for _ in 0..parts {
            let slot = self.free.pop()?;
            if let Some(place) = self.slots.get_mut(usize::from(slot)) {
                place.next = first;
            }
            first = Some(slot);
        }
        first
    }

    /// Gives slots back.
    fn release(&mut self, first: Option<u16>) {
        let mut next = first;
        while let Some((index, slot)) =
            next.and_then(|index| Some((index, self.slots.get_mut(usize::from(index))?)))
        {
            next = slot.next.take();
            if slot.buffer.is_some() {
                self.free.push(index);
            } else {
                self.lost = self.lost.saturating_add(1);
            }
        }
    }

    fn take_data(
        &mut self,
        first: Option<u16>,
        sectors: u32,
        buffers: &mut impl BlockBuffers,
    ) -> Result<(), BlockError> {
        let (mut next, mut left) = (first, sectors);
        while let Some(slot) = next.and_then(|index| self.slots.get_mut(usize::from(index))) {
            let here = left.min(self.buffer_sectors);
            let bytes = slot.buffer.as_mut().and_then(|buffer| buffer.bytes_mut().get_mut(..len_bytes(here)));
            buffers.take(bytes.ok_or(BlockError::Medium)?)?;
            left = left.saturating_sub(here);
            next = slot.next;
        }
        Ok(())
    }

    fn put_data(
        &self,
        first: Option<u16>,
        sectors: u32,
        buffers: &mut impl BlockBuffers,
    ) -> Result<(), BlockError> {
        let (mut next, mut left) = (first, sectors);
        while let Some(slot) = next.and_then(|index| self.slots.get(usize::from(index))) {
            let here = left.min(self.buffer_sectors);
            let bytes = slot.buffer.as_ref().and_then(|buffer| buffer.bytes().get(..len_bytes(here)));
            buffers.put(bytes.ok_or(BlockError::Medium)?)?;
            left = left.saturating_sub(here);
            next = slot.next;
        }
        Ok(())
    }

    /// Sends the parts of a request.
    fn send(&mut self, request: &BlockRequest, index: u16, first: Option<u16>) {
        let (mut next, mut left) = (first, request.sectors);
        let mut first_sector = self.first_sector.saturating_add(request.first_sector);
        let mut queues = self.queues.lock();
        while let Some(slot) = next.and_then(|index| self.slots.get_mut(usize::from(index))) {
            let sectors = left.min(self.buffer_sectors);
            let (slot_index, buffer, operation) = (next, slot.buffer.take(), request.operation);
            let part = Part { request: index, slot: slot_index, operation, first_sector, sectors, buffer };
            queues.waiting.push_back(part);
            first_sector = first_sector.saturating_add(sectors.into());
            left = left.saturating_sub(sectors);
            next = slot.next;
        }
    }

    /// Takes back one part that is over.
    fn take_back(&mut self, part: Part<D>, result: Result<(), BlockError>) {
        if let Some(slot) = part.slot.and_then(|slot| self.slots.get_mut(usize::from(slot))) {
            slot.buffer = part.buffer;
        }
        if let Some(Some(request)) = self.requests.get_mut(usize::from(part.request)) {
            request.away = request.away.saturating_sub(1);
            request.result = request.result.and(result);
        }
    }
}

fn len_bytes(sectors: u32) -> usize {
    sectors as usize * SECTOR_BYTES as usize
}

impl<D: DmaBuffer, C: ThisCpu> Block for PortDisk<D, C> {
    fn geometry(&self) -> BlockGeometry {
        self.geometry
    }

    /// Requests that are not whole blocks of the drive are [`BlockError::Unsupported`].
    fn begin(&mut self, request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Begun {
        if let Err(error) = check(&self.geometry, request) {
            return Begun::Done(Err(error));
        }
        let Some(index) = self.requests.iter().position(Option::is_none) else {
            return Begun::Busy;
        };
        let index = index as u16;
        if request.operation == BlockOperation::Flush {
            let all = BlockRequest { first_sector: 0, sectors: 0, ..*request };
            return self.begin_without_data(&all, index);
        }
        let block_sectors = u64::from(self.geometry.block_bytes) / SECTOR_BYTES;
        let is_whole = |sectors: u64| sectors.is_multiple_of(block_sectors.max(1));
        if !is_whole(request.first_sector) || !is_whole(request.sectors.into()) {
            return Begun::Done(Err(BlockError::Unsupported));
        }
        match request.operation {
            BlockOperation::Read | BlockOperation::Write => self.begin_with_data(request, index, buffers),
            _ => self.begin_without_data(request, index),
        }
    }

    fn finished(&mut self) -> Option<Ticket> {
        loop {
            // One at a time: the lock is not held while a part finds its place.
            let next = self.queues.lock().over.pop_front();
            let Some((part, result)) = next else { break };
            self.take_back(part, result);
        }
        self.requests.iter().flatten().find(|request| request.away == 0).map(|request| request.ticket)
    }

    fn collect(&mut self, ticket: Ticket, buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
        let is_it = |request: &Option<InFlight>| {
            request.as_ref().is_some_and(|request| request.ticket == ticket && request.away == 0)
        };
        let place = self.requests.iter_mut().find(|request| is_it(request));
        let request = place.and_then(Option::take).ok_or(BlockError::Medium)?;
        let result = match (request.result, request.operation) {
            (Ok(()), BlockOperation::Read) => self.put_data(request.first, request.sectors, buffers),
            (result, _) => result,
        };
        self.release(request.first);
        result
    }
}

/// What waits is forgotten; what the drive has comes back to nobody.
impl<D: DmaBuffer, C: ThisCpu> Drop for PortDisk<D, C> {
    fn drop(&mut self) {
        let mut shared = self.queues.lock();
        shared.vm = VmSide::Gone;
        let left = (core::mem::take(&mut shared.waiting), core::mem::take(&mut shared.over));
        drop(shared);
        drop(left);
    }
}
