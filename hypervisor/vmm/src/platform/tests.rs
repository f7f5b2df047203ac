//! The board: lines, messages and acknowledgements between devices.

use super::*;
use crate::testing::settings;
use base::{Gpa, Gsi, Port, Vector};
use devices::{Cx, Width};
use seams::Level;

fn board() -> Board {
    Board::new(&settings(), VmConsole::new(), PciBus::default(), Instant(0))
}

fn write_ports(board: &mut Board, writes: &[(u16, u32)]) {
    for &(port, value) in writes {
        assert_eq!(board.write_port(Port(port), Width::Byte, value), Claim::Claimed);
    }
}

/// Vectors from 0x30 and 0x38, nothing masked.
const PIC: [(u16, u32); 10] = [
    (0x20, 0x11),
    (0x21, 0x30),
    (0x21, 4),
    (0x21, 1),
    (0x21, 0),
    (0xa0, 0x11),
    (0xa1, 0x38),
    (0xa1, 2),
    (0xa1, 1),
    (0xa1, 0),
];

fn write_ioapic(board: &mut Board, index: u64, value: u64) {
    board.write_memory(Gpa::new(0xfec0_0000).unwrap(), 4, index);
    board.write_memory(Gpa::new(0xfec0_0010).unwrap(), 4, value);
}

fn write_lapic(board: &mut Board, offset: u64, value: u64) {
    board.write_memory(Gpa::new(0xfee0_0000 + offset).unwrap(), 4, value);
}

#[test]
fn a_line_reaches_the_vcpu_through_the_8259_pair_as_firmware_would_have_wired_it() {
    let mut board = board();
    write_ports(&mut board, &PIC);
    board.fabric.set_line(Gsi(4), Level::Asserted);
    assert!(board.fabric.interrupt_pending());
    assert_eq!(board.fabric.acknowledge(), Some(Vector(0x34)));
    assert!(!board.fabric.interrupt_pending());
    assert_eq!(board.fabric.acknowledge(), None);
}

#[test]
fn the_timers_line_is_input_0_of_the_pair() {
    let mut board = board();
    write_ports(&mut board, &PIC);
    board.fabric.set_line(place::TIMER_GSI, Level::Asserted);
    assert_eq!(board.fabric.acknowledge(), Some(Vector(0x30)));
}

#[test]
fn a_level_that_stays_interrupts_again_when_its_end_is_told_to_the_ioapic() {
    let mut board = board();
    // Spurious vector register: enabled. Input 9: vector 0x51, level-triggered, to APIC 0.
    write_lapic(&mut board, 0xf0, 0x1ff);
    write_ioapic(&mut board, 0x10 + 9 * 2 + 1, 0);
    write_ioapic(&mut board, 0x10 + 9 * 2, 1 << 15 | 0x51);
    board.fabric.set_line(Gsi(9), Level::Asserted);
    assert_eq!(board.fabric.acknowledge(), Some(Vector(0x51)));
    assert!(!board.fabric.interrupt_pending());
    write_lapic(&mut board, 0xb0, 0);
    assert_eq!(board.fabric.acknowledge(), Some(Vector(0x51)));
    board.fabric.set_line(Gsi(9), Level::Deasserted);
    write_lapic(&mut board, 0xb0, 0);
    assert_eq!(board.fabric.acknowledge(), None);
}

#[test]
fn an_nmi_sent_to_oneself_waits_for_the_vcpu() {
    let mut board = board();
    write_lapic(&mut board, 0xf0, 0x1ff);
    // Interrupt command: NMI, to APIC 0.
    write_lapic(&mut board, 0x310, 0);
    write_lapic(&mut board, 0x300, 0x4400);
    assert!(board.fabric.local.nmi_pending);
}

#[test]
fn an_init_restarts_the_machine() {
    let mut board = board();
    write_lapic(&mut board, 0xf0, 0x1ff);
    write_lapic(&mut board, 0x300, 0x4500);
    assert_eq!(board.take_request(), Some(Request::Reset));
    assert_eq!(board.take_request(), None);
}

#[test]
fn a_byte_of_a_register_is_read_and_a_part_is_not_written() {
    let mut board = board();
    write_lapic(&mut board, 0xf0, 0x1ff);
    let at = |offset: u64| Gpa::new(0xfee0_0000 + offset).unwrap();
    assert_eq!(board.read_memory(at(0xf1), 1), (1, Claim::Claimed));
    assert_eq!(board.read_memory(at(0xf0), 8), (0x1ff, Claim::Claimed));
    board.write_memory(at(0xf0), 1, 0);
    assert_eq!(board.read_memory(at(0xf0), 4), (0x1ff, Claim::Claimed));
    assert_eq!(board.read_memory(Gpa::new(0xd000_0000).unwrap(), 4), (u64::MAX, Claim::Unclaimed));
}
