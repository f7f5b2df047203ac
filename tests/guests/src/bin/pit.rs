//! The 8254 timer: modes, gates, latches, read-back, byte-wise access and BCD, and port 0x61 with channel 2's gate and
//! output (Intel 8254 data sheet; for port 0x61, 82371AB data sheet, section 4.4).
//!
//! Channel 2 is the one that a program can gate; channel 0 always counts.

#![no_std]
#![no_main]

use guests::cpu::{inb, outb};
use guests::legacy::wait;
use guests::{Checks, guest};

guest!("pit", run);

const CHANNEL_0: u16 = 0x40;
const CHANNEL_2: u16 = 0x42;
const COMMAND: u16 = 0x43;
const PORT_B: u16 = 0x61;

const GATE: u8 = 1 << 0;
const SPEAKER: u8 = 1 << 1;
const REFRESH: u8 = 1 << 4;
const OUTPUT: u8 = 1 << 5;

/// Status byte: the output's level, and that a count was written but not yet loaded.
const STATUS_OUTPUT: u8 = 1 << 7;
const STATUS_NULL: u8 = 1 << 6;

/// Control words' access bits.
const LOW: u8 = 1 << 4;
const HIGH: u8 = 2 << 4;
const BOTH: u8 = 3 << 4;
const BCD: u8 = 1;

fn run(checks: &mut Checks) {
    latches(checks);
    status(checks);
    bytes(checks);
    mode_0(checks);
    mode_1(checks);
    mode_2(checks);
    mode_3(checks);
    strobes(checks);
    decimal(checks);
    port_b(checks);
    gate(false);
}

/// Writes a control word for the channel at `port`.
fn control(port: u16, access: u8, mode: u8, bcd: u8) {
    outb(COMMAND, ((port - CHANNEL_0) as u8) << 6 | access | mode << 1 | bcd);
}

fn load(port: u16, count: u16) {
    let [low, high] = count.to_le_bytes();
    outb(port, low);
    outb(port, high);
}

fn read(port: u16) -> u16 {
    u16::from_le_bytes([inb(port), inb(port)])
}

fn latch(port: u16) {
    outb(COMMAND, ((port - CHANNEL_0) as u8) << 6);
}

/// The status byte of the channel at `port`, by read-back.
fn read_status(port: u16) -> u8 {
    outb(COMMAND, 0xe0 | 2 << (port - CHANNEL_0));
    inb(port)
}

/// Drives channel 2's gate.
fn gate(up: bool) {
    outb(PORT_B, if up { GATE } else { 0 });
}

/// Whether channel 2's output is up.
fn output() -> bool {
    inb(PORT_B) & OUTPUT != 0
}

/// Checks that channel 2's output is up.
fn is_up(checks: &mut Checks, name: &str) {
    if !checks.deviates(name, "QEMU's emulator computes the output from the count alone") {
        checks.check(name, output(), format_args!("the output is low"));
    }
}

/// Waits some ticks of the 8254, by its channel 0.
fn pause() {
    control(CHANNEL_0, BOTH, 0, 0);
    load(CHANNEL_0, 200);
    wait(|| read_status(CHANNEL_0) & STATUS_OUTPUT != 0);
}

fn latches(checks: &mut Checks) {
    control(CHANNEL_0, BOTH, 2, 0);
    load(CHANNEL_0, 0);
    latch(CHANNEL_0);
    let first = read(CHANNEL_0);
    let fell = wait(|| {
        latch(CHANNEL_0);
        read(CHANNEL_0) < first
    });
    checks.check("counts-down", fell, format_args!("from {first:#x} it does not fall"));
    gate(true);
    control(CHANNEL_2, BOTH, 2, 0);
    load(CHANNEL_2, 0);
    latch(CHANNEL_2);
    pause();
    // Not taken: the first one has not been read.
    latch(CHANNEL_2);
    let held = read(CHANNEL_2);
    latch(CHANNEL_2);
    let live = read(CHANNEL_2);
    checks.check(
        "latch-holds-until-read",
        held.wrapping_sub(live) > 150,
        format_args!("latched {held:#x}, then {live:#x}"),
    );
    outb(COMMAND, 0xd8);
    pause();
    let held = read(CHANNEL_2);
    latch(CHANNEL_2);
    let live = read(CHANNEL_2);
    checks.check(
        "read-back-latches-counts",
        held.wrapping_sub(live) > 150,
        format_args!("latched {held:#x}, then {live:#x}"),
    );
    // Both: the status comes first.
    outb(COMMAND, 0xc8);
    let status = inb(CHANNEL_2);
    checks.equal("read-back-of-both-gives-the-status-first", (status & 0x3f).into(), (BOTH | 2 << 1).into());
    read(CHANNEL_2);
}

fn status(checks: &mut Checks) {
    gate(false);
    for (name, access, mode, bcd) in [
        ("status-tells-mode-0", LOW, 0, 0),
        ("status-tells-mode-1", BOTH, 1, 0),
        ("status-tells-mode-4", HIGH, 4, 0),
        ("status-tells-mode-5", BOTH, 5, 0),
        ("status-tells-bcd", BOTH, 3, BCD),
    ] {
        control(CHANNEL_2, access, mode, bcd);
        checks.equal(name, (read_status(CHANNEL_2) & 0x3f).into(), (access | mode << 1 | bcd).into());
    }
    gate(true);
    control(CHANNEL_2, BOTH, 2, 0);
    let before = read_status(CHANNEL_2) & STATUS_NULL;
    load(CHANNEL_2, 1000);
    let loaded = wait(|| read_status(CHANNEL_2) & STATUS_NULL == 0);
    if !checks.deviates("null-count-before-a-count", "QEMU's emulator never tells of it") {
        checks.equal("null-count-before-a-count", before.into(), STATUS_NULL.into());
    }
    checks.check("null-count-ends", loaded, format_args!("the count is never loaded"));
}

fn bytes(checks: &mut Checks) {
    gate(true);
    control(CHANNEL_2, LOW, 2, 0);
    outb(CHANNEL_2, 0x34);
    let odd = (0..100).map(|_| inb(CHANNEL_2)).find(|low| !(1..=0x34).contains(low));
    checks.check("low-byte-alone", odd.is_none(), format_args!("saw {odd:x?} of 0x34"));
    control(CHANNEL_2, HIGH, 2, 0);
    outb(CHANNEL_2, 0x80);
    let high = inb(CHANNEL_2);
    checks.check("high-byte-alone", (0x7e..=0x80).contains(&high), format_args!("saw {high:#x} of 0x80"));
    control(CHANNEL_2, BOTH, 2, 0);
    load(CHANNEL_2, 0x8000);
    let count = read(CHANNEL_2);
    checks.check(
        "low-byte-then-high-byte",
        (0x7000..=0x8000).contains(&count),
        format_args!("saw {count:#x}"),
    );
}

/// Interrupt on terminal count.
fn mode_0(checks: &mut Checks) {
    gate(true);
    control(CHANNEL_2, BOTH, 0, 0);
    checks.check("mode-0-falls-with-the-control-word", !output(), format_args!("the output is up"));
    load(CHANNEL_2, 0xffff);
    checks.check("mode-0-stays-low-while-counting", !output(), format_args!("the output is up"));
    load(CHANNEL_2, 100);
    checks.check("mode-0-rises-at-the-end", wait(output), format_args!("the output stays low"));
    pause();
    checks.check("mode-0-stays-up", output(), format_args!("the output fell again"));
    load(CHANNEL_2, 0xffff);
    checks.check("mode-0-falls-with-a-new-count", !output(), format_args!("the output is up"));
    gate(false);
    latch(CHANNEL_2);
    let held = read(CHANNEL_2);
    pause();
    latch(CHANNEL_2);
    let later = read(CHANNEL_2);
    if !checks.deviates("mode-0-gate-holds-the-count", "QEMU's emulator goes on counting") {
        checks.equal("mode-0-gate-holds-the-count", later.into(), held.into());
    }
}

/// One-shot, started by the gate.
fn mode_1(checks: &mut Checks) {
    gate(false);
    control(CHANNEL_2, BOTH, 1, 0);
    load(CHANNEL_2, 2000);
    pause();
    is_up(checks, "mode-1-waits-for-the-gate");
    gate(true);
    checks.check("mode-1-falls-with-the-gate", wait(|| !output()), format_args!("the output stays up"));
    checks.check("mode-1-rises-at-the-end", wait(output), format_args!("the output stays low"));
    gate(false);
    gate(true);
    checks.check("mode-1-starts-again", wait(|| !output()), format_args!("the output stays up"));
}

/// Rate generator.
fn mode_2(checks: &mut Checks) {
    gate(true);
    control(CHANNEL_2, BOTH, 2, 0);
    is_up(checks, "mode-2-begins-high");
    load(CHANNEL_2, 0x300);
    let in_range = (0..200).all(|_| {
        latch(CHANNEL_2);
        (1..=0x300).contains(&read(CHANNEL_2))
    });
    checks.check("mode-2-stays-within-its-count", in_range, format_args!("the count left 1..0x300"));
    let mut before = 0;
    let reloads = (0..100_000).any(|_| {
        latch(CHANNEL_2);
        let now = read(CHANNEL_2);
        core::mem::replace(&mut before, now) < now && before != 0
    });
    checks.check("mode-2-reloads", reloads, format_args!("the count only falls"));
    gate(false);
    is_up(checks, "mode-2-gate-raises-the-output");
}

/// Square wave.
fn mode_3(checks: &mut Checks) {
    gate(true);
    control(CHANNEL_2, BOTH, 3, 0);
    checks.check("mode-3-begins-high", output(), format_args!("the output is low"));
    load(CHANNEL_2, 0x2000);
    let falls = wait(|| !output());
    let rises = wait(output);
    let again = wait(|| !output());
    checks.check("mode-3-is-a-wave", falls && rises && again, format_args!("{falls} {rises} {again}"));
    gate(false);
    is_up(checks, "mode-3-gate-raises-the-output");
}

/// Modes 4 and 5: a strobe of one tick, after a count that the program or the gate starts.
fn strobes(checks: &mut Checks) {
    gate(true);
    control(CHANNEL_2, BOTH, 4, 0);
    is_up(checks, "mode-4-begins-high");
    load(CHANNEL_2, 100);
    let wraps = wait(|| {
        latch(CHANNEL_2);
        read(CHANNEL_2) > 0x1000
    });
    checks.check("mode-4-counts-on-behind-its-end", wraps, format_args!("the count does not wrap"));
    gate(false);
    control(CHANNEL_2, BOTH, 5, 0);
    load(CHANNEL_2, 100);
    pause();
    is_up(checks, "mode-5-waits-for-the-gate");
    gate(true);
    let wraps = wait(|| {
        latch(CHANNEL_2);
        read(CHANNEL_2) > 0x1000
    });
    checks.check("mode-5-counts-when-the-gate-rises", wraps, format_args!("the count does not wrap"));
}

fn decimal(checks: &mut Checks) {
    gate(true);
    control(CHANNEL_2, BOTH, 2, BCD);
    load(CHANNEL_2, 0x0500);
    let is_decimal = |count: u16| (0..4).all(|digit| count >> (4 * digit) & 0xf <= 9);
    let mut odd = None;
    for _ in 0..500 {
        latch(CHANNEL_2);
        let count = read(CHANNEL_2);
        if !is_decimal(count) || count > 0x0500 {
            odd = Some(count);
        }
    }
    if !checks.deviates("bcd-counts-in-decimal-digits", "QEMU's emulator counts in binary") {
        checks.check("bcd-counts-in-decimal-digits", odd.is_none(), format_args!("saw {odd:x?}"));
    }
}

fn port_b(checks: &mut Checks) {
    for (name, value) in [("port-b-keeps-the-gate", GATE), ("port-b-keeps-the-speaker", SPEAKER)] {
        outb(PORT_B, value);
        checks.equal(name, (inb(PORT_B) & (GATE | SPEAKER)).into(), value.into());
    }
    outb(PORT_B, 0);
    let first = inb(PORT_B) & REFRESH;
    let toggles = wait(|| inb(PORT_B) & REFRESH != first);
    checks.check("port-b-refresh-toggles", toggles, format_args!("it does not"));
    checks.equal("port-b-reports-no-error", (inb(PORT_B) & 0xc0).into(), 0);
}
