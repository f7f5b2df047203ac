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

/// A set of slots: a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Set(u32);

const _: () = assert!(IN_FLIGHT_MAX == u32::BITS as usize);

impl Set {
    const NONE: Self = Self(0);
    const ALL: Self = Self(u32::MAX);

    const fn of(index: u16) -> Self {
        Self(if (index as usize) < IN_FLIGHT_MAX { 1 << index } else { 0 })
    }

    const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn has(self, index: u16) -> bool {
        self.0 & Self::of(index).0 != 0
    }

    const fn first(self) -> Option<u16> {
        if self.is_empty() { None } else { Some(self.0.trailing_zeros() as u16) }
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// All slots. The number of a slot is its request's ticket.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    slots: Vec<Slot>,
    // Each slot is in one of these.
    free: Set,
    waiting: Set,
    begun: Set,
    abandoned: Set,
}

impl Flight {
    pub(super) fn new() -> Result<Self, TryReserveError> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(IN_FLIGHT_MAX)?;
        slots.extend((0..IN_FLIGHT_MAX).map(|_| Slot::new()));
        Ok(Self { slots, free: Set::ALL, waiting: Set::NONE, begun: Set::NONE, abandoned: Set::NONE })
    }

    pub(super) fn get(&self, index: u16) -> Option<&Slot> {
        self.slots.get(usize::from(index))
    }

    pub(super) fn get_mut(&mut self, index: u16) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(index))
    }

    /// A slot that is free.
    pub(super) const fn first_free(&self) -> Option<u16> {
        self.free.first()
    }

    /// A slot whose request is to be begun.
    pub(super) const fn first_waiting(&self) -> Option<u16> {
        self.waiting.first()
    }

    /// Whether the medium has a request, so that it will say when that has ended.
    pub(super) const fn is_begun(&self) -> bool {
        !self.begun.with(self.abandoned).is_empty()
    }

    /// The stage of a slot; `None` for a number that no slot has.
    pub(super) fn stage(&self, index: u16) -> Option<Stage> {
        let sets = [
            (self.free, Stage::Free),
            (self.waiting, Stage::Waiting),
            (self.begun, Stage::Begun),
            (self.abandoned, Stage::Abandoned),
        ];
        sets.into_iter().find(|(set, _)| set.has(index)).map(|(_, stage)| stage)
    }

    /// Moves a slot to another stage.
    pub(super) const fn set_stage(&mut self, index: u16, stage: Stage) {
        let slot = Set::of(index);
        self.free = self.free.without(slot);
        self.waiting = self.waiting.without(slot);
        self.begun = self.begun.without(slot);
        self.abandoned = self.abandoned.without(slot);
        let set = match stage {
            Stage::Free => &mut self.free,
            Stage::Waiting => &mut self.waiting,
            Stage::Begun => &mut self.begun,
            Stage::Abandoned => &mut self.abandoned,
        };
        *set = set.with(slot);
    }

    /// Forgets every request. What the medium has keeps its slot until it ends, so that no two have the same ticket.
    pub(super) const fn abandon(&mut self) {
        self.free = self.free.with(self.waiting);
        self.abandoned = self.abandoned.with(self.begun);
        (self.waiting, self.begun) = (Set::NONE, Set::NONE);
    }

    /// The requests that somebody waits for.
    pub(super) fn requests(&self) -> impl Iterator<Item = &Slot> {
        let kept = self.waiting.with(self.begun);
        (0..).zip(&self.slots).filter(move |(index, _)| kept.has(*index)).map(|(_, slot)| slot)
    }
}
