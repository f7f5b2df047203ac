//! The host's serial console: one 16550 behind bounded rings.
//!
//! ```text
//! log, console --offer--> [ TX ring ] --poll--> UART --> line
//! console <----take------ [ RX ring ] <--interrupt or poll-- UART <-- line
//! ```
//! Nothing here waits for the line: `poll` moves at most what the FIFO holds. While bytes are left, the UART's
//! transmit interrupt is on, so that an idle CPU wakes up and polls again. Only [`dying`] waits, with bounds.
//!
//! Why no crate: `docs/decisions/0004-serial.md`.

pub mod dying;
pub mod uart;

pub use uart::{LineRate, Uart, Wanted};

use crate::log::{Entry, MAX_LINE_BYTES, Reader};
use crate::port::{GrantedPorts, PortRange};
use base::Port;
use core::sync::atomic::{AtomicU16, Ordering};
use seams::{ByteSink, ByteSource, PortIo};
use sync::ByteRing;

/// How many bytes may wait for the line.
pub const TRANSMIT_BYTES: usize = 8192;
/// How many bytes may wait for whoever reads the console.
pub const RECEIVE_BYTES: usize = 1024;

/// What has come in. The interrupt handler is the producer, and `poll`, which runs with interrupts masked.
static RECEIVED: ByteRing<RECEIVE_BYTES> = ByteRing::new();

/// The port of the UART whose interrupts are taken; 0 is none.
static INTERRUPTING: AtomicU16 = AtomicU16::new(0);

/// The first ports of COM1 to COM4 and their ISA lines.
pub const COM_PORTS: [(Port, u8); 4] =
    [(Port(0x3f8), 4), (Port(0x2f8), 3), (Port(0x3e8), 4), (Port(0x2e8), 3)];

/// Called by the handler of [`crate::vectors::SERIAL`]: takes what has come in, and lets the UART lower its line.
pub(crate) fn on_interrupt() {
    let base = Port(INTERRUPTING.load(Ordering::Relaxed));
    if base.0 != 0 {
        Uart::assumed(granted(base), base).on_interrupt(&RECEIVED);
    }
}

fn granted(base: Port) -> GrantedPorts<1> {
    GrantedPorts::new([PortRange::new(base, uart::PORTS)])
}

/// The serial console; without a UART it takes everything and gives nothing.
#[derive(Debug)]
pub struct SerialConsole<P: PortIo = GrantedPorts<1>> {
    uart: Option<Uart<P>>,
    transmit: ByteRing<TRANSMIT_BYTES>,
    received: &'static ByteRing<RECEIVE_BYTES>,
}

impl SerialConsole {
    /// A console that leads nowhere.
    pub const fn none() -> Self {
        Self { uart: None, transmit: ByteRing::new(), received: &RECEIVED }
    }

    /// The UART at `base`, set to `rate`, 8 data bits, no parity; one that does not answer is none.
    ///
    /// The epitaph goes there too from now on.
    pub fn open(base: Port, rate: LineRate) -> Self {
        let uart = Uart::probe(granted(base), base, rate);
        if uart.is_some() {
            INTERRUPTING.store(base.0, Ordering::Relaxed);
            dying::use_opened(base);
        }
        Self { uart, ..Self::none() }
    }
}

impl<P: PortIo> SerialConsole<P> {
    /// Whether a UART answers.
    pub const fn is_present(&self) -> bool {
        self.uart.is_some()
    }

    /// Lets the UART raise its interrupt; its line is routed to [`crate::vectors::SERIAL`]. Without this `poll` alone
    /// moves bytes.
    pub fn enable_interrupts(&mut self) {
        if let Some(uart) = &mut self.uart {
            uart.enable_interrupts();
        }
    }

    /// Whether bytes have come in that nobody has taken.
    pub fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    /// Whether there is a UART that raises no interrupt: its bytes are found by `poll` alone.
    pub fn needs_polling(&self) -> bool {
        self.uart.as_ref().is_some_and(|uart| !uart.interrupts_are_enabled())
    }

    /// How many bytes can be offered now.
    pub fn room_bytes(&self) -> usize {
        TRANSMIT_BYTES.saturating_sub(self.transmit.len())
    }

    /// Whether all that was offered has left for the UART.
    pub fn is_drained(&self) -> bool {
        self.transmit.is_empty()
    }

    /// Whether a poll would do nothing, unless an interrupt was lost: nothing waits to be sent, and what comes in interrupts.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.transmit.is_empty() && self.uart.as_ref().is_none_or(Uart::tells_of_input_only)
    }

    /// One step of the console's task: takes in what the FIFO holds, sends what it has room for. Never waits.
    pub fn poll(&mut self) {
        let Some(uart) = &mut self.uart else {
            while self.transmit.take().is_some() {}
            return;
        };
        uart.receive(self.received);
        uart.transmit(|| self.transmit.take());
        uart.set_transmit_interrupt(if self.transmit.is_empty() { Wanted::No } else { Wanted::Yes });
    }

    /// Offers `text` as far as there is room, with carriage returns.
    pub fn print(&mut self, text: &str) {
        for byte in text.bytes() {
            let _ = if byte == b'\n' { self.offer(b'\r') } else { Ok(()) };
            let _ = self.offer(byte);
        }
    }

    /// Moves lines of the log to the line for as long as there is room, and says what was missed: the console of the
    /// time before there is a terminal.
    pub fn print_log(&mut self, reader: &mut Reader) {
        while self.room_bytes() >= MAX_LINE_BYTES.saturating_add(2) {
            match reader.next_entry() {
                Some(Entry::Line(line)) => self.print(&line),
                Some(Entry::Missed(bytes)) => self.print(&missed(bytes)),
                None => return,
            }
            self.print("\n");
        }
    }
}

/// The line that stands for what was lost.
pub fn missed(bytes: u64) -> arrayvec::ArrayString<64> {
    let mut text = arrayvec::ArrayString::new();
    // 64 bytes hold every number.
    let _ = core::fmt::Write::write_fmt(&mut text, format_args!("[{bytes} bytes of the log were dropped]"));
    text
}

impl<P: PortIo> ByteSink for SerialConsole<P> {
    fn offer(&mut self, byte: u8) -> Result<(), u8> {
        self.transmit.put(byte)
    }
}

impl<P: PortIo> ByteSource for SerialConsole<P> {
    fn take(&mut self) -> Option<u8> {
        self.received.take()
    }
}

#[cfg(test)]
mod tests {
    use super::uart::tests::FakeUart;
    use super::*;
    use std::boxed::Box;

    fn console() -> SerialConsole<FakeUart> {
        let base = Port(0x3f8);
        let uart = Uart::probe(FakeUart::default(), base, LineRate::B115200);
        SerialConsole { uart, transmit: ByteRing::new(), received: Box::leak(Box::default()) }
    }

    fn line(console: &mut SerialConsole<FakeUart>) -> &mut FakeUart {
        console.uart.as_mut().unwrap().ports()
    }

    #[test]
    fn a_poll_moves_one_fifo_and_asks_for_an_interrupt_while_more_is_left() {
        let mut console = console();
        console.enable_interrupts();
        console.print("0123456789\nabcdefghi");
        console.poll();
        assert_eq!(line(&mut console).sent, b"0123456789\r\nabcd");
        assert_eq!(line(&mut console).interrupts, 0b11);
        assert!(!console.is_quiet());
        console.poll();
        assert_eq!(line(&mut console).sent.len(), 16, "the FIFO is full");
        line(&mut console).drain();
        console.poll();
        assert_eq!(line(&mut console).sent, b"0123456789\r\nabcdefghi");
        assert_eq!(line(&mut console).interrupts, 0b01);
        assert!(console.is_drained() && console.is_quiet());
    }

    #[test]
    fn received_bytes_come_by_poll_and_by_interrupt() {
        let mut console = console();
        line(&mut console).incoming.extend(*b"ab");
        console.poll();
        line(&mut console).incoming.extend(*b"c");
        let ring = console.received;
        console.uart.as_mut().unwrap().on_interrupt(ring);
        assert_eq!(
            [console.take(), console.take(), console.take(), console.take()],
            [Some(b'a'), Some(b'b'), Some(b'c'), None]
        );
    }

    #[test]
    fn a_line_needs_polling_until_its_uart_may_interrupt() {
        let mut console = console();
        assert!(console.needs_polling() && !SerialConsole::none().needs_polling());
        assert!(!console.is_quiet() && SerialConsole::none().is_quiet());
        console.enable_interrupts();
        assert!(!console.needs_polling());
        line(&mut console).incoming.extend(*b"a");
        assert!(!console.has_received());
        console.poll();
        assert!(console.has_received());
    }

    #[test]
    fn what_does_not_fit_is_given_back() {
        let mut console = console();
        (0..TRANSMIT_BYTES).for_each(|_| console.offer(b'x').unwrap());
        assert_eq!((console.offer(b'y'), console.room_bytes()), (Err(b'y'), 0));
    }

    #[test]
    fn without_a_uart_nothing_piles_up() {
        let mut console = SerialConsole::none();
        console.print("into the void\n");
        console.poll();
        assert!(console.is_drained() && !console.is_present());
    }
}
