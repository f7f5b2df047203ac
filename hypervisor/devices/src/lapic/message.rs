//! Interrupt messages between local APICs, and from IOAPICs and MSIs to them.

use crate::message::{DeliveryMode, Destination, InterruptMessage, Trigger};
use base::{ApicId, Vector};

/// Whom a message addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// The APIC with this id.
    Physical(ApicId),
    /// The APICs whose logical destination matches.
    Logical(u32),
    /// Every APIC.
    All,
    /// Every APIC but the sender's.
    Others,
    /// The sender's.
    Sender,
}

/// What a message brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A vector, to every recipient.
    Fixed(Vector),
    /// A vector, to one recipient.
    LowestPriority(Vector),
    /// A system-management interrupt, which no virtual processor takes.
    Smi,
    /// A non-maskable interrupt.
    Nmi,
    /// INIT.
    Init,
    /// SIPI with the number of the 4 KiB page to start at.
    StartUp(Vector),
    /// An interrupt whose vector comes from the 8259A pair.
    ExtInt,
}

/// An interrupt message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// By whom it is taken.
    pub recipients: Recipients,
    /// What it brings.
    pub delivery: Delivery,
    /// Whether its end must be told to the IOAPICs.
    pub trigger: Trigger,
}

impl From<InterruptMessage> for Message {
    fn from(message: InterruptMessage) -> Self {
        let recipients = match message.destination {
            Destination::Physical(0xff) => Recipients::All,
            Destination::Physical(id) => Recipients::Physical(ApicId(id.into())),
            Destination::Logical(mask) => Recipients::Logical(mask.into()),
        };
        let delivery = match message.delivery {
            DeliveryMode::Fixed => Delivery::Fixed(message.vector),
            DeliveryMode::LowestPriority => Delivery::LowestPriority(message.vector),
            DeliveryMode::Smi => Delivery::Smi,
            DeliveryMode::Nmi => Delivery::Nmi,
            DeliveryMode::Init => Delivery::Init,
            DeliveryMode::ExtInt => Delivery::ExtInt,
        };
        Self { recipients, delivery, trigger: message.trigger }
    }
}
