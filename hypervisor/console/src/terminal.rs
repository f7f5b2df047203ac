//! One terminal that is either at a guest's console or at the shell; the escape key goes from one to the other.
//!
//! ```text
//!              escape key
//!   Guest(vm) <----------> Shell
//!        ^                   |
//!        +-- vm console NAME-+
//! ```
//!
//! The log's lines appear in both places, each on a line of its own.

use crate::{
    outbox::Outbox,
    shell::{self, After, Editor, Operator},
};
use base::VmName;
use core::fmt::Write;

/// Ctrl-], as in telnet: no program in a guest is likely to need it.
pub const ESCAPE_KEY: u8 = 0x1d;

/// Bytes of room that a guest's output leaves for the log and the shell.
const RESERVE_BYTES: usize = 8 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Focus {
    Shell,
    Guest(VmName),
}

/// The operator's terminal.
#[derive(Debug)]
pub struct Terminal {
    focus: Focus,
    last_guest: Option<VmName>,
    editor: Option<Editor>,
    outbox: Outbox,
    at_line_start: bool,
}

impl Terminal {
    /// A terminal at the console of `attach`, or at the shell.
    pub fn new(attach: Option<VmName>) -> Self {
        let outbox = Outbox::new();
        let mut terminal =
            Self { focus: Focus::Shell, last_guest: attach, editor: None, outbox, at_line_start: true };
        match attach {
            Some(vm) => terminal.attach(vm),
            None => terminal.show_shell(),
        }
        terminal
    }

    /// The VM whose console is shown.
    pub fn attached(&self) -> Option<VmName> {
        match self.focus {
            Focus::Guest(vm) => Some(vm),
            Focus::Shell => None,
        }
    }

    /// Takes a key from the line.
    pub fn input(&mut self, byte: u8, operator: &mut impl Operator) {
        match (self.focus, byte) {
            (Focus::Guest(_), ESCAPE_KEY) => self.show_shell(),
            (Focus::Guest(vm), _) => operator.type_into(vm, byte),
            (Focus::Shell, ESCAPE_KEY) => {
                if let Some(vm) = self.last_guest {
                    self.attach(vm);
                }
            }
            (Focus::Shell, _) => self.edit(byte, operator),
        }
    }

    /// Goes to the shell: the VM at whose console the terminal was has ended, or the operator wants it.
    pub fn show_shell(&mut self) {
        self.focus = Focus::Shell;
        self.start_line();
        match &mut self.editor {
            // `write` clears the line and prints the prompt with what had been typed.
            Some(editor) => {
                let _ = editor.write(|_| Ok(()));
            }
            None => {
                self.outbox.print("Type `help` for the commands.\n");
                self.editor = Some(shell::editor(self.outbox.clone()));
            }
        }
        self.at_line_start = false;
    }

    /// Whether a guest's output can be taken now; the rest of the room is for the log and the shell.
    pub fn has_room(&self) -> bool {
        self.outbox.room_bytes() > RESERVE_BYTES
    }

    /// Shows a byte that the attached guest wrote.
    pub fn guest_byte(&mut self, byte: u8) {
        self.at_line_start = byte == b'\n';
        self.outbox.push(byte);
    }

    /// Says that the attached guest wrote more than the line could carry.
    pub fn guest_missed(&mut self, bytes: u64) {
        self.start_line();
        let _ = writeln!(self.outbox, "[{bytes} bytes of output were lost: the line is too slow]");
    }

    /// Shows a line of the log, without its line end.
    pub fn log_line(&mut self, line: &str) {
        if self.focus == Focus::Shell {
            // Over the prompt; it comes back below.
            self.outbox.print("\r\x1b[2K");
            self.at_line_start = true;
        }
        self.start_line();
        self.outbox.print(line);
        self.outbox.print("\n");
        if let (Focus::Shell, Some(editor)) = (self.focus, &mut self.editor) {
            let _ = editor.write(|_| Ok(()));
            self.at_line_start = false;
        }
    }

    /// Whether bytes wait for the line.
    pub fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The next byte for the line.
    pub fn take(&mut self) -> Option<u8> {
        if let Some(byte) = self.outbox.take() {
            return Some(byte);
        }
        let dropped = self.outbox.take_dropped();
        if dropped == 0 {
            return None;
        }
        let _ = writeln!(self.outbox, "\n[{dropped} bytes were dropped: the line is too slow]");
        self.at_line_start = true;
        self.outbox.take()
    }

    fn attach(&mut self, vm: VmName) {
        self.focus = Focus::Guest(vm);
        self.last_guest = Some(vm);
        self.start_line();
        let _ = writeln!(self.outbox, "[console of {vm}; Ctrl-] for the hypervisor's prompt]");
    }

    /// No command has other letters than ASCII's, and the editor takes bytes for text that are no UTF-8.
    fn edit(&mut self, byte: u8, operator: &mut impl Operator) {
        if !byte.is_ascii() {
            return;
        }
        let Some(editor) = &mut self.editor else { return };
        let after = shell::edit(editor, byte, operator, self.outbox.clone());
        if let After::Attach(vm) = after {
            self.at_line_start = false;
            self.attach(vm);
        }
    }

    fn start_line(&mut self) {
        if !self.at_line_start {
            self.outbox.print("\n");
            self.at_line_start = true;
        }
    }
}

#[cfg(test)]
mod tests;
