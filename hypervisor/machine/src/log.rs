//! The log: the `log` crate's backend, one ring of lines that stays readable.
//!
//! ```text
//!   oldest                                  written
//!     v                                        v
//!   [ line \n line \n line \n ... line \n line \n ]      the last LOG_BYTES bytes
//!            ^ a Reader                        ^ another
//! ```
//! Whoever wants the log reads it with a [`Reader`] at his own pace: the serial line, the shell's `log` command. A
//! reader that falls behind is told how much it missed. Lines are formatted before the ring is locked, so that nothing
//! slow or foreign runs inside.

use crate::{Lock, clock};
use arrayvec::ArrayString;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use log::{LevelFilter, Log, Metadata, Record};
use sync::Rank;

/// How much of the log is kept.
pub const LOG_BYTES: usize = 64 * 1024;
/// The longest line, without its line feed; what is longer is cut and marked. A refusal that names a file, the longest
/// path of which has 255 bytes, must not lose its remedy.
pub const MAX_LINE_BYTES: usize = 512;
const CUT_MARK: &str = "...";

/// A line of the log.
pub type Line = ArrayString<MAX_LINE_BYTES>;

/// What a reader finds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a line is copied out of the ring: there may be no heap to box it on"
)]
pub enum Entry {
    /// The next line, without its line feed.
    Line(Line),
    /// So many bytes were overwritten before they were read.
    Missed(u64),
}

/// The ring. Positions count bytes since the start; the slot of a position is its remainder.
struct Ring<const N: usize> {
    /// Apart from the lock around the ring, whose words are not all zero: so they take no room in the image's file. Only
    /// who holds the lock touches them.
    bytes: &'static [AtomicU8; N],
    written: u64,
}

impl<const N: usize> Ring<N> {
    const fn new(bytes: &'static [AtomicU8; N]) -> Self {
        Self { bytes, written: 0 }
    }

    fn slot(position: u64) -> usize {
        (position % N as u64) as usize
    }

    fn at(&self, position: u64) -> u8 {
        self.bytes.get(Self::slot(position)).map_or(b'\n', |slot| slot.load(Ordering::Relaxed))
    }

    fn push_line(&mut self, line: &str) {
        for byte in line.bytes().chain([b'\n']) {
            if let Some(slot) = self.bytes.get(Self::slot(self.written)) {
                slot.store(byte, Ordering::Relaxed);
            }
            self.written = self.written.wrapping_add(1);
        }
    }

    /// The next entry from `position` on, which is moved behind it.
    fn next(&self, position: &mut u64) -> Option<Entry> {
        let oldest = self.written.saturating_sub(N as u64);
        if *position < oldest {
            // The oldest byte is in the middle of a line, most likely: go on with the next.
            let line_end = (oldest..self.written).find(|&p| self.at(p) == b'\n')?;
            let missed = line_end.saturating_add(1).saturating_sub(*position);
            *position = line_end.saturating_add(1);
            return Some(Entry::Missed(missed));
        }
        let end = (*position..self.written).find(|&p| self.at(p) == b'\n')?;
        let mut line = Line::new();
        let mut utf8 = [0; MAX_LINE_BYTES];
        let len = (end.saturating_sub(*position) as usize).min(MAX_LINE_BYTES);
        for (byte, p) in utf8.iter_mut().zip(*position..end) {
            *byte = self.at(p);
        }
        let text = utf8.get(..len).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default();
        line.push_str(text);
        *position = end.saturating_add(1);
        Some(Entry::Line(line))
    }
}

static BYTES: [AtomicU8; LOG_BYTES] = [const { AtomicU8::new(0) }; LOG_BYTES];

static RING: Lock<Ring<LOG_BYTES>> = Lock::new(Rank::Log, Ring::new(&BYTES));

/// How far the ring is written: who has read so far need not lock it.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Up to which position the log has left the machine.
static SENT: AtomicU64 = AtomicU64::new(0);

/// Writes what has not left the machine, for last words: it waits for nobody, and is silent where the ring is held.
pub(crate) fn write_unsent(out: &mut impl Write) -> fmt::Result {
    let Some(ring) = RING.try_lock() else { return Ok(()) };
    let mut position = SENT.load(Ordering::Relaxed);
    while let Some(entry) = ring.next(&mut position) {
        match entry {
            Entry::Line(line) => writeln!(out, "{line}")?,
            Entry::Missed(bytes) => writeln!(out, "({bytes} bytes of the log are lost)")?,
        }
    }
    Ok(())
}

/// A place in the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader {
    position: u64,
}

impl Reader {
    /// Reads from the very first line on.
    pub const fn new() -> Self {
        Self { position: 0 }
    }

    /// Reads what is still kept, without a word about what is not.
    pub fn of_what_is_kept() -> Self {
        let mut reader = Self::new();
        let ring = RING.lock();
        if ring.written > LOG_BYTES as u64 {
            let _ = ring.next(&mut reader.position);
        }
        reader
    }

    /// Notes that all that was read has left the machine: last words need not repeat it.
    pub fn note_sent(&self) {
        SENT.store(self.position, Ordering::Relaxed);
    }

    /// Whether there is a next entry.
    #[inline]
    pub fn has_more(&self) -> bool {
        WRITTEN.load(Ordering::Relaxed) != self.position
    }

    /// The next entry; `None` when all has been read.
    pub fn next_entry(&mut self) -> Option<Entry> {
        RING.lock().next(&mut self.position)
    }
}

/// Text that is cut where it gets too long, and in which control characters are harmless.
struct Cutting<'a> {
    line: &'a mut Line,
    cut: bool,
}

impl Write for Cutting<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let c = if c.is_control() { ' ' } else { c };
            if self.line.remaining_capacity() < c.len_utf8() + CUT_MARK.len() {
                self.cut = true;
                return Ok(());
            }
            self.line.push(c);
        }
        Ok(())
    }
}

/// `[    1.234567] level target: message`.
fn format_line(time: base::Instant, level: log::Level, target: &str, message: fmt::Arguments<'_>) -> Line {
    let level = match level {
        log::Level::Error => "error",
        log::Level::Warn => "warn",
        log::Level::Info => "info",
        log::Level::Debug => "debug",
        log::Level::Trace => "trace",
    };
    let micros = time.0 / 1_000;
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let mut line = Line::new();
    let mut out = Cutting { line: &mut line, cut: false };
    // Cutting never fails; a failing Display leaves its part out.
    let _ = write!(out, "[{seconds:5}.{fraction:06}] {level} {target}: {message}");
    if out.cut {
        line.push_str(CUT_MARK);
    }
    line
}

struct Backend;

impl Log for Backend {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        // The level is compared by the macros already.
        true
    }

    fn log(&self, record: &Record<'_>) {
        let target = record.target().split("::").next().unwrap_or_default();
        let line = format_line(clock::now(), record.level(), target, *record.args());
        let mut ring = RING.lock();
        ring.push_line(&line);
        WRITTEN.store(ring.written, Ordering::Relaxed);
    }

    fn flush(&self) {}
}

/// Makes this the backend of the `log` crate, at `level`. Lines before [`clock::HostClock::start`] bear time zero.
pub fn init(level: LevelFilter) {
    static BACKEND: Backend = Backend;
    // Only the first call can succeed, and all of them set the same.
    let _ = log::set_logger(&BACKEND);
    log::set_max_level(level);
}

/// Changes the level.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Instant;
    use proptest::prelude::*;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    fn texts<const N: usize>(ring: &Ring<N>, position: &mut u64) -> Vec<String> {
        core::iter::from_fn(|| ring.next(position))
            .map(|entry| match entry {
                Entry::Line(line) => line.as_str().into(),
                Entry::Missed(bytes) => format!("missed {bytes}"),
            })
            .collect()
    }

    fn ring<const N: usize>() -> Ring<N> {
        Ring::new(std::boxed::Box::leak(std::boxed::Box::new([const { AtomicU8::new(0) }; N])))
    }

    #[test]
    fn a_line_bears_time_level_and_target() {
        let line =
            format_line(Instant(1_234_567_890), log::Level::Warn, "machine", format_args!("{} of {}", 1, 2));
        assert_eq!(&line, "[    1.234567] warn machine: 1 of 2");
    }

    #[test]
    fn long_lines_are_cut_and_control_characters_do_no_harm() {
        let line = format_line(Instant(0), log::Level::Info, "t", format_args!("\x1b[2J{}", "ü".repeat(300)));
        assert!(line.len() <= MAX_LINE_BYTES && line.len() > MAX_LINE_BYTES - 5);
        assert!(line.ends_with("ü...") && !line.contains(": [2J") && line.contains(":  [2J"));
    }

    /// One test, because the ring is one.
    #[test]
    fn last_words_have_what_was_not_sent_and_wait_for_nobody() {
        let mut reader = Reader::new();
        RING.lock().push_line("sent");
        while reader.next_entry().is_some() {}
        reader.note_sent();
        RING.lock().push_line("unsent");
        let mut said = String::new();
        write_unsent(&mut said).unwrap();
        assert_eq!(said, "unsent\n");
        let _held = RING.lock();
        write_unsent(&mut said).unwrap();
        assert_eq!(said, "unsent\n");
    }

    #[test]
    fn every_reader_has_its_own_pace() {
        let mut ring = ring::<64>();
        let (mut fast, mut slow) = (0, 0);
        ring.push_line("one");
        assert_eq!(texts(&ring, &mut fast), ["one"]);
        ring.push_line("two");
        assert_eq!(texts(&ring, &mut fast), ["two"]);
        assert_eq!(texts(&ring, &mut slow), ["one", "two"]);
        assert!(texts(&ring, &mut slow).is_empty());
    }

    #[test]
    fn a_reader_that_falls_behind_is_told_how_much_and_goes_on_with_a_whole_line() {
        let mut ring = ring::<16>();
        ["aaaaa", "bbbbb", "ccccc"].iter().for_each(|line| ring.push_line(line));
        assert_eq!(texts(&ring, &mut 0), ["missed 6", "bbbbb", "ccccc"]);
        ring.push_line("dddd");
        assert_eq!(texts(&ring, &mut 1), ["missed 11", "ccccc", "dddd"]);
    }

    proptest! {
        #[test]
        fn what_is_read_and_what_is_missed_add_up(lines in proptest::collection::vec("[a-z]{0,20}", 0..40)) {
            let mut ring = ring::<64>();
            let mut position = 0;
            let mut total = 0;
            for (n, line) in lines.iter().enumerate() {
                ring.push_line(line);
                if n % 7 == 0 {
                    while let Some(entry) = ring.next(&mut position) {
                        total += match entry { Entry::Line(l) => l.len() as u64 + 1, Entry::Missed(n) => n };
                    }
                }
            }
            while let Some(entry) = ring.next(&mut position) {
                total += match entry { Entry::Line(l) => l.len() as u64 + 1, Entry::Missed(n) => n };
            }
            prop_assert_eq!(total, ring.written);
        }
    }
}
