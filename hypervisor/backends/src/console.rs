//! A VM's console: what it wrote, kept until it is read or pushed out by newer output, and what was typed to it.
//!
//! ```text
//! guest -> [ output, the last OUTPUT_BYTES ] -> operator, while attached
//! guest <- [ input,  at most INPUT_BYTES   ] <- operator
//! ```
//!
//! The operator's line is slower than a guest can write, and a guest must not be slowed by it: output pushes out the
//! oldest, and the reader is told how many bytes it missed.

use alloc::collections::VecDeque;
use seams::{ByteSink, ByteSource};

/// How much output is kept.
pub const OUTPUT_BYTES: usize = 32 * 1024;

/// How much input waits for the guest.
pub const INPUT_BYTES: usize = 1024;

/// What a reader of the output gets next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The next byte that the guest wrote.
    Byte(u8),
    /// So many bytes were pushed out before they could be read.
    Missed(u64),
}

/// Both directions of one VM's console.
#[derive(Debug)]
pub struct VmConsole {
    output: VecDeque<u8>,
    missed: u64,
    input: VecDeque<u8>,
}

impl VmConsole {
    /// An empty console. All the memory that it will ever use is allocated here, none on an exit.
    pub fn new() -> Self {
        Self {
            output: VecDeque::with_capacity(OUTPUT_BYTES),
            missed: 0,
            input: VecDeque::with_capacity(INPUT_BYTES),
        }
    }

    /// Takes a byte that the guest wrote.
    pub fn push_output(&mut self, byte: u8) {
        push_out(&mut self.output, &mut self.missed, byte);
    }

    /// Whether there is something for the operator to see.
    #[inline]
    pub fn has_output(&self) -> bool {
        self.missed != 0 || !self.output.is_empty()
    }

    /// What the operator sees next.
    pub fn next_output(&mut self) -> Option<Output> {
        match core::mem::take(&mut self.missed) {
            0 => self.output.pop_front().map(Output::Byte),
            missed => Some(Output::Missed(missed)),
        }
    }

    /// Whether a guest that looks for input finds some.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Gives back the byte that was taken last: whoever took it has no room for it.
    pub fn put_back(&mut self, byte: u8) {
        self.input.push_front(byte);
    }
}

impl VmConsole {
    /// Both directions at once, for a device of the guest's that uses both.
    pub const fn guest_ends(&mut self) -> (GuestInput<'_>, GuestOutput<'_>) {
        (GuestInput(&mut self.input), GuestOutput { output: &mut self.output, missed: &mut self.missed })
    }
}

/// What was typed, as the guest takes it.
pub struct GuestInput<'a>(&'a mut VecDeque<u8>);

impl ByteSource for GuestInput<'_> {
    fn take(&mut self) -> Option<u8> {
        self.0.pop_front()
    }
}

/// What the guest writes. It is never full.
pub struct GuestOutput<'a> {
    output: &'a mut VecDeque<u8>,
    missed: &'a mut u64,
}

impl ByteSink for GuestOutput<'_> {
    fn offer(&mut self, byte: u8) -> Result<(), u8> {
        push_out(self.output, self.missed, byte);
        Ok(())
    }
}

/// Adds a byte, which pushes out the oldest where there is no room.
fn push_out(output: &mut VecDeque<u8>, missed: &mut u64, byte: u8) {
    if output.len() >= OUTPUT_BYTES {
        output.pop_front();
        *missed = missed.saturating_add(1);
    }
    output.push_back(byte);
}

impl Default for VmConsole {
    fn default() -> Self {
        Self::new()
    }
}

/// The operator's keys go in here.
impl ByteSink for VmConsole {
    fn offer(&mut self, byte: u8) -> Result<(), u8> {
        if self.input.len() >= INPUT_BYTES {
            return Err(byte);
        }
        self.input.push_back(byte);
        Ok(())
    }
}

/// The guest's UART takes them from here.
impl ByteSource for VmConsole {
    fn take(&mut self) -> Option<u8> {
        self.input.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_read_in_order() {
        let mut console = VmConsole::new();
        b"ab".iter().for_each(|&byte| console.push_output(byte));
        assert_eq!(console.next_output(), Some(Output::Byte(b'a')));
        assert_eq!(console.next_output(), Some(Output::Byte(b'b')));
        assert_eq!(console.next_output(), None);
    }

    #[test]
    fn a_device_that_uses_both_directions_finds_them_at_its_ends() {
        let mut console = VmConsole::new();
        console.offer(b'k').unwrap();
        let (mut input, mut output) = console.guest_ends();
        assert_eq!((input.take(), input.take()), (Some(b'k'), None));
        output.offer(b'o').unwrap();
        assert_eq!(console.next_output(), Some(Output::Byte(b'o')));
    }

    #[test]
    fn the_newest_output_stays_and_what_was_missed_is_told_once() {
        let mut console = VmConsole::new();
        (0..OUTPUT_BYTES + 3).for_each(|n| console.push_output(n as u8));
        assert_eq!(console.next_output(), Some(Output::Missed(3)));
        assert_eq!(console.next_output(), Some(Output::Byte(3)));
    }

    #[test]
    fn a_full_input_gives_the_byte_back() {
        let mut console = VmConsole::new();
        (0..INPUT_BYTES).for_each(|_| console.offer(b'x').unwrap());
        assert_eq!(console.offer(b'y'), Err(b'y'));
        assert_eq!(console.take(), Some(b'x'));
        assert_eq!(console.offer(b'y'), Ok(()));
    }

    #[test]
    fn a_byte_that_is_put_back_is_taken_next_even_if_there_was_no_room_for_more() {
        let mut console = VmConsole::new();
        (0..INPUT_BYTES).for_each(|n| console.offer(n as u8).unwrap());
        let (first, capacity) = (console.take().unwrap(), console.input.capacity());
        console.put_back(first);
        assert_eq!((console.take(), console.take()), (Some(0), Some(1)));
        assert_eq!(console.input.capacity(), capacity);
    }

    #[test]
    fn nothing_is_allocated_after_creation() {
        let mut console = VmConsole::new();
        let (out, input) = (console.output.capacity(), console.input.capacity());
        (0..OUTPUT_BYTES * 2).for_each(|_| console.push_output(0));
        (0..INPUT_BYTES * 2).for_each(|_| {
            let _ = console.offer(0);
        });
        assert_eq!((console.output.capacity(), console.input.capacity()), (out, input));
    }
}
