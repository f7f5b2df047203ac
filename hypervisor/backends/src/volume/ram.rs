//! A disk in memory: every request is over at once.

use super::check;
use core::marker::PhantomData;
use core::ops::Range;
use seams::{
    Begun, Block, BlockAccess, BlockBuffers, BlockError, BlockGeometry, BlockOperation, BlockRequest,
    SECTOR_BYTES, Ticket,
};

/// A disk whose medium is `bytes`. `A` is [`ReadOnly`] or [`Writable`].
///
/// A length that is not whole sectors is rounded so that no promise is broken: up when nothing is written, and the last
/// sector ends in zeros; down otherwise, because the rest of a last sector could not be kept.
#[derive(Debug)]
pub struct RamDisk<T, A> {
    bytes: T,
    access: PhantomData<A>,
}

/// Writes are refused.
#[derive(Debug)]
pub enum ReadOnly {}

/// Writes change the bytes.
#[derive(Debug)]
pub enum Writable {}

/// How the bytes of a disk are reached.
pub trait Access<T> {
    /// Whether writes are taken.
    const ACCESS: BlockAccess;
    /// The bytes to change, if they may be.
    fn bytes_mut(bytes: &mut T) -> Option<&mut [u8]>;
}

impl<T> Access<T> for ReadOnly {
    const ACCESS: BlockAccess = BlockAccess::ReadOnly;

    fn bytes_mut(_: &mut T) -> Option<&mut [u8]> {
        None
    }
}

impl<T: AsMut<[u8]>> Access<T> for Writable {
    const ACCESS: BlockAccess = BlockAccess::ReadWrite;

    fn bytes_mut(bytes: &mut T) -> Option<&mut [u8]> {
        Some(bytes.as_mut())
    }
}

impl<T: AsRef<[u8]>, A: Access<T>> RamDisk<T, A> {
    /// A disk of `bytes`.
    pub const fn new(bytes: T) -> Self {
        Self { bytes, access: PhantomData }
    }

    fn serve(&mut self, request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
        check(&self.geometry(), request)?;
        match request.operation {
            // Memory is all the medium there is, and what is forgotten may stay.
            BlockOperation::Flush | BlockOperation::Discard => Ok(()),
            BlockOperation::Read => self.read(byte_range(request)?, buffers),
            BlockOperation::Write => Ok(buffers.take(self.part_mut(byte_range(request)?)?)?),
            BlockOperation::WriteZeroes => {
                self.part_mut(byte_range(request)?)?.fill(0);
                Ok(())
            }
        }
    }

    fn read(&self, range: Range<usize>, buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
        let bytes = self.bytes.as_ref();
        let end = range.end.min(bytes.len());
        let there = bytes.get(range.start..end).ok_or(BlockError::OutOfRange)?;
        buffers.put(there)?;
        let missing = range.end.saturating_sub(end) as u64;
        if missing != 0 {
            buffers.put_zeroes(missing)?;
        }
        Ok(())
    }

    fn part_mut(&mut self, range: Range<usize>) -> Result<&mut [u8], BlockError> {
        let bytes = A::bytes_mut(&mut self.bytes).ok_or(BlockError::ReadOnly)?;
        bytes.get_mut(range).ok_or(BlockError::OutOfRange)
    }
}

/// The bytes that a request is about.
fn byte_range(request: &BlockRequest) -> Result<Range<usize>, BlockError> {
    let end_sector = request.first_sector.checked_add(request.sectors.into());
    let byte = |sector: u64| sector.checked_mul(SECTOR_BYTES).and_then(|byte| usize::try_from(byte).ok());
    let (start, end) = (byte(request.first_sector), end_sector.and_then(byte));
    start.zip(end).map(|(start, end)| start..end).ok_or(BlockError::OutOfRange)
}

impl<T: AsRef<[u8]>, A: Access<T>> Block for RamDisk<T, A> {
    fn geometry(&self) -> BlockGeometry {
        let len_bytes = self.bytes.as_ref().len() as u64;
        let sectors = match A::ACCESS {
            BlockAccess::ReadOnly => len_bytes.div_ceil(SECTOR_BYTES),
            BlockAccess::ReadWrite => len_bytes / SECTOR_BYTES,
        };
        BlockGeometry { sectors, block_bytes: SECTOR_BYTES as u32, access: A::ACCESS }
    }

    fn begin(&mut self, request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Begun {
        Begun::Done(self.serve(request, buffers))
    }

    fn finished(&mut self) -> Option<Ticket> {
        None
    }

    /// Nothing was ever pending.
    fn collect(&mut self, _: Ticket, _: &mut impl BlockBuffers) -> Result<(), BlockError> {
        Err(BlockError::Medium)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Memory, request};
    use super::*;
    use BlockOperation::{Discard, Flush, Read, Write, WriteZeroes};

    fn begin<T: AsRef<[u8]>, A: Access<T>>(
        disk: &mut RamDisk<T, A>,
        operation: BlockOperation,
        first_sector: u64,
        memory: &mut Memory,
    ) -> Result<(), BlockError> {
        let sectors = u32::try_from(memory.bytes.len() / 512).unwrap();
        match disk.begin(&request(operation, first_sector, sectors), memory) {
            Begun::Done(result) => result,
            begun => panic!("{begun:?}"),
        }
    }

    #[test]
    fn a_read_only_disk_is_padded_and_a_writable_one_is_cut() {
        let bytes = vec![9; 700];
        let mut padded = RamDisk::<_, ReadOnly>::new(&bytes);
        assert_eq!(padded.geometry().sectors, 2);
        let mut memory = Memory::of(&[1; 1024]);
        assert_eq!(begin(&mut padded, Read, 0, &mut memory), Ok(()));
        assert_eq!((&memory.bytes[..700], &memory.bytes[700..]), (&[9; 700][..], &[0; 324][..]));
        assert_eq!(RamDisk::<_, Writable>::new(bytes.clone()).geometry().sectors, 1);
        assert_eq!(RamDisk::<_, ReadOnly>::new([0_u8; 0]).geometry().sectors, 0);
    }

    #[test]
    fn what_is_written_is_read_and_zeroes_are_zero() {
        let mut disk = RamDisk::<_, Writable>::new(vec![0; 4 * 512]);
        assert_eq!(begin(&mut disk, Write, 1, &mut Memory::of(&[5; 1024])), Ok(()));
        assert_eq!(begin(&mut disk, WriteZeroes, 2, &mut Memory::of(&[0; 512])), Ok(()));
        assert_eq!(begin(&mut disk, Flush, 0, &mut Memory::of(&[])), Ok(()));
        let mut memory = Memory::of(&[1; 2048]);
        assert_eq!(begin(&mut disk, Read, 0, &mut memory), Ok(()));
        assert_eq!(memory.bytes, [[0; 512], [5; 512], [0; 512], [0; 512]].concat());
    }

    #[test]
    fn nothing_outside_and_nothing_read_only_is_touched() {
        let mut disk = RamDisk::<_, Writable>::new(vec![0; 1024]);
        for first_sector in [2, u64::MAX, u64::MAX / 512] {
            for operation in [Read, Write, Discard, WriteZeroes] {
                let begun = begin(&mut disk, operation, first_sector, &mut Memory::of(&[1; 512]));
                assert_eq!(begun, Err(BlockError::OutOfRange));
            }
        }
        let mut disk = RamDisk::<_, ReadOnly>::new([0_u8; 1024]);
        for operation in [Write, Discard, WriteZeroes] {
            let begun = begin(&mut disk, operation, 0, &mut Memory::of(&[1; 512]));
            assert_eq!(begun, Err(BlockError::ReadOnly));
        }
    }

    #[test]
    fn a_guests_buffer_that_refuses_fails_the_request() {
        let mut disk = RamDisk::<_, Writable>::new(vec![0; 1024]);
        let mut memory = Memory::of(&[1; 600]);
        let result = disk.begin(&request(Read, 0, 2), &mut memory);
        assert!(matches!(result, Begun::Done(Err(BlockError::Buffers(_)))));
    }
}
