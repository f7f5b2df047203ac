//! What a guest sees is the same whether the model runs its APIC or a processor does: the processor's part is modelled
//! here from the SDM, chapter 30, and both are driven by the same steps.

use super::super::register;
use super::*;
use crate::lapic::{Accepted, Delivery, Effect, Message, Recipients, Role};
use crate::message::Trigger;
use alloc::vec::Vec;
use base::{ApicId, Instant};
use proptest::prelude::*;

const NOW: Instant = Instant(0);

/// A processor with the APIC's page (sections 30.1 and 30.2).
struct Processor {
    page: [u32; 256],
    command_high: u32,
    requested: u8,
    in_service: u8,
    ends_to_tell: [u64; 4],
}

impl Processor {
    /// VM entry with what `apic` shows (27.3.2.5, 30.1.3).
    fn enter(apic: &mut LocalApic) -> Self {
        let mut page = [0; 256];
        apic.show_registers(|number, value| page[number as usize] = value);
        let number = |vector: Option<Vector>| vector.map_or(0, |vector| vector.0);
        let mut processor = Self {
            page,
            command_high: apic.command_high(),
            requested: number(apic.requested()),
            in_service: number(apic.in_service()),
            ends_to_tell: apic.ends_to_tell(),
        };
        processor.virtualize_ppr();
        apic.hand_over();
        processor
    }

    /// What has come for `apic`, which the processor goes on to run.
    fn take_arrivals(&mut self, apic: &mut LocalApic) {
        let Some((highest, arrivals)) = apic.take_arrivals() else { return };
        for (index, word) in (register::IRR_FIRST as usize..).step_by(2).zip(arrivals) {
            self.page[index] |= word as u32;
            self.page[index + 1] |= (word >> 32) as u32;
        }
        self.requested = self.requested.max(highest.0);
        self.ends_to_tell = apic.ends_to_tell();
        for (index, word) in (register::TMR_FIRST as usize..).step_by(2).zip(self.ends_to_tell) {
            self.page[index] = word as u32;
            self.page[index + 1] = (word >> 32) as u32;
        }
    }

    fn leave(&self, apic: &mut LocalApic) {
        apic.take_over(&Changed {
            task_priority: self.page[register::TPR as usize],
            command: [self.page[register::ICR as usize], self.command_high],
            irr: self.words(register::IRR_FIRST),
            isr: self.words(register::ISR_FIRST),
        });
    }

    fn words(&self, first: u32) -> [u64; 4] {
        let at = |index: u32| u64::from(self.page[(first + index) as usize]);
        [0, 2, 4, 6].map(|low| at(low) | at(low + 1) << 32)
    }

    fn bit(vector: u8) -> (usize, u32) {
        (usize::from(vector / 32), 1 << (vector % 32))
    }

    fn set(&mut self, first: u32, vector: u8) {
        let (index, bit) = Self::bit(vector);
        self.page[first as usize + index] |= bit;
    }

    fn clear(&mut self, first: u32, vector: u8) -> u8 {
        let (index, bit) = Self::bit(vector);
        self.page[first as usize + index] &= !bit;
        let highest = (0..8).rev().find(|index| self.page[first as usize + index] != 0);
        highest.map_or(0, |index| (index as u32 * 32 + self.page[first as usize + index].ilog2()) as u8)
    }

    /// PPR virtualization (30.1.3).
    fn virtualize_ppr(&mut self) {
        let priority = self.page[register::TPR as usize] & 0xff;
        let in_service = u32::from(self.in_service);
        let value = if priority >> 4 >= in_service >> 4 { priority } else { in_service & 0xf0 };
        self.page[register::PPR as usize] = value;
    }

    /// TPR virtualization (30.1.2).
    fn write_tpr(&mut self, value: u8) {
        self.page[register::TPR as usize] = value.into();
        self.virtualize_ppr();
    }

    /// EOI virtualization (30.1.4): the vector whose end exits.
    fn end_of_interrupt(&mut self) -> Option<Vector> {
        let vector = self.in_service;
        self.in_service = self.clear(register::ISR_FIRST, vector);
        self.virtualize_ppr();
        let told = self.ends_to_tell[usize::from(vector / 64)] >> (vector % 64) & 1 == 1;
        told.then_some(Vector(vector))
    }

    /// Self-IPI virtualization (30.1.5).
    fn send_to_self(&mut self, vector: u8) {
        self.set(register::IRR_FIRST, vector);
        self.requested = self.requested.max(vector);
    }

    /// Virtual-interrupt delivery (30.2.2), when one is recognized (30.2.1).
    fn deliver(&mut self) -> Option<Vector> {
        let vector = self.requested;
        if u32::from(vector >> 4) <= self.page[register::PPR as usize] >> 4 {
            return None;
        }
        self.set(register::ISR_FIRST, vector);
        self.in_service = vector;
        self.page[register::PPR as usize] = u32::from(vector) & 0xf0;
        self.requested = self.clear(register::IRR_FIRST, vector);
        Some(Vector(vector))
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A device or another processor: odd vectors by level, even ones by an edge. The model is looked at.
    Message(u8),
    /// The same, and the processor gets it without that.
    Arrival(u8),
    SelfIpi(u8),
    Priority(u8),
    Take,
    End,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (16_u8..=255).prop_map(Step::Message),
        (16_u8..=255).prop_map(Step::Arrival),
        // Even: a vector is not used both ways.
        (8_u8..=127).prop_map(|half| Step::SelfIpi(half * 2)),
        any::<u8>().prop_map(Step::Priority),
        Just(Step::Take),
        Just(Step::Take),
        Just(Step::End),
        Just(Step::End),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Page,
    Registers,
}

fn apic(by: By) -> LocalApic {
    let mut apic = LocalApic::new(ApicId(3), Role::Bootstrap);
    if by == By::Registers {
        apic.set_apic_base(apic.apic_base() | 1 << 10).unwrap();
        _ = apic.write_msr(0x80f, 0x1ff, NOW).unwrap();
    } else {
        _ = apic.write_mmio(0xf0, 0x1ff, NOW);
    }
    apic
}

fn write(apic: &mut LocalApic, by: By, register: u32, value: u32) -> Effect {
    match by {
        By::Page => apic.write_mmio(register * 16, value, NOW),
        By::Registers => apic.write_msr(0x800 + register, value.into(), NOW).unwrap(),
    }
}

fn read(apic: &mut LocalApic, by: By, register: u32) -> u32 {
    match by {
        By::Page => apic.read_mmio(register * 16, NOW),
        By::Registers => apic.read_msr(0x800 + register, NOW).unwrap() as u32,
    }
}

/// The registers that a guest reads without an exit.
fn shown(by: By) -> Vec<u32> {
    let common = [0x02, 0x03, 0x08, 0x0d, 0x0f, 0x28, 0x30, 0x38, 0x3e];
    let more: &[u32] = if by == By::Page { &[0x0b, 0x0e, 0x31] } else { &[0x0a] };
    common.into_iter().chain(0x10..=0x27).chain(0x32..=0x37).chain(more.iter().copied()).collect()
}

const SELF: u32 = 1 << 18;

fn drive(by: By, steps: &[Step]) -> Result<(), TestCaseError> {
    let (mut reference, mut handed) = (apic(by), apic(by));
    let mut processor = Processor::enter(&mut handed);
    for step in steps {
        match *step {
            Step::Message(vector) | Step::Arrival(vector) => {
                let trigger = if vector % 2 == 1 { Trigger::Level } else { Trigger::Edge };
                let delivery = Delivery::Fixed(Vector(vector));
                let message = Message { recipients: Recipients::All, delivery, trigger };
                prop_assert_eq!(reference.accept(&message), Accepted::Queued);
                if let Step::Arrival(_) = step {
                    prop_assert_eq!(handed.accept(&message), Accepted::Queued);
                    processor.take_arrivals(&mut handed);
                } else {
                    processor.leave(&mut handed);
                    prop_assert_eq!(handed.accept(&message), Accepted::Queued);
                    processor = Processor::enter(&mut handed);
                }
            }
            Step::SelfIpi(vector) => {
                match by {
                    By::Page => {
                        _ = write(&mut reference, by, register::ICR, SELF | u32::from(vector));
                        processor.page[register::ICR as usize] = SELF | u32::from(vector);
                    }
                    By::Registers => _ = write(&mut reference, by, register::SELF_IPI, vector.into()),
                }
                processor.send_to_self(vector);
            }
            Step::Priority(value) => {
                _ = write(&mut reference, by, register::TPR, value.into());
                processor.write_tpr(value);
            }
            Step::Take => prop_assert_eq!(processor.deliver(), reference.acknowledge()),
            Step::End => {
                let told = match write(&mut reference, by, register::EOI, 0) {
                    Effect::EndOfInterrupt(vector) => Some(vector),
                    _ => None,
                };
                prop_assert_eq!(processor.end_of_interrupt(), told);
            }
        }
        for register in shown(by) {
            let expected = read(&mut reference, by, register);
            prop_assert_eq!(processor.page[register as usize], expected, "register {:#x}", register);
        }
        // Looked at in between, nothing is lost.
        let mut seen = handed.clone();
        processor.leave(&mut seen);
        prop_assert_eq!(&seen, &reference);
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_processor_that_runs_the_page_ends_where_the_model_does(steps in prop::collection::vec(step(), 0..200)) {
        drive(By::Page, &steps)?;
    }

    #[test]
    fn a_processor_that_runs_the_registers_ends_where_the_model_does(steps in prop::collection::vec(step(), 0..200)) {
        drive(By::Registers, &steps)?;
    }

    #[test]
    fn whatever_a_processor_leaves_is_a_state_of_the_model(
        task_priority: u32, command: [u32; 2], irr: [u64; 4], isr: [u64; 4],
    ) {
        for by in [By::Page, By::Registers] {
            let mut apic = apic(by);
            apic.take_over(&Changed { task_priority, command, irr, isr });
            let mut copy = LocalApic::new(ApicId(0), Role::Bootstrap);
            prop_assert_eq!(base::state::SavedState::load(&mut copy, base::state::SavedState::save(&apic)), Ok(()));
            prop_assert_eq!(copy, apic);
        }
    }
}

#[test]
fn a_timer_that_is_due_is_posted_unless_more_than_a_request_comes_of_it() {
    let armed = |entry: u32| {
        let mut apic = apic(By::Registers);
        for (register, value) in [(0x3e, 0xb), (0x32, entry), (0x38, 100)] {
            _ = write(&mut apic, By::Registers, register, value);
        }
        apic
    };
    let mut apic = armed(0x40);
    assert_eq!(apic.expire_to_post(Instant(99)), None);
    assert_eq!(apic.expire_to_post(Instant(100)), Some(Vector(0x40)));
    assert_eq!((apic.next_deadline(), apic.requested()), (None, None), "it has expired, and is posted only");
    apic.take_posted(Vector(0x40));
    assert_eq!(apic.requested(), Some(Vector(0x40)));
    // Masked, an illegal vector, or one that came by a level before: the model's.
    assert_eq!(armed(0x1_0040).expire_to_post(Instant(100)), None);
    assert_eq!(armed(0x0f).expire_to_post(Instant(100)), None);
    let mut level = armed(0x41);
    let delivery = Delivery::Fixed(Vector(0x41));
    _ = level.accept(&Message { recipients: Recipients::All, delivery, trigger: Trigger::Level });
    assert_eq!(level.expire_to_post(Instant(100)), None);
    assert_eq!(level.next_deadline(), Some(Instant(100)));
}

#[test]
fn the_high_half_of_the_command_is_the_guests_in_the_page_and_the_models_in_registers() {
    let changed = Changed { command: [0x4000, 0x0500_0001], ..Changed::default() };
    let mut page = apic(By::Page);
    page.take_over(&changed);
    assert_eq!(page.read_mmio(0x310, NOW), 0x0500_0000);
    let mut registers = apic(By::Registers);
    registers.take_over(&changed);
    assert_eq!(registers.command_high(), 0);
}
