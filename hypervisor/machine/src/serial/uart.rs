//! A 16550's registers.
//!
//! ```text
//! +0 data (divisor low)   +1 interrupt enable (divisor high)   +2 interrupt identification / FIFO control
//! +3 line control         +4 modem control   +5 line status    +6 modem status   +7 scratch
//! ```
//! Source: National Semiconductor PC16550D data sheet.

use base::Port;
use seams::PortIo;
use sync::ByteRing;

/// How many ports a UART has.
pub const PORTS: u16 = 8;

mod register {
    pub const DATA: u16 = 0;
    pub const INTERRUPT_ENABLE: u16 = 1;
    pub const IDENTIFICATION: u16 = 2;
    pub const FIFO_CONTROL: u16 = 2;
    pub const LINE_CONTROL: u16 = 3;
    pub const MODEM_CONTROL: u16 = 4;
    pub const LINE_STATUS: u16 = 5;
    pub const MODEM_STATUS: u16 = 6;
    pub const SCRATCH: u16 = 7;
}

const ENABLE_RECEIVE: u8 = 1 << 0;
const ENABLE_TRANSMIT: u8 = 1 << 1;
/// FIFOs on, the receiver's emptied, its interrupt at one byte: 15 more fit while the handler is on its way.
const FIFO_ON: u8 = 0b0000_0011;
/// Both bits show that the FIFOs are on: a 16550A or better.
const FIFO_PRESENT: u8 = 0b1100_0000;
const FIFO_BYTES: u32 = 16;
const EIGHT_BITS: u8 = 0b11;
const DIVISOR_ACCESS: u8 = 1 << 7;
/// DTR, RTS, and OUT2, which lets the interrupt through on PCs.
const MODEM_ON: u8 = 0b1011;
const DATA_READY: u8 = 1 << 0;
/// The transmitter's holding register or FIFO is empty.
pub(super) const TRANSMITTER_READY: u8 = 1 << 5;
/// What a bus without a device reads as.
const NOTHING: u8 = 0xff;
/// So many bytes are taken in one go: more than any FIFO holds, less than for ever.
const MAX_RECEIVE: u32 = 256;

/// The rate of the line, by its divisor of 115200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineRate {
    /// 115200 bit/s.
    B115200,
    /// 57600 bit/s.
    B57600,
    /// 38400 bit/s.
    B38400,
    /// 9600 bit/s.
    B9600,
}

impl LineRate {
    const fn divisor(self) -> u16 {
        match self {
            Self::B115200 => 1,
            Self::B57600 => 2,
            Self::B38400 => 3,
            Self::B9600 => 12,
        }
    }
}

/// Whether an interrupt is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It is: bytes are left to be sent.
    Yes,
    /// It is not.
    No,
}

/// A UART that answered.
#[derive(Debug)]
pub struct Uart<P> {
    ports: P,
    base: Port,
    /// How many bytes go out when the transmitter is ready.
    depth: u32,
    /// The interrupts that are on.
    enabled: u8,
}

impl<P: PortIo> Uart<P> {
    /// Looks for a UART at `base` and sets it up with interrupts off; `None` when there is none.
    pub fn probe(ports: P, base: Port, rate: LineRate) -> Option<Self> {
        let mut uart = Self { ports, base, depth: 1, enabled: 0 };
        if !uart.answers() {
            return None;
        }
        let [low, high] = rate.divisor().to_le_bytes();
        uart.write(register::INTERRUPT_ENABLE, 0);
        uart.write(register::LINE_CONTROL, DIVISOR_ACCESS | EIGHT_BITS);
        uart.write(register::DATA, low);
        uart.write(register::INTERRUPT_ENABLE, high);
        uart.write(register::LINE_CONTROL, EIGHT_BITS);
        // What boot has sent may still be in the transmitter's FIFO: it is not emptied.
        uart.write(register::FIFO_CONTROL, FIFO_ON);
        uart.write(register::MODEM_CONTROL, MODEM_ON);
        if uart.read(register::IDENTIFICATION) & FIFO_PRESENT == FIFO_PRESENT {
            uart.depth = FIFO_BYTES;
        }
        // Reading clears what firmware has left.
        uart.read(register::LINE_STATUS);
        uart.read(register::MODEM_STATUS);
        Some(uart)
    }

    /// The UART at `base` that was set up before: for the interrupt handler and for last words.
    pub(super) const fn assumed(ports: P, base: Port) -> Self {
        Self { ports, base, depth: 1, enabled: 0 }
    }

    /// An empty bus shows all ones, and keeps nothing in the scratch register.
    fn answers(&mut self) -> bool {
        self.read(register::LINE_STATUS) != NOTHING
            && [0x5a, 0xa5].into_iter().all(|pattern| {
                self.write(register::SCRATCH, pattern);
                self.read(register::SCRATCH) == pattern
            })
    }

    /// Turns the receiver's interrupt on.
    pub fn enable_interrupts(&mut self) {
        self.enable(self.enabled | ENABLE_RECEIVE);
    }

    /// Whether the receiver's interrupt is on.
    pub const fn interrupts_are_enabled(&self) -> bool {
        self.enabled & ENABLE_RECEIVE != 0
    }

    /// Whether the receiver's interrupt is on, and the transmitter's is not.
    pub const fn tells_of_input_only(&self) -> bool {
        self.enabled == ENABLE_RECEIVE
    }

    /// Turns the transmitter's interrupt on or off; it stays off as long as interrupts are not enabled at all.
    pub fn set_transmit_interrupt(&mut self, wanted: Wanted) {
        let enabled = match wanted {
            Wanted::Yes if self.enabled & ENABLE_RECEIVE != 0 => self.enabled | ENABLE_TRANSMIT,
            Wanted::Yes | Wanted::No => self.enabled & !ENABLE_TRANSMIT,
        };
        self.enable(enabled);
    }

    /// Takes in what waits in the FIFO. A full ring counts what it drops.
    pub fn receive<const N: usize>(&mut self, ring: &ByteRing<N>) {
        for _ in 0..MAX_RECEIVE {
            let status = self.read(register::LINE_STATUS);
            if status & DATA_READY == 0 || status == NOTHING {
                return;
            }
            let _ = ring.put(self.read(register::DATA));
        }
    }

    /// Sends from `next` what the FIFO holds, if it is empty.
    pub fn transmit(&mut self, mut next: impl FnMut() -> Option<u8>) {
        if self.read(register::LINE_STATUS) & TRANSMITTER_READY == 0 {
            return;
        }
        for _ in 0..self.depth {
            let Some(byte) = next() else { return };
            self.write(register::DATA, byte);
        }
    }

    /// The handler's part: acknowledges the interrupt and takes in what has come.
    pub(super) fn on_interrupt<const N: usize>(&mut self, ring: &ByteRing<N>) {
        // Reading the identification clears a transmit interrupt; a receive interrupt goes with its bytes.
        self.read(register::IDENTIFICATION);
        self.receive(ring);
    }

    /// Writes the interrupt-enable register when it changes: writing the transmit bit again raises it again.
    fn enable(&mut self, enabled: u8) {
        if enabled != self.enabled {
            self.enabled = enabled;
            self.write(register::INTERRUPT_ENABLE, enabled);
        }
    }

    /// Turns all interrupts off.
    pub(super) fn silence(&mut self) {
        self.write(register::INTERRUPT_ENABLE, 0);
    }

    /// Whether the transmitter takes a byte.
    pub(super) fn is_ready(&mut self) -> bool {
        self.read(register::LINE_STATUS) & TRANSMITTER_READY != 0
    }

    /// Hands one byte to the transmitter, which is ready.
    pub(super) fn send(&mut self, byte: u8) {
        self.write(register::DATA, byte);
    }

    fn read(&mut self, register: u16) -> u8 {
        self.ports.read_u8(Port(self.base.0.wrapping_add(register)))
    }

    fn write(&mut self, register: u16, value: u8) {
        self.ports.write_u8(Port(self.base.0.wrapping_add(register)), value);
    }

    #[cfg(test)]
    pub(super) fn ports(&mut self) -> &mut P {
        &mut self.ports
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::vec::Vec;

    /// A 16550A whose line is drained by hand.
    #[derive(Debug, Default)]
    pub(crate) struct FakeUart {
        pub(crate) sent: Vec<u8>,
        pub(crate) in_fifo: usize,
        pub(crate) incoming: VecDeque<u8>,
        pub(crate) interrupts: u8,
        pub(crate) divisor: u16,
        line_control: u8,
        scratch: u8,
        pub(crate) stuck: bool,
    }

    impl FakeUart {
        pub(crate) fn drain(&mut self) {
            self.in_fifo = 0;
        }
    }

    impl PortIo for FakeUart {
        fn read_u8(&mut self, port: Port) -> u8 {
            match port.0 & 7 {
                0 => self.incoming.pop_front().unwrap_or(0),
                2 => 0xc1,
                5 => {
                    let ready = self.in_fifo == 0 && !self.stuck;
                    u8::from(!self.incoming.is_empty()) | if ready { 0x60 } else { 0 }
                }
                7 => self.scratch,
                _ => 0,
            }
        }
        fn write_u8(&mut self, port: Port, value: u8) {
            match (port.0 & 7, self.line_control & 0x80 != 0) {
                (0, true) => self.divisor = self.divisor & 0xff00 | u16::from(value),
                (1, true) => self.divisor = self.divisor & 0xff | u16::from(value) << 8,
                (0, false) => {
                    self.sent.push(value);
                    self.in_fifo += 1;
                    assert!(self.in_fifo <= 16, "overrun");
                }
                (1, false) => self.interrupts = value,
                (3, _) => self.line_control = value,
                (7, _) => self.scratch = value,
                _ => {}
            }
        }
        fn read_u16(&mut self, _: Port) -> u16 {
            unreachable!()
        }
        fn read_u32(&mut self, _: Port) -> u32 {
            unreachable!()
        }
        fn write_u16(&mut self, _: Port, _: u16) {}
        fn write_u32(&mut self, _: Port, _: u32) {}
    }

    #[test]
    fn an_empty_bus_is_no_uart() {
        let bus = crate::port::tests::Recorder::default();
        assert!(Uart::probe(bus, Port(0x3f8), LineRate::B115200).is_none());
    }

    #[test]
    fn a_uart_is_set_up_with_its_rate_and_interrupts_off() {
        let mut uart = Uart::probe(FakeUart::default(), Port(0x2f8), LineRate::B9600).unwrap();
        let line = uart.ports();
        assert_eq!((line.divisor, line.line_control, line.interrupts), (12, 3, 0));
        assert_eq!(uart.depth, 16);
    }

    #[test]
    fn the_transmit_interrupt_needs_interrupts_at_all() {
        let mut uart = Uart::probe(FakeUart::default(), Port(0x2f8), LineRate::B9600).unwrap();
        uart.set_transmit_interrupt(Wanted::Yes);
        assert_eq!(uart.ports().interrupts, 0);
        uart.enable_interrupts();
        uart.set_transmit_interrupt(Wanted::Yes);
        assert_eq!(uart.ports().interrupts, 3);
        uart.set_transmit_interrupt(Wanted::No);
        assert_eq!(uart.ports().interrupts, 1);
    }

    #[test]
    fn a_line_that_never_ends_is_left_after_a_while() {
        let mut uart = Uart::probe(FakeUart::default(), Port(0x2f8), LineRate::B9600).unwrap();
        uart.ports().incoming.extend([b'x'; 1000]);
        let ring = ByteRing::<128>::new();
        uart.receive(&ring);
        assert_eq!((ring.len(), ring.take_dropped()), (128, 128));
        assert_eq!(uart.ports().incoming.len(), 1000 - 256);
    }
}
