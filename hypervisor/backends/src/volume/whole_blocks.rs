//! Requests of single sectors on a drive with larger blocks.
//!
//! ```text
//!   read             ──> a read of the blocks around it, of which the guest gets the middle
//!   write, zeroes    ──> a read of the blocks around it ──> the guest's data in their middle ──> a write of them
//!   discard          ──> of the blocks inside
//! ```
//! What is whole blocks already passes as it is, and on a drive with blocks of a sector all does. Between the read and the
//! write nothing else may change the blocks, or it would be lost; so such a write waits until no other change is under way,
//! and others wait for it. That is slow, and rare: drivers are told the size of a block.

use super::check;
use super::overlay::OverlayError;
use alloc::vec::Vec;
use base::{ByteSize, MIB};
use core::ops::Range;
use seams::{
    Begun, Block, BlockBuffers, BlockError, BlockGeometry, BlockOperation, BlockRequest, MemoryError,
    SECTOR_BYTES, Ticket,
};

/// How many rounded reads, and how many changes, can be under way.
const UNDER_WAY_MAX: usize = 64;

/// The longest write that is rounded, with the blocks around it, in bytes.
const ROUNDED_BYTES_MAX: u64 = MIB;

/// A disk that takes any sectors, over one that takes whole blocks.
#[derive(Debug)]
pub struct WholeBlocks<B> {
    base: B,
    block_sectors: u64,
    /// Reads of more than was asked for.
    reads: Vec<RoundedRead>,
    /// Changes of whole blocks.
    changes: Vec<Ticket>,
    write: Option<RoundedWrite>,
}

#[derive(Debug)]
struct RoundedRead {
    ticket: Ticket,
    /// What comes before the part that was asked for, and that part, in bytes.
    window: Range<u64>,
}

#[derive(Debug)]
struct RoundedWrite {
    /// The write of whole blocks, under the guest's ticket.
    request: BlockRequest,
    data: Vec<u8>,
    /// What of the data is the guest's.
    window: Range<u64>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    ToWrite,
    Writing,
    Over(Result<(), BlockError>),
}

impl<B: Block> WholeBlocks<B> {
    /// A disk over `base`.
    ///
    /// # Errors
    /// [`OverlayError::NoMemory`].
    pub fn new(base: B) -> Result<Self, OverlayError> {
        let block_sectors = (u64::from(base.geometry().block_bytes) / SECTOR_BYTES).max(1);
        let (mut reads, mut changes) = (Vec::new(), Vec::new());
        // Nothing is ever noted where every sector is a block.
        let room = if block_sectors == 1 { 0 } else { UNDER_WAY_MAX };
        let needed = ByteSize((room * (size_of::<RoundedRead>() + size_of::<Ticket>())) as u64);
        reads.try_reserve_exact(room).map_err(|_| OverlayError::NoMemory { needed })?;
        changes.try_reserve_exact(room).map_err(|_| OverlayError::NoMemory { needed })?;
        Ok(Self { base, block_sectors, reads, changes, write: None })
    }

    /// The request for all blocks that `request` touches, and where in them its own bytes are.
    fn rounded(&self, request: &BlockRequest) -> Option<(BlockRequest, Range<u64>)> {
        let end = request.first_sector.checked_add(request.sectors.into())?;
        let first_sector = request.first_sector - request.first_sector % self.block_sectors;
        let sectors = u32::try_from(end.checked_next_multiple_of(self.block_sectors)? - first_sector).ok()?;
        let start = (request.first_sector - first_sector) * SECTOR_BYTES;
        let window = start..start + u64::from(request.sectors) * SECTOR_BYTES;
        Some((BlockRequest { first_sector, sectors, ..*request }, window))
    }

    /// The request for the blocks that lie whole in `request`.
    fn inside(&self, request: &BlockRequest) -> Option<BlockRequest> {
        let first_sector = request.first_sector.checked_next_multiple_of(self.block_sectors)?;
        let end = request.first_sector.checked_add(request.sectors.into())?;
        let sectors =
            (end - end % self.block_sectors).checked_sub(first_sector).filter(|sectors| *sectors != 0)?;
        Some(BlockRequest { first_sector, sectors: u32::try_from(sectors).ok()?, ..*request })
    }

    fn read(&mut self, rounded: &BlockRequest, window: Range<u64>, buffers: &mut impl BlockBuffers) -> Begun {
        if self.reads.len() >= UNDER_WAY_MAX {
            return Begun::Busy;
        }
        let begun = self.base.begin(rounded, &mut Window::new(&window, buffers));
        if begun == Begun::Pending {
            self.reads.push(RoundedRead { ticket: rounded.ticket, window });
        }
        begun
    }

    fn change(&mut self, request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Begun {
        if self.write.is_some() || self.changes.len() >= UNDER_WAY_MAX {
            return Begun::Busy;
        }
        let begun = self.base.begin(request, buffers);
        if begun == Begun::Pending {
            self.changes.push(request.ticket);
        }
        begun
    }

    /// Begins a write, or zeroes, of blocks of which the guest gives the middle.
    fn write_rounded(
        &mut self,
        rounded: &BlockRequest,
        window: Range<u64>,
        buffers: &mut impl BlockBuffers,
    ) -> Begun {
        if self.write.is_some() || !self.changes.is_empty() {
            return Begun::Busy;
        }
        let mut data = match taken(rounded, &window, buffers) {
            Ok(data) => data,
            Err(error) => return Begun::Done(Err(error)),
        };
        let ask = BlockRequest { operation: BlockOperation::Read, ..*rounded };
        let request = BlockRequest { operation: BlockOperation::Write, ..*rounded };
        let state = match self.base.begin(&ask, &mut Around::new(&mut data, &window)) {
            Begun::Pending => State::Reading,
            Begun::Done(Ok(())) => State::ToWrite,
            begun => return begun,
        };
        self.write = Some(RoundedWrite { request, data, window, state });
        self.go_on();
        match self.write.as_ref().map(|write| write.state) {
            Some(State::Over(result)) => {
                self.write = None;
                Begun::Done(result)
            }
            _ => Begun::Pending,
        }
    }

    /// Writes what was read and changed, if it is time.
    fn go_on(&mut self) {
        let Some(write) = self.write.as_mut().filter(|write| write.state == State::ToWrite) else { return };
        write.state = match self.base.begin(&write.request, &mut Around::new(&mut write.data, &write.window))
        {
            Begun::Busy => State::ToWrite,
            Begun::Pending => State::Writing,
            Begun::Done(result) => State::Over(result),
        };
    }

    /// Whether the base's request of this name was a step of the write's, which is taken on.
    fn took_on(&mut self, ticket: Ticket) -> bool {
        let Some(write) = self.write.as_mut().filter(|write| write.request.ticket == ticket) else {
            return false;
        };
        let result = self.base.collect(ticket, &mut Around::new(&mut write.data, &write.window));
        write.state = match (write.state, result) {
            (State::Reading, Ok(())) => State::ToWrite,
            (_, result) => State::Over(result),
        };
        true
    }
}

/// Room for whole blocks, with the guest's data in their middle; zeros, when it gives none.
fn taken(
    rounded: &BlockRequest,
    window: &Range<u64>,
    buffers: &mut impl BlockBuffers,
) -> Result<Vec<u8>, BlockError> {
    let len_bytes = u64::from(rounded.sectors) * SECTOR_BYTES;
    if len_bytes > ROUNDED_BYTES_MAX {
        return Err(BlockError::Unsupported);
    }
    let mut data = Vec::new();
    data.try_reserve_exact(len_bytes as usize).map_err(|_| BlockError::Full)?;
    data.resize(len_bytes as usize, 0);
    if rounded.operation == BlockOperation::Write {
        let middle = data.get_mut(window.start as usize..window.end as usize);
        buffers.take(middle.ok_or(BlockError::OutOfRange)?)?;
    }
    Ok(data)
}

impl<B: Block> Block for WholeBlocks<B> {
    fn geometry(&self) -> BlockGeometry {
        self.base.geometry()
    }

    fn begin(&mut self, request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Begun {
        if self.block_sectors == 1 || request.operation == BlockOperation::Flush {
            return self.base.begin(request, buffers);
        }
        if let Err(error) = check(&self.geometry(), request) {
            return Begun::Done(Err(error));
        }
        let Some((rounded, window)) = self.rounded(request) else {
            return Begun::Done(Err(BlockError::OutOfRange));
        };
        match request.operation {
            BlockOperation::Read if rounded == *request => self.base.begin(request, buffers),
            BlockOperation::Read => self.read(&rounded, window, buffers),
            BlockOperation::Discard => match self.inside(request) {
                Some(inside) => self.change(&inside, buffers),
                None => Begun::Done(Ok(())),
            },
            _ if rounded == *request => self.change(request, buffers),
            _ => self.write_rounded(&rounded, window, buffers),
        }
    }

    fn finished(&mut self) -> Option<Ticket> {
        loop {
            self.go_on();
            if let Some(RoundedWrite { request, state: State::Over(_), .. }) = &self.write {
                return Some(request.ticket);
            }
            let ticket = self.base.finished()?;
            if !self.took_on(ticket) {
                return Some(ticket);
            }
        }
    }

    fn collect(&mut self, ticket: Ticket, buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
        if let Some(RoundedWrite { request, state: State::Over(result), .. }) = &self.write
            && request.ticket == ticket
        {
            let result = *result;
            self.write = None;
            return result;
        }
        if let Some(index) = self.reads.iter().position(|read| read.ticket == ticket) {
            let window = self.reads.swap_remove(index).window;
            return self.base.collect(ticket, &mut Window::new(&window, buffers));
        }
        self.changes.retain(|change| *change != ticket);
        self.base.collect(ticket, buffers)
    }
}

/// The guest's buffers, which get the middle of what arrives.
struct Window<'a, T> {
    /// Bytes that are not for the guest yet.
    skip: u64,
    /// Bytes for the guest.
    left: u64,
    inner: &'a mut T,
}

impl<'a, T: BlockBuffers> Window<'a, T> {
    fn new(window: &Range<u64>, inner: &'a mut T) -> Self {
        Self { skip: window.start, left: window.end.saturating_sub(window.start), inner }
    }

    /// How many of the next bytes are skipped, and how many after them are for the guest.
    fn split(&mut self, len_bytes: u64) -> (u64, u64) {
        let skipped = self.skip.min(len_bytes);
        let wanted = self.left.min(len_bytes - skipped);
        self.skip -= skipped;
        self.left -= wanted;
        (skipped, wanted)
    }
}

impl<T: BlockBuffers> BlockBuffers for Window<'_, T> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), MemoryError> {
        let (skipped, wanted) = self.split(bytes.len() as u64);
        let wanted = bytes.get(skipped as usize..).and_then(|rest| rest.get(..wanted as usize));
        self.inner.put(wanted.unwrap_or_default())
    }

    fn put_zeroes(&mut self, len_bytes: u64) -> Result<(), MemoryError> {
        let (_, wanted) = self.split(len_bytes);
        self.inner.put_zeroes(wanted)
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<(), MemoryError> {
        self.inner.take(bytes)
    }
}

/// Whole blocks: what is read arrives around the window, what is written is all of them.
struct Around<'a> {
    data: &'a mut [u8],
    window: Range<usize>,
    at: usize,
}

impl<'a> Around<'a> {
    fn new(data: &'a mut [u8], window: &Range<u64>) -> Self {
        Self { data, window: window.start as usize..window.end as usize, at: 0 }
    }

    /// Lets `change` have the next bytes, those before the window and those behind it, with their place among them.
    fn around(&mut self, len_bytes: usize, change: impl Fn(&mut [u8], usize)) {
        let (start, end) = (self.at, self.at.saturating_add(len_bytes));
        for part in [start..end.min(self.window.start), start.max(self.window.end)..end] {
            let place = part.start.saturating_sub(start);
            if let Some(bytes) = self.data.get_mut(part) {
                change(bytes, place);
            }
        }
        self.at = end;
    }
}

impl BlockBuffers for Around<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), MemoryError> {
        self.around(bytes.len(), |to, place| {
            to.iter_mut().zip(bytes.iter().skip(place)).for_each(|(to, from)| *to = *from);
        });
        Ok(())
    }

    fn put_zeroes(&mut self, len_bytes: u64) -> Result<(), MemoryError> {
        self.around(usize::try_from(len_bytes).unwrap_or(usize::MAX), |to, _| to.fill(0));
        Ok(())
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let from = self.data.get(self.at..).unwrap_or_default();
        bytes.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        self.at = self.at.saturating_add(bytes.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Memory, SlowDisk, request};
    use super::*;
    use BlockOperation::{Discard, Read, Write, WriteZeroes};
    use proptest::prelude::*;
    use seams::BlockAccess;

    const SECTORS: u64 = 64;

    fn disk(block_bytes: u32) -> WholeBlocks<SlowDisk> {
        let bytes = (0..SECTORS).flat_map(|sector| [sector as u8 | 0x80; 512]).collect();
        let geometry = BlockGeometry { sectors: SECTORS, block_bytes, access: BlockAccess::ReadWrite };
        WholeBlocks::new(SlowDisk::new(bytes, geometry)).unwrap()
    }

    /// Runs a request to its end.
    fn run(
        disk: &mut WholeBlocks<SlowDisk>,
        asked: BlockRequest,
        memory: &mut Memory,
    ) -> Result<(), BlockError> {
        match disk.begin(&asked, memory) {
            Begun::Done(result) => return result,
            begun => assert_eq!(begun, Begun::Pending),
        }
        while disk.finished().is_none() {
            disk.base.go_on(0);
        }
        disk.collect(asked.ticket, memory)
    }

    #[test]
    fn a_sector_is_read_and_written_in_the_middle_of_a_block() {
        let mut disk = disk(4096);
        assert_eq!(run(&mut disk, request(Write, 11, 1), &mut Memory::of(&[5; 512])), Ok(()));
        let mut memory = Memory::of(&[0; 3 * 512]);
        assert_eq!(run(&mut disk, request(Read, 10, 3), &mut memory), Ok(()));
        assert_eq!(memory.bytes, [[0x8a; 512], [5; 512], [0x8c; 512]].concat());
    }

    #[test]
    fn a_discard_spares_what_shares_a_block_with_others() {
        let mut disk = disk(4096);
        assert_eq!(disk.begin(&request(Discard, 1, 14), &mut Memory::of(&[])), Begun::Done(Ok(())));
        assert_eq!(disk.begin(&request(Discard, 1, 24), &mut Memory::of(&[])), Begun::Pending);
        let (inside, _) = disk.base.pending[0];
        assert_eq!((inside.first_sector, inside.sectors), (8, 16));
    }

    #[test]
    fn nothing_changes_beside_a_write_that_is_rounded() {
        let mut disk = disk(4096);
        let other = |operation, first| BlockRequest { ticket: Ticket(9), ..request(operation, first, 8) };
        assert_eq!(disk.begin(&other(Write, 8), &mut Memory::of(&[1; 4096])), Begun::Pending);
        assert_eq!(disk.begin(&request(Write, 1, 1), &mut Memory::of(&[5; 512])), Begun::Busy);
        disk.base.go_on(0);
        assert_eq!(disk.finished(), Some(Ticket(9)));
        assert_eq!(disk.collect(Ticket(9), &mut Memory::of(&[])), Ok(()));
        assert_eq!(disk.begin(&request(Write, 1, 1), &mut Memory::of(&[5; 512])), Begun::Pending);
        for operation in [Write, WriteZeroes, Discard] {
            assert_eq!(disk.begin(&other(operation, 8), &mut Memory::of(&[1; 4096])), Begun::Busy);
        }
        assert_eq!(disk.begin(&other(Read, 8), &mut Memory::of(&[])), Begun::Pending);
    }

    #[test]
    fn a_guests_buffer_that_refuses_leaves_nothing_behind() {
        let mut disk = disk(4096);
        let begun = disk.begin(&request(Write, 1, 2), &mut Memory::of(&[5; 600]));
        assert!(matches!(begun, Begun::Done(Err(BlockError::Buffers(_)))));
        assert!(disk.write.is_none() && disk.base.pending.is_empty());
    }

    #[test]
    fn where_a_block_is_a_sector_all_passes() {
        let mut disk = disk(512);
        assert_eq!(disk.begin(&request(Write, 1, 1), &mut Memory::of(&[5; 512])), Begun::Pending);
        assert_eq!(disk.begin(&request(Write, 2, 1), &mut Memory::of(&[5; 512])), Begun::Pending);
        assert_eq!(disk.base.pending.len(), 2);
    }

    proptest! {
        #[test]
        fn any_sectors_are_as_on_a_disk_without_blocks(
            acts in prop::collection::vec((0_u8..3, 0_u64..50, 1_u32..14, any::<u8>()), 1..30),
            block in prop_oneof![Just(1024_u32), Just(2048), Just(4096)],
        ) {
            let mut disk = disk(block);
            let mut model = disk.base.bytes.clone();
            for (what, first, sectors, byte) in acts {
                let operation = [Read, Write, WriteZeroes][usize::from(what)];
                let range = first as usize * 512..(first as usize + sectors as usize) * 512;
                let mut memory = Memory::of(&vec![byte; range.len()]);
                prop_assert_eq!(run(&mut disk, request(operation, first, sectors), &mut memory), Ok(()));
                match operation {
                    Read => prop_assert_eq!(&memory.bytes, &model[range]),
                    Write => model[range].fill(byte),
                    _ => model[range].fill(0),
                }
            }
            prop_assert_eq!(disk.base.bytes, model);
        }
    }
}
