//! The pair of 8259A interrupt controllers: requests and service, priorities and their rotation, masks, ends of
//! interrupts, polling, edges and levels, and the vectors that the processor gets (Intel 8259A data sheet; 82371AB data
//! sheet, section 4.2.5, for ELCR).
//!
//! Requests are acknowledged by polling where the processor is not the subject.
//!
//! Unsafe because it writes model-specific registers.

#![no_std]
#![no_main]

use guests::cpu::{inb, outb};
use guests::interrupts::{self, Acknowledge, PIC_VECTOR, SPURIOUS_VECTOR};
use guests::legacy::{ICW4_8086, Line, MASTER, SLAVE, in_service, initialize, poll, requests};
use guests::{Checks, apic, cpu, guest};

guest!("pic", run);

const IRQ0: u8 = 1 << 0;
const IRQ2: u8 = 1 << 2;
const IRQ4: u8 = 1 << 4;

/// OCW2.
const EOI: u8 = 0x20;
const SPECIFIC_EOI: u8 = 0x60;
const ROTATE_ON_EOI: u8 = 0xa0;
const ROTATE_ON_SPECIFIC_EOI: u8 = 0xe0;
const SET_LOWEST: u8 = 0xc0;
const ROTATE_IN_AUTO_EOI: u8 = 0x80;
/// OCW3.
const SPECIAL_MASK: u8 = 0x68;
const NO_SPECIAL_MASK: u8 = 0x48;
/// ICW4.
const AUTO_EOI: u8 = 1 << 1;

const ELCR_MASTER: u16 = 0x4d0;
const ELCR_SLAVE: u16 = 0x4d1;

fn run(checks: &mut Checks) {
    registers(checks);
    requests_and_service(checks);
    priorities(checks);
    rotation(checks);
    special_mask(checks);
    automatic_end(checks);
    levels(checks);
    cascade(checks);
    vectors(checks);
}

/// Both chips anew, with the lines in `unmasked` of the master open; IR2 as the slave's says.
fn anew(unmasked: u8) {
    [Line::Timer, Line::Serial, Line::Clock].into_iter().for_each(Line::lower);
    initialize(ICW4_8086);
    outb(MASTER + 1, !unmasked);
}

fn registers(checks: &mut Checks) {
    anew(0);
    for (name, chip, value) in [("mask-of-the-master", MASTER, 0xa5), ("mask-of-the-slave", SLAVE, 0x5a)] {
        outb(chip + 1, value);
        checks.equal(name, inb(chip + 1).into(), value.into());
    }
    outb(MASTER, 0x11);
    checks.equal("initialization-clears-the-mask", inb(MASTER + 1).into(), 0);
    for (name, port, kept) in
        [("level-capable-of-the-master", ELCR_MASTER, 0xf8), ("level-capable-of-the-slave", ELCR_SLAVE, 0xde)]
    {
        outb(port, 0xff);
        checks.equal(name, inb(port).into(), kept);
        outb(port, 0);
        checks.equal("edges-again", inb(port).into(), 0);
    }
}

fn requests_and_service(checks: &mut Checks) {
    anew(IRQ4);
    let mut seen = [0; 11];
    Line::Serial.raise();
    seen[0] = requests(MASTER) & IRQ4;
    seen[1] = in_service(MASTER);
    seen[2] = poll(MASTER);
    seen[3] = requests(MASTER) & IRQ4;
    seen[4] = in_service(MASTER);
    seen[5] = inb(MASTER);
    seen[6] = poll(MASTER);
    outb(MASTER, EOI);
    seen[7] = in_service(MASTER);
    // Still up, but edges count.
    seen[8] = requests(MASTER) & IRQ4;
    Line::Serial.lower();
    Line::Serial.raise();
    outb(MASTER + 1, 0xff);
    seen[9] = requests(MASTER) & IRQ4;
    seen[10] = poll(MASTER);
    Line::Serial.lower();
    for ((name, expected), seen) in [
        ("request-shown", IRQ4),
        ("not-in-service-before-acknowledgement", 0),
        ("poll-tells-the-line", 0x84),
        ("acknowledgement-ends-the-request", 0),
        ("in-service", IRQ4),
        ("register-selection-lasts", IRQ4),
        ("poll-without-request", 0),
        ("end-of-interrupt", 0),
        ("an-edge-counts-once", 0),
        ("masked-request-is-shown", IRQ4),
        ("masked-request-is-not-taken", 0),
    ]
    .into_iter()
    .zip(seen)
    {
        checks.equal(name, seen.into(), expected.into());
    }
    anew(IRQ4);
    Line::Serial.raise();
    Line::Serial.lower();
    let (request, polled) = (requests(MASTER) & IRQ4, poll(MASTER));
    if !checks.deviates("request-that-is-withdrawn", "QEMU's emulator keeps it") {
        checks.check(
            "request-that-is-withdrawn",
            request == 0 && polled == 0,
            format_args!("IRR {request:#x}, poll {polled:#x}"),
        );
    }
}

fn priorities(checks: &mut Checks) {
    anew(IRQ0 | IRQ4);
    Line::Timer.raise();
    Line::Serial.raise();
    let first = poll(MASTER);
    let held_back = poll(MASTER);
    outb(MASTER, EOI);
    let second = poll(MASTER);
    Line::Timer.lower();
    Line::Timer.raise();
    let above = poll(MASTER);
    let both = in_service(MASTER);
    outb(MASTER, EOI);
    let below = in_service(MASTER);
    Line::Timer.lower();
    Line::Timer.raise();
    poll(MASTER);
    outb(MASTER, SPECIFIC_EOI | 4);
    let specific = in_service(MASTER);
    outb(MASTER, EOI);
    Line::Serial.lower();
    for (name, seen, expected) in [
        ("most-urgent-first", first, 0x80),
        ("less-urgent-held-back", held_back, 0),
        ("less-urgent-after-the-end", second, 0x84),
        ("more-urgent-interrupts", above, 0x80),
        ("both-in-service", both, IRQ0 | IRQ4),
        ("end-is-of-the-most-urgent", below, IRQ4),
        ("specific-end", specific, IRQ0),
    ] {
        checks.equal(name, seen.into(), expected.into());
    }
}

/// Who comes first of IRQ0 and IRQ4, both requested.
fn first_of_two() -> u8 {
    [Line::Timer, Line::Serial].into_iter().for_each(Line::lower);
    [Line::Timer, Line::Serial].into_iter().for_each(Line::raise);
    let first = poll(MASTER);
    outb(MASTER, SPECIFIC_EOI | first & 7);
    let other = poll(MASTER);
    outb(MASTER, SPECIFIC_EOI | other & 7);
    Line::Serial.lower();
    first
}

fn rotation(checks: &mut Checks) {
    anew(IRQ0 | IRQ4);
    outb(MASTER, SET_LOWEST);
    checks.equal("priority-set", first_of_two().into(), 0x84);
    outb(MASTER, SET_LOWEST | 7);
    checks.equal("priority-set-back", first_of_two().into(), 0x80);
    Line::Timer.lower();
    Line::Timer.raise();
    poll(MASTER);
    outb(MASTER, ROTATE_ON_EOI);
    checks.equal("end-that-rotates", first_of_two().into(), 0x84);
    outb(MASTER, ROTATE_ON_SPECIFIC_EOI | 7);
    checks.equal("specific-end-that-rotates", first_of_two().into(), 0x80);
    outb(MASTER, SET_LOWEST | 3);
    anew(IRQ0 | IRQ4);
    checks.equal("initialization-ends-rotation", first_of_two().into(), 0x80);
}

fn special_mask(checks: &mut Checks) {
    anew(IRQ0 | IRQ4);
    Line::Timer.raise();
    poll(MASTER);
    Line::Serial.raise();
    outb(MASTER + 1, !IRQ4);
    let ordinary = poll(MASTER);
    outb(MASTER, SPECIAL_MASK);
    let special = poll(MASTER);
    outb(MASTER, SPECIFIC_EOI | 4);
    outb(MASTER, NO_SPECIAL_MASK);
    Line::Serial.lower();
    Line::Serial.raise();
    let back = poll(MASTER);
    Line::Serial.lower();
    outb(MASTER, EOI);
    checks.equal("mask-leaves-service", ordinary.into(), 0);
    checks.equal("special-mask-lets-less-urgent-through", special.into(), 0x84);
    checks.equal("special-mask-off", back.into(), 0);
}

fn automatic_end(checks: &mut Checks) {
    anew(0);
    initialize(ICW4_8086 | AUTO_EOI);
    outb(MASTER + 1, !(IRQ0 | IRQ4));
    Line::Serial.raise();
    let (polled, service) = (poll(MASTER), in_service(MASTER));
    Line::Serial.lower();
    checks.equal("automatic-end-acknowledges", polled.into(), 0x84);
    checks.equal("automatic-end-leaves-nothing-in-service", service.into(), 0);
    outb(MASTER, ROTATE_IN_AUTO_EOI);
    Line::Timer.lower();
    Line::Timer.raise();
    poll(MASTER);
    checks.equal("automatic-end-rotates", first_of_two().into(), 0x84);
    outb(MASTER, 0);
}

fn levels(checks: &mut Checks) {
    anew(IRQ4);
    outb(ELCR_MASTER, IRQ4);
    Line::Serial.raise();
    let first = poll(MASTER);
    let still = requests(MASTER) & IRQ4;
    outb(MASTER, EOI);
    let again = poll(MASTER);
    outb(MASTER, EOI);
    Line::Serial.lower();
    let gone = requests(MASTER) & IRQ4;
    let none = poll(MASTER);
    outb(ELCR_MASTER, 0);
    for (name, seen, expected) in [
        ("level-requests", first, 0x84),
        ("level-still-requests-in-service", still, IRQ4),
        ("level-requests-again-after-the-end", again, 0x84),
        ("level-falls-with-the-line", gone, 0),
        ("level-fallen-is-not-taken", none, 0),
    ] {
        checks.equal(name, seen.into(), expected.into());
    }
}

fn cascade(checks: &mut Checks) {
    anew(IRQ2);
    outb(SLAVE + 1, !1);
    Line::Clock.raise();
    let request = requests(MASTER) & IRQ2;
    let master = poll(MASTER);
    let slave = poll(SLAVE);
    let service = [in_service(MASTER) & IRQ2, in_service(SLAVE)];
    outb(SLAVE, EOI);
    let left = [in_service(MASTER) & IRQ2, in_service(SLAVE)];
    outb(MASTER, EOI);
    Line::Clock.lower();
    checks.equal("slave-requests-at-the-master", request.into(), IRQ2.into());
    checks.equal("slave-is-line-2-of-the-master", master.into(), 0x82);
    checks.equal("slave-tells-its-line", slave.into(), 0x80);
    checks.check("both-chips-serve", service == [IRQ2, 1], format_args!("saw {service:?}"));
    checks.check("each-chip-has-its-end", left == [IRQ2, 0], format_args!("saw {left:?}"));
    anew(0);
    outb(SLAVE + 1, !1);
    Line::Clock.raise();
    let masked = poll(MASTER);
    Line::Clock.lower();
    checks.equal("slave-masked-at-the-master", masked.into(), 0);
}

/// What the processor gets through LINT0.
fn vectors(checks: &mut Checks) {
    apic::enable(SPURIOUS_VECTOR);
    // SAFETY: every vector has a handler.
    unsafe { cpu::wrmsr(apic::LVT_LINT0, apic::EXTINT) };
    interrupts::acknowledge(Acknowledge::ByCheck);
    interrupts::taken();
    anew(IRQ0 | IRQ4);
    [Line::Timer, Line::Serial].into_iter().for_each(Line::raise);
    cpu::take_interrupts();
    let first = interrupts::taken();
    outb(MASTER, EOI);
    cpu::take_interrupts();
    let second = interrupts::taken();
    outb(MASTER, EOI);
    cpu::take_interrupts();
    let third = interrupts::taken();
    Line::Serial.lower();
    checks.equal("vector-of-the-timer", first, PIC_VECTOR.into());
    checks.equal("vector-of-the-serial-line", second, u64::from(PIC_VECTOR) + 4);
    checks.equal("no-vector-without-request", third, 0);
    anew(IRQ2);
    outb(SLAVE + 1, !1);
    Line::Clock.raise();
    cpu::take_interrupts();
    let clock = interrupts::taken();
    outb(SLAVE, EOI);
    outb(MASTER, EOI);
    Line::Clock.lower();
    checks.equal("vector-of-the-slave", clock, u64::from(PIC_VECTOR) + 8);
    anew(0);
    outb(MASTER, 0x11);
    // The low bits of a vector are the line's.
    outb(MASTER + 1, 0x35);
    outb(MASTER + 1, 4);
    outb(MASTER + 1, ICW4_8086);
    outb(MASTER + 1, !IRQ4);
    Line::Serial.raise();
    cpu::take_interrupts();
    let moved = interrupts::taken();
    outb(MASTER, EOI);
    Line::Serial.lower();
    checks.equal("vector-base-is-a-multiple-of-8", moved, 0x34);
    anew(IRQ4);
    // SAFETY: closes the way to the processor.
    unsafe { cpu::wrmsr(apic::LVT_LINT0, apic::EXTINT | apic::MASKED) };
    Line::Serial.raise();
    cpu::take_interrupts();
    let closed = interrupts::taken();
    Line::Serial.lower();
    anew(0);
    checks.equal("lint0-masked-closes-the-way", closed, 0);
}
