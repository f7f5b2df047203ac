//! What the serial line and the emulator itself have said so far.
//!
//! Filled by reader threads, read by whoever waits for a text. Bytes are only ever appended.

use std::io::{Read, Write};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many of the last lines go into a message.
const TAIL_LINES: usize = 25;

#[derive(Default)]
struct State {
    serial: Vec<u8>,
    stderr: Vec<u8>,
    /// The serial line has reached its end.
    closed: bool,
    /// What the emulator itself says is still read.
    is_talking: bool,
}

/// The growing record of one run.
#[derive(Default)]
pub struct Transcript {
    state: Mutex<State>,
    grown: Condvar,
}

/// Where a text was found.
pub struct Found {
    /// Index of the text among those asked for.
    pub which: usize,
    /// First byte of the match.
    pub start: usize,
    /// First byte after the match.
    pub end: usize,
}

impl Transcript {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A reader that panicked leaves at worst a shorter record.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies `source` into the record until it ends; each piece also goes to `copy`.
    pub fn follow_serial(
        self: &Arc<Self>,
        mut source: impl Read + Send + 'static,
        mut copy: Option<Box<dyn Write + Send>>,
    ) {
        let transcript = Arc::clone(self);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = source.read(&mut buffer) {
                let piece = buffer.get(..len).unwrap_or_default();
                if let Some(copy) = &mut copy {
                    // A closed standard output must not stop the run: the record goes on.
                    let _ = copy.write_all(piece).and_then(|()| copy.flush());
                }
                transcript.lock().serial.extend_from_slice(piece);
                transcript.grown.notify_all();
            }
            transcript.lock().closed = true;
            transcript.grown.notify_all();
        });
    }

    /// Copies what the emulator itself says into the record until it ends.
    pub fn follow_stderr(self: &Arc<Self>, mut source: impl Read + Send + 'static) {
        let transcript = Arc::clone(self);
        transcript.lock().is_talking = true;
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(len @ 1..) = source.read(&mut buffer) {
                transcript.lock().stderr.extend_from_slice(buffer.get(..len).unwrap_or_default());
            }
            transcript.lock().is_talking = false;
            transcript.grown.notify_all();
        });
    }

    /// The earliest occurrence of any of `texts` at or after byte `from`.
    pub fn find(&self, texts: &[&str], from: usize) -> Option<Found> {
        let state = self.lock();
        let rest = state.serial.get(from..)?;
        texts
            .iter()
            .enumerate()
            .filter_map(|(which, text)| {
                let at = rest.windows(text.len().max(1)).position(|window| window == text.as_bytes())?;
                Some(Found { which, start: from + at, end: from + at + text.len() })
            })
            .min_by_key(|found| found.start)
    }

    /// The record's bytes in `range` (clipped to what there is) as text.
    pub fn text(&self, range: Range<usize>) -> String {
        let state = self.lock();
        let end = range.end.min(state.serial.len());
        String::from_utf8_lossy(state.serial.get(range.start..end).unwrap_or_default()).into_owned()
    }

    /// The last lines of the serial line, without empty ones and terminal control sequences.
    pub fn tail(&self) -> String {
        let text = without_escapes(&self.text(0..usize::MAX));
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let first = lines.len().saturating_sub(TAIL_LINES);
        lines.get(first..).unwrap_or_default().iter().map(|line| format!("  | {line}\n")).collect()
    }

    /// What the emulator itself said.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.lock().stderr).into_owned()
    }

    /// Whether nothing more can come from the serial line.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Sleeps until something is appended, or a little while, at most until `deadline`.
    pub fn wait_for_more(&self, deadline: Instant) {
        let state = self.lock();
        if state.closed {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
        // Woken early or late, the caller looks again.
        drop(self.grown.wait_timeout(state, left));
    }

    /// Waits until the readers of the serial line and of the emulator's own words are done, at most `limit`.
    pub fn wait_until_closed(&self, limit: Duration) {
        let state = self.lock();
        let is_open = |state: &mut State| !state.closed || state.is_talking;
        // What came by then is all there is.
        drop(self.grown.wait_timeout_while(state, limit, is_open));
    }
}

/// `text` without terminal control sequences (ECMA-48 CSI) and other control characters but newline.
fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next_if_eq(&'[').is_some() {
                while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
            }
            chars.next();
        } else if c == '\n' || !c.is_control() {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript_of(text: &str) -> Arc<Transcript> {
        let transcript = Arc::new(Transcript::default());
        transcript.follow_serial(std::io::Cursor::new(text.as_bytes().to_vec()), None);
        transcript.wait_until_closed(Duration::from_secs(5));
        transcript
    }

    #[test]
    fn the_earliest_of_several_texts_is_found() {
        let transcript = transcript_of("one two three");
        let found = transcript.find(&["three", "two"], 0).unwrap();
        assert_eq!((found.which, found.start, found.end), (1, 4, 7));
        assert!(transcript.find(&["one"], 1).is_none());
    }

    #[test]
    fn the_tail_has_no_control_sequences_and_no_empty_lines() {
        let transcript = transcript_of("\u{1b}[2J\u{1b}[01;01Hfirst\r\n\r\nsecond\u{1b}[0m\r\n");
        assert_eq!(transcript.tail(), "  | first\n  | second\n");
    }

    #[test]
    fn a_range_past_the_end_is_clipped() {
        assert_eq!(transcript_of("abc").text(1..99), "bc");
        assert_eq!(transcript_of("abc").text(7..99), "");
    }

    /// A source that says something late.
    struct Late(&'static [u8]);

    impl Read for Late {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            std::thread::sleep(Duration::from_millis(100));
            self.0.read(buffer)
        }
    }

    #[test]
    fn last_words_that_come_late_are_waited_for() {
        let transcript = Arc::new(Transcript::default());
        transcript.follow_serial(std::io::empty(), None);
        transcript.follow_stderr(Late(b"power off"));
        transcript.wait_until_closed(Duration::from_secs(60));
        assert_eq!(transcript.stderr(), "power off");
    }
}
