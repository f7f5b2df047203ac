//! The requests that a disk has taken and not given back.

use super::super::queue::{Chain, Head};
use super::request::Transfer;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;

/// The most requests that are in flight: what one disk keeps busy, at 2 KiB each.
pub const IN_FLIGHT_MAX: usize = 32;

/// Where a request is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is none: the slot is free.
    Free,
    /// Its next part, or its flush, is to be begun.
    Waiting,
    /// The medium has it.
    Begun,
    /// The medium has it, and nobody waits for it any more.
    Abandoned,
}

/// What the medium does for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// What was asked for.
    Transfer,
    /// A flush behind it.
    Settle,
}

/// One request and its buffers.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) phase: Phase,
    pub(super) head: Head,
    pub(super) transfer: Transfer,
    /// How many of its sectors are done.
    pub(super) done_sectors: u32,
    pub(super) chain: Chain,
}

impl Slot {
    const fn new() -> Self {
        let (phase, transfer) = (Phase::Transfer, Transfer::NONE);
        Self { phase, head: Head(0), transfer, done_sectors: 0, chain: Chain::new() }
    }
}

/// All slots. The number of a slot is its request's ticket.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    slots: Vec<Slot>,
    /// Apart from the slots, which are large: they are searched.
    stages: [Stage; IN_FLIGHT_MAX],
}

impl Flight {
    pub(super) fn new() -> Result<Self, TryReserveError> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(IN_FLIGHT_MAX)?;
        slots.extend((0..IN_FLIGHT_MAX).map(|_| Slot::new()));
        Ok(Self { slots, stages: [Stage::Free; IN_FLIGHT_MAX] })
    }

    pub(super) fn get(&self, index: u16) -> Option<&Slot> {
        self.slots.get(usize::from(index))
    }

    pub(super) fn get_mut(&mut self, index: u16) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(index))
    }

    /// The first slot in `stage`.
    pub(super) fn first(&self, stage: Stage) -> Option<u16> {
        self.stages.iter().position(|found| *found == stage).map(|index| index as u16)
    }

    /// Whether the medium has a request, so that it will say when that has ended.
    pub(super) fn is_begun(&self) -> bool {
        self.stages.iter().any(|stage| matches!(stage, Stage::Begun | Stage::Abandoned))
    }

    /// The stage of a slot; `None` for a number that no slot has.
    pub(super) fn stage(&self, index: u16) -> Option<Stage> {
        self.stages.get(usize::from(index)).copied()
    }

    /// Moves a slot to another stage.
    pub(super) fn set_stage(&mut self, index: u16, stage: Stage) {
        if let Some(old) = self.stages.get_mut(usize::from(index)) {
            *old = stage;
        }
    }

    /// Forgets every request. What the medium has keeps its slot until it ends, so that no two have the same ticket.
    pub(super) fn abandon(&mut self) {
        for stage in &mut self.stages {
            *stage = match stage {
                Stage::Free | Stage::Waiting => Stage::Free,
                Stage::Begun | Stage::Abandoned => Stage::Abandoned,
            };
        }
    }

    /// The requests that somebody waits for.
    pub(super) fn requests(&self) -> impl Iterator<Item = &Slot> {
        let stages = self.slots.iter().zip(self.stages);
        stages.filter(|(_, stage)| matches!(stage, Stage::Waiting | Stage::Begun)).map(|(slot, _)| slot)
    }
}
