//! The 8254 timer of a PC, and the port that its third channel hangs on.
//!
//! | port | |
//! |---|---|
//! | 0x40 | channel 0: interrupts on each rise of its output |
//! | 0x41 | channel 1: nothing is connected |
//! | 0x42 | channel 2: gate and output are in port 0x61 |
//! | 0x43 | control word |
//! | 0x61 | bit 0: gate of channel 2; 1: speaker; 4: toggles with memory refresh; 5: output of channel 2 |
//!
//! Counters run from the VM's time at 1.193182 MHz. Rises of channel 0 that were not taken in time are one interrupt.
//!
//! Sources: Intel 8254 datasheet (231164); for port 0x61, Intel 82801 (ICH9) datasheet (316972), section 13.7.1.

mod channel;
#[cfg(test)]
mod tests;

use crate::cx::Cx;
use crate::device::{Access, Device, read_bytewise, write_bytewise};
use crate::platform::TIMER_GSI;
use crate::ticks::Rate;
use base::state::{SavedState, StateError};
use base::{Instant, Port};
use channel::{Channel, ReadBack};
use minicbor::{Decode, Encode};
use seams::Level;

/// The input clock.
const CLOCK: Rate = Rate(1_193_182);

const CONTROL: u16 = 0x43;
const SYSTEM_CONTROL: u16 = 0x61;

/// The channel number that makes a control word a read-back command.
const READ_BACK: u8 = 3;
const READ_BACK_NO_COUNT: u8 = 1 << 5;
const READ_BACK_NO_STATUS: u8 = 1 << 4;

const SYSTEM_GATE_2: u8 = 1 << 0;
/// Gate, speaker and the two parity checks.
const SYSTEM_WRITABLE: u8 = 0x0f;
const SYSTEM_REFRESH: u8 = 1 << 4;
const SYSTEM_OUT_2: u8 = 1 << 5;
/// The shortest period at which the host is asked to look at channel 0, 100 microseconds in clocks: no guest can keep
/// the host busy with a count of 1. Rises in between are one interrupt, like all that are not taken in time.
const MIN_PERIOD_CLOCKS: u64 = 119;
/// Clocks between two refreshes of memory, as channel 1 was once set up: 15.1 microseconds.
const REFRESH_CLOCKS: u64 = 18;

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct I8254State {
    #[n(0)]
    channels: [Channel; 3],
    /// The writable bits of port 0x61.
    #[n(1)]
    system_control: u8,
    /// Channel 0 drives its line.
    #[n(2)]
    line_asserted: bool,
}

/// The timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I8254 {
    state: I8254State,
    /// When channel 0 must be looked at next; derived from its state.
    deadline: Option<Instant>,
}

impl Default for I8254 {
    fn default() -> Self {
        Self::new()
    }
}

impl I8254 {
    /// The timer after power-on: no channel counts until it is programmed. The gates of channels 0 and 1 are tied high.
    pub const fn new() -> Self {
        let channels = [Channel::new(true), Channel::new(true), Channel::new(false)];
        Self { state: I8254State { channels, system_control: 0, line_asserted: false }, deadline: None }
    }

    fn read_byte(&mut self, cx: &mut impl Cx, port: u16) -> u8 {
        let clock = CLOCK.ticks_at(cx.now());
        if port == SYSTEM_CONTROL {
            return self.read_system_control(clock);
        }
        // The control word cannot be read.
        match self.state.channels.get_mut(usize::from(port & 3)) {
            Some(channel) => channel.read(clock),
            None => 0xff,
        }
    }

    fn read_system_control(&self, clock: u64) -> u8 {
        let [_, _, channel_2] = &self.state.channels;
        let refresh = if (clock / REFRESH_CLOCKS).is_multiple_of(2) { 0 } else { SYSTEM_REFRESH };
        let out = if channel_2.out(clock) { SYSTEM_OUT_2 } else { 0 };
        self.state.system_control | refresh | out
    }

    fn write_byte(&mut self, cx: &mut impl Cx, port: u16, value: u8) {
        let clock = CLOCK.ticks_at(cx.now());
        match port {
            SYSTEM_CONTROL => {
                self.state.system_control = value & SYSTEM_WRITABLE;
                let [_, _, channel_2] = &mut self.state.channels;
                channel_2.set_gate(value & SYSTEM_GATE_2 != 0, clock);
            }
            CONTROL => self.write_control(value, clock),
            _ => {
                if let Some(channel) = self.state.channels.get_mut(usize::from(port & 3)) {
                    channel.write(value, clock);
                }
            }
        }
        self.update_line(cx);
    }

    fn write_control(&mut self, value: u8, clock: u64) {
        if value >> 6 == READ_BACK {
            let count = if value & READ_BACK_NO_COUNT == 0 { ReadBack::Latch } else { ReadBack::Leave };
            let status = if value & READ_BACK_NO_STATUS == 0 { ReadBack::Latch } else { ReadBack::Leave };
            for (n, channel) in self.state.channels.iter_mut().enumerate() {
                if value >> (1 + n) & 1 != 0 {
                    channel.read_back(count, status, clock);
                }
            }
        } else if let Some(channel) = self.state.channels.get_mut(usize::from(value >> 6)) {
            channel.control(value, clock);
        }
    }

    /// Brings all channels to `cx.now()` and delivers a rise of channel 0.
    fn catch_up(&mut self, cx: &mut impl Cx) {
        let clock = CLOCK.ticks_at(cx.now());
        let [channel_0, channel_1, channel_2] = &mut self.state.channels;
        channel_1.catch_up(clock);
        channel_2.catch_up(clock);
        if channel_0.catch_up(clock) {
            // Short low phases are only seen as the rise that ends them.
            cx.set_line(TIMER_GSI, Level::Deasserted);
            cx.set_line(TIMER_GSI, Level::Asserted);
            self.state.line_asserted = true;
        }
        self.update_deadline();
    }

    /// Drives the line as a newly programmed channel 0 does.
    fn update_line(&mut self, cx: &mut impl Cx) {
        let [channel_0, ..] = &self.state.channels;
        let asserted = channel_0.rests_high(CLOCK.ticks_at(cx.now()));
        if asserted != self.state.line_asserted {
            self.state.line_asserted = asserted;
            cx.set_line(TIMER_GSI, if asserted { Level::Asserted } else { Level::Deasserted });
        }
        self.update_deadline();
    }

    fn update_deadline(&mut self) {
        let [channel_0, ..] = &self.state.channels;
        self.deadline = channel_0.next_look(MIN_PERIOD_CLOCKS).map(|clock| CLOCK.instant_of(clock));
    }
}

impl Device for I8254 {
    type Address = Port;

    fn read(&mut self, cx: &mut impl Cx, access: Access<Port>) -> u32 {
        self.catch_up(cx);
        read_bytewise(access, |Port(port)| self.read_byte(cx, port))
    }

    fn write(&mut self, cx: &mut impl Cx, access: Access<Port>, value: u32) {
        self.catch_up(cx);
        write_bytewise(access, value, |Port(port), byte| self.write_byte(cx, port, byte));
    }

    fn reset(&mut self, cx: &mut impl Cx) {
        cx.set_line(TIMER_GSI, Level::Deasserted);
        *self = Self::new();
    }

    #[inline]
    fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn advance(&mut self, cx: &mut impl Cx) {
        self.catch_up(cx);
    }
}

impl SavedState for I8254 {
    const SECTION: &'static str = "i8254";
    const VERSION: u16 = 1;
    type Image = I8254State;

    fn save(&self) -> I8254State {
        self.state.clone()
    }

    fn load(&mut self, image: I8254State) -> Result<(), StateError> {
        let out_of_range = |field| Err(StateError::OutOfRange { section: Self::SECTION, field });
        if !image.channels.iter().all(Channel::is_sound) {
            return out_of_range("channels");
        }
        if image.system_control & !SYSTEM_WRITABLE != 0 {
            return out_of_range("system_control");
        }
        self.state = image;
        self.update_deadline();
        Ok(())
    }
}
