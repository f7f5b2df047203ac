//! The serial line as the loop's first task: keys in, log and guests' output out, never waiting.

use crate::guests::{Guest, Present};
use crate::operator::Desk;
use backends::console::Output;
use base::{Instant, Nanoseconds, Port};
use console::Terminal;
use machine::log::{Entry, Reader};
use machine::serial::{LineRate, SerialConsole, missed};
use seams::{ByteSink, ByteSource};

/// How many bytes of a guest's output are taken in one turn of the loop.
const OUTPUT_PER_TURN: usize = 512;

/// How often an idle CPU polls a line without an interrupt: at 115200 bit/s its FIFO of 16 bytes lasts 1.4 ms.
const POLL_INTERVAL: Nanoseconds = Nanoseconds::from_millis(1);

/// In how many turns of the loop a quiet UART is asked once: it interrupts when it has something, but an interrupt can be lost.
const TURNS_PER_POLL: u32 = 64;

/// How often the line is polled at most when what is left must go out before the power does.
const FLUSH_POLLS: u32 = 10_000_000;

/// The line and how far the log has been shown on it.
pub struct Line {
    pub serial: SerialConsole,
    pub log: Reader,
    /// For how many turns nobody has asked the UART.
    quiet_turns: u32,
}

impl Line {
    /// The line behind the UART at `port`; without a port it leads nowhere.
    pub fn open(port: Option<Port>) -> Self {
        let serial = port.map_or(SerialConsole::none(), |port| SerialConsole::open(port, LineRate::B115200));
        Self { serial, log: Reader::new(), quiet_turns: 0 }
    }

    /// During bring-up, when there is no loop yet: sends all that the log has gained.
    pub fn settle(&mut self) {
        for _ in 0..FLUSH_POLLS {
            self.serial.print_log(&mut self.log);
            self.serial.poll();
            if self.serial.is_drained() {
                self.log.note_sent();
                return;
            }
        }
    }

    /// One turn: what was typed goes to the shell or a guest, what they and the log say goes to the line.
    #[inline]
    pub fn poll(&mut self, terminal: &mut Terminal, desk: &mut Desk) {
        while let Some(byte) = self.serial.take() {
            terminal.input(byte, desk);
        }
        if self.log.has_more() {
            self.show_log(terminal);
        }
        for (_, guest) in desk.guests.iter_mut() {
            let name = guest.config.name;
            let Some(present) = guest.present() else { continue };
            // Names take longer to compare.
            if present.vm.console_mut().has_output() && terminal.attached() == Some(name) {
                show(terminal, present, OUTPUT_PER_TURN);
            }
        }
        self.quiet_turns = match self.serial.is_quiet() && !terminal.has_output() {
            true => (self.quiet_turns + 1) % TURNS_PER_POLL,
            false => 0,
        };
        if self.quiet_turns == 0 {
            self.transmit(terminal);
        }
    }

    /// Shows what the log has gained.
    pub fn show_log(&mut self, terminal: &mut Terminal) {
        while terminal.has_room() {
            match self.log.next_entry() {
                Some(Entry::Line(line)) => terminal.log_line(&line),
                Some(Entry::Missed(bytes)) => terminal.log_line(&missed(bytes)),
                None => return,
            }
        }
    }

    /// Shows all that is left of an ended guest's output, if the terminal is at its console.
    pub fn show_rest(&mut self, terminal: &mut Terminal, guest: &mut Guest) {
        if terminal.attached() == Some(guest.config.name)
            && let Some(present) = guest.present()
        {
            show(terminal, present, usize::MAX);
        }
    }

    /// Whether another turn at once would get on: something was typed, or there is room for output that waits.
    #[inline]
    pub fn has_work(&self, terminal: &Terminal) -> bool {
        self.serial.has_received() || (terminal.has_output() && self.serial.room_bytes() > 0)
    }

    /// Whether its UART raises no interrupt.
    #[inline]
    pub fn needs_polling(&self) -> bool {
        self.serial.needs_polling()
    }

    /// Until when an idle CPU may leave the line alone if no interrupt comes.
    #[inline]
    pub fn next_poll(&self, now: Instant) -> Instant {
        if self.needs_polling() { now.after(POLL_INTERVAL) } else { Instant::FAR_FUTURE }
    }

    /// Sends all that waits, as long as the line takes it.
    pub fn flush(&mut self, terminal: &mut Terminal) {
        self.show_log(terminal);
        for _ in 0..FLUSH_POLLS {
            self.transmit(terminal);
            if self.serial.is_drained() && !terminal.has_output() {
                return;
            }
        }
    }

    fn transmit(&mut self, terminal: &mut Terminal) {
        while self.serial.room_bytes() > 0 {
            let Some(byte) = terminal.take() else { break };
            // There is room.
            let _ = self.serial.offer(byte);
        }
        self.serial.poll();
        if self.serial.is_drained() && !terminal.has_output() {
            self.log.note_sent();
        }
    }
}

/// Shows at most `most` bytes of what a guest wrote.
fn show(terminal: &mut Terminal, guest: &mut Present, most: usize) {
    for _ in 0..most {
        if !terminal.has_room() {
            return;
        }
        match guest.vm.console_mut().next_output() {
            #[cfg(feature = "seeded-faults")]
            Some(_) if crate::faults::is_chosen(crate::faults::Fault::LostOutput) => {}
            Some(Output::Byte(byte)) => terminal.guest_byte(byte),
            Some(Output::Missed(bytes)) => terminal.guest_missed(bytes),
            None => return,
        }
    }
}
