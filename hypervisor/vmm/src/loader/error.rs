//! Why a VM's files were not loaded: which file, what is wrong with it and where, and what to do.

use crate::loader::given::MODULES_MAX;
use crate::loader::{Found, Kind};
use alloc::string::String;
use base::{ByteSize, MIB};
use core::fmt;
use devices::acpi::TooManyVcpus;
use seams::MemoryError;

/// A VM's file that cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The file's name as the configuration gives it.
    pub file: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a file or with the VM that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The content is nothing that can be booted here.
    NotLoadable(Found),
    /// The file ends before something that it promises.
    Truncated {
        /// What is promised.
        part: Part,
        /// The bytes of the file that would be needed.
        needed_bytes: u64,
        /// The bytes of the file.
        found_bytes: u64,
    },
    /// The kernel's headers contradict themselves or the format.
    Malformed(&'static str),
    /// The ELF file is for another machine: its `e_machine`.
    WrongMachine(u16),
    /// A bzImage older than boot protocol 2.12.
    OldProtocol {
        /// The version of the boot protocol, major in the high byte.
        version: u16,
    },
    /// A Multiboot header with flags that a loader must refuse if it does not know them.
    UnknownMultibootFlags(u32),
    /// The file asks for no memory to be loaded.
    Empty,
    /// A part of the kernel does not lie in the VM's RAM between 1 MiB and its end.
    OutsideMemory {
        /// Which part.
        part: Part,
        /// The guest-physical address of its first byte.
        start: u64,
        /// Its length.
        len_bytes: u64,
        /// One past the last byte of usable RAM.
        ram_end: u64,
    },
    /// Two segments claim the same memory.
    Overlap {
        /// The number of the first, in the order of the program headers.
        first: usize,
        /// The number of the second.
        second: usize,
        /// An address that both claim.
        at: u64,
    },
    /// The entry point lies in no segment that was loaded.
    EntryOutside(u64),
    /// The initial RAM disk or module does not fit beside the kernel.
    NoRoom {
        /// The size of the file.
        file_bytes: u64,
        /// What is left above the kernel that it may use.
        room_bytes: u64,
    },
    /// A kernel of this kind takes no modules.
    NoModulesTaken(Kind),
    /// There are more than [`MODULES_MAX`] modules.
    TooManyModules,
    /// The text that belongs to a module does not fit.
    ArgumentsTooLong {
        /// The length of it.
        len_bytes: u64,
        /// What is left for it and its final NUL.
        room_bytes: u64,
    },
    /// The command line is longer than the kernel takes.
    CommandLineTooLong {
        /// The length of it.
        len_bytes: u64,
        /// The longest one.
        max_bytes: u64,
    },
    /// The command line holds a NUL, which would end it.
    CommandLineHasNul {
        /// Where.
        at: usize,
    },
    /// The VM's ACPI tables do not fit below 1 MiB.
    Acpi(TooManyVcpus),
    /// The guest's memory refused a write.
    Memory(MemoryError),
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The ELF or setup header.
    Header,
    /// The program headers.
    ProgramHeaders,
    /// A segment, by its number.
    Segment(usize),
    /// The kernel of a bzImage, without its 16-bit setup code.
    Kernel,
    /// The header of a Multiboot kernel, with addresses.
    MultibootHeader,
    /// What a Multiboot header with addresses says is to be loaded.
    MultibootImage,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => write!(f, "the header"),
            Self::ProgramHeaders => write!(f, "the program headers"),
            Self::Segment(number) => write!(f, "segment {number}"),
            Self::Kernel => write!(f, "the kernel proper"),
            Self::MultibootHeader => write!(f, "the Multiboot header"),
            Self::MultibootImage => write!(f, "the Multiboot image"),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoadable(found) => {
                write!(f, "this is {found}; give a Linux vmlinux or bzImage, or a PVH or Multiboot 1 kernel")
            }
            Self::Truncated { part, needed_bytes, found_bytes } => write!(
                f,
                "the file is truncated: {part} needs {needed_bytes} bytes, the file has {found_bytes}; copy it again"
            ),
            Self::Malformed(what) => write!(f, "damaged kernel: {what}; build or copy it again"),
            Self::WrongMachine(machine) => {
                write!(f, "ELF file for machine {machine}; give one for x86 (machine 62, or 3 if 32-bit)")
            }
            Self::OldProtocol { version } => write!(
                f,
                "bzImage of boot protocol {}.{:02}; 2.12 is needed (Linux 3.8 or newer)",
                version >> 8,
                version & 0xff
            ),
            Self::UnknownMultibootFlags(flags) => {
                write!(
                    f,
                    "its Multiboot header requires what is unknown here (flags {flags:#x}); build it without"
                )
            }
            Self::Empty => write!(f, "no segment is to be loaded; give a linked kernel"),
            Self::OutsideMemory { part, start, len_bytes, ram_end } => {
                let end = start.saturating_add(*len_bytes);
                write!(f, "{part} wants memory {start:#x}..{end:#x}, the VM has 0x100000..{ram_end:#x}; ")?;
                if *start < crate::layout::BIOS_HOLE_END {
                    write!(f, "link it at 0x100000 or above")
                } else {
                    let enough = ByteSize(end.checked_next_multiple_of(MIB).unwrap_or(end));
                    write!(f, "give the VM at least {enough} of memory, or link it lower")
                }
            }
            Self::Overlap { first, second, at } => {
                write!(f, "segments {first} and {second} both claim {at:#x}; link it anew")
            }
            Self::EntryOutside(entry) => {
                write!(f, "the entry {entry:#x} lies in no loaded segment; it must be a physical address")
            }
            Self::NoRoom { file_bytes, room_bytes } => write!(
                f,
                "{} do not fit beside the kernel, there is room for {}; give the VM more memory",
                ByteSize(*file_bytes),
                ByteSize(*room_bytes)
            ),
            Self::NoModulesTaken(kind) => {
                write!(f, "a kernel of the kind {kind} takes no modules; remove it, or give it as initrd")
            }
            Self::TooManyModules => write!(f, "more than {MODULES_MAX} modules; remove some"),
            Self::ArgumentsTooLong { len_bytes, room_bytes } => write!(
                f,
                "its arguments have {len_bytes} bytes, there is room for {}; shorten them",
                room_bytes.saturating_sub(1)
            ),
            Self::CommandLineTooLong { len_bytes, max_bytes } => {
                write!(f, "cmdline has {len_bytes} bytes, this kernel takes {max_bytes}; shorten it")
            }
            Self::CommandLineHasNul { at } => write!(f, "cmdline has a NUL at byte {at}; remove it"),
            Self::Acpi(error) => write!(f, "{error}"),
            Self::Memory(error) => write!(f, "{error}; the VM's memory is not set up as its layout says"),
        }
    }
}

impl core::error::Error for LoadError {}

impl From<MemoryError> for Problem {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}
