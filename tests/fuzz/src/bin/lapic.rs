//! The local APIC: no sequence of accesses, messages and pins panics, in any mode. After each step
//! - the state that was saved makes the same APIC;
//! - what is acknowledged is what was pending, and it is no exception's vector;
//! - time that has passed leaves no deadline behind.
//!
//! It begins as after power-on, in virtual wire mode, or with a saved state of any bytes that it takes.

#![no_main]

use base::state::SavedState;
use base::{ApicId, Instant, Nanoseconds, TscLine, TscScale, Vector};
use devices::Trigger;
use devices::lapic::{Delivery, LocalApic, Message, Pin, Recipients, Role};
use fuzz::{Bytes, models};
use libfuzzer_sys::fuzz_target;

const TSC_HZ: u64 = 2_500_000_000;
/// The vectors of exceptions, which the APIC refuses, are those below.
const FIRST_LEGAL_VECTOR: u8 = 16;

fn message(input: &mut Bytes<'_>) -> Message {
    let vector = Vector(input.u8());
    let delivery = input.pick(&[
        Delivery::Fixed(vector),
        Delivery::LowestPriority(vector),
        Delivery::Smi,
        Delivery::Nmi,
        Delivery::Init,
        Delivery::StartUp(vector),
        Delivery::ExtInt,
    ]);
    let number = input.u32();
    let recipients = input.pick(&[
        Recipients::All,
        Recipients::Physical(ApicId(number)),
        Recipients::Logical(number),
        Recipients::Others,
        Recipients::Sender,
    ]);
    Message { recipients, delivery, trigger: input.pick(&[Trigger::Edge, Trigger::Level]) }
}

fn step(apic: &mut LocalApic, now: &mut Instant, input: &mut Bytes<'_>) {
    match input.u8() % 11 {
        0 => _ = apic.read_mmio(input.u16().into(), *now),
        1 => _ = apic.write_mmio(u32::from(input.u8()) * 16, input.u32(), *now),
        2 => _ = apic.read_msr(0x800 + u32::from(input.u8()), *now),
        3 => _ = apic.write_msr(0x800 + u32::from(input.u8()), input.u64(), *now),
        4 => _ = apic.set_apic_base(input.u64()),
        5 => {
            let scale = TscScale::new(TSC_HZ).expect("a possible frequency");
            let line = TscLine { scale, ticks: input.scaled(), at: *now };
            apic.set_tsc_deadline(input.scaled(), *now, &line);
            apic.move_tsc(&TscLine { ticks: input.scaled(), ..line });
            // A deadline that has come nearer may have passed.
            apic.advance(*now);
        }
        6 => apic.set_task_priority(input.u8()),
        7 => {
            let message = message(input);
            if apic.is_addressed_by(&message, Some(ApicId(input.u8().into()))) {
                let _ = apic.accept(&message);
            }
        }
        8 => _ = apic.pin(input.pick(&[Pin::Lint0, Pin::Lint1])),
        9 => {
            let pending = apic.highest_pending();
            assert_eq!(apic.acknowledge(), pending);
            assert!(pending.is_none_or(|vector| vector.0 >= FIRST_LEGAL_VECTOR));
            assert!(pending.is_none() || apic.highest_pending() < pending);
        }
        _ => {
            *now = now.after(Nanoseconds(input.scaled()));
            apic.advance(*now);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes::new(data);
    let mut apic =
        LocalApic::new(ApicId(input.u8().into()), input.pick(&[Role::Bootstrap, Role::Application]));
    match input.u8() % 3 {
        0 => {}
        1 => apic.enter_virtual_wire_mode(),
        _ => {
            let len_bytes = input.u16();
            models::take_over(&mut apic, input.take(len_bytes.into()));
        }
    }
    let mut now = Instant(1_000_000_000);
    while !input.is_empty() {
        step(&mut apic, &mut now, &mut input);
        apic.advance(now);
        assert!(apic.next_deadline().is_none_or(|due| due > now || now == Instant::FAR_FUTURE));
        let mut copy = LocalApic::new(ApicId(9), Role::Application);
        assert_eq!(copy.load(apic.save()), Ok(()));
        assert_eq!(copy, apic);
    }
});
