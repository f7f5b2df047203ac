//! A 16550 at given ports, polled: transmit only (National Semiconductor PC16550D, section 8). `unsafe` for port I/O.

use base::Port;
use x86_64::instructions::port::Port as IoPort;

const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const SCRATCH: u16 = 7;

const LINE_CONTROL_8N1: u8 = 0x03;
const LINE_CONTROL_DIVISOR: u8 = 0x80;
const FIFO_ENABLE_AND_CLEAR: u8 = 0x07;
const MODEM_DTR_AND_RTS: u8 = 0x03;
const STATUS_TRANSMITTER_EMPTY: u8 = 0x20;

/// Divides the clock of 1.8432 MHz / 16 down to 115200 baud.
const DIVISOR: u16 = 1;

/// How often the status is read before a byte is given up: some milliseconds, more than a byte takes at 9600 baud.
const MAX_POLLS: u32 = 20_000;

/// Who sets the line's speed and format.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Setup {
    /// Whoever used the line before.
    Keep,
    /// Boot: 115200 baud, 8 data bits, no parity.
    Program,
}

/// A UART that answered.
pub(super) struct Uart {
    base: u16,
}

impl Uart {
    /// The UART at `base`, or `None` when none answers there.
    pub(super) fn find(base: Port, setup: Setup) -> Option<Self> {
        let uart = Self { base: base.0 };
        let answers = [0x5A, 0xA5].into_iter().all(|pattern| {
            uart.write(SCRATCH, pattern);
            uart.read(SCRATCH) == pattern
        });
        if !answers {
            return None;
        }
        if setup == Setup::Program {
            let [low, high] = DIVISOR.to_le_bytes();
            uart.write(INTERRUPT_ENABLE, 0);
            uart.write(LINE_CONTROL, LINE_CONTROL_DIVISOR);
            uart.write(DATA, low);
            uart.write(INTERRUPT_ENABLE, high);
            uart.write(LINE_CONTROL, LINE_CONTROL_8N1);
            uart.write(FIFO_CONTROL, FIFO_ENABLE_AND_CLEAR);
            uart.write(MODEM_CONTROL, MODEM_DTR_AND_RTS);
        }
        Some(uart)
    }

    /// Sends `text`; a byte that the line does not take in time is lost.
    pub(super) fn send(&self, text: &str) {
        for byte in text.bytes() {
            let ready = |_: &u32| self.read(LINE_STATUS) & STATUS_TRANSMITTER_EMPTY != 0;
            if (0..MAX_POLLS).find(ready).is_some() {
                self.write(DATA, byte);
            }
        }
    }

    fn read(&self, register: u16) -> u8 {
        // SAFETY: reading a register of a UART, or of what is no UART at all, has no effect on memory.
        unsafe { IoPort::new(self.base.wrapping_add(register)).read() }
    }

    fn write(&self, register: u16, value: u8) {
        // SAFETY: as above; the operator has said that a UART is here.
        unsafe { IoPort::new(self.base.wrapping_add(register)).write(value) }
    }
}
