//! Ports: the UART's registers, the CMOS clock, ports where nothing is, and string instructions.
//!
//! Unsafe because string instructions write memory.

#![no_std]
#![no_main]

use core::arch::asm;
use guests::serial::COM1;
use guests::{Checks, cpu, guest};

guest!("port-io", run);

const UART_DATA: u16 = COM1;
const UART_INTERRUPT_ENABLE: u16 = COM1 + 1;
const UART_LINE_CONTROL: u16 = COM1 + 3;
const UART_MODEM_CONTROL: u16 = COM1 + 4;
const UART_LINE_STATUS: u16 = COM1 + 5;
const UART_SCRATCH: u16 = COM1 + 7;
/// LCR: the first two registers are the divisor.
const DIVISOR_ACCESS: u8 = 1 << 7;
const EIGHT_BITS: u8 = 3;
/// MCR: what is sent is received, and nothing leaves.
const LOOPBACK: u8 = 1 << 4;
/// LSR: a byte has been received.
const DATA_READY: u8 = 1;
/// LSR: the transmitter is idle.
const TRANSMITTER_IDLE: u8 = 1 << 6;

const CMOS_INDEX: u16 = 0x70;
const CMOS_DATA: u16 = 0x71;
/// Status register D: the clock's battery is good.
const CMOS_VALID: u8 = 1 << 7;

/// Nothing is here on a PC, nor in Cofferdam.
const ABSENT: u16 = 0x5a0;

/// The most looks at a register that changes by itself.
const TRIES: u32 = 1_000_000;

fn run(checks: &mut Checks) {
    uart(checks);
    cmos(checks);
    absent(checks);
    strings(checks);
}

fn uart(checks: &mut Checks) {
    cpu::outb(UART_SCRATCH, 0x5a);
    checks.equal("uart-scratch", cpu::inb(UART_SCRATCH).into(), 0x5a);

    cpu::outb(UART_LINE_CONTROL, EIGHT_BITS | DIVISOR_ACCESS);
    cpu::outb(UART_DATA, 1);
    cpu::outb(UART_INTERRUPT_ENABLE, 0);
    let divisor = u16::from_le_bytes([cpu::inb(UART_DATA), cpu::inb(UART_INTERRUPT_ENABLE)]);
    cpu::outb(UART_LINE_CONTROL, EIGHT_BITS);
    checks.equal("uart-divisor", divisor.into(), 1);
    checks.equal("uart-line-control", cpu::inb(UART_LINE_CONTROL).into(), EIGHT_BITS.into());

    let received = loop_back(b'x');
    checks.check("uart-loopback", received == Some(b'x'), format_args!("received {received:x?}"));
}

/// Sends `byte` to ourselves.
fn loop_back(byte: u8) -> Option<u8> {
    // What is still on its way out must not be looped back.
    (0..TRIES).find(|_| cpu::inb(UART_LINE_STATUS) & TRANSMITTER_IDLE != 0)?;
    cpu::outb(UART_MODEM_CONTROL, LOOPBACK);
    cpu::outb(UART_DATA, byte);
    let ready = (0..TRIES).find(|_| cpu::inb(UART_LINE_STATUS) & DATA_READY != 0);
    let received = ready.map(|_| cpu::inb(UART_DATA));
    cpu::outb(UART_MODEM_CONTROL, 0);
    received
}

fn cmos_register(index: u8) -> u8 {
    cpu::outb(CMOS_INDEX, index);
    cpu::inb(CMOS_DATA)
}

fn cmos(checks: &mut Checks) {
    let valid = cmos_register(0xd);
    checks.check("cmos-valid", valid & CMOS_VALID != 0, format_args!("status D is {valid:#x}"));
    // BCD or binary: as hexadecimal digits neither passes the other's limit.
    let (seconds, month) = (cmos_register(0), cmos_register(8));
    checks.check("cmos-seconds", seconds <= 0x59, format_args!("saw {seconds:#x}"));
    checks.check("cmos-month", (1..=0x12).contains(&month), format_args!("saw {month:#x}"));
}

fn absent(checks: &mut Checks) {
    cpu::outb(ABSENT, 0);
    cpu::outw(ABSENT, 0);
    cpu::outl(ABSENT, 0);
    checks.equal("absent-port-1-byte", cpu::inb(ABSENT).into(), 0xff);
    checks.equal("absent-port-2-bytes", cpu::inw(ABSENT).into(), 0xffff);
    checks.equal("absent-port-4-bytes", cpu::inl(ABSENT).into(), 0xffff_ffff);
    let rax: u64;
    // SAFETY: a port read; bits 63:8 of RAX must stay, and bits 63:32 of a 4-byte read must go.
    unsafe { asm!("in al, dx", in("dx") ABSENT, inout("rax") 0x1122_3344_5566_7788_u64 => rax) };
    checks.equal("in-al-keeps-the-rest", rax, 0x1122_3344_5566_77ff);
    let rax: u64;
    // SAFETY: as above.
    unsafe { asm!("in eax, dx", in("dx") ABSENT, inout("rax") u64::MAX << 32 => rax) };
    checks.equal("in-eax-clears-the-upper-half", rax, 0xffff_ffff);
}

fn strings(checks: &mut Checks) {
    let text = *b"guest: string output\r\n";
    let (end, left): (u64, u64);
    // SAFETY: reads `text`.
    unsafe {
        asm!("rep outsb", in("dx") UART_DATA, inout("rsi") text.as_ptr() as u64 => end, inout("rcx") text.len() as u64 => left);
    }
    checks.equal("rep-outsb-count", left, 0);
    checks.equal("rep-outsb-address", end, text.as_ptr() as u64 + text.len() as u64);

    cpu::outb(UART_SCRATCH, 0xa5);
    let mut bytes = [0_u8; 6];
    let (end, left): (u64, u64);
    // SAFETY: writes the first four bytes of `bytes`.
    unsafe {
        asm!("rep insb", in("dx") UART_SCRATCH, inout("rdi") bytes.as_mut_ptr() as u64 => end, inout("rcx") 4_u64 => left);
    }
    checks.check("rep-insb-data", bytes == [0xa5, 0xa5, 0xa5, 0xa5, 0, 0], format_args!("saw {bytes:x?}"));
    checks.equal("rep-insb-count", left, 0);
    checks.equal("rep-insb-address", end, bytes.as_ptr() as u64 + 4);

    let mut words = [0_u32; 3];
    let end: u64;
    // SAFETY: writes the last two elements of `words`, downwards, and sets the direction back.
    unsafe {
        asm!("std", "insd", "insw", "cld", in("dx") ABSENT, inout("rdi") &raw mut words[2] as u64 => end);
    }
    checks.check("ins-downwards", words == [0, 0xffff, 0xffff_ffff], format_args!("saw {words:x?}"));
    checks.equal("ins-downwards-address", end, &raw const words[1] as u64 - 2);
}
