//! One table: its header, checked, and the bytes behind it.
//!
//! ```text
//! 0 signature   4 length   8 revision   9 checksum   10 OEM ...   36 body
//! ```
//! Source: ACPI 6.5, section 5.2.6.

use super::Memory;
use base::Hpa;
use core::fmt;

/// The header's length.
pub const HEADER_BYTES: usize = 36;

/// No table longer than this is read: the longest DSDTs have a few hundred KiB.
pub const MAX_TABLE_BYTES: usize = 4 << 20;

/// A table's name: four characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 4]);

impl Signature {
    /// Root system description pointer; the first half of its name.
    pub const RSDP: Self = Self(*b"RSD ");
    /// Multiple APIC description table.
    pub const MADT: Self = Self(*b"APIC");
    /// Fixed ACPI description table.
    pub const FADT: Self = Self(*b"FACP");
    /// Secondary system description table.
    pub const SSDT: Self = Self(*b"SSDT");
    /// Serial port console redirection table.
    pub const SPCR: Self = Self(*b"SPCR");
    /// PCI Express memory-mapped configuration.
    pub const MCFG: Self = Self(*b"MCFG");
    /// DMA remapping (VT-d).
    pub const DMAR: Self = Self(*b"DMAR");
    /// I/O virtualization reporting structure (AMD-Vi).
    pub const IVRS: Self = Self(*b"IVRS");
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What is wrong with firmware's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcpiError {
    /// The handed-over address holds no RSDP.
    NoRsdp(Hpa),
    /// There is no memory at this address.
    Unreadable(Hpa),
    /// An address of more than 52 bits.
    BadAddress(u64),
    /// The table at this address claims an impossible length.
    BadLength(Signature, Hpa, u32),
    /// The table's bytes do not sum to zero.
    BadChecksum(Signature, Hpa),
    /// The table is too short for what every version of it holds.
    TooShort(Signature),
    /// Firmware gave no such table.
    Missing(Signature),
    /// No definition block holds a readable `\_S5`.
    NoS5,
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRsdp(at) => write!(f, "ACPI: no RSDP at {at}; is ACPI enabled in the firmware's setup?"),
            Self::Unreadable(at) => write!(f, "ACPI: a table at {at} lies outside the memory map"),
            Self::BadAddress(value) => write!(f, "ACPI: {value:#x} is no physical address"),
            Self::BadLength(name, at, len) => write!(f, "ACPI: {name} at {at} claims {len} bytes"),
            Self::BadChecksum(name, at) => {
                write!(f, "ACPI: {name} at {at} has a wrong checksum; a firmware update may help")
            }
            Self::TooShort(name) => write!(f, "ACPI: {name} is too short"),
            Self::Missing(name) => write!(f, "ACPI: firmware gives no {name}"),
            Self::NoS5 => f.write_str("ACPI: no \\_S5 found; the host can be reset but not powered off"),
        }
    }
}

impl core::error::Error for AcpiError {}

/// A table whose length and checksum are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    bytes: &'a [u8],
}

impl<'a> Table<'a> {
    /// The table at `address`.
    ///
    /// # Errors
    /// When it is unreadable, of impossible length, or wrongly summed.
    pub fn at(address: Hpa, memory: &impl Memory<'a>) -> Result<Self, AcpiError> {
        let header = memory.bytes(address, HEADER_BYTES).ok_or(AcpiError::Unreadable(address))?;
        let signature = signature_of(header);
        let len = u32_at(header, 4).unwrap_or(0);
        let len_bytes = usize::try_from(len).unwrap_or(usize::MAX);
        if !(HEADER_BYTES..=MAX_TABLE_BYTES).contains(&len_bytes) {
            return Err(AcpiError::BadLength(signature, address, len));
        }
        let bytes = memory.bytes(address, len_bytes).ok_or(AcpiError::Unreadable(address))?;
        if !sums_to_zero(bytes) {
            return Err(AcpiError::BadChecksum(signature, address));
        }
        Ok(Self { bytes })
    }

    /// The name.
    pub fn signature(&self) -> Signature {
        signature_of(self.bytes)
    }

    /// All bytes, the header first; offsets in the specification count from here.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the header.
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// `bytes` as a table, unchecked: for tests of what parses tables.
    #[cfg(test)]
    pub(crate) const fn unchecked(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }
}

fn signature_of(bytes: &[u8]) -> Signature {
    Signature(bytes.first_chunk().copied().unwrap_or_default())
}

/// Whether the bytes' sum is 0 modulo 256.
pub(super) fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)) == 0
}

/// `value` as an address.
pub(super) fn address(value: u64) -> Result<Hpa, AcpiError> {
    Hpa::new(value).map_err(|_| AcpiError::BadAddress(value))
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

/// The byte at `offset`.
pub(super) fn u8_at(bytes: &[u8], offset: usize) -> Option<u8> {
    bytes.get(offset).copied()
}

/// The little-endian value at `offset`.
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_le_bytes)
}

/// The little-endian value at `offset`.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array_at(bytes, offset).map(u32::from_le_bytes)
}

/// The little-endian value at `offset`.
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    array_at(bytes, offset).map(u64::from_le_bytes)
}

/// Splits `bytes` into entries that carry their own length: a type byte, a length byte, content. Ends before the
/// first entry that is shorter than these two or longer than what is left.
pub(super) fn entries(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let (kind, len) = (u8_at(rest, 0)?, usize::from(u8_at(rest, 1)?));
        let (entry, behind) = rest.split_at_checked(len).filter(|_| len >= 2)?;
        rest = behind;
        Some((kind, entry))
    })
}
