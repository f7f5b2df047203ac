//! What the handoff says. Addresses are host-physical unless a name says otherwise.

use alloc::{string::String, vec::Vec};
use base::{Hpa, PhysRange};

/// Where the hypervisor's image may lie: the last 2 GiB of the virtual address space, which code built with the
/// kernel code model can reach (System V ABI for AMD64, section 3.5.1). Boot chooses the place at random.
pub const IMAGE_AREA_START: u64 = 0xFFFF_FFFF_8000_0000;

/// The length of that area.
pub const IMAGE_AREA_BYTES: u64 = 2 * base::GIB;

/// Everything that the kernel learns from boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// All memory that firmware knows of: whole pages, sorted, not overlapping, neighbours of one kind merged.
    pub memory_map: Vec<MemoryRegion>,
    /// Where ACPI's RSDP is.
    pub rsdp: Option<Hpa>,
    /// Where the SMBIOS entry point is; its anchor (`_SM3_` or `_SM_`) tells the version.
    pub smbios: Option<Hpa>,
    /// Random bytes, mixed from all sources that there were.
    pub entropy: [u8; 64],
    /// The best of those sources.
    pub entropy_source: EntropySource,
    /// Seconds since 1970-01-01 00:00 UTC, as firmware's clock has it; `None` when that cannot be read.
    pub wall_clock_s: Option<u64>,
    /// The files that were read: file 0 is the configuration, the others are what it names, once each.
    pub files: Vec<File>,
    /// The version and build of boot, for the log.
    pub boot_build_id: String,
    /// The hypervisor itself.
    pub image: Image,
    /// The stack at entry.
    pub boot_stack: PhysRange,
    /// The page tables at entry.
    pub boot_tables: PhysRange,
    /// What the operator overrode at this boot, as `key=value` words: printable ASCII.
    pub overrides: String,
    /// Memory that an earlier hypervisor left for this one; empty at power-on.
    pub preserved: Vec<PhysRange>,
    /// The time-stamp counter when boot began.
    pub tsc_at_start: u64,
    /// The time-stamp counter when boot had left firmware.
    pub tsc_at_exit: u64,
}

/// Whole pages of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// The pages; at least one.
    pub range: PhysRange,
    /// What they are.
    pub kind: RegionKind,
}

/// What memory is for. The numbers are the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RegionKind {
    /// Free RAM.
    Usable = 0,
    /// RAM of firmware's boot services and of boot itself: free once the kernel runs on its own tables and stack.
    BootServices = 1,
    /// The hypervisor's image.
    HypervisorImage = 2,
    /// The files.
    Files = 3,
    /// The handoff block: free once it was parsed.
    Handoff = 4,
    /// The stack at entry: free once the kernel has its own.
    BootStack = 5,
    /// The page tables at entry: free once the kernel has its own.
    BootTables = 6,
    /// ACPI tables: free once they were read.
    AcpiReclaim = 7,
    /// Memory of ACPI firmware: never to be used.
    AcpiNvs = 8,
    /// Firmware's run-time services, which are never called: never to be used.
    RuntimeServices = 9,
    /// Device registers.
    Mmio = 10,
    /// What firmware keeps for itself.
    Reserved = 11,
    /// Persistent memory.
    Persistent = 12,
    /// RAM with errors.
    Unusable = 13,
}

impl RegionKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Usable,
        Self::BootServices,
        Self::HypervisorImage,
        Self::Files,
        Self::Handoff,
        Self::BootStack,
        Self::BootTables,
        Self::AcpiReclaim,
        Self::AcpiNvs,
        Self::RuntimeServices,
        Self::Mmio,
        Self::Reserved,
        Self::Persistent,
        Self::Unusable,
    ];

    /// Whether the region is working RAM, whoever owns it now.
    pub const fn is_ram(self) -> bool {
        !matches!(self, Self::Mmio | Self::Reserved | Self::Persistent | Self::Unusable)
    }
}

/// Where the entropy comes from, best first. The numbers are the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum EntropySource {
    /// Firmware's random-number generator.
    Firmware = 0,
    /// The RDRAND instruction.
    Rdrand = 1,
    /// Clocks only: guessable.
    Timing = 2,
}

/// A file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path as the configuration writes it.
    pub path: String,
    /// Its bytes, from the start of a page; at least one. The rest of the last page is zero.
    pub range: PhysRange,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}

/// The hypervisor's image, loaded and relocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its pages.
    pub range: PhysRange,
    /// The virtual address of the first one.
    pub virtual_start: u64,
    /// Its parts, sorted, not overlapping; pages between them are not mapped.
    pub segments: Vec<Segment>,
    /// The SHA-256 of the file that it was loaded from, which names the build.
    pub sha256: [u8; 32],
}

/// Whole pages of the image with one protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins within the image.
    pub offset_bytes: u64,
    /// How long it is.
    pub len_bytes: u64,
    /// What may be done with it.
    pub protection: Protection,
}

/// What may be done with a page: never both written and executed. The numbers are the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Protection {
    /// Read.
    ReadOnly = 0,
    /// Read and write.
    ReadWrite = 1,
    /// Read and execute.
    ReadExecute = 2,
}
