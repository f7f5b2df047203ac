//! 11.12: x2APIC.

use super::*;

#[test]
fn the_modes_change_only_along_the_edges_of_figure_11_27() {
    let mut apic = LocalApic::new(ApicId(0), Role::Application);
    assert_eq!(apic.set_apic_base(0xfee0_0400), Err(GeneralProtection), "EXTD without EN");
    apic.set_apic_base(0xfee0_0000).unwrap();
    assert_eq!(apic.set_apic_base(0xfee0_0c00), Err(GeneralProtection), "off to x2APIC");
    apic.set_apic_base(0xfee0_0800).unwrap();
    apic.set_apic_base(0xfee0_0c00).unwrap();
    assert_eq!(apic.set_apic_base(0xfee0_0800), Err(GeneralProtection), "x2APIC to xAPIC");
    assert_eq!(apic.set_apic_base(0xfee0_0c01), Err(GeneralProtection), "reserved bit");
    apic.set_apic_base(0xfee0_0000).unwrap();
    assert_eq!(apic.mode(), Mode::Disabled);
}

#[test]
fn each_mode_answers_only_its_own_interface() {
    let mut apic = xapic();
    assert_eq!(apic.read_msr(0x803, NOW), Err(GeneralProtection));
    let mut apic = x2apic(0);
    assert_eq!(apic.read_mmio(0x30, NOW), 0);
    assert_eq!(apic.read_msr(0x803, NOW), Ok(0x0005_0014));
}

#[test]
fn ids_are_32_bits_wide_and_give_the_logical_id() {
    let mut apic = x2apic(0x123);
    assert_eq!(apic.read_msr(0x802, NOW), Ok(0x123));
    assert_eq!(apic.read_msr(0x80d, NOW), Ok(0x12_0008));
    assert!(apic.is_addressed_by(&logical(0x12_000c), None));
    assert!(!apic.is_addressed_by(&logical(0x13_0008), None));
    assert!(apic.is_addressed_by(&logical(u32::MAX), None));
}

#[test]
fn reserved_bits_and_wrong_directions_fault() {
    let mut apic = x2apic(0);
    // EOI and SELF IPI are write-only; ID, version, PPR, LDR, ISR, TMR, IRR and current count read-only;
    // DFR, the ICR's high half and anything unlisted are absent.
    for index in [0x80b, 0x83f, 0x80e, 0x831, 0x800, 0x82f, 0x840, 0x8ff] {
        assert_eq!(apic.read_msr(index, NOW), Err(GeneralProtection), "{index:#x}");
    }
    for index in [0x802, 0x803, 0x80a, 0x80d, 0x810, 0x818, 0x820, 0x839, 0x80e, 0x831, 0x8ff] {
        assert_eq!(apic.write_msr(index, 0, NOW), Err(GeneralProtection), "{index:#x}");
    }
    for (index, value) in [
        (0x80b, 1),
        (0x828, 1),
        (0x808, 0x100),
        (0x80f, 1 << 31),
        (0x832, 1 << 20),
        (0x83e, 4),
        (0x83f, 0x100),
        (0x830, 1 << 20),
        (0x838, 1 << 32),
    ] {
        assert_eq!(apic.write_msr(index, value, NOW), Err(GeneralProtection), "{index:#x} {value:#x}");
    }
}

#[test]
fn the_command_register_is_one_64_bit_register() {
    let mut apic = x2apic(0);
    apic.write_msr(0x830, 0x7_0000_4040, NOW).unwrap();
    assert_eq!(apic.read_msr(0x830, NOW), Ok(0x7_0000_4040));
}
