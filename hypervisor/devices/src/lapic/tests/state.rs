//! 11.4: presence, identification and state.

use super::*;

#[test]
fn after_power_on_it_is_enabled_by_hardware_and_disabled_by_software() {
    let mut apic = LocalApic::new(ApicId(0), Role::Bootstrap);
    assert_eq!(apic.apic_base(), 0xfee0_0900);
    assert_eq!(apic.read_mmio(SVR, NOW), 0xff);
    assert_eq!(apic.read_mmio(0x30, NOW), 0x0005_0014);
    assert_eq!(apic.read_mmio(DFR, NOW), u32::MAX);
    for lvt in (LVT_TIMER..=LVT_ERROR).step_by(16) {
        assert_eq!(apic.read_mmio(lvt, NOW), 0x1_0000);
    }
    assert_eq!(apic.page(), Some(Gpa::from_low_bits(0xfee0_0000)));
}

#[test]
fn while_disabled_by_software_it_drops_vectors_and_keeps_its_entries_masked() {
    let mut apic = LocalApic::new(ApicId(0), Role::Bootstrap);
    assert_eq!(apic.accept(&fixed(0x40, Trigger::Edge)), Accepted::Ignored);
    apic.write_mmio(LVT_TIMER, 0x40, NOW);
    assert_eq!(apic.read_mmio(LVT_TIMER, NOW), 0x1_0040);
    let nmi = Message { delivery: Delivery::Nmi, ..fixed(0, Trigger::Edge) };
    assert_eq!(apic.accept(&nmi), Accepted::Nmi);
}

#[test]
fn disabling_by_software_masks_entries_and_keeps_pending_vectors() {
    let mut apic = xapic();
    apic.write_mmio(LVT_TIMER, 0x40, NOW);
    apic.accept(&fixed(0x50, Trigger::Edge));
    apic.write_mmio(SVR, 0xff, NOW);
    assert_eq!(apic.read_mmio(LVT_TIMER, NOW), 0x1_0040);
    assert_eq!(apic.highest_pending(), Some(Vector(0x50)));
}

#[test]
fn init_keeps_mode_and_id_and_resets_the_rest() {
    let mut apic = x2apic(5);
    apic.accept(&fixed(0x50, Trigger::Edge));
    apic.init();
    assert_eq!((apic.mode(), apic.id()), (Mode::X2Apic, ApicId(5)));
    assert_eq!(apic.highest_pending(), None);
    assert_eq!(apic.read_msr(0x80f, NOW), Ok(0xff));
}

#[test]
fn virtual_wire_mode_lets_the_8259a_pair_and_nmis_through() {
    let mut apic = LocalApic::new(ApicId(0), Role::Bootstrap);
    assert!(!apic.passes_ext_int());
    apic.enter_virtual_wire_mode();
    assert!(apic.passes_ext_int());
    assert_eq!(apic.pin(Pin::Lint0), Accepted::ExtInt);
    assert_eq!(apic.pin(Pin::Lint1), Accepted::Nmi);
    apic.write_mmio(LVT_LINT0, 0x1_0700, NOW);
    assert!(!apic.passes_ext_int());
}

#[test]
fn switched_off_its_pins_are_the_processors() {
    let mut apic = xapic();
    apic.set_apic_base(0xfee0_0000).unwrap();
    assert_eq!((apic.pin(Pin::Lint0), apic.pin(Pin::Lint1)), (Accepted::ExtInt, Accepted::Nmi));
    assert!(apic.passes_ext_int());
    assert_eq!(apic.page(), None);
}
