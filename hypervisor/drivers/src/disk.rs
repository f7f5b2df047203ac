//! What every disk's driver is to those above: commands go in, completions come out, nobody waits.
//!
//! ```text
//!   submit(command, now) ──Ok──► in flight ──► poll(now): completion, the buffer with it
//!         └──Err(Refused)──► the command comes back, with the reason
//! ```
//! Commands in flight end in any order. A command that gets no answer ends too: at its deadline the driver resets the
//! device, tries once more, and then fails the command. So `poll` is due when an interrupt has come, and at
//! [`Disk::next_deadline`].

use crate::Readiness;
use crate::error::DeviceError;
use base::Instant;
use core::fmt;
use seams::{DmaBuffer, SECTOR_BYTES, Ticket};

/// A part of a device that is a disk of its own: a namespace of an NVMe controller. They are counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unit(pub u8);

/// What is to be done with sectors.
#[derive(Debug)]
pub enum Action<B> {
    /// Read them into the buffer.
    Read(B),
    /// Write them from the buffer.
    Write(B),
    /// Bring all writes that have completed to the medium. Names no sectors.
    Flush,
    /// Forget the sectors' contents.
    Discard,
    /// Make them zero.
    WriteZeroes,
}

impl<B> Action<B> {
    /// The buffer, if the action has one.
    pub fn into_buffer(self) -> Option<B> {
        match self {
            Self::Read(buffer) | Self::Write(buffer) => Some(buffer),
            Self::Flush | Self::Discard | Self::WriteZeroes => None,
        }
    }
}

/// One command. Sectors have [`SECTOR_BYTES`], whatever the disk's own blocks have.
#[derive(Debug)]
pub struct Command<B> {
    /// What its completion is known by: the driver only hands it back.
    pub ticket: Ticket,
    /// Which disk of the device.
    pub unit: Unit,
    /// The first sector: a multiple of the disk's block.
    pub first_sector: u64,
    /// How many sectors: a multiple of the disk's block, and not 0 but for a flush.
    pub sectors: u32,
    /// What is to be done.
    pub action: Action<B>,
}

/// A command that is over.
#[derive(Debug)]
pub struct Completion<B> {
    /// The command's.
    pub ticket: Ticket,
    /// The command's buffer. `None` when it had none, or when the device has stopped answering and may still write to
    /// it: then the memory is lost.
    pub buffer: Option<B>,
    /// How it went. Of the sectors of a failed write nothing is known but that each is old or new.
    pub result: Result<(), DiskError>,
}

/// A command that was not begun.
#[derive(Debug)]
pub struct Refused<B> {
    /// The command.
    pub command: Command<B>,
    /// Why.
    pub reason: Refusal,
}

/// Why a command was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many as the device takes are in flight: worth another try after a completion.
    Full,
    /// The disk cannot do that.
    Unsupported,
    /// There is no such unit.
    NoSuchUnit,
    /// Sectors past the disk's end.
    OutOfRange,
    /// No sectors, or not whole blocks of the disk's.
    Misaligned,
    /// More sectors than the disk takes at once.
    TooLong,
    /// The buffer has fewer bytes than the sectors.
    BufferTooShort,
    /// A change of what is read-only.
    ReadOnly,
    /// The device has failed for good.
    Gone,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => {
                "as many commands as the disk takes are in flight: try again after one has completed"
            }
            Self::Unsupported => "the disk cannot do that",
            Self::NoSuchUnit => "the device has no such disk",
            Self::OutOfRange => "past the end of the disk",
            Self::Misaligned => "not whole blocks of the disk",
            Self::TooLong => "more than the disk takes at once",
            Self::BufferTooShort => "the buffer is shorter than the sectors",
            Self::ReadOnly => "the disk is read-only",
            Self::Gone => "the disk has failed: replace it and restart the host",
        })
    }
}

/// Why a command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The device reports an error; what it said, in its own code.
    Device(u16),
    /// The disk does not know the command after all.
    Unsupported,
    /// No answer, not even after a reset.
    TimedOut,
    /// The device has failed for good.
    Gone,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(code) => write!(f, "the disk reports error {code:#x}: check the medium"),
            Self::Unsupported => f.write_str("the disk cannot do that"),
            Self::TimedOut => f.write_str("the disk does not answer, not even after a reset"),
            Self::Gone => f.write_str("the disk has failed: replace it and restart the host"),
        }
    }
}

impl core::error::Error for DiskError {}

/// What a disk can do beyond reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// It takes writes.
    pub write: bool,
    /// [`Action::Discard`].
    pub discard: bool,
    /// [`Action::WriteZeroes`].
    pub write_zeroes: bool,
    /// A completed write may be in a cache that loses it with the power: [`Action::Flush`] is needed.
    pub volatile_cache: bool,
}

/// The shape of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskGeometry {
    /// Its size.
    pub sectors: u64,
    /// Its block: what it reads and writes at least, in bytes: a power of two, 512 to 4096.
    pub block_bytes: u32,
    /// The most sectors of one read or write: a multiple of the block.
    pub max_transfer_sectors: u32,
    /// The most sectors of one discard or write-zeroes.
    pub max_clear_sectors: u32,
    /// What it can do.
    pub abilities: Abilities,
    /// What it is known by in all the world, if it may be reached by another controller too.
    pub shared_as: Option<u128>,
}

impl DiskGeometry {
    /// Whether `command` can be carried out on such a disk.
    ///
    /// # Errors
    /// Why not.
    pub fn check<B: DmaBuffer>(&self, command: &Command<B>) -> Result<(), Refusal> {
        let (most, able) = match &command.action {
            Action::Flush => return Ok(()),
            Action::Read(_) => (self.max_transfer_sectors, true),
            Action::Write(_) => (self.max_transfer_sectors, self.abilities.write),
            Action::Discard => (self.max_clear_sectors, self.abilities.discard),
            Action::WriteZeroes => (self.max_clear_sectors, self.abilities.write_zeroes),
        };
        if !self.abilities.write && !matches!(command.action, Action::Read(_)) {
            return Err(Refusal::ReadOnly);
        }
        if !able {
            return Err(Refusal::Unsupported);
        }
        let block_sectors = u64::from(self.block_bytes) / SECTOR_BYTES;
        let whole = |sectors: u64| block_sectors != 0 && sectors.is_multiple_of(block_sectors);
        let sectors = u64::from(command.sectors);
        if sectors == 0 || !whole(sectors) || !whole(command.first_sector) {
            return Err(Refusal::Misaligned);
        }
        if command.sectors > most {
            return Err(Refusal::TooLong);
        }
        if command.first_sector.checked_add(sectors).is_none_or(|end| end > self.sectors) {
            return Err(Refusal::OutOfRange);
        }
        match &command.action {
            Action::Read(buffer) | Action::Write(buffer)
                if (buffer.bytes().len() as u64) < sectors * SECTOR_BYTES =>
            {
                Err(Refusal::BufferTooShort)
            }
            _ => Ok(()),
        }
    }
}

/// A disk's driver.
pub trait Disk {
    /// What its buffers are.
    type Buffer: DmaBuffer;

    /// The shape of one disk of the device; `None` when there is no such unit.
    fn geometry(&self, unit: Unit) -> Option<DiskGeometry>;

    /// How many commands can be in flight.
    fn depth(&self) -> usize;

    /// Begins `command`.
    ///
    /// # Errors
    /// The command itself, and why.
    fn submit(&mut self, command: Command<Self::Buffer>, now: Instant) -> Result<(), Refused<Self::Buffer>>;

    /// Goes on, and gives one command that is over. Call it until it gives none.
    fn poll(&mut self, now: Instant) -> Option<Completion<Self::Buffer>>;

    /// When [`Disk::poll`] has to be called though no interrupt came: at [`Instant`] 0, so at once, while a completion waits
    /// to be taken.
    fn next_deadline(&self) -> Instant;

    /// Tells the device that the power will go: it takes no commands any more, and brings what it still has in a cache to
    /// the medium. Poll until it is off, or has failed.
    fn shut_down(&mut self, now: Instant);

    /// Whether the device can be used. Poll as long as it is pending.
    fn readiness(&self) -> Readiness;

    /// What has gone wrong with the device since the last call, for the log.
    fn take_trouble(&mut self) -> Option<DeviceError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use iommu::fake::{FakeDma, FakePiece};
    use seams::DmaMemory;

    fn geometry() -> DiskGeometry {
        let abilities = Abilities { write: true, discard: false, write_zeroes: true, volatile_cache: true };
        DiskGeometry {
            sectors: 800,
            block_bytes: 4096,
            max_transfer_sectors: 16,
            max_clear_sectors: 800,
            abilities,
            shared_as: None,
        }
    }

    fn check(first_sector: u64, sectors: u32, action: Action<FakePiece>) -> Result<(), Refusal> {
        geometry().check(&Command { ticket: Ticket(1), unit: Unit(0), first_sector, sectors, action })
    }

    #[test]
    fn only_whole_blocks_inside_the_disk_pass() {
        let buffer = || FakeDma::new().buffer(8192).unwrap();
        assert_eq!(check(0, 16, Action::Read(buffer())), Ok(()));
        assert_eq!(check(792, 8, Action::Write(buffer())), Ok(()));
        assert_eq!(check(4, 8, Action::Read(buffer())), Err(Refusal::Misaligned));
        assert_eq!(check(0, 4, Action::Read(buffer())), Err(Refusal::Misaligned));
        assert_eq!(check(0, 0, Action::Read(buffer())), Err(Refusal::Misaligned));
        assert_eq!(check(0, 24, Action::Read(buffer())), Err(Refusal::TooLong));
        assert_eq!(check(792, 16, Action::Read(buffer())), Err(Refusal::OutOfRange));
        assert_eq!(check(u64::MAX - 7, 8, Action::Read(buffer())), Err(Refusal::OutOfRange));
        let short = FakeDma::new().buffer(4096).unwrap();
        assert_eq!(check(0, 16, Action::Write(short)), Err(Refusal::BufferTooShort));
    }

    #[test]
    fn what_a_disk_cannot_do_is_refused() {
        assert_eq!(check(0, 8, Action::Discard), Err(Refusal::Unsupported));
        assert_eq!(check(0, 800, Action::WriteZeroes), Ok(()));
        assert_eq!(check(7, 7, Action::Flush), Ok(()));
        let read_only = DiskGeometry { abilities: Abilities::default(), ..geometry() };
        let command = Command {
            ticket: Ticket(1),
            unit: Unit(0),
            first_sector: 0,
            sectors: 8,
            action: Action::WriteZeroes,
        };
        assert_eq!(read_only.check::<FakePiece>(&command), Err(Refusal::ReadOnly));
    }
}
