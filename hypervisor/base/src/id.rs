//! Names of things: CPUs, APICs, VMs, vectors, interrupt lines and ports.

use core::fmt;

/// A host CPU, numbered densely from 0, the boot CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(pub u32);

/// A local APIC's id, 8 bits wide in xAPIC mode and 32 in x2APIC mode (Intel SDM, volume 3, section 11.12.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApicId(pub u32);

/// A VM of this boot, numbered in the order of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId(pub u16);

/// An interrupt or exception vector, 0-255 (Intel SDM, volume 3, section 6.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vector(pub u8);

/// A global system interrupt: an IOAPIC input (ACPI 6.5, section 5.2.13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gsi(pub u32);

/// An I/O port, 0-0xFFFF (Intel SDM, volume 1, section 19.3).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u16);

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({:#x})", self.0)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The longest name that a VM may have, in bytes.
pub const VM_NAME_MAX_BYTES: usize = 31;

/// A VM's name: 1 to 31 of `a-z`, `0-9` and `-`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmName {
    bytes: [u8; VM_NAME_MAX_BYTES],
    len: u8,
}

/// A text that cannot name a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidVmName;

impl fmt::Display for InvalidVmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a VM's name is 1 to {VM_NAME_MAX_BYTES} of a-z, 0-9 and -")
    }
}

impl core::error::Error for InvalidVmName {}

impl VmName {
    /// The name `text`.
    ///
    /// # Errors
    /// [`InvalidVmName`] when it is empty, too long, or holds another character.
    pub fn new(text: &str) -> Result<Self, InvalidVmName> {
        let allowed = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        if text.is_empty() || !text.as_bytes().iter().all(allowed) {
            return Err(InvalidVmName);
        }
        let mut bytes = [0; VM_NAME_MAX_BYTES];
        bytes.get_mut(..text.len()).ok_or(InvalidVmName)?.copy_from_slice(text.as_bytes());
        let len = u8::try_from(text.len()).map_err(|_| InvalidVmName)?;
        Ok(Self { bytes, len })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..usize::from(self.len)).and_then(|b| core::str::from_utf8(b).ok()).unwrap_or_default()
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_1_to_31_allowed_characters_are_names() {
        for text in ["a", "web-0", "0123456789012345678901234567890"] {
            assert_eq!(VmName::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn empty_long_and_foreign_names_are_refused() {
        for text in ["", "01234567890123456789012345678901", "Web", "a b", "ü", "a\0"] {
            assert_eq!(VmName::new(text), Err(InvalidVmName), "{text:?}");
        }
    }
}
