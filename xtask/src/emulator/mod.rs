//! An emulated computer with UEFI firmware, one disk and one serial line.
//!
//! Two programs emulate: QEMU and Bochs (docs/decisions/0010-bochs.md). What they do in their own ways is behind
//! `Program`, in a file each.
//!
//! A [`Machine`] says what the computer is made of; [`Machine::start`] powers it on and gives an [`Emulator`]:
//!
//! ```no_run
//! use std::time::Duration;
//! use xtask::emulator::{Ending, Machine};
//!
//! let mut emulator = Machine::new("disk.img").memory_mib(1024).start()?;
//! emulator.expect("demo:~# ", Duration::from_secs(120))?;
//! emulator.send("poweroff -f\n")?;
//! assert_eq!(emulator.wait_exit(Duration::from_secs(30))?, Ending::PoweredOff);
//! # Ok::<(), xtask::emulator::Error>(())
//! ```
//!
//! Invariants: the disk image is never written (the emulator keeps changes in a scratch file), so several
//! emulators may share one image; everything a run leaves behind lives in one temporary folder that goes
//! with the [`Emulator`]; dropping an [`Emulator`] ends its process.

mod accel;
mod bare;
mod bochs;
mod error;
pub(crate) mod firmware;
mod machine;
mod qemu;
mod qmp;
mod transcript;

use std::io::Write;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use accel::Accel;
pub use bare::Bare;
pub use error::Error;
pub use firmware::Firmware;
pub use machine::{
    Debugger, Disk, Machine, Model, Network, OnReset, Time, Translations, Vendor, Virtualization,
};
pub use qemu::{ECHO, QEMU};
use transcript::Transcript;

/// How often a wait looks whether the process has ended.
const POLL: Duration = Duration::from_millis(20);

/// How the emulated computer came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its software switched the power off.
    PoweredOff,
    /// Its software asked for a reset, or its processor shut down after a triple fault
    /// (seen only with [`OnReset::End`]).
    Reset,
    /// The emulator process ended for a reason of its own.
    Failed {
        /// What the emulator said: its exit status and, if any, its last words.
        what: String,
    },
}

/// What becomes of the cable of the computer's NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cable {
    /// It is plugged in.
    In,
    /// It is pulled out.
    Out,
}

/// Where to write what the operator types.
pub type Input = Arc<Mutex<dyn Write + Send>>;

/// What each program that emulates does in its own way, once it runs.
trait Program {
    /// Its name.
    fn name(&self) -> &'static str;

    /// How the computer came to its end, when the process has ended with `status`.
    fn ending(&mut self, status: ExitStatus, transcript: &Transcript) -> Ending;

    /// Plugs the cable of the NIC that [`Machine::network`] gives in or out.
    fn set_cable(&mut self, _cable: Cable) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// How the computer came to its end, if it has and the process goes on: it is then killed.
    fn ending_of_running(&self, _transcript: &Transcript) -> Option<Ending> {
        None
    }
}

/// A running computer.
pub struct Emulator {
    child: Child,
    input: Input,
    transcript: Arc<Transcript>,
    program: Box<dyn Program + Send>,
    /// End of the last match of [`Self::expect`], in bytes of the transcript.
    seen: usize,
    ending: Option<Ending>,
    /// Firmware variables and sockets of this run; removed on drop.
    _scratch: tempfile::TempDir,
}

impl Emulator {
    /// A computer whose emulator has been started.
    fn new(
        child: Child,
        input: impl Write + Send + 'static,
        transcript: Arc<Transcript>,
        program: Box<dyn Program + Send>,
        scratch: tempfile::TempDir,
    ) -> Self {
        let input = Arc::new(Mutex::new(input));
        Self { child, input, transcript, program, seen: 0, ending: None, _scratch: scratch }
    }

    /// Waits until `text` appears on the serial line after the last match, and returns what stood before it.
    ///
    /// # Errors
    /// [`Error::TimedOut`] after `timeout`; [`Error::Ended`] at once when the computer ended without it.
    pub fn expect(&mut self, text: &str, timeout: Duration) -> Result<String, Error> {
        self.expect_any(&[text], timeout).map(|(_, before)| before)
    }

    /// Like [`Self::expect`] for the earliest of several texts; says also which one by its index.
    ///
    /// # Errors
    /// As for [`Self::expect`].
    pub fn expect_any(&mut self, texts: &[&str], timeout: Duration) -> Result<(usize, String), Error> {
        let deadline = Instant::now() + timeout;
        let waiting_for = || texts.join("\" or \"");
        loop {
            let is_over = self.transcript.is_closed() || self.ending()?.is_some();
            if let Some(found) = self.transcript.find(texts, self.seen) {
                let before = self.transcript.text(self.seen..found.start);
                self.seen = found.end;
                return Ok((found.which, before));
            }
            if is_over {
                let ending = self.wait_exit(Duration::from_secs(5))?;
                return Err(Error::Ended { waiting_for: waiting_for(), ending, tail: self.tail() });
            }
            if Instant::now() >= deadline {
                return Err(Error::TimedOut { waiting_for: waiting_for(), timeout, tail: self.tail() });
            }
            self.transcript.wait_for_more(deadline);
        }
    }

    /// Types `text` on the serial line. A line ends in `\n`.
    ///
    /// # Errors
    /// [`Error::Input`] when the computer has ended.
    pub fn send(&mut self, text: &str) -> Result<(), Error> {
        let mut input = self.input.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        input
            .write_all(text.as_bytes())
            .and_then(|()| input.flush())
            .map_err(|source| Error::Input { source })
    }

    /// Plugs the cable of the NIC that [`Machine::network`] gives in or out.
    ///
    /// # Errors
    /// [`Error::Cable`] when the computer has ended, or its emulator has no cables.
    pub fn set_cable(&mut self, cable: Cable) -> Result<(), Error> {
        let program = self.program.name();
        self.program.set_cable(cable).map_err(|source| Error::Cable { program, source })
    }

    /// A second handle to the serial line's input, for a thread that passes on what a person types.
    #[must_use]
    pub fn input(&self) -> Input {
        Arc::clone(&self.input)
    }

    /// All that was written to the serial line so far (bytes that are no UTF-8 replaced).
    #[must_use]
    pub fn serial_log(&self) -> String {
        self.transcript.text(0..usize::MAX)
    }

    /// The last lines of the serial line, for a message.
    #[must_use]
    pub fn tail(&self) -> String {
        self.transcript.tail()
    }

    /// How it ended, if it has; does not wait.
    ///
    /// # Errors
    /// [`Error::Process`] when the operating system cannot say.
    pub fn ending(&mut self) -> Result<Option<Ending>, Error> {
        if self.ending.is_some() {
            return Ok(self.ending.clone());
        }
        let failed = |program: &dyn Program, source| Error::Process { program: program.name(), source };
        let status = self.child.try_wait().map_err(|source| failed(&*self.program, source))?;
        let ending = match status {
            Some(status) => {
                self.transcript.wait_until_closed(Duration::from_secs(10));
                self.program.ending(status, &self.transcript)
            }
            None => {
                let Some(ending) = self.program.ending_of_running(&self.transcript) else { return Ok(None) };
                self.child.kill().map_err(|source| failed(&*self.program, source))?;
                ending
            }
        };
        self.ending = Some(ending.clone());
        Ok(Some(ending))
    }

    /// Waits until the computer has ended and says how.
    ///
    /// # Errors
    /// [`Error::TimedOut`] after `timeout`; the computer then runs on.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<Ending, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(ending) = self.ending()? {
                return Ok(ending);
            }
            if Instant::now() >= deadline {
                let waiting_for = "the end of the machine".to_string();
                return Err(Error::TimedOut { waiting_for, timeout, tail: self.tail() });
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Already ended is the usual case, and not an error worth a word.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
