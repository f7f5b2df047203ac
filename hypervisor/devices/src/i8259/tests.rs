//! The datasheet's sections as tests.

use super::*;
use crate::testing::{self, FakeCx, inb, outb};
use proptest::prelude::*;

const MASTER: u16 = 0x20;
const SLAVE: u16 = 0xa0;
const NON_SPECIFIC_EOI: u8 = 0x20;

/// The pair as a PC's operating system initializes it: vectors 0x30 and 0x38, nothing masked.
fn set_up_with(icw4: u8) -> (I8259Pair, FakeCx) {
    let (mut pic, mut cx) = (I8259Pair::new(), FakeCx::new());
    for (chip, base, wiring) in [(MASTER, 0x30, 0x04), (SLAVE, 0x38, 0x02)] {
        outb(&mut pic, &mut cx, chip, 0x11);
        for word in [base, wiring, icw4] {
            outb(&mut pic, &mut cx, chip + 1, word);
        }
    }
    (pic, cx)
}

fn set_up() -> (I8259Pair, FakeCx) {
    set_up_with(0x01)
}

fn raise(pic: &mut I8259Pair, gsi: u32) {
    pic.set_line(Gsi(gsi), Level::Asserted);
}

fn lower(pic: &mut I8259Pair, gsi: u32) {
    pic.set_line(Gsi(gsi), Level::Deasserted);
}

fn pulse(pic: &mut I8259Pair, gsi: u32) {
    lower(pic, gsi);
    raise(pic, gsi);
}

fn eoi(pic: &mut I8259Pair, cx: &mut FakeCx, chip: u16) {
    outb(pic, cx, chip, NON_SPECIFIC_EOI);
}

#[test]
fn nothing_comes_before_initialization() {
    let mut pic = I8259Pair::new();
    for gsi in 0..32 {
        raise(&mut pic, gsi);
    }
    assert!(!pic.pending());
}

#[test]
fn the_mask_register_reads_back_so_that_a_driver_finds_the_chip() {
    let (mut pic, mut cx) = set_up();
    outb(&mut pic, &mut cx, 0x21, 0xfb);
    assert_eq!(inb(&mut pic, &mut cx, 0x21), 0xfb);
}

#[test]
fn an_edge_interrupts_once() {
    let (mut pic, mut cx) = set_up();
    raise(&mut pic, 4);
    assert!(pic.pending());
    assert_eq!(pic.acknowledge(), Vector(0x34));
    eoi(&mut pic, &mut cx, MASTER);
    raise(&mut pic, 4);
    assert!(!pic.pending());
    pulse(&mut pic, 4);
    assert!(pic.pending());
}

#[test]
fn the_timer_on_gsi_2_is_ir0_and_gsi_0_is_nothing() {
    let (mut pic, _) = set_up();
    raise(&mut pic, 0);
    assert!(!pic.pending());
    raise(&mut pic, 2);
    assert_eq!(pic.acknowledge(), Vector(0x30));
}

#[test]
fn a_level_interrupts_until_it_falls() {
    let (mut pic, mut cx) = set_up();
    outb(&mut pic, &mut cx, 0x4d1, 0x02);
    raise(&mut pic, 9);
    for _ in 0..2 {
        assert_eq!(pic.acknowledge(), Vector(0x39));
        assert!(!pic.pending());
        eoi(&mut pic, &mut cx, SLAVE);
        eoi(&mut pic, &mut cx, MASTER);
        assert!(pic.pending());
    }
    lower(&mut pic, 9);
    assert!(!pic.pending());
}

#[test]
fn timer_keyboard_cascade_clock_and_coprocessor_stay_edge_triggered() {
    let (mut pic, mut cx) = set_up();
    outb(&mut pic, &mut cx, 0x4d0, 0xff);
    outb(&mut pic, &mut cx, 0x4d1, 0xff);
    assert_eq!((inb(&mut pic, &mut cx, 0x4d0), inb(&mut pic, &mut cx, 0x4d1)), (0xf8, 0xde));
}

#[test]
fn fully_nested_mode_lets_only_higher_priorities_interrupt() {
    let (mut pic, mut cx) = set_up();
    raise(&mut pic, 4);
    pic.acknowledge();
    raise(&mut pic, 5);
    assert!(!pic.pending());
    raise(&mut pic, 3);
    assert_eq!(pic.acknowledge(), Vector(0x33));
    eoi(&mut pic, &mut cx, MASTER);
    assert!(!pic.pending());
    eoi(&mut pic, &mut cx, MASTER);
    assert_eq!(pic.acknowledge(), Vector(0x35));
}

#[test]
fn a_request_of_the_slave_comes_through_ir2_with_the_slaves_vector() {
    let (mut pic, mut cx) = set_up();
    raise(&mut pic, 12);
    assert_eq!(pic.acknowledge(), Vector(0x3c));
    outb(&mut pic, &mut cx, MASTER, 0x0b);
    outb(&mut pic, &mut cx, SLAVE, 0x0b);
    assert_eq!((inb(&mut pic, &mut cx, MASTER), inb(&mut pic, &mut cx, SLAVE)), (0x04, 0x10));
}

#[test]
fn a_request_that_has_gone_is_acknowledged_as_ir7_and_not_in_service() {
    let (mut pic, mut cx) = set_up();
    raise(&mut pic, 4);
    lower(&mut pic, 4);
    assert_eq!(pic.acknowledge(), Vector(0x37));
    outb(&mut pic, &mut cx, MASTER, 0x0b);
    assert_eq!(inb(&mut pic, &mut cx, MASTER), 0);
}

#[test]
fn special_fully_nested_mode_lets_the_slave_nest() {
    for (icw4, nested) in [(0x01, false), (0x11, true)] {
        let (mut pic, _) = set_up_with(icw4);
        raise(&mut pic, 12);
        pic.acknowledge();
        raise(&mut pic, 8);
        assert_eq!(pic.pending(), nested);
    }
}

#[test]
fn automatic_eoi_leaves_nothing_in_service() {
    let (mut pic, _) = set_up_with(0x03);
    raise(&mut pic, 4);
    pic.acknowledge();
    raise(&mut pic, 5);
    assert_eq!(pic.acknowledge(), Vector(0x35));
}

#[test]
fn rotation_in_automatic_eoi_serves_in_turns() {
    let (mut pic, mut cx) = set_up_with(0x03);
    outb(&mut pic, &mut cx, MASTER, 0x80);
    raise(&mut pic, 3);
    assert_eq!(pic.acknowledge(), Vector(0x33));
    pulse(&mut pic, 3);
    raise(&mut pic, 4);
    assert_eq!(pic.acknowledge(), Vector(0x34));
}

#[test]
fn a_specific_eoi_ends_just_its_level() {
    let (mut pic, mut cx) = set_up();
    raise(&mut pic, 4);
    pic.acknowledge();
    raise(&mut pic, 3);
    pic.acknowledge();
    outb(&mut pic, &mut cx, MASTER, 0x64);
    outb(&mut pic, &mut cx, MASTER, 0x0b);
    assert_eq!(inb(&mut pic, &mut cx, MASTER), 0x08);
}

#[test]
fn rotating_eois_make_the_ended_level_the_lowest() {
    // Datasheet, "Automatic rotation" and "Specific rotation".
    for command in [0xa0, 0xe3] {
        let (mut pic, mut cx) = set_up();
        raise(&mut pic, 3);
        pic.acknowledge();
        outb(&mut pic, &mut cx, MASTER, command);
        pulse(&mut pic, 3);
        raise(&mut pic, 2);
        raise(&mut pic, 4);
        assert_eq!(pic.acknowledge(), Vector(0x34));
    }
}

#[test]
fn set_priority_chooses_the_lowest_level() {
    let (mut pic, mut cx) = set_up();
    outb(&mut pic, &mut cx, MASTER, 0xc0 | 5);
    raise(&mut pic, 5);
    raise(&mut pic, 6);
    raise(&mut pic, 2);
    assert_eq!(pic.acknowledge(), Vector(0x36));
}

#[test]
fn special_mask_mode_lets_lower_priorities_interrupt_a_masked_level_in_service() {
    let (mut pic, mut cx) = set_up();
    raise(&mut pic, 3);
    pic.acknowledge();
    raise(&mut pic, 6);
    assert!(!pic.pending());
    outb(&mut pic, &mut cx, 0x21, 0x08);
    outb(&mut pic, &mut cx, MASTER, 0x68);
    assert_eq!(pic.acknowledge(), Vector(0x36));
    // A non-specific EOI ends level 6, never the masked level 3.
    eoi(&mut pic, &mut cx, MASTER);
    eoi(&mut pic, &mut cx, MASTER);
    outb(&mut pic, &mut cx, MASTER, 0x0b);
    assert_eq!(inb(&mut pic, &mut cx, MASTER), 0x08);
}

#[test]
fn a_poll_acknowledges_and_names_the_level() {
    let (mut pic, mut cx) = set_up();
    outb(&mut pic, &mut cx, MASTER, 0x0c);
    assert_eq!(inb(&mut pic, &mut cx, MASTER), 0);
    raise(&mut pic, 4);
    outb(&mut pic, &mut cx, MASTER, 0x0c);
    assert_eq!(inb(&mut pic, &mut cx, MASTER), 0x84);
    assert!(!pic.pending());
    assert_eq!(inb(&mut pic, &mut cx, MASTER), 0, "the poll is over, IRR is read");
}

#[test]
fn irr_and_isr_are_read_as_chosen_by_ocw3() {
    let (mut pic, mut cx) = set_up();
    raise(&mut pic, 4);
    assert_eq!(inb(&mut pic, &mut cx, MASTER), 0x10);
    pic.acknowledge();
    assert_eq!(inb(&mut pic, &mut cx, MASTER), 0x00);
    outb(&mut pic, &mut cx, MASTER, 0x0b);
    assert_eq!(inb(&mut pic, &mut cx, MASTER), 0x10);
}

#[test]
fn a_masked_request_waits() {
    let (mut pic, mut cx) = set_up();
    outb(&mut pic, &mut cx, 0x21, 0xff);
    raise(&mut pic, 4);
    assert!(!pic.pending());
    outb(&mut pic, &mut cx, 0x21, 0x00);
    assert_eq!(pic.acknowledge(), Vector(0x34));
}

#[test]
fn initialization_forgets_edges() {
    let (mut pic, mut cx) = set_up();
    raise(&mut pic, 4);
    for (port, word) in [(0x20, 0x11), (0x21, 0x30), (0x21, 0x04), (0x21, 0x01)] {
        outb(&mut pic, &mut cx, port, word);
    }
    assert!(!pic.pending());
}

#[test]
fn reset_keeps_the_levels_that_devices_drive() {
    let (mut pic, mut cx) = set_up();
    raise(&mut pic, 4);
    pic.reset(&mut cx);
    raise(&mut pic, 4);
    assert_eq!(inb(&mut pic, &mut cx, MASTER), 0, "no edge was made");
}

#[test]
fn a_saved_level_without_its_input_is_refused() {
    let (mut pic, mut cx) = set_up();
    let mut image = pic.save();
    outb(&mut pic, &mut cx, 0x4d0, 0x20);
    raise(&mut pic, 5);
    image.master = pic.save().master;
    image.master.follow_input(5, false);
    assert_eq!(pic.load(image.clone()), Ok(()));
    image.slave.write_command(0x11);
    for word in [0x38, 0x02, 0x11] {
        image.slave.write_data(word);
    }
    assert_eq!(pic.load(image), Err(StateError::OutOfRange { section: "i8259", field: "slave" }));
}

proptest! {
    #[test]
    fn a_hostile_driver_breaks_nothing(
        acts in testing::acts(prop_oneof![0x20..0x22u32, 0xa0..0xa2u32, 0x4d0..0x4d2u32, 0..0x600u32]),
    ) {
        testing::survive(I8259Pair::new(), I8259Pair::new(), &acts, |pic, _, byte| {
            let level = if byte & 0x80 == 0 { Level::Asserted } else { Level::Deasserted };
            pic.set_line(Gsi((byte & 0x1f).into()), level);
            if pic.pending() && byte & 0x40 == 0 {
                pic.acknowledge();
            }
            assert!(pic.state.master.is_sound(MASTER_LEVEL_CAPABLE));
        });
    }
}
