//! A device's surroundings that keep what it did.

use base::{Gsi, Instant, Nanoseconds};
use devices::{Cx, InterruptMessage, Request};
use seams::Level;
use std::collections::BTreeMap;

/// Surroundings that record effects: the levels of all lines, and how much was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingCx {
    /// The VM's time.
    pub now: Instant,
    /// The lines that were ever driven.
    pub lines: BTreeMap<u32, Level>,
    /// The interrupt messages sent.
    pub messages: Vec<InterruptMessage>,
    /// The bytes transmitted.
    pub console: Vec<u8>,
    /// The requests made.
    pub requests: Vec<Request>,
}

impl RecordingCx {
    /// Surroundings at time 0 in which nothing has happened.
    pub const fn new() -> Self {
        Self {
            now: Instant(0),
            lines: BTreeMap::new(),
            messages: Vec::new(),
            console: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// Lets `span` pass.
    pub fn wait(&mut self, span: Nanoseconds) {
        self.now = self.now.after(span);
    }
}

impl Default for RecordingCx {
    fn default() -> Self {
        Self::new()
    }
}

impl Cx for RecordingCx {
    fn now(&self) -> Instant {
        self.now
    }

    fn set_line(&mut self, gsi: Gsi, level: Level) {
        self.lines.insert(gsi.0, level);
    }

    fn send_interrupt(&mut self, message: InterruptMessage) {
        self.messages.push(message);
    }

    fn console_out(&mut self, byte: u8) {
        self.console.push(byte);
    }

    fn request(&mut self, request: Request) {
        self.requests.push(request);
    }
}
