//! The IOAPIC: its registers, and what an input becomes: edges, levels with remote IRR, masks, destinations and delivery
//! modes (Intel 82093AA data sheet). The input is COM1's, which a program can raise and lower.
//!
//! Unsafe because it writes registers in memory.

#![no_std]
#![no_main]

use guests::interrupts::{self, Acknowledge, SPURIOUS_VECTOR, count};
use guests::legacy::Line;
use guests::{Checks, apic, cpu, guest};

guest!("ioapic", run);

const SELECT: u64 = 0xfec0_0000;
const WINDOW: u64 = SELECT + 0x10;

const ID: u8 = 0;
const VERSION: u8 = 1;
const FIRST_ENTRY: u8 = 0x10;
const INPUTS: u8 = 24;
/// COM1's input; nothing else drives it.
const SERIAL: u8 = 4;

const VECTOR: u8 = 0x61;
const NMI: u32 = 4 << 8;
const LOWEST_PRIORITY: u32 = 1 << 8;
const LOGICAL: u32 = 1 << 11;
const DELIVERY_PENDING: u32 = 1 << 12;
const ACTIVE_LOW: u32 = 1 << 13;
const REMOTE_IRR: u32 = 1 << 14;
const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;

const X2APIC_EOI: u32 = 0x80b;
/// The word of the trigger-mode register that has [`VECTOR`].
const X2APIC_TRIGGER_MODE: u32 = 0x818 + VECTOR as u32 / 32;
const X2APIC_REQUESTS: u32 = 0x820 + VECTOR as u32 / 32;

fn run(checks: &mut Checks) {
    apic::enable(SPURIOUS_VECTOR);
    interrupts::acknowledge(Acknowledge::ByCheck);
    registers(checks);
    entries(checks);
    edges(checks);
    levels(checks);
    destinations(checks);
}

fn read(register: u8) -> u32 {
    // SAFETY: registers of the IOAPIC, which are mapped.
    unsafe {
        (SELECT as *mut u32).write_volatile(register.into());
        (WINDOW as *const u32).read_volatile()
    }
}

fn write(register: u8, value: u32) {
    // SAFETY: as for reading; every vector has a handler.
    unsafe {
        (SELECT as *mut u32).write_volatile(register.into());
        (WINDOW as *mut u32).write_volatile(value);
    }
}

fn entry(input: u8) -> u32 {
    read(FIRST_ENTRY + 2 * input)
}

fn program(input: u8, low: u32, destination: u8) {
    write(FIRST_ENTRY + 2 * input + 1, u32::from(destination) << 24);
    write(FIRST_ENTRY + 2 * input, low);
}

fn end() {
    // SAFETY: ends the interrupt in service.
    unsafe { cpu::wrmsr(X2APIC_EOI, 0) };
}

/// The vectors that come now; each is acknowledged.
fn taken() -> u64 {
    cpu::take_interrupts();
    interrupts::taken()
}

fn registers(checks: &mut Checks) {
    let version = read(VERSION);
    checks.check("version", [0x11, 0x20].contains(&(version & 0xff)), format_args!("saw {version:#x}"));
    checks.equal("inputs", (version >> 16 & 0xff).into(), u64::from(INPUTS) - 1);
    let id = read(ID);
    write(ID, 0x0500_0000);
    checks.equal("id-keeps", read(ID).into(), 0x0500_0000);
    write(ID, u32::MAX);
    checks.equal("id-has-4-bits", read(ID).into(), 0x0f00_0000);
    write(ID, id);
    write(VERSION, 0);
    checks.equal("version-is-read-only", read(VERSION).into(), version.into());
    // SAFETY: the register that is selected.
    let selected = unsafe { (SELECT as *const u32).read_volatile() } & 0xff;
    checks.equal("selection-keeps", selected.into(), VERSION.into());
}

fn entries(checks: &mut Checks) {
    let kept = (0..INPUTS).find(|&input| {
        program(input, MASKED | LEVEL | LOGICAL | (0x41 + u32::from(input)), input);
        let seen = (entry(input), read(FIRST_ENTRY + 2 * input + 1) >> 24);
        seen != (MASKED | LEVEL | LOGICAL | (0x41 + u32::from(input)), input.into())
    });
    checks.check("entries-keep", kept.is_none(), format_args!("that of input {kept:?} does not"));
    (0..INPUTS).for_each(|input| program(input, MASKED, 0));
    program(SERIAL, MASKED | LOWEST_PRIORITY | 0x77, 0);
    checks.equal("delivery-mode-keeps", entry(SERIAL).into(), (MASKED | LOWEST_PRIORITY | 0x77).into());
    program(SERIAL, MASKED | ACTIVE_LOW | LEVEL, 0);
    checks.equal("polarity-keeps", entry(SERIAL).into(), (MASKED | ACTIVE_LOW | LEVEL).into());
    program(SERIAL, MASKED | LEVEL | REMOTE_IRR | DELIVERY_PENDING, 0);
    checks.equal("status-bits-are-read-only", entry(SERIAL).into(), (MASKED | LEVEL).into());
    program(SERIAL, MASKED | 0xfff0_0000, 0);
    if !checks.deviates("reserved-bits-read-zero", "QEMU's emulator keeps them") {
        checks.equal("reserved-bits-read-zero", entry(SERIAL).into(), MASKED.into());
    }
}

fn edges(checks: &mut Checks) {
    Line::Serial.lower();
    program(SERIAL, VECTOR.into(), 0);
    Line::Serial.raise();
    let first = taken();
    let trigger_mode = cpu::rdmsr(X2APIC_TRIGGER_MODE) >> (VECTOR % 32) & 1;
    let remote_irr = entry(SERIAL) & REMOTE_IRR;
    end();
    let up = taken();
    Line::Serial.lower();
    Line::Serial.raise();
    let second = taken();
    end();
    Line::Serial.lower();
    program(SERIAL, MASKED | u32::from(VECTOR), 0);
    Line::Serial.raise();
    let masked = taken();
    Line::Serial.lower();
    for (name, seen, expected) in [
        ("edge-interrupts", first, VECTOR.into()),
        ("edge-is-no-level", trigger_mode, 0),
        ("edge-has-no-remote-irr", remote_irr.into(), 0),
        ("edge-counts-once", up, 0),
        ("edge-interrupts-again", second, VECTOR.into()),
        ("masked-edge-does-not", masked, 0),
    ] {
        checks.equal(name, seen, expected);
    }
}

fn levels(checks: &mut Checks) {
    program(SERIAL, LEVEL | u32::from(VECTOR), 0);
    Line::Serial.raise();
    let first = taken();
    let trigger_mode = cpu::rdmsr(X2APIC_TRIGGER_MODE) >> (VECTOR % 32) & 1;
    let awaited = entry(SERIAL) & REMOTE_IRR;
    let once = cpu::rdmsr(X2APIC_REQUESTS) >> (VECTOR % 32) & 1;
    end();
    // Still up: the end of one is the beginning of the next.
    let again = taken();
    Line::Serial.lower();
    let fallen = entry(SERIAL) & REMOTE_IRR;
    end();
    let ended = entry(SERIAL) & REMOTE_IRR;
    let none = taken();
    for (name, seen, expected) in [
        ("level-interrupts", first, VECTOR.into()),
        ("level-is-told-to-the-local-apic", trigger_mode, 1),
        ("level-awaits-its-end", awaited.into(), REMOTE_IRR.into()),
        ("level-is-sent-once", once, 0),
        ("level-interrupts-again-after-the-end", again, VECTOR.into()),
        ("level-fallen-awaits-its-end-too", fallen.into(), REMOTE_IRR.into()),
        ("end-clears-remote-irr", ended.into(), 0),
        ("level-fallen-does-not-interrupt", none, 0),
    ] {
        checks.equal(name, seen, expected);
    }
    program(SERIAL, MASKED | LEVEL | u32::from(VECTOR), 0);
    Line::Serial.raise();
    let masked = taken();
    program(SERIAL, LEVEL | u32::from(VECTOR), 0);
    let unmasked = taken();
    Line::Serial.lower();
    end();
    taken();
    checks.equal("masked-level-does-not-interrupt", masked, 0);
    checks.equal("level-waits-for-its-mask-to-go", unmasked, VECTOR.into());
    program(SERIAL, MASKED, 0);
}

fn destinations(checks: &mut Checks) {
    let before = count(2);
    program(SERIAL, NMI, 0);
    Line::Serial.raise();
    Line::Serial.lower();
    program(SERIAL, MASKED, 0);
    checks.equal("nmi-delivery", (count(2) - before).into(), 1);
    for (name, low, destination, expected) in [
        ("lowest-priority-delivery", LOWEST_PRIORITY | u32::from(VECTOR), 0, VECTOR.into()),
        ("another-physical-destination", VECTOR.into(), 5, 0),
        // In x2APIC mode an IOAPIC's 8 bits reach cluster 0.
        ("logical-destination", LOGICAL | u32::from(VECTOR), 1, VECTOR.into()),
        ("another-logical-destination", LOGICAL | u32::from(VECTOR), 2, 0),
    ] {
        program(SERIAL, low, destination);
        Line::Serial.raise();
        let seen = taken();
        end();
        Line::Serial.lower();
        checks.equal(name, seen, expected);
    }
    program(SERIAL, MASKED, 0);
}
