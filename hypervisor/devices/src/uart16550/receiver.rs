//! The receiving half: a FIFO of 16 bytes, or one holding register while FIFOs are disabled.
//!
//! Invariants: `head < 16`, `len <= capacity`, `timed_out` only while bytes wait in an enabled FIFO.

use base::Instant;
use minicbor::{Decode, Encode};

const FIFO_BYTES: u8 = 16;

/// Bytes that wait for the driver.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Receiver {
    #[n(0)]
    bytes: [u8; FIFO_BYTES as usize],
    /// The index of the oldest byte.
    #[n(1)]
    head: u8,
    #[n(2)]
    len: u8,
    #[n(3)]
    fifo_enabled: bool,
    /// The encoded trigger level: 0-3 for 1, 4, 8, 14 bytes.
    #[n(4)]
    trigger: u8,
    /// When the FIFO was last read or filled, in nanoseconds of the VM's time.
    #[n(5)]
    touched_ns: u64,
    /// The FIFO has rested for four characters with bytes in it.
    #[n(6)]
    timed_out: bool,
}

impl Receiver {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; FIFO_BYTES as usize],
            head: 0,
            len: 0,
            fifo_enabled: false,
            trigger: 0,
            touched_ns: 0,
            timed_out: false,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) const fn fifo_enabled(&self) -> bool {
        self.fifo_enabled
    }

    pub(super) const fn timed_out(&self) -> bool {
        self.timed_out
    }

    const fn capacity(&self) -> u8 {
        if self.fifo_enabled { FIFO_BYTES } else { 1 }
    }

    /// Whether enough bytes wait for a received-data interrupt (8.11).
    pub(super) const fn triggered(&self) -> bool {
        let level = match self.trigger {
            _ if !self.fifo_enabled => 1,
            0 => 1,
            1 => 4,
            2 => 8,
            _ => 14,
        };
        self.len >= level
    }

    /// Since when bytes too few to trigger have rested in the FIFO, if that can still time out.
    pub(super) const fn idle_since(&self) -> Option<Instant> {
        let waiting = self.fifo_enabled && self.len > 0 && !self.triggered() && !self.timed_out;
        if waiting { Some(Instant(self.touched_ns)) } else { None }
    }

    pub(super) const fn time_out(&mut self) {
        self.timed_out = true;
    }

    /// Takes a byte if there is room.
    pub(super) fn push(&mut self, byte: u8, now: Instant) -> Result<(), u8> {
        if self.len >= self.capacity() {
            return Err(byte);
        }
        let tail = (self.head.wrapping_add(self.len)) % FIFO_BYTES;
        if let Some(slot) = self.bytes.get_mut(usize::from(tail)) {
            *slot = byte;
        }
        self.len = self.len.saturating_add(1);
        self.touch(now);
        Ok(())
    }

    /// Takes a byte; without room it is lost from a FIFO, but replaces the one in the holding register (8.4, bit 1).
    pub(super) fn push_or_overrun(&mut self, byte: u8, now: Instant) -> Result<(), u8> {
        let lost = self.push(byte, now);
        if lost.is_err() && !self.fifo_enabled {
            self.clear();
            self.push(byte, now)?;
        }
        lost
    }

    /// The oldest byte, or 0 when none waits.
    pub(super) fn pop(&mut self, now: Instant) -> u8 {
        if self.len == 0 {
            return 0;
        }
        let byte = self.bytes.get(usize::from(self.head)).copied().unwrap_or_default();
        self.head = self.head.wrapping_add(1) % FIFO_BYTES;
        self.len = self.len.saturating_sub(1);
        self.touch(now);
        byte
    }

    /// Reading or filling the FIFO restarts the timeout and ends its interrupt (8.11).
    const fn touch(&mut self, now: Instant) {
        self.touched_ns = now.0;
        self.timed_out = false;
    }

    pub(super) const fn clear(&mut self) {
        (self.head, self.len, self.timed_out) = (0, 0, false);
    }

    /// Changing the mode empties the FIFO (8.5, bit 0).
    pub(super) const fn enable_fifo(&mut self, trigger: u8) {
        if !self.fifo_enabled {
            self.clear();
        }
        (self.fifo_enabled, self.trigger) = (true, trigger & 3);
    }

    pub(super) const fn disable_fifo(&mut self) {
        if self.fifo_enabled {
            self.clear();
        }
        (self.fifo_enabled, self.trigger) = (false, 0);
    }

    pub(super) const fn is_sound(&self) -> bool {
        let timeout_possible = self.fifo_enabled && self.len > 0;
        self.head < FIFO_BYTES
            && self.len <= self.capacity()
            && self.trigger <= 3
            && (timeout_possible || !self.timed_out)
    }
}
