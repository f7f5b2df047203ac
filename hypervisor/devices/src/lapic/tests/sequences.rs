//! What holds whatever is done in whatever order, and whatever state is loaded.

use super::*;
use base::state::SavedState;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Mmio(u32, Option<u32>),
    Msr(u32, Option<u64>),
    Base(u64),
    Deadline(u64),
    Priority(u8),
    Accept(Delivery, Trigger),
    Pins,
    Acknowledge,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let delivery = prop_oneof![
        any::<u8>().prop_map(|v| Delivery::Fixed(Vector(v))),
        any::<u8>().prop_map(|v| Delivery::LowestPriority(Vector(v))),
        Just(Delivery::ExtInt),
    ];
    let base = prop_oneof![any::<u64>(), (0_u64..16).prop_map(|bits| 0xfee0_0000 | bits << 8)];
    let value = prop_oneof![any::<u64>(), 0_u64..0x400, any::<u32>().prop_map(u64::from)];
    prop_oneof![
        (0_u32..0x500, any::<Option<u32>>()).prop_map(|(offset, value)| Step::Mmio(offset & !15, value)),
        (0x7ff_u32..0x845, proptest::option::of(value)).prop_map(|(index, value)| Step::Msr(index, value)),
        base.prop_map(Step::Base),
        any::<u64>().prop_map(Step::Deadline),
        any::<u8>().prop_map(Step::Priority),
        (delivery, prop_oneof![Just(Trigger::Edge), Just(Trigger::Level)])
            .prop_map(|(delivery, trigger)| Step::Accept(delivery, trigger)),
        Just(Step::Pins),
        Just(Step::Acknowledge),
        (0_u64..1 << 40).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_accesses_panics_or_is_lost_by_saving(steps in prop::collection::vec(step(), 0..100)) {
        let scale = TscScale::new(2_500_000_000).unwrap();
        let mut apic = LocalApic::new(ApicId(0), Role::Bootstrap);
        let mut now = NOW;
        for step in steps {
            match step {
                Step::Mmio(offset, None) => _ = apic.read_mmio(offset, now),
                Step::Mmio(offset, Some(value)) => _ = apic.write_mmio(offset, value, now),
                Step::Msr(index, None) => _ = apic.read_msr(index, now),
                Step::Msr(index, Some(value)) => _ = apic.write_msr(index, value, now),
                Step::Base(value) => _ = apic.set_apic_base(value),
                Step::Deadline(tsc) => apic.set_tsc_deadline(tsc, now, &TscLine { scale, ticks: 1, at: now }),
                Step::Priority(priority) => apic.set_task_priority(priority),
                Step::Accept(delivery, trigger) => {
                    _ = apic.accept(&Message { recipients: Recipients::All, delivery, trigger });
                }
                Step::Pins => _ = (apic.pin(Pin::Lint0), apic.pin(Pin::Lint1)),
                Step::Acknowledge => {
                    let pending = apic.highest_pending();
                    prop_assert_eq!(apic.acknowledge(), pending);
                    prop_assert!(pending.is_none_or(|vector| vector.0 >= 16));
                }
                Step::Wait(ns) => {
                    now = now.after(base::Nanoseconds(ns));
                    apic.advance(now);
                    prop_assert!(apic.next_deadline().is_none_or(|due| due > now));
                }
            }
            let mut copy = LocalApic::new(ApicId(9), Role::Application);
            prop_assert_eq!(copy.load(apic.save()), Ok(()));
            prop_assert_eq!(&copy, &apic);
        }
    }

    #[test]
    fn damaged_state_is_refused_whole(
        registers: [u32; 6], lvt: [u32; 6], vectors: [[u64; 4]; 3], numbers: [u64; 3], due: Option<u64>,
    ) {
        let [id, task_priority, logical_destination, destination_format, spurious, divide] = registers;
        let [irr, isr, tmr] = vectors;
        let [apic_base, deadline_tsc, count] = numbers;
        let image = LocalApicImage {
            id, apic_base, task_priority, logical_destination, destination_format, spurious, lvt, command: [id, divide],
            errors: [0, 0], irr, isr, tmr, divide, initial_count: count as u32, deadline_tsc, due,
        };
        let mut apic = x2apic(1);
        let before = apic.clone();
        if apic.load(image).is_err() {
            prop_assert_eq!(apic, before);
        }
    }
}

proptest! {
    #[test]
    fn what_a_device_sends_is_taken_as_any_message_is(
        vector: u8, kind in 0..8_u8, destination: u8, is_logical: bool, is_level: bool, in_x2apic: bool,
        ldr: u8, svr in prop::sample::select(&[0xff_u32, 0x1ff][..]), pending: u8,
    ) {
        let mut apic = if in_x2apic { x2apic(u32::from(ldr & 0x1f)) } else { xapic() };
        apic.write_mmio(LDR, u32::from(ldr) << 24, NOW);
        apic.write_mmio(SVR, svr, NOW);
        apic.accept(&fixed(pending, Trigger::Level));
        let Some(delivery) = DeliveryMode::from_bits(kind) else { return Ok(()) };
        let message = InterruptMessage {
            vector: Vector(vector),
            delivery,
            destination: if is_logical { Destination::Logical(destination) } else { Destination::Physical(destination) },
            trigger: if is_level { Trigger::Level } else { Trigger::Edge },
        };
        let mut other = apic.clone();
        let any = Message::from(message);
        let expected =
            if other.is_addressed_by(&any, None) { other.accept(&any) } else { Accepted::Ignored };
        prop_assert_eq!(apic.accept_from_device(message), expected);
        prop_assert_eq!(apic, other);
    }
}
