//! The bytes of an instruction.

use core::ops::Deref;

/// More than any instruction of the table has, with all its prefixes: 15 are allowed.
const CAPACITY: usize = 32;

/// Bytes that are put together one by one.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl Code {
    /// No bytes.
    pub const fn new() -> Self {
        Self { bytes: [0; CAPACITY], len: 0 }
    }

    /// These bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut code = Self::new();
        code.extend(bytes);
        code
    }

    pub(crate) fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.push(*byte));
    }
}

impl Default for Code {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Code {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
