//! Byte streams without blocking: a console, a serial line.

/// Takes bytes as long as it has room.
pub trait ByteSink {
    /// Takes `byte`, or gives it back when there is no room now.
    ///
    /// # Errors
    /// The byte itself: offer it again later, or count it as dropped.
    fn offer(&mut self, byte: u8) -> Result<(), u8>;
}

/// Gives bytes as they come.
pub trait ByteSource {
    /// The next byte, or `None` when none has come yet.
    fn take(&mut self) -> Option<u8>;
}
