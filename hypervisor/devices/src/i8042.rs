//! The keyboard controller of a PC without keyboard: what software resets the machine with, and no more.
//!
//! | port | read | write |
//! |---|---|---|
//! | 0x60 | output buffer | data of a command |
//! | 0x64 | status | command |
//!
//! The FADT says that there is no controller, so a driver that asks ACPI never probes it. One that does not ask finds
//! a controller that answers at once: nothing ever times out.
//!
//! Source: Intel 8242 datasheet (290393); IBM PS/2 hardware interface technical reference, keyboard controller.

use crate::cx::{Cx, Request};
use crate::device::{Access, Device, read_bytewise, write_bytewise};
use base::Port;
use base::state::{SavedState, StateError};
use minicbor::{Decode, Encode};

const DATA: Port = Port(0x60);
const COMMAND: Port = Port(0x64);

const STATUS_OUTPUT_FULL: u8 = 1 << 0;
/// The self test has passed.
const STATUS_SYSTEM: u8 = 1 << 2;
/// The last write was a command.
const STATUS_COMMAND: u8 = 1 << 3;
/// The keyboard is not locked.
const STATUS_UNLOCKED: u8 = 1 << 4;

const COMMAND_SELF_TEST: u8 = 0xaa;
const SELF_TEST_PASSED: u8 = 0x55;
const COMMAND_READ_OUTPUT_PORT: u8 = 0xd0;
const COMMAND_WRITE_OUTPUT_PORT: u8 = 0xd1;
/// 0xF0-0xFF: pulse low the output lines whose bits are clear.
const COMMAND_PULSE: u8 = 0xf0;

/// The output line that resets the processor while it is low.
const LINE_RESET: u8 = 1 << 0;
/// Reset and A20 are high; A20 is not masked here, whatever is written.
const OUTPUT_PORT: u8 = 0x03;

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct I8042State {
    #[n(0)]
    output: Option<u8>,
    /// The last write was to the command port.
    #[n(1)]
    last_was_command: bool,
    /// The next data byte is for the output port.
    #[n(2)]
    output_port_expected: bool,
}

/// The controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I8042 {
    state: I8042State,
}

impl Default for I8042 {
    fn default() -> Self {
        Self::new()
    }
}

impl I8042 {
    /// The controller after power-on, its self test passed.
    pub const fn new() -> Self {
        Self { state: I8042State { output: None, last_was_command: false, output_port_expected: false } }
    }

    fn status(&self) -> u8 {
        let output = if self.state.output.is_some() { STATUS_OUTPUT_FULL } else { 0 };
        let command = if self.state.last_was_command { STATUS_COMMAND } else { 0 };
        output | command | STATUS_SYSTEM | STATUS_UNLOCKED
    }

    fn write_command(&mut self, cx: &mut impl Cx, command: u8) {
        self.state.last_was_command = true;
        self.state.output_port_expected = command == COMMAND_WRITE_OUTPUT_PORT;
        match command {
            COMMAND_SELF_TEST => self.state.output = Some(SELF_TEST_PASSED),
            COMMAND_READ_OUTPUT_PORT => self.state.output = Some(OUTPUT_PORT),
            COMMAND_PULSE.. if command & LINE_RESET == 0 => cx.request(Request::Reset),
            _ => {}
        }
    }

    fn write_data(&mut self, cx: &mut impl Cx, value: u8) {
        self.state.last_was_command = false;
        if core::mem::take(&mut self.state.output_port_expected) && value & LINE_RESET == 0 {
            cx.request(Request::Reset);
        }
    }
}

impl Device for I8042 {
    type Address = Port;

    fn read(&mut self, _cx: &mut impl Cx, access: Access<Port>) -> u32 {
        read_bytewise(access, |port| match port {
            DATA => self.state.output.take().unwrap_or(0),
            COMMAND => self.status(),
            _ => 0xff,
        })
    }

    fn write(&mut self, cx: &mut impl Cx, access: Access<Port>, value: u32) {
        write_bytewise(access, value, |port, byte| match port {
            DATA => self.write_data(cx, byte),
            COMMAND => self.write_command(cx, byte),
            _ => {}
        });
    }

    fn reset(&mut self, _cx: &mut impl Cx) {
        *self = Self::new();
    }
}

impl SavedState for I8042 {
    const SECTION: &'static str = "i8042";
    const VERSION: u16 = 1;
    type Image = I8042State;

    fn save(&self) -> I8042State {
        self.state.clone()
    }

    /// Every image is a state that a guest can reach.
    fn load(&mut self, image: I8042State) -> Result<(), StateError> {
        self.state = image;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, FakeCx, inb, outb};
    use proptest::prelude::*;

    fn controller() -> (I8042, FakeCx) {
        (I8042::new(), FakeCx::new())
    }

    #[test]
    fn pulsing_the_reset_line_resets_the_machine() {
        let (mut kbc, mut cx) = controller();
        outb(&mut kbc, &mut cx, 0x64, 0xff);
        assert!(cx.requests.is_empty(), "0xff pulses nothing");
        outb(&mut kbc, &mut cx, 0x64, 0xfe);
        assert_eq!(cx.requests, [Request::Reset]);
    }

    #[test]
    fn writing_the_output_port_with_the_reset_line_low_resets_the_machine() {
        let (mut kbc, mut cx) = controller();
        for (port, value) in [(0x64, 0xd1), (0x60, 0xdf), (0x60, 0x00)] {
            outb(&mut kbc, &mut cx, port, value);
        }
        assert!(cx.requests.is_empty());
        outb(&mut kbc, &mut cx, 0x64, 0xd1);
        outb(&mut kbc, &mut cx, 0x60, 0xfe);
        assert_eq!(cx.requests, [Request::Reset]);
    }

    #[test]
    fn the_input_buffer_is_never_full_so_that_nobody_waits() {
        let (mut kbc, mut cx) = controller();
        for value in 0..=0xef {
            outb(&mut kbc, &mut cx, 0x64, value);
            assert_eq!(inb(&mut kbc, &mut cx, 0x64) & 0x02, 0);
        }
    }

    #[test]
    fn the_self_test_passes() {
        let (mut kbc, mut cx) = controller();
        outb(&mut kbc, &mut cx, 0x64, 0xaa);
        assert_eq!(inb(&mut kbc, &mut cx, 0x64) & 1, 1);
        assert_eq!(inb(&mut kbc, &mut cx, 0x60), 0x55);
        assert_eq!(inb(&mut kbc, &mut cx, 0x64) & 1, 0);
    }

    proptest! {
        #[test]
        fn a_hostile_driver_breaks_nothing(acts in testing::acts(0x5c..0x68u32)) {
            testing::survive(I8042::new(), I8042::new(), &acts, |_, _, _| {});
        }
    }
}
