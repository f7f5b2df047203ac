//! A redirection entry: what one input becomes (82093AA datasheet, section 3.2.4).
//!
//! | bits | |
//! |---|---|
//! | 7:0 | vector |
//! | 10:8 | delivery mode |
//! | 11 | destination mode: 1 is logical |
//! | 12 | delivery status; always idle here, a message is delivered as it is sent |
//! | 13 | polarity |
//! | 14 | remote IRR, read-only: a level-triggered message awaits its end |
//! | 15 | trigger mode: 1 is level |
//! | 16 | mask |
//! | 63:56 | destination |

use crate::message::{DeliveryMode, Destination, InterruptMessage, Trigger};
use base::Vector;
use minicbor::{Decode, Encode};

const DELIVERY_SHIFT: u32 = 8;
const LOGICAL: u32 = 1 << 11;
const REMOTE_IRR: u32 = 1 << 14;
const LEVEL: u32 = 1 << 15;
const MASK: u32 = 1 << 16;
/// Vector, delivery mode, destination mode, polarity, trigger mode and mask.
const WRITABLE_LOW: u32 = 0x1_afff;
const DESTINATION_SHIFT: u32 = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Entry {
    #[n(0)]
    low: u32,
    #[n(1)]
    destination: u8,
}

impl Entry {
    /// As after reset.
    pub(super) const MASKED: Self = Self { low: MASK, destination: 0 };

    pub(super) const fn low(&self) -> u32 {
        self.low
    }

    pub(super) const fn high(&self) -> u32 {
        (self.destination as u32) << DESTINATION_SHIFT
    }

    pub(super) const fn set_high(&mut self, value: u32) {
        self.destination = (value >> DESTINATION_SHIFT) as u8;
    }

    /// Making an entry edge-triggered forgets that its end is awaited; that is how drivers end an interrupt where there
    /// is no EOI register.
    pub(super) fn set_low(&mut self, value: u32) {
        self.low = (value & WRITABLE_LOW) | (self.low & REMOTE_IRR);
        if !self.is_level_triggered() {
            self.low &= !REMOTE_IRR;
        }
    }

    const fn delivery(&self) -> Option<DeliveryMode> {
        DeliveryMode::from_bits((self.low >> DELIVERY_SHIFT) as u8)
    }

    /// Whether its input would send an NMI.
    pub(super) fn sends_nmi(&self) -> bool {
        self.low & MASK == 0 && self.delivery() == Some(DeliveryMode::Nmi)
    }

    const fn vector(&self) -> Vector {
        Vector(self.low as u8)
    }

    /// Level-triggered, which only messages with a vector of their own can be: SMI, NMI, INIT and ExtINT are taken as
    /// edges whatever the bit says.
    pub(super) const fn is_level_triggered(&self) -> bool {
        let with_end = matches!(self.delivery(), Some(DeliveryMode::Fixed | DeliveryMode::LowestPriority));
        with_end && self.low & LEVEL != 0
    }

    /// The message of an input that rose, or of an asserted one that may be sent (again).
    pub(super) const fn signal(&mut self) -> Option<InterruptMessage> {
        if self.low & (MASK | REMOTE_IRR) != 0 {
            return None;
        }
        let Some(delivery) = self.delivery() else { return None };
        let trigger = if self.is_level_triggered() { Trigger::Level } else { Trigger::Edge };
        if matches!(trigger, Trigger::Level) {
            self.low |= REMOTE_IRR;
        }
        let destination = if self.low & LOGICAL != 0 {
            Destination::Logical(self.destination)
        } else {
            Destination::Physical(self.destination)
        };
        Some(InterruptMessage { vector: self.vector(), delivery, destination, trigger })
    }

    /// The interrupt with `vector` has ended; whether this entry awaited that.
    pub(super) fn end(&mut self, vector: Vector) -> bool {
        let awaited = self.low & REMOTE_IRR != 0 && self.vector() == vector;
        if awaited {
            self.low &= !REMOTE_IRR;
        }
        awaited
    }

    pub(super) const fn is_sound(&self) -> bool {
        let remote_irr_allowed = self.is_level_triggered();
        self.low & !(WRITABLE_LOW | REMOTE_IRR) == 0 && (remote_irr_allowed || self.low & REMOTE_IRR == 0)
    }
}
