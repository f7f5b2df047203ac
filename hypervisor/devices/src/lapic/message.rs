//! Interrupt messages between local APICs, and from IOAPICs and MSIs to them.

use super::Mode;
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

impl Message {
    /// The message that a write of `low` and `high` to the interrupt command register sends from an APIC in xAPIC mode
    /// (8-bit ids, in bits 31:24 of `high`) or x2APIC mode; `None` when it sends none (SDM 11.6.1 and 11.12.9).
    pub(super) fn from_command(low: u32, high: u32, mode: Mode) -> Option<Self> {
        const LOGICAL: u32 = 1 << 11;
        const ASSERT: u32 = 1 << 14;
        const LEVEL: u32 = 1 << 15;
        let vector = Vector(low as u8);
        let delivery = match low >> 8 & 7 {
            0 => Delivery::Fixed(vector),
            1 => Delivery::LowestPriority(vector),
            2 => Delivery::Smi,
            4 => Delivery::Nmi,
            // The level de-assert of INIT does nothing since the Pentium 4.
            5 if low & (LEVEL | ASSERT) == LEVEL => return None,
            5 => Delivery::Init,
            6 => Delivery::StartUp(vector),
            _ => return None,
        };
        let (id, broadcast) = match mode {
            Mode::X2Apic => (high, u32::MAX),
            _ => (high >> 24, 0xff),
        };
        let recipients = match low >> 18 & 3 {
            1 => Recipients::Sender,
            2 => Recipients::All,
            3 => Recipients::Others,
            _ if low & LOGICAL != 0 => Recipients::Logical(id),
            _ if id == broadcast => Recipients::All,
            _ => Recipients::Physical(ApicId(id)),
        };
        // Interrupts between processors are edge-triggered whatever the bit says (SDM 11.6.1, trigger mode).
        Some(Self { recipients, delivery, trigger: Trigger::Edge })
    }
}
