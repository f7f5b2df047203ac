//! Multiboot 1: a kernel with a header in its first 8 KiB, entered in 32-bit mode with EAX at a magic number and EBX at
//! the Multiboot information. The header either tells where the file goes, as one piece, or the file is ELF.
//!
//! ```text
//! header                                     information, of which are given
//! 0   magic, flags, checksum                 0   flags
//! 12  with flag 16: header_addr, load_addr,  4   mem_lower, mem_upper, in KiB
//!     load_end_addr, bss_end_addr,           16  command line      44  length and address of the memory map
//!     entry_addr                             20  modules           64  the loader's name
//! ```
//!
//! Source: Multiboot Specification 0.6.96. Flag 2, the wish for a video mode, is only a recommendation (3.1.4): it is
//! ignored, and the kernel sees by flags 11 and 12 of the information that there is no video. Modules are always page
//! aligned (flag 0); memory is always told (flag 1). An initial RAM disk is the first module.

use crate::layout::{BIOS_HOLE_END, BIOS_HOLE_START, RamLayout};
use crate::loader::elf::Elf;
use crate::loader::given::FILES_MAX;
use crate::loader::memory_map::MAX_ENTRIES as MEMORY_MAP_MAX_ENTRIES;
use crate::loader::{
    Extent, Given, Kernel, Part, Problem, Protocol, check_in_ram, low, memory_map, protected_mode,
    record::Record,
};
use base::{Gpa, KIB};
use seams::GuestMemory;
use vcpu::{Gpr, VcpuState};

const HEADER_MAGIC: u32 = 0x1bad_b002;
/// Where the header is searched for, and on what boundary (3.1).
const AREA_BYTES: usize = 8192;
const STEP_BYTES: usize = 4;

/// Flags that a loader must understand or refuse are bits 15:0; these are understood (3.1.2).
const UNDERSTOOD: u32 = 0b111;
const MUST_UNDERSTAND: u32 = 0xffff;
/// The header tells addresses.
const HAS_ADDRESSES: u32 = 1 << 16;
const HEADER_BYTES: usize = 12;
const ADDRESSES_END: usize = 32;

/// What EAX holds (3.2).
const LOADER_MAGIC: u64 = 0x2bad_b002;

/// Flags of the information (3.3): memory sizes, command line, modules, memory map, loader's name.
const INFO_FLAGS: u32 = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9;
const INFO_BYTES: u64 = 120;
const MEMORY_MAP_ENTRY_BYTES: u64 = 24;
/// A memory-map entry's size field does not count itself.
const MEMORY_MAP_ENTRY_SIZE: u32 = 20;
const MODULE_ENTRY_BYTES: u64 = 16;
const LOADER_NAME: &str = "Cofferdam";

const _: () = assert!(
    INFO_BYTES
        + MEMORY_MAP_MAX_ENTRIES as u64 * MEMORY_MAP_ENTRY_BYTES
        + FILES_MAX as u64 * MODULE_ENTRY_BYTES
        <= low::INFO_MAX_BYTES
);

/// A header with a right checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Where it is in the file, in bytes.
    offset: usize,
    flags: u32,
}

/// The first header in `bytes`.
pub(super) fn find_header(bytes: &[u8]) -> Option<Header> {
    let area = bytes.get(..AREA_BYTES.min(bytes.len()))?;
    let header_at = |offset| {
        let [magic, flags, checksum] = words(area, offset)?;
        let right = magic == HEADER_MAGIC && magic.wrapping_add(flags).wrapping_add(checksum) == 0;
        right.then_some(Header { offset, flags })
    };
    (0..area.len()).step_by(STEP_BYTES).find_map(header_at)
}

/// Loads the kernel `bytes`.
pub(super) fn load(bytes: &[u8], ram: RamLayout, memory: &impl GuestMemory) -> Result<Kernel, Problem> {
    let header = find_header(bytes).ok_or(Problem::Malformed("it has no Multiboot header"))?;
    let unknown = header.flags & MUST_UNDERSTAND & !UNDERSTOOD;
    if unknown != 0 {
        return Err(Problem::UnknownMultibootFlags(unknown));
    }
    let (entry, extent) = if header.flags & HAS_ADDRESSES != 0 {
        load_by_addresses(header.offset, bytes, ram, memory)?
    } else if bytes.starts_with(b"\x7fELF") {
        let elf = Elf::parse(bytes)?;
        (elf.entry(), elf.load(elf.entry(), ram, memory)?)
    } else {
        return Err(Problem::Malformed("it is no ELF file, and its Multiboot header tells no addresses"));
    };
    let files_last = u32::MAX.into();
    Ok(Kernel { entry, extent, protocol: Protocol::Multiboot, cmdline_max_bytes: u64::MAX, files_last })
}

/// Loads a file whose header at `offset` tells where it goes: the "a.out kludge" (3.1.3).
fn load_by_addresses(
    offset: usize,
    bytes: &[u8],
    ram: RamLayout,
    memory: &impl GuestMemory,
) -> Result<(u64, Extent), Problem> {
    let found_bytes = bytes.len() as u64;
    let truncated = |part, needed_bytes| Problem::Truncated { part, needed_bytes, found_bytes };
    // A `load_end` of 0 is the end of the file, a `bss_end` of 0 no uninitialized data.
    let [header, load, load_end, bss_end, entry] = words(bytes, offset + HEADER_BYTES)
        .ok_or_else(|| truncated(Part::MultibootHeader, (offset + ADDRESSES_END) as u64))?;

    // The header's own address tells which byte of the file goes to the load address.
    let start = header
        .checked_sub(load)
        .and_then(|distance| (offset as u64).checked_sub(distance.into()))
        .ok_or(Problem::Malformed("its Multiboot load address lies before the file's first byte"))?;
    let file_bytes = match load_end {
        0 => found_bytes - start,
        end => {
            end.checked_sub(load).ok_or(Problem::Malformed("its Multiboot load_end_addr is too low"))?.into()
        }
    };
    let end = start + file_bytes;
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    let contents = range.and_then(|(start, end)| bytes.get(start..end));
    let contents = contents.ok_or_else(|| truncated(Part::MultibootImage, end))?;
    let len_bytes = match bss_end {
        0 => file_bytes,
        end => u64::from(end)
            .checked_sub(u64::from(load) + file_bytes)
            .map(|bss_bytes| file_bytes + bss_bytes)
            .ok_or(Problem::Malformed("its Multiboot bss_end_addr is too low"))?,
    };

    let extent = check_in_ram(Part::MultibootImage, load.into(), len_bytes, ram)?;
    let entry = u64::from(entry);
    if entry < extent.start || entry >= extent.end {
        return Err(Problem::EntryOutside(entry));
    }
    memory.write(Gpa::from_low_bits(extent.start), contents)?;
    memory.fill(Gpa::from_low_bits(extent.start + file_bytes), len_bytes - file_bytes, 0)?;
    Ok((entry, extent))
}

/// Writes what the kernel is told; the state to enter it with.
pub(super) fn prepare(
    entry: u64,
    given: &mut Given,
    ram: RamLayout,
    memory: &impl GuestMemory,
) -> Result<VcpuState, Problem> {
    let loader_name = given.strings.place(LOADER_NAME, memory)?;
    let map = memory_map(ram);
    let map_bytes = map.len() as u64 * MEMORY_MAP_ENTRY_BYTES;
    let map_start = low::INFO + INFO_BYTES;
    let list_start = map_start + map_bytes;
    let mut info = Record::default();
    info.u32(INFO_FLAGS);
    info.low_half(BIOS_HOLE_START / KIB).low_half((ram.low_end() - BIOS_HOLE_END) / KIB);
    info.u32(0).low_half(given.command_line);
    info.low_half(given.files().count() as u64).low_half(list_start);
    info.u64(0).u64(0); // symbols
    info.low_half(map_bytes).low_half(map_start);
    info.u64(0).u32(0); // drives, ROM configuration
    info.low_half(loader_name);
    // APM, VBE, framebuffer: all absent.
    for _ in (68..INFO_BYTES).step_by(4) {
        info.u32(0);
    }
    for entry in &map {
        info.u32(MEMORY_MAP_ENTRY_SIZE).u64(entry.start).u64(entry.len_bytes).u32(entry.usage as u32);
    }
    for file in given.files() {
        info.low_half(file.extent.start).low_half(file.extent.end).low_half(file.arguments).u32(0);
    }
    memory.write(Gpa::from_low_bits(low::INFO), info.bytes())?;
    let mut state = protected_mode::prepare(entry, memory)?;
    state.gprs.set(Gpr::Rax, LOADER_MAGIC);
    state.gprs.set(Gpr::Rbx, low::INFO);
    Ok(state)
}

/// `N` words of 32 bits from `offset` on.
pub(super) fn words<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u32; N]> {
    let bytes = bytes.get(offset..offset.checked_add(N * 4)?)?;
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_le_bytes(bytes.try_into().ok()?);
    }
    Some(words)
}
