//! The person's terminal while a machine runs on it: every key goes to the machine, and afterwards the terminal
//! is as it was, however the run ends.

use std::io::{IsTerminal, Read, Write};

use anyhow::{Context, Result};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::emulator::Input;

/// Sets right what a guest's screen control may have left behind: line wrap on, cursor visible, plain text
/// (ECMA-48 SGR; DEC private modes 7 and 25).
const SET_RIGHT: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[0m";

/// Raw mode while it lives. Without a terminal it does nothing.
pub struct Raw {
    before: Option<Termios>,
}

impl Raw {
    /// Switches the terminal on standard input to raw mode.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(Self { before: None });
        }
        let before = tcgetattr(&stdin).context("the terminal's settings cannot be read")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).context("the terminal's settings cannot be changed")?;
        Ok(Self { before: Some(before) })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let Some(before) = &self.before else { return };
        let mut stdout = std::io::stdout();
        // The terminal is gone if these fail: nothing is left to set right.
        let _ = stdout.write_all(SET_RIGHT).and_then(|()| stdout.flush());
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, before);
    }
}

/// Screen control that firmware sends as it starts (EDK II, `TerminalConOut.c`): clearing the screen, going to its
/// corner, and a text mode. They would wipe what was said before.
const FIRMWARE_CLEARS: [&[u8]; 3] = [b"\x1b[2J", b"\x1b[01;01H", b"\x1b[=3h"];

/// Passes on all that is written but firmware's clearing of the screen. Programs in guests spell theirs otherwise
/// (`\x1b[H\x1b[J`).
pub struct WithoutClearing<W> {
    inner: W,
    /// Bytes that are the beginning of one of the sequences.
    held: Vec<u8>,
}

impl<W: Write> WithoutClearing<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, held: Vec::new() }
    }

    fn byte(&mut self, byte: u8) -> std::io::Result<()> {
        self.held.push(byte);
        if FIRMWARE_CLEARS.contains(&&self.held[..]) {
            self.held.clear();
            return Ok(());
        }
        // What cannot become a sequence any more is let go, byte by byte.
        while !FIRMWARE_CLEARS.iter().any(|sequence| sequence.starts_with(&self.held)) {
            self.inner.write_all(&[self.held.remove(0)])?;
        }
        Ok(())
    }
}

impl<W: Write> Write for WithoutClearing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        bytes.iter().try_for_each(|byte| self.byte(*byte))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// The prefix key of the emulator itself, Ctrl-A as in QEMU.
const PREFIX: u8 = 0x01;

/// What a person's key means.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// It is for the machine.
    Send(u8),
    /// Nothing yet.
    Wait,
    /// The emulator is to be ended.
    Quit,
}

/// Tells keys for the machine from keys for us.
#[derive(Default)]
struct Keys {
    after_prefix: bool,
}

impl Keys {
    fn key(&mut self, key: u8) -> Meaning {
        let after_prefix = std::mem::replace(&mut self.after_prefix, false);
        match (after_prefix, key) {
            (false, PREFIX) => {
                self.after_prefix = true;
                Meaning::Wait
            }
            (true, b'x' | b'X') => Meaning::Quit,
            (true, b'a' | b'A') => Meaning::Send(PREFIX),
            (_, key) => Meaning::Send(key),
        }
    }
}

/// Passes a person's keys to the machine in a thread of its own; `quit` is called at Ctrl-A X.
pub fn forward_keys(input: Input, quit: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        let mut keys = Keys::default();
        for key in std::io::stdin().lock().bytes().map_while(Result::ok) {
            match keys.key(key) {
                Meaning::Wait => {}
                Meaning::Quit => return quit(),
                Meaning::Send(key) if send(&input, &[key]).is_ok() => {}
                Meaning::Send(_) => return,
            }
        }
    });
}

/// Passes standard input to the machine as it is, in a thread of its own.
pub fn forward_stdin(input: Input) {
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(length @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if send(&input, buffer.get(..length).unwrap_or_default()).is_err() {
                return;
            }
        }
    });
}

fn send(input: &Input, bytes: &[u8]) -> std::io::Result<()> {
    let mut input = input.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    input.write_all(bytes).and_then(|()| input.flush())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meanings(keys: &[u8]) -> Vec<Meaning> {
        let mut state = Keys::default();
        keys.iter().map(|key| state.key(*key)).collect()
    }

    fn passed(pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = WithoutClearing::new(Vec::new());
        pieces.iter().for_each(|piece| out.write_all(piece).unwrap());
        out.inner
    }

    #[test]
    fn firmware_does_not_clear_the_screen() {
        assert_eq!(passed(&[b"a\x1b[2J\x1b[01;01H\x1b[=3hb"]), b"ab");
        assert_eq!(passed(&[b"a\x1b[2", b"J\x1b", b"[=3hb"]), b"ab");
    }

    #[test]
    fn other_sequences_pass_unharmed() {
        for bytes in [&b"\x1b[H\x1b[Jx"[..], b"\x1b\x1b[0m", b"\x1b[2;5Hx", b"plain"] {
            assert_eq!(passed(&[bytes]), bytes);
        }
        assert_eq!(passed(&[b"\x1b\x1b[2Jx"]), b"\x1bx");
    }

    #[test]
    fn ordinary_keys_and_the_escape_key_go_to_the_machine() {
        assert_eq!(meanings(b"a\x1d"), [Meaning::Send(b'a'), Meaning::Send(0x1d)]);
    }

    #[test]
    fn ctrl_a_x_ends_the_emulator() {
        assert_eq!(meanings(b"\x01x"), [Meaning::Wait, Meaning::Quit]);
    }

    #[test]
    fn ctrl_a_a_is_one_ctrl_a() {
        assert_eq!(
            meanings(b"\x01a\x01b"),
            [Meaning::Wait, Meaning::Send(1), Meaning::Wait, Meaning::Send(b'b')]
        );
    }
}
