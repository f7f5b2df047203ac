//! Why a handoff was refused.

use base::AddressError;
use core::fmt;

/// What is wrong with a handoff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandoffError {
    /// The bytes end before the block does.
    Truncated {
        /// How many there are.
        len_bytes: usize,
    },
    /// The block does not begin with the magic.
    BadMagic([u8; 8]),
    /// The block was written by another version.
    UnknownVersion(u16),
    /// The header does not fit its checksum or this version.
    HeaderDamaged {
        /// The checksum found.
        written: u32,
        /// The checksum of what was found.
        computed: u32,
    },
    /// The block is longer than [`crate::MAX_TOTAL_BYTES`].
    TooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// The payload does not fit its checksum.
    PayloadDamaged {
        /// The checksum found.
        written: u32,
        /// The checksum of what was found.
        computed: u32,
    },
    /// The payload is not the CBOR that it should be, at this offset.
    Malformed {
        /// The offset within the payload.
        offset_bytes: usize,
    },
    /// A number that has no meaning in this field.
    UnknownNumber(Field, u64),
    /// An address or range outside the physical space.
    BadAddress(Field, AddressError),
    /// A start or length that is not whole pages.
    NotWholePages(Field, u64),
    /// A range that is empty, beginning here.
    EmptyRange(Field, u64),
    /// Two ranges overlap or are out of order; the second begins here.
    OutOfOrder(Field, u64),
    /// A range that begins here does not lie in memory of its kind.
    OutsideItsRegion(Field, u64),
    /// A list has no, or too many, elements: this many.
    BadCount(Field, usize),
    /// A text is too long, or holds something else than printable ASCII; its length.
    BadText(Field, usize),
    /// A value that cannot be.
    OutOfRange(Field, u64),
    /// The entropy is all zero.
    NoEntropy,
}

/// A field of the handoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are documented where they are declared")]
pub enum Field {
    MemoryMap,
    RegionKind,
    Rsdp,
    Smbios,
    EntropySource,
    WallClock,
    Files,
    FilePath,
    BootBuildId,
    Image,
    ImageVirtualStart,
    ImageSegments,
    Protection,
    BootStack,
    BootTables,
    Overrides,
    Preserved,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MemoryMap => "memory map",
            Self::RegionKind => "kind of a region",
            Self::Rsdp => "RSDP",
            Self::Smbios => "SMBIOS",
            Self::EntropySource => "source of entropy",
            Self::WallClock => "wall clock",
            Self::Files => "files",
            Self::FilePath => "path of a file",
            Self::BootBuildId => "build id of boot",
            Self::Image => "image",
            Self::ImageVirtualStart => "virtual start of the image",
            Self::ImageSegments => "segments of the image",
            Self::Protection => "protection of a segment",
            Self::BootStack => "boot stack",
            Self::BootTables => "boot page tables",
            Self::Overrides => "boot overrides",
            Self::Preserved => "preserved memory",
        })
    }
}

impl fmt::Display for HandoffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("handoff: ")?;
        match self {
            Self::Truncated { len_bytes } => write!(f, "the block does not fit into {len_bytes} bytes"),
            Self::BadMagic(magic) => write!(f, "the magic is {magic:02x?}"),
            Self::UnknownVersion(found) => {
                write!(
                    f,
                    "version {found}, not {}; install boot and hypervisor of one release",
                    crate::VERSION
                )
            }
            Self::HeaderDamaged { written, computed } => {
                write!(f, "header damaged: checksum {written:#010x}, computed {computed:#010x}")
            }
            Self::TooLong { len_bytes } => {
                write!(f, "{len_bytes} bytes, more than {}", crate::MAX_TOTAL_BYTES)
            }
            Self::PayloadDamaged { written, computed } => {
                write!(f, "payload damaged: checksum {written:#010x}, computed {computed:#010x}")
            }
            Self::Malformed { offset_bytes } => write!(f, "malformed payload at byte {offset_bytes}"),
            Self::UnknownNumber(field, value) => write!(f, "{field}: {value} has no meaning"),
            Self::BadAddress(field, error) => write!(f, "{field}: {error}"),
            Self::NotWholePages(field, value) => write!(f, "{field}: {value:#x} is not whole pages"),
            Self::EmptyRange(field, start) => write!(f, "{field}: the range at {start:#x} is empty"),
            Self::OutOfOrder(field, start) => {
                write!(f, "{field}: the range at {start:#x} overlaps another or is out of order")
            }
            Self::OutsideItsRegion(field, start) => {
                write!(f, "{field}: the range at {start:#x} is not in memory of its kind")
            }
            Self::BadCount(field, count) => write!(f, "{field}: {count} entries"),
            Self::BadText(field, len_bytes) => {
                write!(f, "{field}: {len_bytes} bytes that are too many or not printable ASCII")
            }
            Self::OutOfRange(field, value) => write!(f, "{field}: {value:#x} is out of range"),
            Self::NoEntropy => f.write_str("entropy: all bytes are zero"),
        }
    }
}

impl core::error::Error for HandoffError {}
