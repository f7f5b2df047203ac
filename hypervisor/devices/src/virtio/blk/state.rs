//! What of a disk is saved: its features and the requests in flight, which begin again after loading.
//!
//! The medium is not saved here, nor how far it came with a request. Each can be done twice: its buffers are the device's
//! until it is used, and nothing that the driver was told depends on it.

use super::Blk;
use super::flight::{IN_FLIGHT_MAX, Phase, Slot, Stage};
use super::request::{HEADER_BYTES, STATUS_BYTES, Transfer};
use crate::virtio::{Chain, Head, Segment, VirtioDevice};
use alloc::vec::Vec;
use base::state::{SavedState, StateError};
use minicbor::{Decode, Encode};
use seams::{BlockOperation, SECTOR_BYTES};

/// A disk as saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlkState {
    /// What the driver has accepted of what is offered.
    #[n(0)]
    pub(super) features: u64,
    #[n(1)]
    pub(super) requests: Vec<RequestState>,
}

/// A request in flight as saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RequestState {
    #[n(0)]
    pub(super) head: u16,
    /// As [`operation_number`] counts.
    #[n(1)]
    pub(super) operation: u8,
    #[n(2)]
    pub(super) first_sector: u64,
    #[n(3)]
    pub(super) sectors: u32,
    #[n(4)]
    pub(super) done_sectors: u32,
    /// All that is missing is the flush behind it.
    #[n(5)]
    pub(super) settles: bool,
    #[n(6)]
    pub(super) readable: Vec<SegmentState>,
    #[n(7)]
    pub(super) writable: Vec<SegmentState>,
}

/// A buffer as saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SegmentState {
    #[n(0)]
    pub(super) address: u64,
    #[n(1)]
    pub(super) len_bytes: u32,
}

impl From<&Segment> for SegmentState {
    fn from(segment: &Segment) -> Self {
        Self { address: segment.gpa.as_u64(), len_bytes: segment.len_bytes }
    }
}

/// The operations by their numbers in saved state.
const OPERATIONS: [BlockOperation; 5] = [
    BlockOperation::Read,
    BlockOperation::Write,
    BlockOperation::Flush,
    BlockOperation::Discard,
    BlockOperation::WriteZeroes,
];

fn operation_number(operation: BlockOperation) -> u8 {
    OPERATIONS.iter().position(|known| *known == operation).unwrap_or_default() as u8
}

impl From<&Slot> for RequestState {
    fn from(slot: &Slot) -> Self {
        Self {
            head: slot.head.0,
            operation: operation_number(slot.transfer.operation),
            first_sector: slot.transfer.first_sector,
            sectors: slot.transfer.sectors,
            done_sectors: slot.done_sectors,
            settles: slot.phase == Phase::Settle,
            readable: slot.chain.readable().iter().map(SegmentState::from).collect(),
            writable: slot.chain.writable().iter().map(SegmentState::from).collect(),
        }
    }
}

/// A request that was loaded and is sound.
struct Loaded {
    transfer: Transfer,
    chain: Chain,
}

impl Blk {
    /// The request that `state` describes, if this disk could have it in flight.
    fn loaded(&self, state: &RequestState) -> Option<Loaded> {
        let RequestState { first_sector, sectors, done_sectors, .. } = *state;
        let operation = *OPERATIONS.get(usize::from(state.operation))?;
        let transfer = Transfer { operation, first_sector, sectors };
        let segments = |states: &[SegmentState]| -> Vec<(u64, u32)> {
            states.iter().map(|segment| (segment.address, segment.len_bytes)).collect()
        };
        let chain = Chain::from_segments(&segments(&state.readable), &segments(&state.writable)).ok()?;
        let data_bytes = match operation {
            BlockOperation::Read => Some(chain.writable_bytes().checked_sub(STATUS_BYTES)?),
            BlockOperation::Write => Some(chain.readable_bytes().checked_sub(HEADER_BYTES)?),
            _ => None,
        };
        let is_sound = chain.readable_bytes() >= HEADER_BYTES
            && chain.writable_bytes() >= STATUS_BYTES
            && data_bytes.is_none_or(|data| u64::from(data) == u64::from(sectors) * SECTOR_BYTES)
            && match operation {
                BlockOperation::Flush => transfer == Transfer::NONE && done_sectors == 0,
                _ => self.has_sectors(&transfer) && done_sectors <= sectors,
            }
            && (!state.settles || transfer.is_change() && done_sectors == sectors)
            && (state.settles || done_sectors < sectors || operation == BlockOperation::Flush);
        is_sound.then_some(Loaded { transfer, chain })
    }
}

impl SavedState for Blk {
    const SECTION: &'static str = "virtio-blk";
    const VERSION: u16 = 1;
    type Image = BlkState;

    fn save(&self) -> BlkState {
        BlkState {
            features: self.features,
            requests: self.flight.requests().map(RequestState::from).collect(),
        }
    }

    /// Loads into a disk whose medium has nothing of it in flight.
    fn load(&mut self, image: BlkState) -> Result<(), StateError> {
        let out_of_range = |field| StateError::OutOfRange { section: Self::SECTION, field };
        if image.features & !self.features() != 0 {
            return Err(out_of_range("features"));
        }
        let too_many = image.requests.len() > IN_FLIGHT_MAX;
        if too_many || !image.requests.iter().all(|request| self.loaded(request).is_some()) {
            return Err(out_of_range("requests"));
        }
        self.reset();
        self.features = image.features;
        for state in &image.requests {
            self.take_over(state);
        }
        Ok(())
    }
}

impl Blk {
    fn take_over(&mut self, state: &RequestState) {
        let (Some(loaded), Some(index)) = (self.loaded(state), self.flight.first_free()) else {
            return;
        };
        let Some(slot) = self.flight.get_mut(index) else { return };
        (slot.head, slot.transfer, slot.chain) = (Head(state.head), loaded.transfer, loaded.chain);
        slot.phase = if state.settles { Phase::Settle } else { Phase::Transfer };
        slot.done_sectors = state.done_sectors;
        self.flight.set_stage(index, Stage::Waiting);
    }
}
