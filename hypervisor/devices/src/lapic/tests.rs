//! The local APIC's specification, in the order of the SDM's chapter 11.

use super::*;
use base::{TscScale, state::SavedState};
use proptest::prelude::*;

const NOW: Instant = Instant(1_000_000_000);

const TPR: u32 = 0x80;
const PPR: u32 = 0xa0;
const EOI: u32 = 0xb0;
const LDR: u32 = 0xd0;
const DFR: u32 = 0xe0;
const SVR: u32 = 0xf0;
const ESR: u32 = 0x280;
const ICR: u32 = 0x300;
const ICR_HIGH: u32 = 0x310;
const LVT_TIMER: u32 = 0x320;
const LVT_LINT0: u32 = 0x350;
const LVT_ERROR: u32 = 0x370;
const INITIAL_COUNT: u32 = 0x380;
const CURRENT_COUNT: u32 = 0x390;
const DIVIDE: u32 = 0x3e0;

const PERIODIC: u32 = 1 << 17;
const TSC_DEADLINE: u32 = 2 << 17;
const DIVIDE_BY_1: u32 = 0b1011;

fn xapic() -> LocalApic {
    let mut apic = LocalApic::new(ApicId(0), Role::Bootstrap);
    apic.write_mmio(SVR, 0x1ff, NOW);
    apic
}

fn x2apic(id: u32) -> LocalApic {
    let mut apic = LocalApic::new(ApicId(id), Role::Bootstrap);
    apic.set_apic_base(apic.apic_base() | apic_base::X2APIC).unwrap();
    apic.write_msr(0x80f, 0x1ff, NOW).unwrap();
    apic
}

fn fixed(vector: u8, trigger: Trigger) -> Message {
    Message { recipients: Recipients::All, delivery: Delivery::Fixed(Vector(vector)), trigger }
}

fn logical(destination: u32) -> Message {
    Message { recipients: Recipients::Logical(destination), ..fixed(0x40, Trigger::Edge) }
}

/// 11.4: presence, identification and state.
mod state {
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
}

/// 11.5: the local vector table, its timer and errors.
mod local {
    use super::*;

    #[test]
    fn one_shot_counts_down_once() {
        let mut apic = xapic();
        apic.write_mmio(LVT_TIMER, 0x40, NOW);
        apic.write_mmio(DIVIDE, DIVIDE_BY_1, NOW);
        apic.write_mmio(INITIAL_COUNT, 1000, NOW);
        assert_eq!(apic.read_mmio(CURRENT_COUNT, Instant(NOW.0 + 400)), 600);
        let due = apic.next_deadline().unwrap();
        assert_eq!(due, Instant(NOW.0 + 1000));
        apic.advance(Instant(due.0 - 1));
        assert_eq!(apic.highest_pending(), None);
        apic.advance(due);
        assert_eq!(apic.highest_pending(), Some(Vector(0x40)));
        assert_eq!((apic.read_mmio(CURRENT_COUNT, due), apic.next_deadline()), (0, None));
    }

    #[test]
    fn the_divide_configuration_encodes_1_to_128() {
        let codes = [(0b1011, 1), (0b0000, 2), (0b0001, 4), (0b0010, 8), (0b0011, 16)];
        for (code, divisor) in codes.into_iter().chain([(0b1000, 32), (0b1001, 64), (0b1010, 128)]) {
            let mut apic = xapic();
            apic.write_mmio(LVT_TIMER, 0x40, NOW);
            apic.write_mmio(DIVIDE, code, NOW);
            apic.write_mmio(INITIAL_COUNT, 10, NOW);
            assert_eq!(apic.next_deadline(), Some(Instant(NOW.0 + 10 * divisor)));
        }
    }

    #[test]
    fn changing_the_divisor_keeps_the_ticks_that_are_left() {
        let mut apic = xapic();
        apic.write_mmio(LVT_TIMER, 0x40, NOW);
        apic.write_mmio(DIVIDE, DIVIDE_BY_1, NOW);
        apic.write_mmio(INITIAL_COUNT, 1000, NOW);
        let later = Instant(NOW.0 + 400);
        apic.write_mmio(DIVIDE, 0, later);
        assert_eq!(apic.read_mmio(CURRENT_COUNT, later), 600);
        assert_eq!(apic.next_deadline(), Some(Instant(later.0 + 1200)));
    }

    #[test]
    fn periodic_goes_on_and_missed_periods_are_one_interrupt() {
        let mut apic = xapic();
        apic.write_mmio(LVT_TIMER, 0x40 | PERIODIC, NOW);
        apic.write_mmio(DIVIDE, DIVIDE_BY_1, NOW);
        apic.write_mmio(INITIAL_COUNT, 1_000_000, NOW);
        apic.advance(Instant(NOW.0 + 3_500_000));
        assert_eq!(apic.acknowledge(), Some(Vector(0x40)));
        assert_eq!(apic.acknowledge(), None);
        assert_eq!(apic.next_deadline(), Some(Instant(NOW.0 + 4_000_000)));
        apic.write_mmio(INITIAL_COUNT, 0, Instant(NOW.0 + 3_600_000));
        assert_eq!(apic.next_deadline(), None);
    }

    #[test]
    fn no_period_is_shorter_than_the_floor() {
        let mut apic = xapic();
        apic.write_mmio(LVT_TIMER, 0x40 | PERIODIC, NOW);
        apic.write_mmio(INITIAL_COUNT, 1, NOW);
        assert_eq!(apic.next_deadline(), Some(NOW.after(MIN_PERIOD)));
    }

    #[test]
    fn a_masked_timer_expires_in_silence() {
        let mut apic = xapic();
        apic.write_mmio(LVT_TIMER, 0x1_0040, NOW);
        apic.write_mmio(INITIAL_COUNT, 1000, NOW);
        assert_eq!(apic.next_deadline(), None);
        let later = Instant(NOW.0 + 10_000);
        apic.write_mmio(LVT_TIMER, 0x40, later);
        apic.advance(later);
        assert_eq!(apic.highest_pending(), None);
    }

    #[test]
    fn a_tsc_deadline_fires_once_and_then_reads_zero() {
        let tsc = TscLine { scale: TscScale::new(2_000_000_000).unwrap(), ticks: 5000, at: NOW };
        let mut apic = x2apic(0);
        apic.set_tsc_deadline(7000, NOW, &tsc);
        assert_eq!(apic.tsc_deadline(NOW), 0, "ignored outside of the mode");
        apic.write_msr(0x832, (0x40 | TSC_DEADLINE).into(), NOW).unwrap();
        apic.set_tsc_deadline(7000, NOW, &tsc);
        assert_eq!(apic.tsc_deadline(NOW), 7000);
        let due = apic.next_deadline().unwrap();
        assert!((NOW.0 + 1000..=NOW.0 + 1002).contains(&due.0));
        apic.advance(due);
        assert_eq!(apic.highest_pending(), Some(Vector(0x40)));
        assert_eq!((apic.tsc_deadline(due), apic.next_deadline()), (0, None));
    }

    #[test]
    fn a_tsc_deadline_in_the_past_fires_at_once() {
        let tsc = TscLine { scale: TscScale::new(2_000_000_000).unwrap(), ticks: 5000, at: NOW };
        let mut apic = x2apic(0);
        apic.write_msr(0x832, (0x40 | TSC_DEADLINE).into(), NOW).unwrap();
        apic.set_tsc_deadline(1, NOW, &tsc);
        assert_eq!(apic.highest_pending(), Some(Vector(0x40)));
    }

    #[test]
    fn moving_the_tsc_moves_an_armed_deadline() {
        let scale = TscScale::new(1_000_000_000).unwrap();
        let mut apic = x2apic(0);
        apic.write_msr(0x832, (0x40 | TSC_DEADLINE).into(), NOW).unwrap();
        apic.set_tsc_deadline(10_000, NOW, &TscLine { scale, ticks: 0, at: NOW });
        apic.move_tsc(&TscLine { scale, ticks: 9_000, at: NOW });
        assert!(apic.next_deadline().unwrap() <= Instant(NOW.0 + 1_002));
    }

    #[test]
    fn leaving_tsc_deadline_mode_disarms() {
        let tsc = TscLine { scale: TscScale::new(1_000_000_000).unwrap(), ticks: 0, at: NOW };
        let mut apic = x2apic(0);
        apic.write_msr(0x832, (0x40 | TSC_DEADLINE).into(), NOW).unwrap();
        apic.write_msr(0x838, 1000, NOW).unwrap();
        assert_eq!(apic.read_msr(0x838, NOW), Ok(0), "counts are ignored in the mode");
        apic.set_tsc_deadline(10_000, NOW, &tsc);
        apic.write_msr(0x832, 0x40, NOW).unwrap();
        assert_eq!((apic.next_deadline(), apic.tsc_deadline(NOW)), (None, 0));
    }

    #[test]
    fn errors_are_shown_by_a_write_to_esr_and_raise_the_error_interrupt() {
        let mut apic = xapic();
        apic.write_mmio(LVT_ERROR, 0xfe, NOW);
        apic.accept(&fixed(3, Trigger::Edge));
        assert_eq!(apic.read_mmio(ESR, NOW), 0);
        assert_eq!(apic.acknowledge(), Some(Vector(0xfe)));
        apic.write_mmio(ICR, 0x0c_0005, NOW);
        apic.write_mmio(ESR, 0, NOW);
        assert_eq!(apic.read_mmio(ESR, NOW), 1 << 5 | 1 << 6);
        apic.write_mmio(ESR, 0, NOW);
        assert_eq!(apic.read_mmio(ESR, NOW), 0);
    }

    #[test]
    fn an_error_entry_with_an_illegal_vector_stays_silent() {
        let mut apic = xapic();
        apic.write_mmio(LVT_ERROR, 3, NOW);
        apic.read_mmio(0x3f0, NOW);
        assert_eq!(apic.highest_pending(), None);
        apic.write_mmio(ESR, 0, NOW);
        assert_eq!(apic.read_mmio(ESR, NOW), 1 << 7);
    }
}

/// 11.6: interprocessor interrupts.
mod interprocessor {
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
}

/// 11.8: handling interrupts.
mod handling {
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
}

/// 11.12: x2APIC.
mod extended {
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
}

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
