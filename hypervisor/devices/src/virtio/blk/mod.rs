//! The block device: a disk over any [`seams::Block`] (VIRTIO 5.2).
//!
//! ```text
//!   chain:  header 16 | data to write ...           read by the device
//!           data that was read ... | status 1       written by it
//!
//!             no slot: left in the queue
//!            /
//!   taken ──> waiting ──begin──> begun ──finished, collect──> used
//!                ^  \── Done ──────────────────────────────────^
//!                └─ the next part; or the flush behind a write
//! ```
//! - A request that the medium ends at once never waits. Others keep their buffers in one of [`IN_FLIGHT_MAX`] slots, whose
//!   number is the medium's ticket, and end in any order.
//! - **Flush.** With `VIRTIO_BLK_F_FLUSH` a write may rest in the medium's cache until a flush, whose status is written when
//!   the medium's flush has ended. Without it each write is flushed before its status is written (5.2.6.2).
//! - **Bounds.** Data moves in parts of [`PART_SECTORS`]; a step ends after [`STEP_BYTES`] or [`STEP_CHAINS`].
//! - **Reset** leaves begun requests to end on their own: their slots are free again when they have, and their data goes nowhere.
//! - **Saved** are the requests in flight, which begin again after loading: each can be done twice.

mod buffers;
#[cfg(test)]
pub(crate) mod fake;
mod flight;
mod request;
mod run;
mod state;
#[cfg(test)]
mod tests;

pub use flight::IN_FLIGHT_MAX;
pub use run::{PART_SECTORS, STEP_BYTES, STEP_CHAINS};
pub use state::{BlkState, RequestState, SegmentState};

use super::queue::SEGMENTS_MAX;
use super::{VirtioDevice, read_config_bytes};
use alloc::collections::TryReserveError;
use flight::Flight;
use seams::{BlockAccess, BlockGeometry, SECTOR_BYTES};

/// Feature bits (5.2.3).
mod feature {
    pub(super) const SEG_MAX: u64 = 1 << 2;
    pub(super) const RO: u64 = 1 << 5;
    pub(super) const BLK_SIZE: u64 = 1 << 6;
    pub(super) const FLUSH: u64 = 1 << 9;
    pub(super) const TOPOLOGY: u64 = 1 << 10;
    pub(super) const DISCARD: u64 = 1 << 13;
    pub(super) const WRITE_ZEROES: u64 = 1 << 14;
}

/// Offered for every medium.
const OFFERED: u64 = feature::SEG_MAX | feature::BLK_SIZE | feature::FLUSH | feature::TOPOLOGY;
/// Offered for a medium that takes writes.
const OFFERED_WRITABLE: u64 = feature::DISCARD | feature::WRITE_ZEROES;

/// The most buffers of data in a request: all but its header and its status.
const DATA_SEGMENTS_MAX: u32 = SEGMENTS_MAX as u32 - 2;
/// The most sectors that one discard or write-zeroes may name: 32 MiB.
const RANGE_SECTORS_MAX: u32 = 1 << 16;

/// The configuration up to `write_zeroes_may_unmap` and its padding (5.2.4).
const CONFIG_BYTES: u32 = 60;

/// How long a disk's name is (5.2.6).
pub const ID_BYTES: usize = 20;

/// A disk.
#[derive(Clone, Debug)]
pub struct Blk {
    geometry: BlockGeometry,
    id: [u8; ID_BYTES],
    /// What the driver has accepted of what is offered.
    features: u64,
    flight: Flight,
}

impl Blk {
    /// A disk over a medium of the shape `geometry`, with the name `id` in ASCII, filled up with zeros.
    ///
    /// # Errors
    /// When there is no room for the requests in flight.
    pub fn new(geometry: BlockGeometry, id: [u8; ID_BYTES]) -> Result<Self, TryReserveError> {
        Ok(Self { geometry, id, features: 0, flight: Flight::new()? })
    }

    const fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    fn config(&self) -> [u8; CONFIG_BYTES as usize] {
        let sectors_per_block = (u64::from(self.geometry.block_bytes) / SECTOR_BYTES).max(1) as u32;
        let mut config = [0; CONFIG_BYTES as usize];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(field) = config.get_mut(at..at + bytes.len()) {
                field.copy_from_slice(bytes);
            }
        };
        put(0, &self.geometry.sectors.to_le_bytes());
        put(12, &DATA_SEGMENTS_MAX.to_le_bytes());
        // The logical block is a sector whatever the medium's is: a partition table means the same on every medium.
        put(20, &(SECTOR_BYTES as u32).to_le_bytes());
        put(24, &[sectors_per_block.ilog2() as u8]);
        // The least length of a transfer that is not slow, in logical blocks; no length is best.
        put(26, &u16::try_from(sectors_per_block).unwrap_or(u16::MAX).to_le_bytes());
        put(36, &RANGE_SECTORS_MAX.to_le_bytes());
        put(40, &1_u32.to_le_bytes());
        put(44, &sectors_per_block.to_le_bytes());
        put(48, &RANGE_SECTORS_MAX.to_le_bytes());
        put(52, &1_u32.to_le_bytes());
        config
    }
}

impl VirtioDevice for Blk {
    fn device_id(&self) -> u16 {
        2
    }

    /// Mass storage, of no kind that has a number.
    fn class(&self) -> u32 {
        0x01_8000
    }

    fn queue_count(&self) -> u16 {
        1
    }

    fn features(&self) -> u64 {
        match self.geometry.access {
            BlockAccess::ReadWrite => OFFERED | OFFERED_WRITABLE,
            BlockAccess::ReadOnly => OFFERED | feature::RO,
        }
    }

    fn config_len(&self) -> u32 {
        CONFIG_BYTES
    }

    fn read_config(&self, offset: u32, bytes: &mut [u8]) {
        read_config_bytes(&self.config(), offset, bytes);
    }

    fn features_accepted(&mut self, features: u64) {
        self.features = features & self.features();
    }

    fn reset(&mut self) {
        self.features = 0;
        self.flight.abandon();
    }
}
