//! ELF kernels: segments go to their physical addresses, and entries are physical addresses too.
//!
//! An ELF file says by its notes how it wants to be entered (Linux, `include/linux/elfnote.h`; Xen,
//! `include/public/elfnote.h`).

use crate::layout::RamLayout;
use crate::loader::{Extent, Part, Problem, check_in_ram};
use arrayvec::ArrayVec;
use base::Gpa;
use elf::{ElfBytes, ParseError, abi, endian::LittleEndian, file::Class, note::Note, segment::ProgramHeader};
use seams::GuestMemory;

/// The most segments that are loaded: Linux has five.
const SEGMENTS_MAX: usize = 32;

/// The note XEN_ELFNOTE_PHYS32_ENTRY: the address of a 32-bit entry.
const XEN: &[u8] = b"Xen\0";
const PHYS32_ENTRY: u64 = 18;
/// The owner of notes that every Linux kernel has since 4.18 (`init/version.c`).
const LINUX: &[u8] = b"Linux\0";

/// A linked program for x86.
pub(super) struct Elf<'a> {
    file: ElfBytes<'a, LittleEndian>,
    bytes: &'a [u8],
}

/// What the notes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// The kernel is Linux.
    pub linux: bool,
    /// The address of the PVH entry.
    pub pvh_entry: Option<u64>,
}

/// A checked segment: its number, its bytes in the file, its place in memory.
struct Segment<'a> {
    number: usize,
    bytes: &'a [u8],
    extent: Extent,
}

impl<'a> Elf<'a> {
    /// Checks the header of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Problem> {
        let file =
            ElfBytes::<LittleEndian>::minimal_parse(bytes).map_err(|error| problem_of(&error, bytes))?;
        let machine = file.ehdr.e_machine;
        // Code for x86-64 in a 32-bit file is how some kernels are made loadable by 32-bit protocols.
        let known = match file.ehdr.class {
            Class::ELF32 => matches!(machine, abi::EM_386 | abi::EM_X86_64),
            Class::ELF64 => machine == abi::EM_X86_64,
        };
        if !known {
            return Err(Problem::WrongMachine(machine));
        }
        if !matches!(file.ehdr.e_type, abi::ET_EXEC | abi::ET_DYN) {
            return Err(Problem::Malformed("it is an object file, not a linked program"));
        }
        Ok(Self { file, bytes })
    }

    pub fn class(&self) -> Class {
        self.file.ehdr.class
    }

    /// The entry that the header tells.
    pub fn entry(&self) -> u64 {
        self.file.ehdr.e_entry
    }

    /// Reads the notes.
    pub fn notes(&self) -> Result<Notes, Problem> {
        let mut found = Notes::default();
        for (number, header) in self.file.segments().into_iter().flatten().enumerate() {
            if header.p_type != abi::PT_NOTE {
                continue;
            }
            contents(number, &header, self.bytes)?;
            let notes = self.file.segment_data_as_notes(&header);
            let notes = notes.map_err(|_| Problem::Malformed("a segment of notes is not one"))?;
            for note in notes {
                let Note::Unknown(note) = note else { continue };
                found.linux |= note.name == LINUX;
                if note.name == XEN && note.n_type == PHYS32_ENTRY {
                    found.pvh_entry = Some(address_of(note.desc)?);
                }
            }
        }
        Ok(found)
    }

    /// Loads the segments, one of which must hold `entry`; tells what memory they span.
    pub fn load(&self, entry: u64, ram: RamLayout, memory: &impl GuestMemory) -> Result<Extent, Problem> {
        let segments = self.check_segments(ram)?;
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
        Ok(Extent { start, end })
    }

    fn check_segments(&self, ram: RamLayout) -> Result<ArrayVec<Segment<'a>, SEGMENTS_MAX>, Problem> {
        let mut segments = ArrayVec::<Segment<'a>, SEGMENTS_MAX>::new();
        for (number, header) in self.file.segments().into_iter().flatten().enumerate() {
            if header.p_type != abi::PT_LOAD || header.p_memsz == 0 {
                continue;
            }
            let segment = check_segment(number, &header, self.bytes, ram)?;
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
}

/// The address that a note holds: Xen takes four bytes and eight.
fn address_of(desc: &[u8]) -> Result<u64, Problem> {
    let four = desc.try_into().map(|bytes| u32::from_le_bytes(bytes).into());
    let eight = || desc.try_into().map(u64::from_le_bytes);
    four.or_else(|_| eight()).map_err(|_| Problem::Malformed("its PVH note holds no address"))
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

/// The bytes of a segment in the file.
fn contents<'a>(number: usize, header: &ProgramHeader, bytes: &'a [u8]) -> Result<&'a [u8], Problem> {
    let needed_bytes = header.p_offset.saturating_add(header.p_filesz);
    let found_bytes = bytes.len() as u64;
    usize::try_from(header.p_offset)
        .ok()
        .zip(usize::try_from(needed_bytes).ok())
        .and_then(|(start, end)| bytes.get(start..end))
        .ok_or(Problem::Truncated { part: Part::Segment(number), needed_bytes, found_bytes })
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
    let contents = contents(number, header, bytes)?;
    let extent = check_in_ram(Part::Segment(number), header.p_paddr, header.p_memsz, ram)?;
    Ok(Segment { number, bytes: contents, extent })
}
