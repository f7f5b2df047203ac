//! A sign of life for whatever takes longer than two seconds.
//!
//! On a terminal a spinner with the seconds; elsewhere (CI) one line when the step has become long, and one
//! every half minute. All of it on standard error.

use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A step shorter than this is silent.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Where there is no terminal: how often a long step repeats that it lives.
const REPEAT: Duration = Duration::from_secs(30);
/// How often the spinner turns.
const TURN: Duration = Duration::from_millis(120);

/// A step under way; ends when dropped.
pub struct Step {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Step {
    /// Starts to show that `what` is being done ("building the hypervisor").
    #[must_use]
    pub fn start(what: impl Into<String>) -> Self {
        let what = what.into();
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let begin = Instant::now();
            if stopped.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            if std::io::stderr().is_terminal() {
                let spinner = ProgressBar::new_spinner().with_message(what).with_elapsed(begin.elapsed());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                    spinner.set_style(style);
                }
                while stopped.recv_timeout(TURN) == Err(RecvTimeoutError::Timeout) {
                    spinner.tick();
                }
                spinner.finish_and_clear();
                return;
            }
            eprintln!("... {what}");
            while stopped.recv_timeout(REPEAT) == Err(RecvTimeoutError::Timeout) {
                eprintln!("... {what} ({} s)", begin.elapsed().as_secs());
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        // Closing the channel ends the thread.
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked while drawing has drawn its last.
            let _ = thread.join();
        }
    }
}
