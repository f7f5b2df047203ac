//! Where files come from. The ESP is the first source; a network will be another.

use alloc::string::String;
use core::fmt;

/// Something that holds files.
pub trait FileSource {
    /// The length of the file at `place`, a path from the source's root with `\` between its parts.
    ///
    /// # Errors
    /// Why the length is not to be had.
    fn len_bytes(&mut self, place: &str) -> Result<u64, SourceError>;

    /// Fills `buffer` with the file at `place` from its start.
    ///
    /// # Errors
    /// Why it is not to be had; [`SourceError::Short`] when it ends before the buffer does.
    fn read(&mut self, place: &str, buffer: &mut [u8]) -> Result<(), SourceError>;
}

/// Why a file is not to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceError {
    /// There is no such file.
    NotFound,
    /// It is a directory.
    IsDirectory,
    /// It ended before its length was reached.
    Short,
    /// The device failed, in firmware's words.
    Device(String),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("file not found"),
            Self::IsDirectory => f.write_str("directory instead of a file"),
            Self::Short => f.write_str("file ends early"),
            Self::Device(status) => write!(f, "device failed ({status})"),
        }
    }
}

impl core::error::Error for SourceError {}
