//! 11.5: the local vector table, its timer and errors.

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
