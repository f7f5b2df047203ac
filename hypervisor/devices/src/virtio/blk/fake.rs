//! A medium for tests, with a cache in front of it, that ends requests when it is told to.

extern crate std;

use seams::{
    Begun, Block, BlockAccess, BlockBuffers, BlockError, BlockGeometry, BlockOperation, BlockRequest, Ticket,
};
use std::collections::{BTreeMap, VecDeque};
use std::{vec, vec::Vec};

/// When requests end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    AtOnce,
    /// When [`FakeDisk::end`] says so.
    Later,
}

/// What is pending: the request, and the data of a write.
type Pending = (BlockRequest, Vec<u8>);

#[derive(Debug)]
pub(crate) struct FakeDisk {
    pub(crate) pace: Pace,
    pub(crate) access: BlockAccess,
    /// What reads see.
    pub(crate) cache: Vec<u8>,
    /// What survives a loss of power.
    pub(crate) medium: Vec<u8>,
    pub(crate) pending: VecDeque<Pending>,
    /// How many may be pending.
    pub(crate) depth: usize,
    /// What all requests end with until it is `None`.
    pub(crate) failure: Option<BlockError>,
    /// What was begun.
    pub(crate) begun: Vec<BlockRequest>,
    ended: BTreeMap<Ticket, (BlockRequest, Result<(), BlockError>)>,
    finished: VecDeque<Ticket>,
}

impl FakeDisk {
    pub(crate) fn new(sectors: usize, pace: Pace) -> Self {
        let content: Vec<u8> = (0..sectors * 512).map(|i| (i / 512 + i % 7) as u8).collect();
        Self {
            pace,
            access: BlockAccess::ReadWrite,
            medium: content.clone(),
            cache: content,
            pending: VecDeque::new(),
            depth: 64,
            failure: None,
            begun: Vec::new(),
            ended: BTreeMap::new(),
            finished: VecDeque::new(),
        }
    }

    /// Ends the pending request `which`, counted from the oldest; whether there was one.
    pub(crate) fn end(&mut self, which: usize) -> bool {
        let Some((request, data)) = self.pending.remove(which) else { return false };
        let result = self.apply(&request, &data);
        self.ended.insert(request.ticket, (request, result));
        self.finished.push_back(request.ticket);
        true
    }

    /// Forgets all requests, as when what they were made by is gone. Those that are pending have changed nothing.
    pub(crate) fn lose_requests(&mut self) {
        self.pending.clear();
        self.ended.clear();
        self.finished.clear();
    }

    fn range(request: &BlockRequest) -> core::ops::Range<usize> {
        let start = request.first_sector as usize * 512;
        start..start + request.sectors as usize * 512
    }

    fn apply(&mut self, request: &BlockRequest, data: &[u8]) -> Result<(), BlockError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        match request.operation {
            BlockOperation::Read => {}
            BlockOperation::Write => self.cache[Self::range(request)].copy_from_slice(data),
            BlockOperation::Flush => self.medium.clone_from(&self.cache),
            BlockOperation::Discard => self.cache[Self::range(request)].fill(0xdd),
            BlockOperation::WriteZeroes => self.cache[Self::range(request)].fill(0),
        }
        Ok(())
    }
}

impl Block for FakeDisk {
    fn geometry(&self) -> BlockGeometry {
        BlockGeometry { sectors: self.cache.len() as u64 / 512, block_bytes: 4096, access: self.access }
    }

    fn begin(&mut self, request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Begun {
        if self.pending.len() >= self.depth {
            return Begun::Busy;
        }
        let is_known = self.ended.contains_key(&request.ticket)
            || self.pending.iter().any(|(pending, _)| pending.ticket == request.ticket);
        assert!(!is_known, "two requests in flight have the ticket of {request:?}");
        self.begun.push(*request);
        let mut data = Vec::new();
        if request.operation == BlockOperation::Write {
            data = vec![0; request.sectors as usize * 512];
            if let Err(error) = buffers.take(&mut data) {
                return Begun::Done(Err(error.into()));
            }
        }
        if self.pace == Pace::Later {
            self.pending.push_back((*request, data));
            return Begun::Pending;
        }
        Begun::Done(self.apply(request, &data).and_then(|()| self.put(request, buffers)))
    }

    fn finished(&mut self) -> Option<Ticket> {
        self.finished.pop_front()
    }

    fn collect(&mut self, ticket: Ticket, buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
        let (request, result) = self.ended.remove(&ticket).unwrap();
        result.and_then(|()| self.put(&request, buffers))
    }
}

impl FakeDisk {
    /// Gives a read its data, sector by sector.
    fn put(&self, request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
        if request.operation == BlockOperation::Read {
            for sector in self.cache[Self::range(request)].chunks(512) {
                buffers.put(sector)?;
            }
        }
        Ok(())
    }
}
