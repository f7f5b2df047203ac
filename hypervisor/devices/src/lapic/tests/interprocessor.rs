//! 11.6: interprocessor interrupts.

use super::*;

fn sent(effect: Effect) -> Message {
    match effect {
        Effect::Send(message) => message,
        other => panic!("{other:?} sends nothing"),
    }
}

#[test]
fn the_high_half_addresses_and_the_low_half_sends() {
    let mut apic = xapic();
    assert_eq!(apic.write_mmio(ICR_HIGH, 0x0300_0000, NOW), Effect::None);
    let message = sent(apic.write_mmio(ICR, 0x4040, NOW));
    assert_eq!(message.recipients, Recipients::Physical(ApicId(3)));
    assert_eq!(message.delivery, Delivery::Fixed(Vector(0x40)));
    assert_eq!(apic.read_mmio(ICR, NOW), 0x4040);
    assert_eq!(apic.read_mmio(ICR_HIGH, NOW), 0x0300_0000);
}

#[test]
fn delivery_modes_and_shorthands_are_as_in_figure_11_12() {
    let mut apic = x2apic(0);
    let mut send = |value| sent(apic.write_msr(0x830, value, NOW).unwrap());
    assert_eq!(send(0xc_4400).delivery, Delivery::Nmi);
    assert_eq!(send(0xc_4400).recipients, Recipients::Others);
    assert_eq!(send(0xc_4500).delivery, Delivery::Init);
    assert_eq!(send(0x1_0000_4608).delivery, Delivery::StartUp(Vector(8)));
    assert_eq!(send(0x8_4040).recipients, Recipients::All);
    assert_eq!(send(0xffff_ffff_0000_4040).recipients, Recipients::All);
    assert_eq!(send(0x1_0002_0000_4840).recipients, Recipients::Logical(0x1_0002));
    assert_eq!(send(0x3_0000_4140).delivery, Delivery::LowestPriority(Vector(0x40)));
}

#[test]
fn the_level_de_assert_of_init_sends_nothing() {
    let mut apic = x2apic(0);
    assert_eq!(apic.write_msr(0x830, 0xc_8500, NOW), Ok(Effect::None));
}

#[test]
fn an_interrupt_to_oneself_is_taken_without_help() {
    let mut apic = x2apic(0);
    assert_eq!(apic.write_msr(0x83f, 0x41, NOW), Ok(Effect::None));
    assert_eq!(apic.acknowledge(), Some(Vector(0x41)));
    assert_eq!(apic.write_msr(0x830, 0x4_4052, NOW), Ok(Effect::None));
    assert_eq!(apic.acknowledge(), Some(Vector(0x52)));
}

#[test]
fn shorthands_tell_the_sender_from_others() {
    let apic = x2apic(1);
    let message = |recipients| Message { recipients, ..fixed(0x40, Trigger::Edge) };
    let own = Some(ApicId(1));
    assert!(!apic.is_addressed_by(&message(Recipients::Others), own));
    assert!(apic.is_addressed_by(&message(Recipients::Others), Some(ApicId(0))));
    assert!(apic.is_addressed_by(&message(Recipients::Sender), own));
    assert!(!apic.is_addressed_by(&message(Recipients::Sender), None));
    assert!(apic.is_addressed_by(&message(Recipients::All), own));
    assert!(apic.is_addressed_by(&message(Recipients::Physical(ApicId(1))), None));
    assert!(!apic.is_addressed_by(&message(Recipients::Physical(ApicId(2))), None));
}

#[test]
fn flat_logical_destinations_are_a_bit_mask() {
    let mut apic = xapic();
    apic.write_mmio(LDR, 0x0400_0000, NOW);
    assert!(apic.is_addressed_by(&logical(0x06), None));
    assert!(!apic.is_addressed_by(&logical(0x0b), None));
    assert!(apic.is_addressed_by(&logical(0xff), None));
}

#[test]
fn clustered_logical_destinations_have_a_cluster_and_a_mask() {
    let mut apic = xapic();
    apic.write_mmio(DFR, 0, NOW);
    apic.write_mmio(LDR, 0x2400_0000, NOW);
    assert!(apic.is_addressed_by(&logical(0x24), None));
    assert!(!apic.is_addressed_by(&logical(0x14), None));
    assert!(!apic.is_addressed_by(&logical(0x2b), None));
    assert!(apic.is_addressed_by(&logical(0xff), None));
}
