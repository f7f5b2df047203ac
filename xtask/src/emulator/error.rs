//! What can go wrong with an emulated computer.

use std::path::PathBuf;
use std::time::Duration;

use super::Ending;

/// Why an emulated computer could not be started, driven or waited for.
#[derive(Debug)]
pub enum Error {
    /// No UEFI firmware was found in the places where distributions keep it.
    NoFirmware,
    /// A file of the run could not be prepared.
    Scratch {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Firmware of the kind that Bochs can start was not found.
    NoSmallFirmware,
    /// A file of Bochs' own, or one that is made for it, is missing.
    NotBuilt {
        /// What is missing.
        what: String,
    },
    /// The emulator program could not be started.
    Start {
        /// The program.
        program: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The state of the emulator process could not be read.
    Process {
        /// The program.
        program: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A cable could not be plugged in or out.
    Cable {
        /// The program.
        program: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Typing on the serial line failed.
    Input {
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Something did not happen in time.
    TimedOut {
        /// What was waited for.
        waiting_for: String,
        /// How long.
        timeout: Duration,
        /// The last lines of the serial line.
        tail: String,
    },
    /// The computer ended before something happened.
    Ended {
        /// What was waited for.
        waiting_for: String,
        /// How it ended.
        ending: Ending,
        /// The last lines of the serial line.
        tail: String,
    },
    /// Asked for something that this emulator cannot do.
    Unsupported {
        /// What, and what to do about it.
        what: String,
    },
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoFirmware => {
                write!(f, "no UEFI firmware (OVMF) found: install the package `ovmf` or `edk2-ovmf`")
            }
            Self::Scratch { path, source } => write!(f, "{}: {source}", path.display()),
            Self::NoSmallFirmware => {
                write!(
                    f,
                    "no OVMF_CODE.fd of 2 MiB for Bochs found: install the package `ovmf` or `edk2-ovmf`"
                )
            }
            Self::NotBuilt { what } => write!(f, "{what} is missing: `cargo xtask setup` builds Bochs"),
            Self::Start { program, source } => {
                write!(f, "{program} does not start: {source} (`cargo xtask setup` installs it)")
            }
            Self::Process { program, source } => {
                write!(f, "the state of {program} cannot be read: {source}")
            }
            Self::Cable { program, source } => {
                write!(f, "{program} does not move the cable of its computer: {source}")
            }
            Self::Input { source } => write!(f, "typing on the serial line failed: {source}"),
            Self::TimedOut { waiting_for, timeout, tail } => {
                let seconds = timeout.as_secs_f32();
                write!(
                    f,
                    "\"{waiting_for}\" did not come within {seconds:.0} s; the serial line ends:\n{tail}"
                )
            }
            Self::Ended { waiting_for, ending, tail } => {
                write!(
                    f,
                    "\"{waiting_for}\" never came: the machine ended ({ending:?}); its last lines:\n{tail}"
                )
            }
            Self::Unsupported { what } => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Scratch { source, .. }
            | Self::Start { source, .. }
            | Self::Process { source, .. }
            | Self::Cable { source, .. }
            | Self::Input { source } => Some(source),
            _ => None,
        }
    }
}
