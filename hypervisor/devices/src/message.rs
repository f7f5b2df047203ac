//! Interrupt messages: what an IOAPIC or an MSI sends to the local APICs.
//!
//! Source: Intel 82093AA datasheet (290566), section 3.2.4; Intel SDM, volume 3, section 11.11.

use base::Vector;

/// How the addressed local APICs take a message. The discriminants are the registers' encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DeliveryMode {
    /// The vector, to every addressed APIC.
    Fixed = 0,
    /// The vector, to the one addressed APIC with the lowest priority.
    LowestPriority = 1,
    /// A system-management interrupt.
    Smi = 2,
    /// A non-maskable interrupt.
    Nmi = 4,
    /// INIT.
    Init = 5,
    /// An interrupt whose vector comes from the 8259A pair.
    ExtInt = 7,
}

impl DeliveryMode {
    /// The mode that the three low bits of `bits` encode, or `None` for the reserved encodings 3 and 6.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits & 7 {
            0 => Some(Self::Fixed),
            1 => Some(Self::LowestPriority),
            2 => Some(Self::Smi),
            4 => Some(Self::Nmi),
            5 => Some(Self::Init),
            7 => Some(Self::ExtInt),
            _ => None,
        }
    }
}

/// Whom a message addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The APIC with this id; 0xFF is all of them.
    Physical(u8),
    /// The APICs whose logical destination matches.
    Logical(u8),
}

/// What makes an input interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The change to asserted, once.
    Edge,
    /// Being asserted, again and again until it ends.
    Level,
}

/// One interrupt message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptMessage {
    /// The vector; without meaning for SMI, NMI, INIT and ExtINT.
    pub vector: Vector,
    /// How it is taken.
    pub delivery: DeliveryMode,
    /// By whom.
    pub destination: Destination,
    /// Whether its end must be told to the IOAPIC (level) or not (edge).
    pub trigger: Trigger,
}
