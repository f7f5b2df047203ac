//! Text to COM1, polled.

use crate::cpu::{inb, outb};
use core::fmt::{self, Write};

/// The first register of COM1.
pub const COM1: u16 = 0x3f8;
const LINE_STATUS: u16 = COM1 + 5;
/// The transmitter takes another byte.
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// A bound for a line that never becomes ready.
const TRIES: u32 = 1_000_000;

/// COM1.
pub struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                transmit(b'\r');
            }
            transmit(byte);
        }
        Ok(())
    }
}

fn transmit(byte: u8) {
    for _ in 0..TRIES {
        if inb(LINE_STATUS) & TRANSMITTER_EMPTY != 0 {
            break;
        }
    }
    outb(COM1, byte);
}

/// Prints a line on COM1.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => {{
        use core::fmt::Write as _;
        // The writer never fails.
        let _ = writeln!($crate::serial::Serial, $($arg)*);
    }};
}
