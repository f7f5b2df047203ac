//! The datasheet's sections as tests. Time is counted in clocks of the counter.

use super::*;
use crate::testing::{self, FakeCx, inb, outb};
use base::Nanoseconds;
use proptest::prelude::*;

/// Sets the time to clock `clock`.
fn at(cx: &mut FakeCx, clock: u64) {
    cx.now = CLOCK.instant_of(clock);
}

/// Programs channel `n` in `mode` with a count of two binary bytes.
fn program(pit: &mut I8254, cx: &mut FakeCx, n: u8, mode: u8, count: u16) {
    outb(pit, cx, CONTROL, n << 6 | 0x30 | mode << 1);
    write_count(pit, cx, n, count);
}

fn write_count(pit: &mut I8254, cx: &mut FakeCx, n: u8, count: u16) {
    for byte in count.to_le_bytes() {
        outb(pit, cx, 0x40 + u16::from(n), byte);
    }
}

/// Latches and reads channel `n`.
fn count(pit: &mut I8254, cx: &mut FakeCx, n: u8) -> u16 {
    outb(pit, cx, CONTROL, n << 6);
    let port = 0x40 + u16::from(n);
    u16::from_le_bytes([inb(pit, cx, port), inb(pit, cx, port)])
}

/// The status byte of channel `n`.
fn status(pit: &mut I8254, cx: &mut FakeCx, n: u8) -> u8 {
    outb(pit, cx, CONTROL, 0xe0 | 2 << n);
    inb(pit, cx, 0x40 + u16::from(n))
}

fn out_2(pit: &mut I8254, cx: &mut FakeCx) -> bool {
    inb(pit, cx, SYSTEM_CONTROL) & SYSTEM_OUT_2 != 0
}

fn gate_2(pit: &mut I8254, cx: &mut FakeCx, level: u8) {
    outb(pit, cx, SYSTEM_CONTROL, level);
}

fn pit() -> (I8254, FakeCx) {
    (I8254::new(), FakeCx::new())
}

/// A timer whose channel 2 has its gate high.
fn with_gate_2() -> (I8254, FakeCx) {
    let (mut pit, mut cx) = pit();
    gate_2(&mut pit, &mut cx, 1);
    (pit, cx)
}

/// The clocks, of those from `first` to `last`, at which channel 2's output is low.
fn low_clocks(pit: &mut I8254, cx: &mut FakeCx, first: u64, last: u64) -> std::vec::Vec<u64> {
    (first..=last)
        .filter(|clock| {
            at(cx, *clock);
            !out_2(pit, cx)
        })
        .collect()
}

extern crate std;

#[test]
fn mode_0_rises_n_plus_1_clocks_after_the_count_is_written() {
    let (mut pit, mut cx) = with_gate_2();
    program(&mut pit, &mut cx, 2, 0, 4);
    assert_eq!(low_clocks(&mut pit, &mut cx, 0, 20), [0, 1, 2, 3, 4]);
}

#[test]
fn mode_0_interrupts_once_and_counts_on() {
    let (mut pit, mut cx) = pit();
    program(&mut pit, &mut cx, 0, 0, 1000);
    assert_eq!(pit.next_deadline(), Some(CLOCK.instant_of(1001)));
    testing::run_until(&mut pit, &mut cx, CLOCK.instant_of(1_000_000));
    assert_eq!(cx.rises_of(TIMER_GSI), 1);
    at(&mut cx, 1_000_003);
    assert_eq!(count(&mut pit, &mut cx, 0), 1000u16.wrapping_sub((1_000_002u32 % 0x1_0000) as u16));
}

#[test]
fn mode_0_stops_at_the_first_byte_of_a_new_count() {
    let (mut pit, mut cx) = pit();
    program(&mut pit, &mut cx, 0, 0, 10);
    at(&mut cx, 5);
    outb(&mut pit, &mut cx, 0x40, 20);
    testing::run_until(&mut pit, &mut cx, CLOCK.instant_of(100));
    assert_eq!(cx.rises_of(TIMER_GSI), 0);
    outb(&mut pit, &mut cx, 0x40, 0);
    assert_eq!(pit.next_deadline(), Some(CLOCK.instant_of(121)));
}

#[test]
fn mode_0_holds_while_the_gate_is_low() {
    let (mut pit, mut cx) = with_gate_2();
    program(&mut pit, &mut cx, 2, 0, 100);
    at(&mut cx, 11);
    gate_2(&mut pit, &mut cx, 0);
    at(&mut cx, 500);
    assert_eq!(count(&mut pit, &mut cx, 2), 90);
    gate_2(&mut pit, &mut cx, 1);
    at(&mut cx, 589);
    assert!(!out_2(&mut pit, &mut cx));
    at(&mut cx, 590);
    assert!(out_2(&mut pit, &mut cx));
}

#[test]
fn mode_1_makes_one_low_pulse_of_n_clocks_for_each_trigger() {
    let (mut pit, mut cx) = pit();
    program(&mut pit, &mut cx, 2, 1, 3);
    assert!(low_clocks(&mut pit, &mut cx, 0, 20).is_empty());
    gate_2(&mut pit, &mut cx, 1);
    gate_2(&mut pit, &mut cx, 0);
    assert_eq!(low_clocks(&mut pit, &mut cx, 20, 40), [21, 22, 23]);
}

#[test]
fn mode_2_is_low_for_the_last_clock_of_each_period() {
    let (mut pit, mut cx) = with_gate_2();
    program(&mut pit, &mut cx, 2, 2, 5);
    assert_eq!(low_clocks(&mut pit, &mut cx, 0, 16), [5, 10, 15]);
}

#[test]
fn mode_2_interrupts_once_a_period_without_drift() {
    let (mut pit, mut cx) = pit();
    program(&mut pit, &mut cx, 0, 2, 11932);
    let (risen, last) = (cx.rises_of(TIMER_GSI), 1 + 10_000 * 11932);
    testing::run_until(&mut pit, &mut cx, CLOCK.instant_of(last));
    assert_eq!(cx.rises_of(TIMER_GSI) - risen, 10_000);
    assert_eq!(pit.next_deadline(), Some(CLOCK.instant_of(last + 11932)));
}

#[test]
fn periods_that_were_missed_are_one_interrupt() {
    let (mut pit, mut cx) = pit();
    program(&mut pit, &mut cx, 0, 2, 1000);
    let risen = cx.rises_of(TIMER_GSI);
    at(&mut cx, 5500);
    pit.advance(&mut cx);
    assert_eq!(cx.rises_of(TIMER_GSI) - risen, 1);
    assert_eq!(pit.next_deadline(), Some(CLOCK.instant_of(6001)));
}

#[test]
fn mode_2_takes_a_new_count_over_at_the_end_of_its_period() {
    let (mut pit, mut cx) = with_gate_2();
    program(&mut pit, &mut cx, 2, 2, 10);
    at(&mut cx, 4);
    write_count(&mut pit, &mut cx, 2, 3);
    assert_eq!(status(&mut pit, &mut cx, 2) & 0x40, 0x40);
    assert_eq!(low_clocks(&mut pit, &mut cx, 4, 18), [10, 13, 16]);
    assert_eq!(status(&mut pit, &mut cx, 2) & 0x40, 0);
}

#[test]
fn mode_2_is_high_while_the_gate_is_low_and_starts_anew_with_it() {
    let (mut pit, mut cx) = with_gate_2();
    program(&mut pit, &mut cx, 2, 2, 5);
    at(&mut cx, 3);
    gate_2(&mut pit, &mut cx, 0);
    assert!(low_clocks(&mut pit, &mut cx, 3, 30).is_empty());
    gate_2(&mut pit, &mut cx, 1);
    assert_eq!(low_clocks(&mut pit, &mut cx, 30, 40), [35, 40]);
}

#[test]
fn mode_3_is_high_for_the_longer_half() {
    for (n, low) in [(4, [3, 4, 7, 8]), (5, [4, 5, 9, 10])] {
        let (mut pit, mut cx) = with_gate_2();
        program(&mut pit, &mut cx, 2, 3, n);
        assert_eq!(low_clocks(&mut pit, &mut cx, 0, 10), low);
    }
}

#[test]
fn mode_3_counts_down_by_two_in_each_half() {
    let (mut pit, mut cx) = with_gate_2();
    for (n, values) in [(6, [6, 4, 2, 6, 4, 2, 6]), (5, [4, 2, 0, 4, 2, 4, 2])] {
        at(&mut cx, 0);
        program(&mut pit, &mut cx, 2, 3, n);
        for (clock, value) in (1..).zip(values) {
            at(&mut cx, clock);
            assert_eq!(count(&mut pit, &mut cx, 2), value, "count {n}, clock {clock}");
        }
    }
}

#[test]
fn mode_3_takes_a_new_count_over_at_the_end_of_its_half() {
    let (mut pit, mut cx) = with_gate_2();
    program(&mut pit, &mut cx, 2, 3, 10);
    at(&mut cx, 2);
    write_count(&mut pit, &mut cx, 2, 4);
    assert_eq!(low_clocks(&mut pit, &mut cx, 2, 16), [6, 7, 10, 11, 14, 15]);
}

#[test]
fn mode_4_strobes_once_n_plus_1_clocks_after_the_count_is_written() {
    let (mut pit, mut cx) = with_gate_2();
    program(&mut pit, &mut cx, 2, 4, 6);
    assert_eq!(low_clocks(&mut pit, &mut cx, 0, 40), [7]);
}

#[test]
fn mode_5_strobes_n_plus_1_clocks_after_each_trigger() {
    let (mut pit, mut cx) = pit();
    program(&mut pit, &mut cx, 2, 5, 6);
    at(&mut cx, 10);
    gate_2(&mut pit, &mut cx, 1);
    assert_eq!(low_clocks(&mut pit, &mut cx, 10, 40), [17]);
}

#[test]
fn a_latched_count_stays_until_both_bytes_are_read() {
    let (mut pit, mut cx) = pit();
    program(&mut pit, &mut cx, 0, 2, 1000);
    at(&mut cx, 11);
    outb(&mut pit, &mut cx, CONTROL, 0);
    at(&mut cx, 500);
    outb(&mut pit, &mut cx, CONTROL, 0);
    assert_eq!(u16::from_le_bytes([inb(&mut pit, &mut cx, 0x40), inb(&mut pit, &mut cx, 0x40)]), 990);
    assert_eq!(count(&mut pit, &mut cx, 0), 501);
}

#[test]
fn read_back_latches_status_and_counts_of_several_channels() {
    let (mut pit, mut cx) = with_gate_2();
    program(&mut pit, &mut cx, 0, 2, 1000);
    program(&mut pit, &mut cx, 2, 3, 0);
    at(&mut cx, 11);
    outb(&mut pit, &mut cx, CONTROL, 0xc0 | 0x0a);
    at(&mut cx, 999);
    // Status first, then the count; RW 3, modes 2 and 3, outputs high.
    assert_eq!([inb(&mut pit, &mut cx, 0x40), inb(&mut pit, &mut cx, 0x42)], [0xb4, 0xb6]);
    assert_eq!(u16::from_le_bytes([inb(&mut pit, &mut cx, 0x40), inb(&mut pit, &mut cx, 0x40)]), 990);
    assert_eq!(u16::from_le_bytes([inb(&mut pit, &mut cx, 0x42), inb(&mut pit, &mut cx, 0x42)]), 0xffec);
}

#[test]
fn the_status_tells_a_count_that_is_not_loaded_yet() {
    let (mut pit, mut cx) = pit();
    outb(&mut pit, &mut cx, CONTROL, 0x34);
    assert_eq!(status(&mut pit, &mut cx, 0) & 0x40, 0x40);
    write_count(&mut pit, &mut cx, 0, 100);
    assert_eq!(status(&mut pit, &mut cx, 0) & 0x40, 0x40);
    at(&mut cx, 1);
    assert_eq!(status(&mut pit, &mut cx, 0) & 0x40, 0);
}

#[test]
fn single_bytes_read_and_write_their_half() {
    let (mut pit, mut cx) = pit();
    outb(&mut pit, &mut cx, CONTROL, 0x14);
    outb(&mut pit, &mut cx, 0x40, 200);
    at(&mut cx, 1);
    assert_eq!([inb(&mut pit, &mut cx, 0x40), inb(&mut pit, &mut cx, 0x40)], [200, 200]);
    outb(&mut pit, &mut cx, CONTROL, 0x24);
    outb(&mut pit, &mut cx, 0x40, 2);
    at(&mut cx, 3);
    assert_eq!(inb(&mut pit, &mut cx, 0x40), 1, "511 is 0x1ff");
}

#[test]
fn bcd_counts_in_decades() {
    let (mut pit, mut cx) = pit();
    outb(&mut pit, &mut cx, CONTROL, 0x35);
    write_count(&mut pit, &mut cx, 0, 0x1000);
    at(&mut cx, 2);
    assert_eq!(count(&mut pit, &mut cx, 0), 0x0999);
    at(&mut cx, 1001);
    assert_eq!(count(&mut pit, &mut cx, 0), 0x1000);
    // Zero is the largest count: 10^4.
    outb(&mut pit, &mut cx, CONTROL, 0x35);
    write_count(&mut pit, &mut cx, 0, 0);
    at(&mut cx, 1003);
    assert_eq!(count(&mut pit, &mut cx, 0), 0x9999);
}

#[test]
fn port_61_toggles_with_refresh_and_keeps_the_speaker_bits() {
    let (mut pit, mut cx) = pit();
    outb(&mut pit, &mut cx, SYSTEM_CONTROL, 0xff);
    assert_eq!(inb(&mut pit, &mut cx, SYSTEM_CONTROL), 0x0f);
    at(&mut cx, REFRESH_CLOCKS);
    assert_eq!(inb(&mut pit, &mut cx, SYSTEM_CONTROL), 0x1f);
    at(&mut cx, 2 * REFRESH_CLOCKS);
    assert_eq!(inb(&mut pit, &mut cx, SYSTEM_CONTROL), 0x0f);
}

#[test]
fn tsc_calibration_by_channel_2_takes_as_long_as_it_asks_for() {
    // Linux: gate low, mode 0, 50 ms, gate high, then poll the output.
    let (mut pit, mut cx) = pit();
    gate_2(&mut pit, &mut cx, 1);
    program(&mut pit, &mut cx, 2, 0, 59659);
    cx.now = Instant(49_990_000);
    assert!(!out_2(&mut pit, &mut cx));
    cx.now = Instant(50_002_000);
    assert!(out_2(&mut pit, &mut cx));
}

#[test]
fn mode_0_lowers_the_line_until_its_terminal_count() {
    let (mut pit, mut cx) = pit();
    program(&mut pit, &mut cx, 0, 2, 1000);
    assert!(cx.asserted(TIMER_GSI));
    outb(&mut pit, &mut cx, CONTROL, 0x30);
    assert!(!cx.asserted(TIMER_GSI));
    assert_eq!(pit.next_deadline(), None);
}

#[test]
fn a_tiny_period_does_not_keep_the_host_busy() {
    let (mut pit, mut cx) = pit();
    program(&mut pit, &mut cx, 0, 2, 2);
    for look in 1..=10 {
        let deadline = pit.next_deadline().unwrap();
        assert!(deadline >= CLOCK.instant_of(look * MIN_PERIOD_CLOCKS), "{deadline}");
        cx.now = deadline;
        pit.advance(&mut cx);
    }
    program(&mut pit, &mut cx, 0, 0, 2);
    assert!(
        pit.next_deadline().unwrap() <= cx.now.after(Nanoseconds::from_micros(5)),
        "a single one is prompt"
    );
}

#[test]
fn saved_state_is_checked_and_its_deadline_found_again() {
    let (mut pit, mut cx) = pit();
    let out_of_range = |field| Err(StateError::OutOfRange { section: "i8254", field });
    let mut image = pit.save();
    image.system_control = 0x10;
    assert_eq!(pit.load(image), out_of_range("system_control"));
    program(&mut pit, &mut cx, 0, 2, 1000);
    let mut image = pit.save();
    let unwritten = Channel::new(true);
    image.channels[1] = unwritten;
    assert_eq!(pit.load(image), Ok(()));
    assert_eq!(pit.next_deadline(), Some(CLOCK.instant_of(1001)));
}

proptest! {
    #[test]
    fn a_hostile_driver_breaks_nothing(
        acts in testing::acts(prop_oneof![4 => 0x40..0x44u32, 1 => Just(0x61u32), 1 => 0..0x70u32]),
    ) {
        testing::survive(I8254::new(), I8254::new(), &acts, |_, _, _| {});
    }

    #[test]
    fn being_late_changes_nothing_but_when_it_is_noticed(
        mode in 0..6u8,
        first in 1..50u16,
        second in 1..50u16,
        rewrite in 0..100u64,
        end in 100..400u64,
    ) {
        let (mut prompt, mut prompt_cx) = pit();
        let (mut late, mut late_cx) = pit();
        for (pit, cx) in [(&mut prompt, &mut prompt_cx), (&mut late, &mut late_cx)] {
            program(pit, cx, 0, mode, first);
        }
        testing::run_until(&mut prompt, &mut prompt_cx, CLOCK.instant_of(rewrite));
        at(&mut late_cx, rewrite);
        for (pit, cx) in [(&mut prompt, &mut prompt_cx), (&mut late, &mut late_cx)] {
            write_count(pit, cx, 0, second);
        }
        testing::run_until(&mut prompt, &mut prompt_cx, CLOCK.instant_of(end));
        at(&mut late_cx, end);
        for (pit, cx) in [(&mut prompt, &mut prompt_cx), (&mut late, &mut late_cx)] {
            pit.advance(cx);
        }
        prop_assert_eq!(prompt, late);
    }
}
