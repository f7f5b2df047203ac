//! What can be wrong with a device, whichever it is.

use core::fmt;

/// Why a device cannot be driven, or had to be reset. Whoever prints it says before it which device it is, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// There is no memory for its rings.
    OutOfMemory,
    /// Its registers read as ones: it is not there any more.
    Vanished,
    /// It did not do in time what it was told to.
    TooSlow(&'static str),
    /// It says itself that it has failed.
    Fatal,
    /// It refused a command that every such device has.
    Refused {
        /// Which.
        what: &'static str,
        /// What it said, in its own code.
        code: u16,
    },
    /// It lacks something, or has something that is not supported.
    Unsupported(&'static str),
    /// What it said cannot be.
    Nonsense(&'static str),
    /// It was reset again and again, and never came to work.
    Hopeless,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory => f.write_str("no memory for its rings: add memory or give VMs less"),
            Self::Vanished => {
                f.write_str("it does not answer any more: reseat or replace it, and restart the host")
            }
            Self::TooSlow(what) => {
                write!(
                    f,
                    "{what} took too long: switch the host off and on, then update or replace the device"
                )
            }
            Self::Fatal => {
                f.write_str("it reports a fatal error: switch the host off and on, then replace it")
            }
            Self::Refused { what, code } => {
                write!(f, "it refused {what} with status {code:#x}: update its firmware or replace it")
            }
            Self::Unsupported(what) => write!(f, "{what} is not supported: use another device"),
            Self::Nonsense(what) => write!(f, "{what} makes no sense: update its firmware or replace it"),
            Self::Hopeless => f.write_str("it fails after every reset: replace it"),
        }
    }
}

impl core::error::Error for DeviceError {}
