//! What of the transport is saved. The device behind it has a section of its own, which follows.
//!
//! Whoever loads both lets every queue be run once ([`Transport::kick_all`]): the device may have had requests in flight.

use super::capabilities::ConfigWindow;
use super::{Phase, QUEUES_MAX, QueueAndVector, Status, Transport, Untold};
use crate::pci::{FunctionState, NO_VECTOR};
use crate::virtio::queue::QueueState;
use base::state::{SavedState, StateError};
use minicbor::{Decode, Encode};

/// A queue and its interrupt as saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct QueueImage {
    #[n(0)]
    queue: QueueState,
    #[n(1)]
    vector: u16,
}

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TransportState {
    #[n(0)]
    function: FunctionState,
    #[n(1)]
    status: Status,
    #[n(2)]
    offered_select: u32,
    #[n(3)]
    accepted_select: u32,
    #[n(4)]
    accepted: u64,
    #[n(5)]
    accepted_beyond: bool,
    #[n(6)]
    config_vector: u16,
    #[n(7)]
    config_generation: u8,
    #[n(8)]
    queue_select: u16,
    #[n(9)]
    queues: [QueueImage; QUEUES_MAX],
    #[n(10)]
    isr: u8,
    #[n(11)]
    kicked: u8,
    #[n(12)]
    window: ConfigWindow,
}

impl QueueAndVector {
    fn save(&self) -> QueueImage {
        QueueImage { queue: self.queue.save(), vector: self.vector }
    }
}

impl Transport {
    /// The queue with saved state. Errors name this section: a queue has none of its own here.
    fn loaded_queue(&self, image: QueueImage) -> Result<QueueAndVector, StateError> {
        let out_of_range = |field| StateError::OutOfRange { section: Self::SECTION, field };
        if !self.has_vector(image.vector) {
            return Err(out_of_range("vector"));
        }
        let mut loaded = QueueAndVector { vector: image.vector, ..QueueAndVector::new() };
        loaded.queue.load(image.queue).map_err(|_| out_of_range("queues"))?;
        Ok(loaded)
    }

    const fn has_vector(&self, vector: u16) -> bool {
        vector == NO_VECTOR || vector < self.function.vectors()
    }

    /// The first field with a value that no driver can bring about.
    pub(super) fn impossible(&self) -> Option<&'static str> {
        let (ours, others) = self.queues.split_at_checked(self.traits.queue_count.into()).unwrap_or_default();
        let negotiated = self.status.phase() >= Phase::FeaturesOk;
        if negotiated && !self.accepts() {
            return Some("accepted");
        }
        if !self.has_vector(self.config_vector) {
            return Some("config_vector");
        }
        if others.iter().any(|it| *it != QueueAndVector::new()) {
            return Some("queues");
        }
        if !negotiated && ours.iter().any(|it| it.queue.is_enabled()) {
            return Some("status");
        }
        if self.isr & !(super::ISR_QUEUE | super::ISR_CONFIGURATION) != 0 {
            return Some("isr");
        }
        (u32::from(self.kicked) >> self.traits.queue_count != 0).then_some("kicked")
    }
}

impl SavedState for Transport {
    const SECTION: &'static str = "virtio-transport";
    const VERSION: u16 = 1;
    type Image = TransportState;

    fn save(&self) -> TransportState {
        TransportState {
            function: self.function.save(),
            status: self.status,
            offered_select: self.offered_select,
            accepted_select: self.accepted_select,
            accepted: self.accepted,
            accepted_beyond: self.accepted_beyond,
            config_vector: self.config_vector,
            config_generation: self.config_generation,
            queue_select: self.queue_select,
            queues: self.queues.each_ref().map(QueueAndVector::save),
            isr: self.isr,
            kicked: self.kicked,
            window: self.window,
        }
    }

    fn load(&mut self, image: TransportState) -> Result<(), StateError> {
        let mut queues = [const { QueueAndVector::new() }; QUEUES_MAX];
        for (queue, image) in queues.iter_mut().zip(image.queues) {
            *queue = self.loaded_queue(image)?;
        }
        let loaded = Self {
            traits: self.traits,
            function: self.function.loaded(image.function, Self::SECTION)?,
            status: image.status,
            offered_select: image.offered_select,
            accepted_select: image.accepted_select,
            accepted: image.accepted,
            accepted_beyond: image.accepted_beyond,
            config_vector: image.config_vector,
            config_generation: image.config_generation,
            queue_select: image.queue_select,
            queues,
            isr: image.isr,
            kicked: image.kicked,
            window: image.window,
            untold: Untold(None),
        };
        if let Some(field) = loaded.impossible() {
            return Err(StateError::OutOfRange { section: Self::SECTION, field });
        }
        *self = loaded;
        Ok(())
    }
}
