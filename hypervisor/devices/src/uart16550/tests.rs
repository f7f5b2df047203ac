//! The datasheet's sections as tests; the probes are those that Linux' 8250 driver makes.

use super::*;
use crate::platform::{COM1, COM1_GSI};
use crate::testing::{self, FakeCx, inb, outb};
use proptest::prelude::*;

const RBR: u16 = 0x3f8;
const THR: u16 = 0x3f8;
const IER: u16 = 0x3f9;
const IIR: u16 = 0x3fa;
const FCR: u16 = 0x3fa;
const LCR: u16 = 0x3fb;
const MCR: u16 = 0x3fc;
const LSR: u16 = 0x3fd;
const MSR: u16 = 0x3fe;
const SCR: u16 = 0x3ff;

fn uart() -> (Uart16550, FakeCx) {
    (Uart16550::new(COM1, COM1_GSI), FakeCx::new())
}

/// A UART as a driver sets it up: FIFOs with trigger level 8, interrupts let through, 115200 8n1.
fn set_up() -> (Uart16550, FakeCx) {
    let (mut uart, mut cx) = uart();
    outb(&mut uart, &mut cx, LCR, 0x03);
    outb(&mut uart, &mut cx, FCR, 0x81);
    outb(&mut uart, &mut cx, MCR, 0x0b);
    (uart, cx)
}

#[test]
fn a_written_byte_leaves_at_once_and_the_transmitter_stays_ready() {
    let (mut uart, mut cx) = uart();
    for byte in *b"hello" {
        outb(&mut uart, &mut cx, THR, byte);
        assert_eq!(inb(&mut uart, &mut cx, LSR), 0x60);
    }
    assert_eq!(cx.out, b"hello");
}

#[test]
fn after_reset_no_interrupt_is_pending_and_the_peer_is_ready() {
    let (mut uart, mut cx) = uart();
    assert_eq!(inb(&mut uart, &mut cx, IIR), 0x01);
    assert_eq!(inb(&mut uart, &mut cx, LSR), 0x60);
    assert_eq!(inb(&mut uart, &mut cx, MSR), 0xb0);
}

#[test]
fn only_the_four_defined_interrupt_enable_bits_can_be_set() {
    let (mut uart, mut cx) = uart();
    outb(&mut uart, &mut cx, IER, 0xff);
    assert_eq!(inb(&mut uart, &mut cx, IER), 0x0f);
    outb(&mut uart, &mut cx, IER, 0);
    assert_eq!(inb(&mut uart, &mut cx, IER), 0);
}

#[test]
fn the_fifo_bits_tell_a_16550a() {
    let (mut uart, mut cx) = uart();
    outb(&mut uart, &mut cx, FCR, 0x01);
    assert_eq!(inb(&mut uart, &mut cx, IIR) >> 6, 3);
    outb(&mut uart, &mut cx, FCR, 0x00);
    assert_eq!(inb(&mut uart, &mut cx, IIR) >> 6, 0);
}

#[test]
fn the_64_byte_fifo_of_a_16750_is_not_offered() {
    let (mut uart, mut cx) = uart();
    outb(&mut uart, &mut cx, LCR, 0x80);
    outb(&mut uart, &mut cx, FCR, 0x21);
    assert_eq!(inb(&mut uart, &mut cx, IIR) & 0x20, 0);
}

#[test]
fn the_divisor_latch_hides_data_and_interrupt_enable() {
    let (mut uart, mut cx) = uart();
    outb(&mut uart, &mut cx, LCR, 0x83);
    outb(&mut uart, &mut cx, THR, 0x34);
    outb(&mut uart, &mut cx, IER, 0x12);
    assert_eq!((inb(&mut uart, &mut cx, RBR), inb(&mut uart, &mut cx, IER)), (0x34, 0x12));
    outb(&mut uart, &mut cx, LCR, 0x03);
    assert_eq!(inb(&mut uart, &mut cx, IER), 0);
    assert!(cx.out.is_empty());
}

#[test]
fn the_scratch_register_keeps_what_is_written() {
    let (mut uart, mut cx) = uart();
    outb(&mut uart, &mut cx, SCR, 0xa5);
    assert_eq!(inb(&mut uart, &mut cx, SCR), 0xa5);
}

#[test]
fn loopback_connects_the_modem_outputs_to_the_inputs() {
    let (mut uart, mut cx) = uart();
    // The autoconfiguration of Linux: loop, OUT2 and RTS must read as DCD and CTS.
    outb(&mut uart, &mut cx, MCR, 0x1a);
    assert_eq!(inb(&mut uart, &mut cx, MSR) & 0xf0, 0x90);
    outb(&mut uart, &mut cx, MCR, 0x15);
    assert_eq!(inb(&mut uart, &mut cx, MSR) & 0xf0, 0x60);
}

#[test]
fn loopback_returns_data_and_keeps_it_from_the_line() {
    let (mut uart, mut cx) = uart();
    outb(&mut uart, &mut cx, MCR, 0x10);
    outb(&mut uart, &mut cx, THR, 0x5a);
    assert_eq!(inb(&mut uart, &mut cx, LSR) & 1, 1);
    assert_eq!(inb(&mut uart, &mut cx, RBR), 0x5a);
    assert_eq!(uart.receive(&mut cx, b'x'), Err(b'x'));
    assert!(cx.out.is_empty());
}

#[test]
fn an_overrun_is_reported_once_by_the_line_status() {
    let (mut uart, mut cx) = set_up();
    outb(&mut uart, &mut cx, MCR, 0x10);
    for byte in 0..17 {
        outb(&mut uart, &mut cx, THR, byte);
    }
    outb(&mut uart, &mut cx, IER, 0x04);
    assert_eq!(inb(&mut uart, &mut cx, IIR), 0xc6);
    assert_eq!(inb(&mut uart, &mut cx, LSR), 0x63);
    assert_eq!(inb(&mut uart, &mut cx, LSR), 0x61);
    assert_eq!(inb(&mut uart, &mut cx, IIR), 0xc1);
    // The FIFO keeps its sixteen, the seventeenth is lost.
    assert!((0..16).all(|byte| inb(&mut uart, &mut cx, RBR) == byte));
}

#[test]
fn without_fifos_an_overrun_replaces_the_byte_that_waited() {
    let (mut uart, mut cx) = uart();
    outb(&mut uart, &mut cx, MCR, 0x10);
    outb(&mut uart, &mut cx, THR, 1);
    outb(&mut uart, &mut cx, THR, 2);
    assert_eq!(inb(&mut uart, &mut cx, LSR), 0x63);
    assert_eq!(inb(&mut uart, &mut cx, RBR), 2);
}

#[test]
fn enabling_the_transmitter_interrupt_raises_it_each_time() {
    // The THRE test of Linux: a UART that is silent the second time is taken for a broken one.
    let (mut uart, mut cx) = set_up();
    for _ in 0..2 {
        outb(&mut uart, &mut cx, IER, 0x02);
        assert!(cx.asserted(COM1_GSI));
        assert_eq!(inb(&mut uart, &mut cx, IIR), 0xc2);
        assert!(!cx.asserted(COM1_GSI));
        assert_eq!(inb(&mut uart, &mut cx, IIR), 0xc1);
        outb(&mut uart, &mut cx, IER, 0x00);
    }
}

#[test]
fn every_transmitted_byte_raises_the_transmitter_interrupt_again() {
    let (mut uart, mut cx) = set_up();
    outb(&mut uart, &mut cx, IER, 0x02);
    for expected in 1..=3 {
        assert_eq!(cx.rises_of(COM1_GSI), expected);
        assert_eq!(inb(&mut uart, &mut cx, IIR), 0xc2);
        outb(&mut uart, &mut cx, THR, b'x');
    }
}

#[test]
fn out2_lets_interrupts_through() {
    let (mut uart, mut cx) = uart();
    outb(&mut uart, &mut cx, IER, 0x02);
    assert!(!cx.asserted(COM1_GSI));
    outb(&mut uart, &mut cx, MCR, 0x08);
    assert!(cx.asserted(COM1_GSI));
    outb(&mut uart, &mut cx, MCR, 0x00);
    assert!(!cx.asserted(COM1_GSI));
}

#[test]
fn the_receiver_interrupts_at_its_trigger_level_until_it_is_read_below() {
    let (mut uart, mut cx) = set_up();
    outb(&mut uart, &mut cx, IER, 0x01);
    for byte in 0..7 {
        uart.receive(&mut cx, byte).unwrap();
        assert!(!cx.asserted(COM1_GSI));
    }
    uart.receive(&mut cx, 7).unwrap();
    assert!(cx.asserted(COM1_GSI));
    assert_eq!(inb(&mut uart, &mut cx, IIR), 0xc4);
    assert_eq!(inb(&mut uart, &mut cx, RBR), 0);
    assert!(!cx.asserted(COM1_GSI));
}

#[test]
fn a_few_bytes_interrupt_after_four_characters_of_silence() {
    let (mut uart, mut cx) = set_up();
    outb(&mut uart, &mut cx, IER, 0x01);
    uart.receive(&mut cx, b'a').unwrap();
    // Ten bits at 115200 baud, four times: 347.2 microseconds.
    let deadline = uart.next_deadline().unwrap();
    assert_eq!(deadline, Instant(347_220));
    testing::run_until(&mut uart, &mut cx, Instant(deadline.0 - 1));
    assert!(!cx.asserted(COM1_GSI));
    testing::run_until(&mut uart, &mut cx, deadline);
    assert!(cx.asserted(COM1_GSI));
    assert_eq!(inb(&mut uart, &mut cx, IIR), 0xcc);
    assert_eq!(inb(&mut uart, &mut cx, RBR), b'a');
    assert!(!cx.asserted(COM1_GSI));
    assert_eq!(uart.next_deadline(), None);
}

#[test]
fn a_full_receiver_refuses_the_byte_and_the_host_keeps_it() {
    let (mut uart, mut cx) = set_up();
    for byte in 0..16 {
        uart.receive(&mut cx, byte).unwrap();
    }
    assert_eq!(uart.receive(&mut cx, 16), Err(16));
    assert_eq!(inb(&mut uart, &mut cx, RBR), 0);
    uart.receive(&mut cx, 16).unwrap();
    assert!((1..=16).all(|byte| inb(&mut uart, &mut cx, RBR) == byte));
    assert_eq!(inb(&mut uart, &mut cx, LSR), 0x60);
}

#[test]
fn clearing_the_receiver_fifo_drops_what_waits() {
    let (mut uart, mut cx) = set_up();
    uart.receive(&mut cx, b'a').unwrap();
    outb(&mut uart, &mut cx, FCR, 0x83);
    assert_eq!(inb(&mut uart, &mut cx, LSR), 0x60);
}

#[test]
fn interrupts_are_identified_by_priority() {
    let (mut uart, mut cx) = uart();
    outb(&mut uart, &mut cx, MCR, 0x10);
    for byte in [1, 2] {
        outb(&mut uart, &mut cx, THR, byte);
    }
    outb(&mut uart, &mut cx, MCR, 0x08);
    outb(&mut uart, &mut cx, IER, 0x0f);
    assert_eq!(inb(&mut uart, &mut cx, IIR), 0x06);
    inb(&mut uart, &mut cx, LSR);
    assert_eq!(inb(&mut uart, &mut cx, IIR), 0x04);
    inb(&mut uart, &mut cx, RBR);
    assert_eq!(inb(&mut uart, &mut cx, IIR), 0x02);
    assert_eq!(inb(&mut uart, &mut cx, IIR), 0x00);
    inb(&mut uart, &mut cx, MSR);
    assert_eq!(inb(&mut uart, &mut cx, IIR), 0x01);
}

#[test]
fn reset_ends_the_interrupt() {
    let (mut uart, mut cx) = set_up();
    outb(&mut uart, &mut cx, IER, 0x02);
    uart.reset(&mut cx);
    assert!(!cx.asserted(COM1_GSI));
    assert_eq!(uart, Uart16550::new(COM1, COM1_GSI));
}

#[test]
fn saved_state_with_an_impossible_receiver_is_refused() {
    let (mut uart, _) = uart();
    let mut image = uart.save();
    image.receiver.time_out();
    let error = StateError::OutOfRange { section: "uart16550", field: "receiver" };
    assert_eq!(uart.load(image), Err(error));
}

proptest! {
    #[test]
    fn a_hostile_driver_breaks_nothing(acts in testing::acts(0x3f0..0x402u32)) {
        let (uart, _) = uart();
        testing::survive(uart.clone(), uart, &acts, |uart, cx, byte| {
            let _ = uart.receive(cx, byte);
        });
    }
}
