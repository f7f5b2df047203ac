//! Volumes: what stands behind a VM's disk.
//!
//! ```text
//!                      Volume
//!                     /      \
//!                    |        Overlay        the guest's writes, in memory
//!                    |        /
//!                    +-------+
//!              Base: |       |
//!                    |   WholeBlocks         requests of single sectors, where a drive has larger blocks
//!                    |       |
//!                 RamDisk  PortDisk          a file; a drive or a partition of it
//!                            ¦               requests with their data, moved through a queue
//!                           Drive            the task that owns the drive's driver
//! ```
//! What a name means is found in [`source`] and [`gpt`]; that nothing is written to by one and used by another, in [`claims`].
//!
//! # Principles
//! - A request is checked here against the volume's own bounds, whatever was checked before.
//! - Memory that a guest can make a volume take is limited when the volume is made, and asked for fallibly.

pub mod claims;
pub mod gpt;
pub mod overlay;
pub mod port;
pub mod ram;
pub mod source;
#[cfg(test)]
mod testing;
pub mod whole_blocks;

use base::ByteSize;
use overlay::{Overlay, OverlayError, limit_for_all};
use port::PortDisk;
use ram::{RamDisk, ReadOnly};
use seams::{
    Begun, Block, BlockAccess, BlockBuffers, BlockError, BlockGeometry, BlockOperation, BlockRequest,
    DmaBuffer, Ticket,
};
use sync::ThisCpu;
use whole_blocks::WholeBlocks;

/// What stands behind one disk. `R` are a file's bytes, `D` buffers that a drive reaches, `C` names the CPU.
#[derive(Debug)]
pub enum Volume<R, D: DmaBuffer, C: ThisCpu> {
    /// All requests go to the base.
    Plain(Base<R, D, C>),
    /// The base is only read.
    Overlaid(Overlay<Base<R, D, C>>),
}

/// What a volume's sectors come from.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one a disk, and a box would be one more way to every sector"
)]
pub enum Base<R, D: DmaBuffer, C: ThisCpu> {
    /// A file in memory, which is never changed.
    File(RamDisk<R, ReadOnly>),
    /// A drive, or a partition of one.
    Drive(WholeBlocks<PortDisk<D, C>>),
}

impl<R: AsRef<[u8]>, D: DmaBuffer, C: ThisCpu> Volume<R, D, C> {
    /// A disk with the contents of a file. What is written goes to an overlay, which without a limit of its own may take
    /// as much memory as the whole disk needs.
    ///
    /// # Errors
    /// As [`Overlay::new`].
    pub fn file(bytes: R, access: BlockAccess, overlay: Option<ByteSize>) -> Result<Self, OverlayError> {
        let base = Base::File(RamDisk::new(bytes));
        let whole = ByteSize(limit_for_all(base.geometry().sectors));
        match access {
            BlockAccess::ReadOnly => Ok(Self::Plain(base)),
            BlockAccess::ReadWrite => Overlay::new(base, overlay.unwrap_or(whole)).map(Self::Overlaid),
        }
    }

    /// A drive, or what of it the port leads to.
    ///
    /// # Errors
    /// As [`Overlay::new`]; [`OverlayError::NoMemory`] also without an overlay.
    pub fn drive(port: PortDisk<D, C>, overlay: Option<ByteSize>) -> Result<Self, OverlayError> {
        let base = Base::Drive(WholeBlocks::new(port)?);
        match overlay {
            None => Ok(Self::Plain(base)),
            Some(limit) => Overlay::new(base, limit).map(Self::Overlaid),
        }
    }
}

impl<R: AsRef<[u8]>, D: DmaBuffer, C: ThisCpu> Block for Volume<R, D, C> {
    fn geometry(&self) -> BlockGeometry {
        match self {
            Self::Plain(base) => base.geometry(),
            Self::Overlaid(overlay) => overlay.geometry(),
        }
    }

    fn begin(&mut self, request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Begun {
        match self {
            Self::Plain(base) => base.begin(request, buffers),
            Self::Overlaid(overlay) => overlay.begin(request, buffers),
        }
    }

    fn finished(&mut self) -> Option<Ticket> {
        match self {
            Self::Plain(base) => base.finished(),
            Self::Overlaid(overlay) => overlay.finished(),
        }
    }

    fn collect(&mut self, ticket: Ticket, buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
        match self {
            Self::Plain(base) => base.collect(ticket, buffers),
            Self::Overlaid(overlay) => overlay.collect(ticket, buffers),
        }
    }
}

impl<R: AsRef<[u8]>, D: DmaBuffer, C: ThisCpu> Block for Base<R, D, C> {
    fn geometry(&self) -> BlockGeometry {
        match self {
            Self::File(disk) => disk.geometry(),
            Self::Drive(port) => port.geometry(),
        }
    }

    fn begin(&mut self, request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Begun {
        match self {
            Self::File(disk) => disk.begin(request, buffers),
            Self::Drive(port) => port.begin(request, buffers),
        }
    }

    fn finished(&mut self) -> Option<Ticket> {
        match self {
            Self::File(disk) => disk.finished(),
            Self::Drive(port) => port.finished(),
        }
    }

    fn collect(&mut self, ticket: Ticket, buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
        match self {
            Self::File(disk) => disk.collect(ticket, buffers),
            Self::Drive(port) => port.collect(ticket, buffers),
        }
    }
}

/// Whether a medium of this shape can take `request` at all.
fn check(geometry: &BlockGeometry, request: &BlockRequest) -> Result<(), BlockError> {
    let changes = match request.operation {
        BlockOperation::Flush => return Ok(()),
        BlockOperation::Read => false,
        BlockOperation::Write | BlockOperation::Discard | BlockOperation::WriteZeroes => true,
    };
    if changes && geometry.access == BlockAccess::ReadOnly {
        return Err(BlockError::ReadOnly);
    }
    match request.first_sector.checked_add(request.sectors.into()) {
        Some(end) if end <= geometry.sectors => Ok(()),
        _ => Err(BlockError::OutOfRange),
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Memory, TestBuffer, TestCpu, request};
    use super::*;

    type File = Volume<Vec<u8>, TestBuffer, TestCpu>;

    fn write(volume: &mut File, first_sector: u64, byte: u8) -> Begun {
        volume.begin(&request(BlockOperation::Write, first_sector, 1), &mut Memory::of(&[byte; 512]))
    }

    fn read(volume: &mut File, first_sector: u64) -> Vec<u8> {
        let mut memory = Memory::of(&[0; 512]);
        let begun = volume.begin(&request(BlockOperation::Read, first_sector, 1), &mut memory);
        assert_eq!(begun, Begun::Done(Ok(())));
        memory.bytes
    }

    #[test]
    fn a_writable_file_takes_writes_everywhere_and_never_runs_full() {
        let mut volume = File::file(vec![1; 512 * 1000], BlockAccess::ReadWrite, None).unwrap();
        for sector in 0..1000 {
            assert_eq!(write(&mut volume, sector, 7), Begun::Done(Ok(())));
        }
        assert_eq!(read(&mut volume, 999), [7; 512]);
    }

    #[test]
    fn a_read_only_file_refuses_writes() {
        let mut volume = File::file(vec![1; 1024], BlockAccess::ReadOnly, None).unwrap();
        assert_eq!(write(&mut volume, 0, 7), Begun::Done(Err(BlockError::ReadOnly)));
        assert_eq!(read(&mut volume, 0), [1; 512]);
    }
}
