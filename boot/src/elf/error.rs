//! Why a file is not a hypervisor.

use core::fmt;

/// What is wrong with the hypervisor's file. Addresses are those that the file was linked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElfError {
    /// It does not begin as an ELF file does.
    NotElf,
    /// It is for 32 bits.
    Not64Bit,
    /// It is big-endian.
    BigEndian,
    /// It is for another machine, of this number.
    WrongMachine(u16),
    /// It is of another type than position-independent, of this number.
    NotPositionIndependent(u16),
    /// It ends before what it describes.
    Truncated,
    /// This of it makes no sense.
    Malformed(&'static str),
    /// It needs this, which only a dynamic linker provides.
    Dynamic(&'static str),
    /// The segment at this address is both writable and executable.
    WritableAndExecutable(u64),
    /// The segment at this address is out of order, or shares a page with the one before.
    SharedPage(u64),
    /// In memory it has this many bytes, more than [`super::MAX_IMAGE_BYTES`].
    TooLarge(u64),
    /// Its entry, at this address, is not in an executable segment.
    EntryNotExecutable(u64),
    /// A relocation of a kind that is not `R_X86_64_RELATIVE`.
    UnknownRelocation {
        /// Where it applies.
        address: u64,
        /// Its kind.
        kind: u32,
    },
    /// A relocation whose place or value is outside the image, or in an executable segment.
    BadRelocation {
        /// Where it applies.
        address: u64,
        /// The address that it puts there.
        value: u64,
    },
    /// The memory to load it to has this many bytes, another number than asked for.
    WrongMemory(usize),
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => f.write_str("not an ELF file"),
            Self::Not64Bit => f.write_str("not a 64-bit ELF file"),
            Self::BigEndian => f.write_str("a big-endian ELF file"),
            Self::WrongMachine(machine) => write!(f, "for machine {machine}, not 62 (x86-64)"),
            Self::NotPositionIndependent(kind) => {
                write!(f, "of ELF type {kind}, not 3 (position-independent)")
            }
            Self::Truncated => f.write_str("truncated"),
            Self::Malformed(what) => write!(f, "malformed {what}"),
            Self::Dynamic(what) => write!(f, "not static: it needs {what}"),
            Self::WritableAndExecutable(at) => {
                write!(f, "the segment at {at:#x} is both writable and executable")
            }
            Self::SharedPage(at) => write!(f, "the segment at {at:#x} shares a page or is out of order"),
            Self::TooLarge(bytes) => {
                write!(f, "{bytes} bytes in memory, more than {}", super::MAX_IMAGE_BYTES)
            }
            Self::EntryNotExecutable(at) => write!(f, "the entry {at:#x} is not executable"),
            Self::UnknownRelocation { address, kind } => {
                write!(f, "the relocation at {address:#x} is of kind {kind}, not 8 (relative)")
            }
            Self::BadRelocation { address, value } => {
                write!(f, "the relocation at {address:#x} to {value:#x} leaves the image or changes code")
            }
            Self::WrongMemory(bytes) => write!(f, "{bytes} bytes of memory do not fit the image"),
        }
    }
}

impl core::error::Error for ElfError {}
