//! The datasheet's sections as tests.

use super::*;
use crate::testing::{self, FakeCx, inb, outb};
use base::Nanoseconds;
use proptest::prelude::*;

/// 2026-11-21 06:55:07 UTC, a Saturday.
const NOW_S: u64 = 1_795_244_107;

fn clock() -> (RtcCmos, FakeCx) {
    (RtcCmos::new(NOW_S), FakeCx::new())
}

fn get(rtc: &mut RtcCmos, cx: &mut FakeCx, index: u8) -> u8 {
    outb(rtc, cx, 0x70, index);
    inb(rtc, cx, 0x71)
}

fn set(rtc: &mut RtcCmos, cx: &mut FakeCx, index: u8, value: u8) {
    outb(rtc, cx, 0x70, index);
    outb(rtc, cx, 0x71, value);
}

/// Century, year, month, day, weekday, hour, minute, second.
fn time(rtc: &mut RtcCmos, cx: &mut FakeCx) -> [u8; 8] {
    [0x32, 9, 8, 7, 6, 4, 2, 0].map(|index| get(rtc, cx, index))
}

#[test]
fn the_time_is_shown_in_bcd_and_goes_on() {
    let (mut rtc, mut cx) = clock();
    assert_eq!(time(&mut rtc, &mut cx), [0x20, 0x26, 0x11, 0x21, 0x07, 0x06, 0x55, 0x07]);
    cx.wait(Nanoseconds::from_secs(53));
    assert_eq!(time(&mut rtc, &mut cx), [0x20, 0x26, 0x11, 0x21, 0x07, 0x06, 0x56, 0x00]);
}

#[test]
fn a_running_clock_follows_a_change_of_format() {
    let (mut rtc, mut cx) = clock();
    cx.wait(Nanoseconds::from_secs(12 * 3600));
    set(&mut rtc, &mut cx, 0x0b, 0x04);
    assert_eq!(time(&mut rtc, &mut cx), [0x20, 26, 11, 21, 7, 0x86, 55, 7]);
    set(&mut rtc, &mut cx, 0x0b, 0x02);
    assert_eq!(time(&mut rtc, &mut cx), [0x20, 0x26, 0x11, 0x21, 0x07, 0x18, 0x55, 0x07]);
}

#[test]
fn the_time_is_set_while_set_holds_the_clock() {
    let (mut rtc, mut cx) = clock();
    set(&mut rtc, &mut cx, 0x0b, 0x92);
    assert_eq!(get(&mut rtc, &mut cx, 0x0b), 0x82, "SET clears UIE");
    for (index, value) in [(0x32, 0x19), (9, 0x99), (8, 0x12), (7, 0x31), (4, 0x23), (2, 0x59), (0, 0x58)] {
        set(&mut rtc, &mut cx, index, value);
    }
    cx.wait(Nanoseconds::from_secs(100));
    assert_eq!(get(&mut rtc, &mut cx, 0), 0x58, "held");
    set(&mut rtc, &mut cx, 0x0b, 0x02);
    cx.wait(Nanoseconds::from_secs(2));
    assert_eq!(time(&mut rtc, &mut cx), [0x20, 0x00, 0x01, 0x01, 0x07, 0x00, 0x00, 0x00]);
}

#[test]
fn the_first_update_comes_half_a_second_after_the_divider_was_let_go() {
    let (mut rtc, mut cx) = clock();
    cx.wait(Nanoseconds::from_millis(900));
    set(&mut rtc, &mut cx, 0x0a, 0x76);
    cx.wait(Nanoseconds::from_millis(5000));
    assert_eq!(get(&mut rtc, &mut cx, 0), 0x07);
    set(&mut rtc, &mut cx, 0x0a, 0x26);
    cx.wait(Nanoseconds::from_millis(499));
    assert_eq!(get(&mut rtc, &mut cx, 0), 0x07);
    cx.wait(Nanoseconds::from_millis(1));
    assert_eq!(get(&mut rtc, &mut cx, 0), 0x08);
}

#[test]
fn update_in_progress_is_set_from_2228_microseconds_before_the_second() {
    let (mut rtc, mut cx) = clock();
    cx.now = Instant(997_771_999);
    assert_eq!(get(&mut rtc, &mut cx, 0x0a), 0x26);
    cx.now = Instant(997_772_000);
    assert_eq!(get(&mut rtc, &mut cx, 0x0a), 0xa6);
    cx.now = Instant(1_000_000_000);
    assert_eq!(get(&mut rtc, &mut cx, 0x0a), 0x26);
}

#[test]
fn update_in_progress_is_never_set_while_the_clock_is_held() {
    let (mut rtc, mut cx) = clock();
    cx.now = Instant(999_000_000);
    set(&mut rtc, &mut cx, 0x0b, 0x82);
    assert_eq!(get(&mut rtc, &mut cx, 0x0a), 0x26);
}

#[test]
fn the_update_ended_interrupt_comes_each_second_and_reading_c_ends_it() {
    let (mut rtc, mut cx) = clock();
    set(&mut rtc, &mut cx, 0x0b, 0x12);
    for second in 1..=3 {
        assert_eq!(rtc.next_deadline(), Some(Instant(second * SECOND_NS)));
        testing::run_until(&mut rtc, &mut cx, Instant(second * SECOND_NS));
        assert!(cx.asserted(RTC_GSI));
        assert_eq!(get(&mut rtc, &mut cx, 0x0c) & 0xb0, 0x90);
        assert!(!cx.asserted(RTC_GSI));
        assert_eq!(get(&mut rtc, &mut cx, 0x0c), 0);
    }
}

#[test]
fn the_periodic_interrupt_comes_at_the_rate_chosen() {
    for (rate, hz) in [(1, 256), (2, 128), (3, 8192), (6, 1024), (15, 2)] {
        let (mut rtc, mut cx) = clock();
        set(&mut rtc, &mut cx, 0x0a, 0x20 | rate);
        set(&mut rtc, &mut cx, 0x0b, 0x42);
        let mut interrupts = 0;
        while rtc.next_deadline().unwrap() <= Instant(SECOND_NS) {
            let deadline = rtc.next_deadline().unwrap();
            testing::run_until(&mut rtc, &mut cx, deadline);
            assert_eq!(get(&mut rtc, &mut cx, 0x0c) & 0xc0, 0xc0);
            interrupts += 1;
        }
        assert_eq!(interrupts, hz, "rate {rate}");
    }
}

#[test]
fn an_interrupt_that_is_not_taken_asks_for_no_more_time() {
    let (mut rtc, mut cx) = clock();
    set(&mut rtc, &mut cx, 0x0a, 0x23);
    set(&mut rtc, &mut cx, 0x0b, 0x42);
    testing::run_until(&mut rtc, &mut cx, Instant(SECOND_NS));
    assert_eq!((rtc.next_deadline(), cx.rises_of(RTC_GSI)), (None, 1));
    assert_eq!(get(&mut rtc, &mut cx, 0x0c), 0xd0, "the update was noticed all the same");
    assert!(rtc.next_deadline().is_some());
}

#[test]
fn the_alarm_comes_when_all_three_registers_match() {
    let (mut rtc, mut cx) = clock();
    for (index, value) in [(5, 0x07), (3, 0x00), (1, 0x10)] {
        set(&mut rtc, &mut cx, index, value);
    }
    set(&mut rtc, &mut cx, 0x0b, 0x22);
    assert_eq!(rtc.next_deadline(), Some(Instant(303 * SECOND_NS)));
    testing::run_until(&mut rtc, &mut cx, Instant(303 * SECOND_NS));
    assert_eq!(get(&mut rtc, &mut cx, 0x0c) & 0xa0, 0xa0);
}

#[test]
fn alarm_registers_from_0xc0_on_match_everything() {
    let (mut rtc, mut cx) = clock();
    for (index, value) in [(5, 0xff), (3, 0xc0), (1, 0x30)] {
        set(&mut rtc, &mut cx, index, value);
    }
    set(&mut rtc, &mut cx, 0x0b, 0x22);
    assert_eq!(rtc.next_deadline(), Some(Instant(23 * SECOND_NS)));
}

#[test]
fn an_impossible_alarm_never_comes() {
    let (mut rtc, mut cx) = clock();
    set(&mut rtc, &mut cx, 1, 0x60);
    set(&mut rtc, &mut cx, 0x0b, 0x22);
    assert_eq!(rtc.next_deadline(), None);
}

#[test]
fn memory_keeps_its_bytes_and_the_battery_is_good() {
    let (mut rtc, mut cx) = clock();
    for index in (0x0e..0x80).filter(|index| *index != 0x32) {
        set(&mut rtc, &mut cx, index, index ^ 0x5a);
    }
    cx.wait(Nanoseconds::from_secs(5));
    for index in (0x0e..0x80).filter(|index| *index != 0x32) {
        assert_eq!(get(&mut rtc, &mut cx, index), index ^ 0x5a);
    }
    set(&mut rtc, &mut cx, 0x0d, 0);
    assert_eq!(get(&mut rtc, &mut cx, 0x0d), 0x80);
}

#[test]
fn the_top_bit_of_the_index_masks_nmi() {
    let (mut rtc, mut cx) = clock();
    outb(&mut rtc, &mut cx, 0x70, 0x8d);
    assert!(rtc.nmi_masked());
    assert_eq!(inb(&mut rtc, &mut cx, 0x71), 0x80);
    outb(&mut rtc, &mut cx, 0x70, 0x0d);
    assert!(!rtc.nmi_masked());
}

#[test]
fn reset_ends_interrupts_and_keeps_the_time() {
    let (mut rtc, mut cx) = clock();
    set(&mut rtc, &mut cx, 0x0b, 0x72);
    testing::run_until(&mut rtc, &mut cx, Instant(SECOND_NS));
    rtc.reset(&mut cx);
    assert!(!cx.asserted(RTC_GSI));
    assert_eq!(get(&mut rtc, &mut cx, 0x0b), 0x02);
    assert_eq!(get(&mut rtc, &mut cx, 0), 0x08);
}

#[test]
fn impossible_dates_become_the_nearest_possible_ones() {
    let (mut rtc, mut cx) = clock();
    set(&mut rtc, &mut cx, 0x0b, 0x82);
    for index in [0x32, 9, 8, 7, 4, 2, 0] {
        set(&mut rtc, &mut cx, index, 0x99);
    }
    set(&mut rtc, &mut cx, 0x0b, 0x02);
    assert_eq!(time(&mut rtc, &mut cx)[..4], [0x99, 0x99, 0x12, 0x31]);
    assert_eq!(time(&mut rtc, &mut cx)[5..], [0x23, 0x59, 0x59]);
}

#[test]
fn saved_state_is_checked_field_by_field() {
    let (mut rtc, _) = clock();
    let out_of_range = |field| Err(StateError::OutOfRange { section: "rtc-cmos", field });
    let good = rtc.save();
    assert_eq!(rtc.load(RtcCmosState { index: 0x80, ..good.clone() }), out_of_range("index"));
    assert_eq!(rtc.load(RtcCmosState { a: 0xa6, ..good.clone() }), out_of_range("a"));
    assert_eq!(rtc.load(RtcCmosState { c: 0x80, ..good.clone() }), out_of_range("c"));
    assert_eq!(rtc.load(RtcCmosState { base_s: i64::MIN, ..good.clone() }), out_of_range("base_s"));
    assert_eq!(rtc.load(RtcCmosState { phase_ns: SECOND_NS, ..good.clone() }), out_of_range("phase_ns"));
    assert_eq!(rtc.load(good), Ok(()));
}

proptest! {
    #[test]
    fn a_hostile_driver_breaks_nothing(acts in testing::acts(prop_oneof![9 => 0x70..0x72u32, 1 => 0x60..0x80u32])) {
        testing::survive(RtcCmos::new(NOW_S), RtcCmos::new(0), &acts, |rtc, cx, byte| {
            // Straight at a register, which random pairs of port writes seldom hit.
            set(rtc, cx, byte & 0x0f, byte.rotate_left(3));
        });
    }

    #[test]
    fn any_wall_clock_is_shown(unix_s: u64, wait: u64) {
        let (mut rtc, mut cx) = (RtcCmos::new(unix_s), FakeCx::new());
        cx.wait(Nanoseconds(wait));
        for index in 0..0x80 {
            get(&mut rtc, &mut cx, index);
        }
    }
}
