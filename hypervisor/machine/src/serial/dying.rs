//! The last words' way out: bytes are handed to the UART one by one, waiting for it, but not for ever.

use super::uart::{LineRate, Uart};
use super::{COM_PORTS, granted};
use crate::port::GrantedPorts;
use base::Port;
use core::fmt;
use core::sync::atomic::{AtomicU16, Ordering};
use seams::PortIo;

/// Where last words go once a console was opened; before (0) they go to COM1, if there is a UART.
static OPENED: AtomicU16 = AtomicU16::new(0);

/// A UART sends a byte in a millisecond at 9600 bit/s; a read of its status takes a microsecond where it is real.
const MAX_READS: u32 = 100_000;

/// Sends last words to the UART at `port`, which was set up.
pub(super) fn use_opened(port: Port) {
    OPENED.store(port.0, Ordering::Relaxed);
}

/// Writes to a UART by polling. Once the UART does not take a byte, the rest is dropped.
#[derive(Debug)]
pub struct DyingWriter<P: PortIo = GrantedPorts<1>> {
    uart: Option<Uart<P>>,
}

impl DyingWriter {
    /// Takes the serial line over, whoever used it: nobody will any more.
    pub fn take_over() -> Self {
        match OPENED.load(Ordering::Relaxed) {
            0 => {
                let (com1, _) = COM_PORTS[0];
                Self::on(Uart::probe(granted(com1), com1, LineRate::B115200))
            }
            port => Self::on(Some(Uart::assumed(granted(Port(port)), Port(port)))),
        }
    }
}

impl<P: PortIo> DyingWriter<P> {
    fn on(mut uart: Option<Uart<P>>) -> Self {
        if let Some(uart) = &mut uart {
            uart.silence();
        }
        Self { uart }
    }

    fn put(&mut self, byte: u8) {
        let Some(uart) = &mut self.uart else { return };
        if (0..MAX_READS).any(|_| uart.is_ready()) {
            uart.send(byte);
        } else {
            self.uart = None;
        }
    }
}

impl<P: PortIo> fmt::Write for DyingWriter<P> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::uart::tests::FakeUart;
    use super::*;
    use core::fmt::Write;

    fn writer() -> DyingWriter<FakeUart> {
        DyingWriter::on(Uart::probe(FakeUart::default(), Port(0x3f8), LineRate::B115200))
    }

    #[test]
    fn a_stuck_uart_ends_the_waiting_and_loses_the_rest() {
        let mut writer = writer();
        writer.write_str("a").unwrap();
        assert_eq!(writer.uart.as_mut().unwrap().ports().sent, b"a");
        writer.uart.as_mut().unwrap().ports().stuck = true;
        writer.write_str("bc").unwrap();
        assert!(writer.uart.is_none());
    }

    #[test]
    fn line_feeds_get_their_carriage_returns() {
        let mut writer = writer();
        for text in ["x", "\n"] {
            for byte in text.bytes() {
                let bytes = if byte == b'\n' { &b"\r\n"[..] } else { &[byte] };
                for &b in bytes {
                    writer.put(b);
                    writer.uart.as_mut().unwrap().ports().drain();
                }
            }
        }
        assert_eq!(writer.uart.unwrap().ports().sent, b"x\r\n");
    }
}
