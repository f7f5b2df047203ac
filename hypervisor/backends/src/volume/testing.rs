//! What the tests of volumes share: a guest's buffers, buffers for a drive, and a medium that takes its time.

use super::check;
use base::Gpa;
use seams::{
    Begun, Block, BlockBuffers, BlockError, BlockGeometry, BlockOperation, BlockRequest, BusAddress,
    DmaBuffer, MemoryError, Ticket,
};
use sync::{HeldRanks, ThisCpu};

pub fn request(operation: BlockOperation, first_sector: u64, sectors: u32) -> BlockRequest {
    BlockRequest { ticket: Ticket(0), operation, first_sector, sectors }
}

/// A guest's buffers, one piece of memory.
pub struct Memory {
    pub bytes: Vec<u8>,
    at: usize,
}

impl Memory {
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), at: 0 }
    }

    fn next(&mut self, len: usize) -> Result<&mut [u8], MemoryError> {
        let refused = MemoryError::Unmapped(Gpa::from_low_bits(self.at as u64));
        let part = self.bytes.get_mut(self.at..self.at + len).ok_or(refused)?;
        self.at += len;
        Ok(part)
    }
}

impl BlockBuffers for Memory {
    fn put(&mut self, bytes: &[u8]) -> Result<(), MemoryError> {
        self.next(bytes.len()).map(|part| part.copy_from_slice(bytes))
    }

    fn put_zeroes(&mut self, len_bytes: u64) -> Result<(), MemoryError> {
        self.next(usize::try_from(len_bytes).unwrap()).map(|part| part.fill(0))
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<(), MemoryError> {
        self.next(bytes.len()).map(|part| bytes.copy_from_slice(part))
    }
}

/// A CPU that checks the ranks of its locks. Tests run side by side, each on a thread that is its CPU.
#[derive(Debug)]
pub struct TestCpu;

impl ThisCpu for TestCpu {
    fn held_ranks() -> Option<&'static HeldRanks> {
        thread_local! {
            static HELD: &'static HeldRanks = Box::leak(Box::new(HeldRanks::new()));
        }
        Some(HELD.with(|held| *held))
    }
}

/// A buffer that no drive reaches.
#[derive(Debug)]
pub struct TestBuffer(pub Vec<u8>);

impl DmaBuffer for TestBuffer {
    fn bus_address(&self) -> BusAddress {
        BusAddress(0)
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// A medium on which each request is pending until it is told to go on, and which takes whole blocks only.
pub struct SlowDisk {
    pub bytes: Vec<u8>,
    pub geometry: BlockGeometry,
    /// Begun and not over, with what is to be written.
    pub pending: Vec<(BlockRequest, Vec<u8>)>,
    over: Vec<BlockRequest>,
}

impl SlowDisk {
    pub fn new(bytes: Vec<u8>, geometry: BlockGeometry) -> Self {
        Self { bytes, geometry, pending: Vec::new(), over: Vec::new() }
    }

    /// Ends one of the pending requests.
    pub fn go_on(&mut self, which: usize) {
        if self.pending.is_empty() {
            return;
        }
        let (request, data) = self.pending.remove(which % self.pending.len());
        let start = request.first_sector as usize * 512;
        match request.operation {
            BlockOperation::Write => self.bytes[start..start + data.len()].copy_from_slice(&data),
            BlockOperation::WriteZeroes => self.bytes[start..start + len_bytes(&request)].fill(0),
            _ => {}
        }
        self.over.push(request);
    }
}

fn len_bytes(request: &BlockRequest) -> usize {
    request.sectors as usize * 512
}

impl Block for SlowDisk {
    fn geometry(&self) -> BlockGeometry {
        self.geometry
    }

    fn begin(&mut self, request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Begun {
        assert_eq!(check(&self.geometry, request), Ok(()));
        let block_sectors = self.geometry.block_bytes / 512;
        let is_whole = request.first_sector.is_multiple_of(block_sectors.into())
            && request.sectors.is_multiple_of(block_sectors);
        assert!(is_whole, "{request:?}");
        let mut data = Vec::new();
        if request.operation == BlockOperation::Write {
            data.resize(len_bytes(request), 0);
            if let Err(error) = buffers.take(&mut data) {
                return Begun::Done(Err(error.into()));
            }
        }
        self.pending.push((*request, data));
        Begun::Pending
    }

    fn finished(&mut self) -> Option<Ticket> {
        self.over.first().map(|request| request.ticket)
    }

    /// Puts the data in pieces that end within sectors.
    fn collect(&mut self, ticket: Ticket, buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
        let index = self.over.iter().position(|request| request.ticket == ticket).unwrap();
        let request = self.over.remove(index);
        if request.operation == BlockOperation::Read {
            let start = request.first_sector as usize * 512;
            let bytes = &self.bytes[start..start + len_bytes(&request)];
            bytes.chunks(700).try_for_each(|chunk| buffers.put(chunk))?;
        }
        Ok(())
    }
}
