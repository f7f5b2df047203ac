//! 11.8: handling interrupts.

use super::*;

#[test]
fn the_highest_vector_comes_first_and_nests_by_class() {
    let mut apic = xapic();
    for vector in [0x31, 0x42, 0x44] {
        assert_eq!(apic.accept(&fixed(vector, Trigger::Edge)), Accepted::Queued);
    }
    assert_eq!(apic.acknowledge(), Some(Vector(0x44)));
    assert_eq!(apic.read_mmio(PPR, NOW), 0x40);
    assert_eq!(apic.highest_pending(), None, "0x42 is of the class in service");
    apic.accept(&fixed(0x51, Trigger::Edge));
    assert_eq!(apic.acknowledge(), Some(Vector(0x51)));
    apic.write_mmio(EOI, 0, NOW);
    apic.write_mmio(EOI, 0, NOW);
    assert_eq!(apic.acknowledge(), Some(Vector(0x42)));
    apic.write_mmio(EOI, 0, NOW);
    assert_eq!(apic.acknowledge(), Some(Vector(0x31)));
}

#[test]
fn the_task_priority_holds_back_its_class_and_below() {
    let mut apic = xapic();
    apic.accept(&fixed(0x4f, Trigger::Edge));
    apic.write_mmio(TPR, 0x40, NOW);
    assert_eq!(apic.highest_pending(), None);
    assert!(apic.is_held_back_by_task_priority());
    apic.set_task_priority(3);
    assert!(!apic.is_held_back_by_task_priority());
    assert_eq!(apic.read_mmio(TPR, NOW), 0x30);
    apic.write_mmio(TPR, 0x35, NOW);
    apic.set_task_priority(3);
    assert_eq!(apic.read_mmio(TPR, NOW), 0x35, "CR8 has not changed");
    assert_eq!(apic.highest_pending(), Some(Vector(0x4f)));
}

#[test]
fn what_is_in_service_holds_back_whatever_the_task_priority() {
    let mut apic = xapic();
    apic.accept(&fixed(0x4f, Trigger::Edge));
    apic.acknowledge();
    apic.accept(&fixed(0x41, Trigger::Edge));
    apic.write_mmio(TPR, 0x50, NOW);
    assert!(!apic.is_held_back_by_task_priority());
    apic.write_mmio(EOI, 0, NOW);
    assert!(apic.is_held_back_by_task_priority());
}

#[test]
fn only_the_end_of_a_level_interrupt_is_told() {
    let mut apic = xapic();
    apic.accept(&fixed(0x60, Trigger::Level));
    assert_eq!(apic.read_mmio(0x1b0, NOW), 1, "TMR");
    apic.acknowledge();
    assert_eq!(apic.write_mmio(EOI, 0, NOW), Effect::EndOfInterrupt(Vector(0x60)));
    apic.accept(&fixed(0x60, Trigger::Edge));
    apic.acknowledge();
    assert_eq!(apic.write_mmio(EOI, 0, NOW), Effect::None);
    assert_eq!(apic.write_mmio(EOI, 0, NOW), Effect::None, "nothing in service");
}

#[test]
fn isr_and_irr_show_each_vector_as_a_bit() {
    let mut apic = xapic();
    apic.accept(&fixed(0x61, Trigger::Edge));
    assert_eq!(apic.read_mmio(0x230, NOW), 2);
    apic.acknowledge();
    assert_eq!((apic.read_mmio(0x230, NOW), apic.read_mmio(0x130, NOW)), (0, 2));
}
