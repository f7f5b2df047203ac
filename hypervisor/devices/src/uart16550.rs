//! A PC16550D: the serial line of a PC, with 16-byte FIFOs.
//!
//! | offset | DLAB | read | write |
//! |---|---|---|---|
//! | 0 | 0 | receiver buffer | transmitter holding |
//! | 0 | 1 | divisor, low | divisor, low |
//! | 1 | 0 | interrupt enable | interrupt enable |
//! | 1 | 1 | divisor, high | divisor, high |
//! | 2 | | interrupt identification | FIFO control |
//! | 3 | | line control | line control |
//! | 4 | | modem control | modem control |
//! | 5 | | line status | |
//! | 6 | | modem status | |
//! | 7 | | scratch | scratch |
//!
//! The transmitter never makes the guest wait: a byte has left as soon as it was written, and THRE rises again at once.
//! The receiver takes what the host pushes while it has room. Bits arrive intact, so parity, framing and break errors do
//! not exist; an overrun does, in loopback.
//!
//! Source: PC16550D datasheet (National Semiconductor, TL/C/8652), section 8.

mod receiver;
#[cfg(test)]
mod tests;

use crate::cx::Cx;
use crate::device::{Access, Device, read_bytewise, write_bytewise};
use base::state::{SavedState, StateError};
use base::{Gsi, Instant, Nanoseconds, Port};
use bitflags::bitflags;
use minicbor::{Decode, Encode};
use receiver::Receiver;
use seams::Level;

bitflags! {
    /// Interrupt enable register (8.7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Ier: u8 {
        const RECEIVED_DATA = 1 << 0;
        const TRANSMITTER_EMPTY = 1 << 1;
        const LINE_STATUS = 1 << 2;
        const MODEM_STATUS = 1 << 3;
    }

    /// Modem control register (8.8).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Mcr: u8 {
        const DTR = 1 << 0;
        const RTS = 1 << 1;
        const OUT1 = 1 << 2;
        /// On a PC this output lets the interrupt through to the bus.
        const OUT2 = 1 << 3;
        const LOOPBACK = 1 << 4;
    }

    /// Modem status register (8.9).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Msr: u8 {
        const DELTA_CTS = 1 << 0;
        const DELTA_DSR = 1 << 1;
        const TRAILING_RI = 1 << 2;
        const DELTA_DCD = 1 << 3;
        const CTS = 1 << 4;
        const DSR = 1 << 5;
        const RI = 1 << 6;
        const DCD = 1 << 7;
    }
}

impl Msr {
    const DELTAS: Self =
        Self::DELTA_CTS.union(Self::DELTA_DSR).union(Self::TRAILING_RI).union(Self::DELTA_DCD);
    const INPUTS: Self = Self::CTS.union(Self::DSR).union(Self::RI).union(Self::DCD);
    /// A peer that is there and ready: a null-modem cable to an attentive operator.
    const PEER: Self = Self::CTS.union(Self::DSR).union(Self::DCD);
}

/// Line control: the divisor latch access bit (8.1).
const LCR_DLAB: u8 = 1 << 7;

// Line status (8.4).
const LSR_DATA_READY: u8 = 1 << 0;
const LSR_OVERRUN: u8 = 1 << 1;
const LSR_THR_EMPTY: u8 = 1 << 5;
const LSR_TRANSMITTER_EMPTY: u8 = 1 << 6;

// FIFO control (8.5).
const FCR_ENABLE: u8 = 1 << 0;
const FCR_CLEAR_RECEIVER: u8 = 1 << 1;
const FCR_TRIGGER_SHIFT: u32 = 6;

/// Interrupt identification: both FIFOs are enabled (8.6).
const IIR_FIFOS: u8 = 0b11 << 6;

/// What the interrupt identification register reports, by falling priority (8.6, table IV).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Cause {
    LineStatus = 0b0110,
    ReceivedData = 0b0100,
    CharacterTimeout = 0b1100,
    TransmitterEmpty = 0b0010,
    ModemStatus = 0b0000,
    None = 0b0001,
}

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Uart16550State {
    #[n(0)]
    ier: u8,
    #[n(1)]
    lcr: u8,
    #[n(2)]
    mcr: u8,
    #[n(3)]
    msr: u8,
    #[n(4)]
    scratch: u8,
    /// The divisor latch: 1 is 115200 baud.
    #[n(5)]
    divisor: u16,
    /// A byte was lost since the line status was read.
    #[n(6)]
    overrun: bool,
    /// The transmitter became empty, or its interrupt was enabled while it was, since IIR reported it.
    #[n(7)]
    transmitter_interrupt: bool,
    #[n(8)]
    receiver: Receiver,
    /// The interrupt line is driven.
    #[n(9)]
    line_asserted: bool,
}

/// The UART and where it sits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uart16550 {
    base: Port,
    gsi: Gsi,
    state: Uart16550State,
}

impl Uart16550 {
    /// A UART at the eight ports from `base`, interrupting on `gsi`, as after master reset (8.0, table III) with its
    /// divisor set for 115200 baud.
    pub const fn new(base: Port, gsi: Gsi) -> Self {
        let state = Uart16550State {
            ier: 0,
            lcr: 0,
            mcr: 0,
            msr: Msr::PEER.bits(),
            scratch: 0,
            divisor: 1,
            overrun: false,
            transmitter_interrupt: false,
            receiver: Receiver::new(),
            line_asserted: false,
        };
        Self { base, gsi, state }
    }

    /// Pushes a byte that came from the host's side.
    ///
    /// # Errors
    /// The byte itself when the receiver is full or looped back: offer it again later.
    pub fn receive(&mut self, cx: &mut impl Cx, byte: u8) -> Result<(), u8> {
        if self.mcr().contains(Mcr::LOOPBACK) {
            return Err(byte);
        }
        self.state.receiver.push(byte, cx.now())?;
        self.update_line(cx);
        Ok(())
    }

    fn ier(&self) -> Ier {
        Ier::from_bits_truncate(self.state.ier)
    }

    fn mcr(&self) -> Mcr {
        Mcr::from_bits_truncate(self.state.mcr)
    }

    fn msr(&self) -> Msr {
        Msr::from_bits_truncate(self.state.msr)
    }

    fn divisor_latched(&self) -> bool {
        self.state.lcr & LCR_DLAB != 0
    }

    /// Four characters of the present format: how long the FIFO may rest before it asks to be read (8.11).
    fn character_timeout(&self) -> Nanoseconds {
        /// 16 clocks of 1.8432 MHz make a bit at divisor 1; four of them last this long.
        const FOUR_BITS_NS: u64 = 4 * 16 * 1_000_000_000 / 1_843_200;
        let lcr = u64::from(self.state.lcr);
        // Start bit, 5-8 data bits, parity, 1-2 stop bits.
        let bits = 1 + (5 + (lcr & 3)) + (lcr >> 3 & 1) + (1 + (lcr >> 2 & 1));
        Nanoseconds(FOUR_BITS_NS * bits * u64::from(self.state.divisor.max(1)))
    }

    #[inline]
    fn timeout_at(&self) -> Option<Instant> {
        self.state.receiver.idle_since().map(|since| since.after(self.character_timeout()))
    }

    /// The cause with the highest priority among those enabled (8.6).
    fn cause(&self) -> Cause {
        let (ier, state) = (self.ier(), &self.state);
        if ier.contains(Ier::LINE_STATUS) && state.overrun {
            return Cause::LineStatus;
        }
        if ier.contains(Ier::RECEIVED_DATA) {
            if state.receiver.triggered() {
                return Cause::ReceivedData;
            }
            if state.receiver.timed_out() {
                return Cause::CharacterTimeout;
            }
        }
        if ier.contains(Ier::TRANSMITTER_EMPTY) && state.transmitter_interrupt {
            return Cause::TransmitterEmpty;
        }
        if ier.contains(Ier::MODEM_STATUS) && self.msr().intersects(Msr::DELTAS) {
            return Cause::ModemStatus;
        }
        Cause::None
    }

    /// Drives the line as the registers say, if that is a change. Loopback forces OUT2 inactive at the pin (8.8).
    fn update_line(&mut self, cx: &mut impl Cx) {
        let through = self.mcr() & (Mcr::OUT2 | Mcr::LOOPBACK) == Mcr::OUT2;
        let asserted = through && self.cause() != Cause::None;
        if asserted == self.state.line_asserted {
            return;
        }
        self.state.line_asserted = asserted;
        cx.set_line(self.gsi, if asserted { Level::Asserted } else { Level::Deasserted });
    }

    /// The modem inputs as wired: from the peer, or from the outputs in loopback (8.8). Changes set the deltas (8.9).
    fn update_modem_inputs(&mut self) {
        let (old, mcr) = (self.msr(), self.mcr());
        let inputs = if mcr.contains(Mcr::LOOPBACK) {
            let wire = |output, input| if mcr.contains(output) { input } else { Msr::empty() };
            wire(Mcr::RTS, Msr::CTS)
                | wire(Mcr::DTR, Msr::DSR)
                | wire(Mcr::OUT1, Msr::RI)
                | wire(Mcr::OUT2, Msr::DCD)
        } else {
            Msr::PEER
        };
        let mut new = inputs | (old & Msr::DELTAS);
        let changed = (old ^ inputs) & Msr::INPUTS;
        new.set(Msr::DELTA_CTS, new.contains(Msr::DELTA_CTS) || changed.contains(Msr::CTS));
        new.set(Msr::DELTA_DSR, new.contains(Msr::DELTA_DSR) || changed.contains(Msr::DSR));
        new.set(Msr::DELTA_DCD, new.contains(Msr::DELTA_DCD) || changed.contains(Msr::DCD));
        let ring_ended = changed.contains(Msr::RI) && old.contains(Msr::RI);
        new.set(Msr::TRAILING_RI, new.contains(Msr::TRAILING_RI) || ring_ended);
        self.state.msr = new.bits();
    }

    #[inline]
    fn transmit(&mut self, cx: &mut impl Cx, byte: u8) {
        if self.state.mcr & Mcr::LOOPBACK.bits() == 0 {
            cx.console_out(byte);
        } else if self.state.receiver.push_or_overrun(byte, cx.now()).is_err() {
            self.state.overrun = true;
        }
        self.state.transmitter_interrupt = true;
        self.update_line(cx);
    }

    fn read_byte(&mut self, cx: &mut impl Cx, offset: u16) -> u8 {
        let [divisor_low, divisor_high] = self.state.divisor.to_le_bytes();
        let value = match offset {
            0 if self.divisor_latched() => divisor_low,
            0 => self.state.receiver.pop(cx.now()),
            1 if self.divisor_latched() => divisor_high,
            1 => self.state.ier,
            2 => return self.identify_interrupt(cx),
            3 => self.state.lcr,
            4 => self.state.mcr,
            5 => self.take_line_status(),
            6 => self.take_modem_status(),
            _ => self.state.scratch,
        };
        // Reading data or a status can end an interrupt.
        if matches!(offset, 0 | 5 | 6) {
            self.update_line(cx);
        }
        value
    }

    fn identify_interrupt(&mut self, cx: &mut impl Cx) -> u8 {
        self.expire_timeout(cx.now());
        let cause = self.cause();
        if cause == Cause::TransmitterEmpty {
            self.state.transmitter_interrupt = false;
        }
        self.update_line(cx);
        let fifos = if self.state.receiver.fifo_enabled() { IIR_FIFOS } else { 0 };
        cause as u8 | fifos
    }

    fn take_line_status(&mut self) -> u8 {
        let ready = if self.state.receiver.is_empty() { 0 } else { LSR_DATA_READY };
        let overrun = if core::mem::take(&mut self.state.overrun) { LSR_OVERRUN } else { 0 };
        LSR_TRANSMITTER_EMPTY | LSR_THR_EMPTY | overrun | ready
    }

    fn take_modem_status(&mut self) -> u8 {
        let value = self.state.msr;
        self.state.msr = (self.msr() & Msr::INPUTS).bits();
        value
    }

    fn write_byte(&mut self, cx: &mut impl Cx, offset: u16, value: u8) {
        let [divisor_low, divisor_high] = self.state.divisor.to_le_bytes();
        match offset {
            0 if self.divisor_latched() => self.state.divisor = u16::from_le_bytes([value, divisor_high]),
            0 => return self.transmit(cx, value),
            1 if self.divisor_latched() => self.state.divisor = u16::from_le_bytes([divisor_low, value]),
            1 => self.set_interrupt_enable(value),
            2 => self.set_fifo_control(value),
            3 => self.state.lcr = value,
            4 => {
                self.state.mcr = Mcr::from_bits_truncate(value).bits();
                self.update_modem_inputs();
            }
            7 => self.state.scratch = value,
            // The status registers are for the factory to write.
            _ => {}
        }
        self.update_line(cx);
    }

    /// Enabling the transmitter's interrupt while the transmitter is empty interrupts at once (8.6); drivers count on
    /// that to start sending.
    fn set_interrupt_enable(&mut self, value: u8) {
        let (old, new) = (self.ier(), Ier::from_bits_truncate(value));
        if (new - old).contains(Ier::TRANSMITTER_EMPTY) {
            self.state.transmitter_interrupt = true;
        }
        self.state.ier = new.bits();
    }

    /// Without the enable bit no other bit counts (8.5).
    fn set_fifo_control(&mut self, value: u8) {
        if value & FCR_ENABLE == 0 {
            return self.state.receiver.disable_fifo();
        }
        self.state.receiver.enable_fifo(value >> FCR_TRIGGER_SHIFT);
        if value & FCR_CLEAR_RECEIVER != 0 {
            self.state.receiver.clear();
        }
    }

    fn expire_timeout(&mut self, now: Instant) {
        if self.timeout_at().is_some_and(|at| at <= now) {
            self.state.receiver.time_out();
        }
    }
}

impl Device for Uart16550 {
    type Address = Port;

    #[inline]
    fn read(&mut self, cx: &mut impl Cx, access: Access<Port>) -> u32 {
        let Port(base) = self.base;
        read_bytewise(access, |Port(port)| self.read_byte(cx, port.wrapping_sub(base) & 7))
    }

    #[inline]
    fn write(&mut self, cx: &mut impl Cx, access: Access<Port>, value: u32) {
        let Port(base) = self.base;
        write_bytewise(access, value, |Port(port), byte| {
            self.write_byte(cx, port.wrapping_sub(base) & 7, byte)
        });
    }

    fn reset(&mut self, cx: &mut impl Cx) {
        cx.set_line(self.gsi, Level::Deasserted);
        *self = Self::new(self.base, self.gsi);
    }

    #[inline]
    fn next_deadline(&self) -> Option<Instant> {
        if self.state.ier & Ier::RECEIVED_DATA.bits() == 0 {
            return None;
        }
        self.timeout_at()
    }

    fn advance(&mut self, cx: &mut impl Cx) {
        self.expire_timeout(cx.now());
        self.update_line(cx);
    }
}

impl SavedState for Uart16550 {
    const SECTION: &'static str = "uart16550";
    const VERSION: u16 = 1;
    type Image = Uart16550State;

    fn save(&self) -> Uart16550State {
        self.state.clone()
    }

    fn load(&mut self, image: Uart16550State) -> Result<(), StateError> {
        let out_of_range = |field| Err(StateError::OutOfRange { section: Self::SECTION, field });
        if Ier::from_bits(image.ier).is_none() {
            return out_of_range("ier");
        }
        if Mcr::from_bits(image.mcr).is_none() {
            return out_of_range("mcr");
        }
        if !image.receiver.is_sound() {
            return out_of_range("receiver");
        }
        self.state = image;
        Ok(())
    }
}
