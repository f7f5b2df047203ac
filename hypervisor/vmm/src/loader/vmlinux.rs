//! Linux as an ELF64 file, entered by the 64-bit boot protocol (Linux, `Documentation/arch/x86/boot.rst`, "64-bit Boot
//! Protocol"). Segments go to their physical addresses; the entry point is a physical address too.

use crate::layout::RamLayout;
use crate::loader::{Extent, Kernel, Part, Problem, check_in_ram, zero_page::ZeroPage};
use arrayvec::ArrayVec;
use base::Gpa;
use elf::{ElfBytes, ParseError, abi, endian::LittleEndian, file::Class, segment::ProgramHeader};
use seams::GuestMemory;

/// The most segments that are loaded: Linux has five.
const SEGMENTS_MAX: usize = 32;

/// Linux's COMMAND_LINE_SIZE on x86, without the final NUL: an ELF file does not tell its own.
const COMMAND_LINE_MAX_BYTES: u64 = 2047;

/// The highest address of an initial RAM disk for a kernel that does not tell (`boot.rst`, `initrd_addr_max`).
const INITRD_LAST: u64 = 0x7fff_ffff;

/// A checked segment: its number, its bytes in the file, its place in memory.
struct Segment<'a> {
    number: usize,
    bytes: &'a [u8],
    extent: Extent,
}

/// Loads the ELF file `bytes`.
pub(super) fn load(bytes: &[u8], ram: RamLayout, memory: &impl GuestMemory) -> Result<Kernel, Problem> {
    let elf = parse(bytes)?;
    let segments = check_segments(&elf, bytes, ram)?;
    let entry = elf.ehdr.e_entry;
    if !segments.iter().any(|s| s.extent.start <= entry && entry < s.extent.end) {
        return Err(Problem::EntryOutside(entry));
    }
    for segment in &segments {
        let Extent { start, end } = segment.extent;
        memory.write(Gpa::from_low_bits(start), segment.bytes)?;
        let loaded_end = start + segment.bytes.len() as u64;
        memory.fill(Gpa::from_low_bits(loaded_end), end - loaded_end, 0)?;
    }
    let start = segments.iter().map(|s| s.extent.start).min().unwrap_or_default();
    let end = segments.iter().map(|s| s.extent.end).max().unwrap_or_default();
    Ok(Kernel {
        entry,
        extent: Extent { start, end },
        zero_page: ZeroPage::for_elf(),
        cmdline_max_bytes: COMMAND_LINE_MAX_BYTES,
        initrd_last: INITRD_LAST,
    })
}

fn parse(bytes: &[u8]) -> Result<ElfBytes<'_, LittleEndian>, Problem> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(bytes).map_err(|error| problem_of(&error, bytes))?;
    if elf.ehdr.class != Class::ELF64 {
        return Err(Problem::Not64Bit);
    }
    if elf.ehdr.e_machine != abi::EM_X86_64 {
        return Err(Problem::WrongMachine(elf.ehdr.e_machine));
    }
    if !matches!(elf.ehdr.e_type, abi::ET_EXEC | abi::ET_DYN) {
        return Err(Problem::Malformed("it is an object file, not a linked program"));
    }
    Ok(elf)
}

fn problem_of(error: &ParseError, bytes: &[u8]) -> Problem {
    let found_bytes = bytes.len() as u64;
    match error {
        ParseError::SliceReadError((_, end)) => {
            let needed_bytes = *end as u64;
            Problem::Truncated { part: Part::Header, needed_bytes, found_bytes }
        }
        ParseError::BadEntsize(_) => Problem::Malformed("its table entries have a wrong size"),
        ParseError::UnsupportedVersion(_) => Problem::Malformed("its version is unknown"),
        ParseError::UnsupportedElfClass(_) => Problem::Malformed("it is neither 32-bit nor 64-bit"),
        ParseError::UnsupportedElfEndianness(_) => Problem::Malformed("it is not little-endian"),
        _ => Problem::Malformed("its header contradicts itself"),
    }
}

fn check_segments<'a>(
    elf: &ElfBytes<'_, LittleEndian>,
    bytes: &'a [u8],
    ram: RamLayout,
) -> Result<ArrayVec<Segment<'a>, SEGMENTS_MAX>, Problem> {
    let mut segments = ArrayVec::<Segment<'a>, SEGMENTS_MAX>::new();
    let headers = elf.segments().ok_or(Problem::Empty)?;
    for (number, header) in headers.iter().enumerate() {
        if header.p_type != abi::PT_LOAD || header.p_memsz == 0 {
            continue;
        }
        let segment = check_segment(number, &header, bytes, ram)?;
        let shared = |other: &&Segment<'_>| {
            other.extent.start < segment.extent.end && segment.extent.start < other.extent.end
        };
        if let Some(other) = segments.iter().find(shared) {
            let at = segment.extent.start.max(other.extent.start);
            return Err(Problem::Overlap { first: other.number, second: number, at });
        }
        segments.try_push(segment).map_err(|_| Problem::Malformed("it has more than 32 segments"))?;
    }
    if segments.is_empty() {
        return Err(Problem::Empty);
    }
    Ok(segments)
}

fn check_segment<'a>(
    number: usize,
    header: &ProgramHeader,
    bytes: &'a [u8],
    ram: RamLayout,
) -> Result<Segment<'a>, Problem> {
    if header.p_filesz > header.p_memsz {
        return Err(Problem::Malformed("a segment is larger in the file than in memory"));
    }
    let part = Part::Segment(number);
    let needed_bytes = header.p_offset.saturating_add(header.p_filesz);
    let found_bytes = bytes.len() as u64;
    let contents = usize::try_from(header.p_offset)
        .ok()
        .zip(usize::try_from(needed_bytes).ok())
        .and_then(|(start, end)| bytes.get(start..end))
        .ok_or(Problem::Truncated { part, needed_bytes, found_bytes })?;
    let extent = check_in_ram(part, header.p_paddr, header.p_memsz, ram)?;
    Ok(Segment { number, bytes: contents, extent })
}
