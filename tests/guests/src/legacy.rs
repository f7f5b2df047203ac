//! The interrupt controllers of a PC/AT, and lines into them that a program can raise and lower at will.
//!
//! ```text
//!   8254 channel 0, mode 0 ── IRQ0 ─┐
//!   UART, transmitter empty ─ IRQ4 ─┤ 8259 master ── INTR
//!   RTC, periodic ─ IRQ8 ─ slave ── IR2
//! ```

use crate::cpu::{inb, outb, tsc};
use crate::interrupts::PIC_VECTOR;
use crate::serial::COM1;

/// The master's port with A0 = 0; its data port is the next.
pub const MASTER: u16 = 0x20;
/// The slave's.
pub const SLAVE: u16 = 0xa0;

/// OCW3: reads give IRR.
const READ_IRR: u8 = 0x0a;
/// OCW3: reads give ISR.
const READ_ISR: u8 = 0x0b;
/// OCW3: the next read is a poll.
const POLL: u8 = 0x0c;
/// ICW4: 8086 mode.
pub const ICW4_8086: u8 = 1;

/// Initializes both chips with vectors from [`PIC_VECTOR`] on, everything masked, edge-triggered.
pub fn initialize(icw4: u8) {
    for (port, vector, cascade) in [(MASTER, PIC_VECTOR, 4), (SLAVE, PIC_VECTOR + 8, 2)] {
        outb(port, 0x11);
        outb(port + 1, vector);
        outb(port + 1, cascade);
        outb(port + 1, icw4);
        outb(port + 1, 0xff);
    }
}

/// The requests of a chip.
pub fn requests(chip: u16) -> u8 {
    outb(chip, READ_IRR);
    inb(chip)
}

/// What a chip has in service.
pub fn in_service(chip: u16) -> u8 {
    outb(chip, READ_ISR);
    inb(chip)
}

/// Acknowledges a chip's most urgent request by a poll: 0x80 and its number, or 0.
pub fn poll(chip: u16) -> u8 {
    outb(chip, POLL);
    inb(chip)
}

/// A line into the controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// IRQ0: the 8254's channel 0.
    Timer,
    /// IRQ4: COM1. Nothing may be printed while it is raised.
    Serial,
    /// IRQ8: the real-time clock. Raised, it rises again 1024 times a second once its flags are read.
    Clock,
}

const PIT_CHANNEL_0: u16 = 0x40;
const PIT_COMMAND: u16 = 0x43;
/// Channel 0, both bytes, mode 0: the output falls, and rises when the count ends.
const PIT_MODE_0: u8 = 0x30;
const UART_INTERRUPT_ENABLE: u16 = COM1 + 1;
const UART_MODEM_CONTROL: u16 = COM1 + 4;
const UART_LINE_STATUS: u16 = COM1 + 5;
/// Nothing is left to be sent.
const UART_IDLE: u8 = 1 << 6;
/// OUT2, which on a PC lets the interrupt out, RTS and DTR.
const UART_CONNECTED: u8 = 0xb;
const UART_TRANSMITTER_EMPTY: u8 = 2;
const CMOS_INDEX: u16 = 0x70;
const CMOS_DATA: u16 = 0x71;
const RTC_A: u8 = 0xa;
const RTC_B: u8 = 0xb;
const RTC_C: u8 = 0xc;
const RTC_PERIODIC: u8 = 1 << 6;
/// 32.768 kHz, 1024 interrupts a second.
const RTC_RATE: u8 = 0x26;

impl Line {
    /// Raises the line and waits until it is up.
    pub fn raise(self) {
        match self {
            Self::Timer => {
                outb(PIT_COMMAND, PIT_MODE_0);
                outb(PIT_CHANNEL_0, 2);
                outb(PIT_CHANNEL_0, 0);
                // Not the 8254's word: on the emulator the line follows its output later.
                wait(|| requests(MASTER) & 1 != 0);
            }
            Self::Serial => {
                // What was printed last may still be on its way.
                wait(|| inb(UART_LINE_STATUS) & UART_IDLE != 0);
                outb(UART_MODEM_CONTROL, UART_CONNECTED);
                outb(UART_INTERRUPT_ENABLE, UART_TRANSMITTER_EMPTY);
            }
            Self::Clock => {
                write_cmos(RTC_A, RTC_RATE);
                read_cmos(RTC_C);
                write_cmos(RTC_B, read_cmos(RTC_B) | RTC_PERIODIC);
                wait(|| requests(SLAVE) & 1 != 0);
            }
        }
    }

    /// Lowers the line.
    pub fn lower(self) {
        match self {
            Self::Timer => outb(PIT_COMMAND, PIT_MODE_0),
            Self::Serial => outb(UART_INTERRUPT_ENABLE, 0),
            Self::Clock => {
                write_cmos(RTC_B, read_cmos(RTC_B) & !RTC_PERIODIC);
                read_cmos(RTC_C);
            }
        }
    }
}

/// Reads a register of the clock, or a byte of its memory.
pub fn read_cmos(index: u8) -> u8 {
    outb(CMOS_INDEX, index);
    inb(CMOS_DATA)
}

/// Writes a register of the clock, or a byte of its memory.
pub fn write_cmos(index: u8, value: u8) {
    outb(CMOS_INDEX, index);
    outb(CMOS_DATA, value);
}

/// Lets some time pass: `times` 50 ms of the 8254's channel 0.
pub fn pause(times: u32) {
    /// 50 ms of 1.193182 MHz.
    const COUNT: u16 = 59_659;
    for _ in 0..times {
        let [low, high] = COUNT.to_le_bytes();
        outb(PIT_COMMAND, PIT_MODE_0);
        outb(PIT_CHANNEL_0, low);
        outb(PIT_CHANNEL_0, high);
        wait(timer_is_up);
    }
}

/// Whether the output of the 8254's channel 0 is up: bit 7 of its status, by read-back.
fn timer_is_up() -> bool {
    outb(PIT_COMMAND, 0xe2);
    inb(PIT_CHANNEL_0) & 0x80 != 0
}

/// Waits until `done`, or long enough to say that it never will be. Whether it was.
pub fn wait(done: impl Fn() -> bool) -> bool {
    /// Seconds at any frequency that processors have.
    const TICKS: u64 = 16 << 30;
    let began = tsc();
    while tsc() - began < TICKS {
        if done() {
            return true;
        }
    }
    done()
}
