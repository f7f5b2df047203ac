//! Handing a local APIC to a processor that runs it while the guest runs, and taking it back.
//!
//! ```text
//!            registers, requested, in_service, ends_to_tell
//!   LocalApic ───────────────────────────────────────────> virtual-APIC page    the processor delivers, ends, lets the
//!             <─────────────────────────────────────────── and its status       guest read, and sends to itself
//!                               take_over(Changed)
//! ```
//! Between the two the processor changes [`Changed`] alone. The rest of the state, the timer and the local vector table
//! above all, stays the model's, and a write that reaches it comes to the model. IRR is the processor's then, and the
//! model's holds what has come since ([`LocalApic::take_arrivals`]): it can be handed on without the rest.
//!
//! A processor differs from the model in one thing: an interrupt that it sends to itself leaves TMR as it was, so that
//! the end of a vector that was level-triggered before is told the IOAPICs once more than need be (29.1.5).

use super::register::{self, writable_bits};
use super::vectors::{FIRST_LEGAL_VECTOR, VectorSet};
use super::{DFR_FLAT, LocalApic, Mode, VERSION};
use crate::message::Trigger;
use base::{Instant, Vector};

/// What a processor changes of a local APIC that it runs. Sets of vectors are 256 bits, vector 0 first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// TPR.
    pub task_priority: u32,
    /// The interrupt command register, low half first; the processor writes it in xAPIC mode only.
    pub command: [u32; 2],
    /// IRR.
    pub irr: [u64; 4],
    /// ISR.
    pub isr: [u64; 4],
}

impl LocalApic {
    /// Takes over what the processor has changed. Vectors that no interrupt can have are dropped: a guest may send them
    /// to itself where the processor does not look.
    pub fn take_over(&mut self, changed: &Changed) {
        self.task_priority = changed.task_priority & writable_bits(register::TPR);
        if self.mode == Mode::XApic {
            let [low, high] = changed.command;
            self.command = [low & writable_bits(register::ICR), high & writable_bits(register::ICR_HIGH)];
        }
        let arrivals = self.irr;
        self.irr = legal(changed.irr).union(&arrivals);
        self.isr = legal(changed.isr);
    }

    /// IRR is the processor's from now on.
    #[inline]
    pub fn hand_over(&mut self) {
        self.irr = VectorSet::default();
    }

    /// Vectors that have come since [`LocalApic::hand_over`], and the highest of them: the processor gets them now.
    #[inline]
    pub fn take_arrivals(&mut self) -> Option<(Vector, [u64; 4])> {
        let highest = self.irr.highest()?;
        Some((highest, core::mem::take(&mut self.irr).words()))
    }

    /// Lets the timer expire, if it is due, where the processor goes on with the rest: returns the vector to post. `None` when
    /// it is not due, or when its interrupt cannot be posted: for what comes of it more than IRR has to change.
    pub fn expire_to_post(&mut self, now: Instant) -> Option<Vector> {
        let entry = self.lvt_entry(register::LVT_TIMER);
        let vector = Vector(entry as u8);
        let can_be_posted = entry & register::LVT_MASKED == 0
            && self.software_enabled()
            && vector.0 >= FIRST_LEGAL_VECTOR
            && !self.tmr.contains(vector);
        (can_be_posted && self.timer.expire(now)).then_some(vector)
    }

    /// Takes a vector that was posted: by an edge.
    pub fn take_posted(&mut self, vector: Vector) {
        self.accept_vector(vector, Trigger::Edge);
    }

    /// Shows each register that a guest may read without an exit: by its number, that is its offset in the page divided
    /// by 16. The current count moves by itself and is not among them.
    #[inline]
    pub fn show_registers(&self, mut show: impl FnMut(u32, u32)) {
        let x2apic = self.mode == Mode::X2Apic;
        show(register::ID, if x2apic { self.id.0 } else { self.id.0 << 24 });
        show(register::VERSION, VERSION);
        show(register::TPR, self.task_priority);
        show(register::EOI, 0);
        show(register::LDR, if x2apic { self.x2apic_logical_id() } else { self.logical_destination });
        show(register::DFR, self.destination_format | !DFR_FLAT);
        show(register::SVR, self.spurious);
        show(register::ESR, self.errors_shown);
        let [low, high] = self.command;
        show(register::ICR, low);
        show(register::ICR_HIGH, high);
        for (number, entry) in (register::LVT_FIRST..).zip(&self.lvt) {
            show(number, *entry);
        }
        show(register::INITIAL_COUNT, self.timer.initial_count);
        show(register::DIVIDE, self.timer.divide);
        let sets = [
            (register::ISR_FIRST, &self.isr),
            (register::TMR_FIRST, &self.tmr),
            (register::IRR_FIRST, &self.irr),
        ];
        for (first, set) in sets {
            for (register, word) in (first..).step_by(2).zip(set.words()) {
                show(register, word as u32);
                show(register + 1, (word >> 32) as u32);
            }
        }
    }

    /// The high half of the command register, which in x2APIC mode is read with the low one.
    pub const fn command_high(&self) -> u32 {
        self.command[1]
    }

    /// The highest vector in IRR, whatever holds it back.
    pub const fn requested(&self) -> Option<Vector> {
        self.irr.highest()
    }

    /// The highest vector in ISR.
    pub const fn in_service(&self) -> Option<Vector> {
        self.isr.highest()
    }

    /// The vectors whose end the IOAPICs have to be told: those that came by a level, as 256 bits.
    pub const fn ends_to_tell(&self) -> [u64; 4] {
        self.tmr.words()
    }
}

fn legal(words: [u64; 4]) -> VectorSet {
    let [low, rest @ ..] = words;
    let [second, third, fourth] = rest;
    let low = low >> FIRST_LEGAL_VECTOR << FIRST_LEGAL_VECTOR;
    VectorSet::from_words([low, second, third, fourth]).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)]
mod tests;
