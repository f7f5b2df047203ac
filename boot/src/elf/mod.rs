//! The hypervisor's file: a static position-independent ELF of 64 bits.
//!
//! ```text
//! file:    [ header | program headers | part 0 | part 1 | ... ]
//! memory:  [ part 0: R ] [ part 1: R+X ] [ part 2: R, after relocation ] [ part 3: R+W, zeros at its end ]
//! ```
//!
//! Accepted are `PT_LOAD` segments in order that share no page, none both writable and executable, and relocations of
//! the one kind `R_X86_64_RELATIVE` outside executable parts. Everything else is refused by name: what boot does not
//! understand, it does not run. (System V ABI, generic part, chapters 4 and 5; AMD64 supplement, section 4.4.)

mod error;
mod relocation;
#[cfg(test)]
mod tests;

pub use error::ElfError;

use ::elf::abi;
use ::elf::endian::LittleEndian;
use ::elf::segment::ProgramHeader;
use ::elf::{ElfBytes, ParseError};
use alloc::vec::Vec;
use base::{MIB, PAGE_BYTES};
use core::ops::Range;
use handoff::{Protection, Segment};
use relocation::Relocation;

/// The largest image, in memory.
pub const MAX_IMAGE_BYTES: u64 = 64 * MIB;

/// The most program headers.
const MAX_PROGRAM_HEADERS: usize = 64;

/// A file that was found fit to be loaded.
#[derive(Debug)]
pub struct Image<'a> {
    parts: Vec<Part<'a>>,
    relocations: Vec<Relocation>,
    len_bytes: u64,
    entry_offset_bytes: u64,
}

/// One `PT_LOAD` segment. Addresses are those that the file was linked for.
#[derive(Debug)]
struct Part<'a> {
    /// The bytes that it occupies, at least one.
    addresses: Range<u64>,
    /// What it begins with; the rest is zero.
    bytes: &'a [u8],
    protection: Protection,
}

impl Part<'_> {
    /// The addresses of the pages that it touches.
    fn pages(&self) -> Range<u64> {
        page_down(self.addresses.start)..page_up(self.addresses.end)
    }

    fn encloses(&self, addresses: &Range<u64>) -> bool {
        self.addresses.start <= addresses.start && addresses.end <= self.addresses.end
    }
}

impl<'a> Image<'a> {
    /// Checks `file`.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub fn parse(file: &'a [u8]) -> Result<Self, ElfError> {
        if !file.starts_with(&abi::ELFMAGIC) {
            return Err(ElfError::NotElf);
        }
        if file.get(abi::EI_CLASS) == Some(&abi::ELFCLASS32) {
            return Err(ElfError::Not64Bit);
        }
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(refused)?;
        check_header(&elf)?;
        let headers = program_headers(&elf)?;
        let mut parts = read_parts(file, &headers)?;
        protect_relro(&headers, &mut parts);
        let (first, end) = span(&parts)?;
        // Addresses from here on are relative to the first page.
        for part in &mut parts {
            part.addresses = part.addresses.start - first..part.addresses.end - first;
        }
        let relocations = relocation::read(&headers, file, &parts, first)?;
        let entry = elf.ehdr.e_entry;
        let entry_offset_bytes = entry.checked_sub(first).ok_or(ElfError::EntryNotExecutable(entry))?;
        let executable = |part: &Part<'_>| {
            part.protection == Protection::ReadExecute && part.addresses.contains(&entry_offset_bytes)
        };
        if !parts.iter().any(executable) {
            return Err(ElfError::EntryNotExecutable(entry));
        }
        Ok(Self { parts, relocations, len_bytes: end - first, entry_offset_bytes })
    }

    /// The length in memory: whole pages.
    pub const fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Where execution begins, relative to the first byte.
    pub const fn entry_offset_bytes(&self) -> u64 {
        self.entry_offset_bytes
    }

    /// What may be done with which pages.
    pub fn segments(&self) -> Vec<Segment> {
        let segment = |part: &Part<'_>| {
            let pages = part.pages();
            Segment {
                offset_bytes: pages.start,
                len_bytes: pages.end - pages.start,
                protection: part.protection,
            }
        };
        self.parts.iter().map(segment).collect()
    }

    /// Fills `memory` with the image, relocated to run at `virtual_start`.
    ///
    /// # Errors
    /// [`ElfError::WrongMemory`] when `memory` is not of the image's length.
    pub fn load(&self, memory: &mut [u8], virtual_start: u64) -> Result<(), ElfError> {
        if memory.len() as u64 != self.len_bytes {
            return Err(ElfError::WrongMemory(memory.len()));
        }
        memory.fill(0);
        for part in &self.parts {
            let at = part.addresses.start as usize;
            if let Some(target) = memory.get_mut(at..).and_then(|m| m.get_mut(..part.bytes.len())) {
                target.copy_from_slice(part.bytes);
            }
        }
        self.relocations.iter().for_each(|relocation| relocation.apply(memory, virtual_start));
        Ok(())
    }
}

/// The error for what the ELF reader refuses.
fn refused(error: ParseError) -> ElfError {
    match error {
        ParseError::UnsupportedElfClass(_) => ElfError::Not64Bit,
        ParseError::UnsupportedElfEndianness(_) => ElfError::BigEndian,
        ParseError::SliceReadError(_) => ElfError::Truncated,
        _ => ElfError::Malformed("header"),
    }
}

fn check_header(elf: &ElfBytes<'_, LittleEndian>) -> Result<(), ElfError> {
    let header = &elf.ehdr;
    if header.e_machine != abi::EM_X86_64 {
        return Err(ElfError::WrongMachine(header.e_machine));
    }
    if header.e_type != abi::ET_DYN {
        return Err(ElfError::NotPositionIndependent(header.e_type));
    }
    Ok(())
}

/// The program headers, once it is known that none asks for what boot does not do.
fn program_headers(elf: &ElfBytes<'_, LittleEndian>) -> Result<Vec<ProgramHeader>, ElfError> {
    let headers: Vec<_> = elf.segments().into_iter().flat_map(|table| table.iter()).collect();
    if headers.len() > MAX_PROGRAM_HEADERS {
        return Err(ElfError::Malformed("number of program headers"));
    }
    for header in &headers {
        match header.p_type {
            abi::PT_INTERP => return Err(ElfError::Dynamic("an interpreter")),
            abi::PT_TLS => return Err(ElfError::Dynamic("thread-local storage")),
            _ => {}
        }
    }
    Ok(headers)
}

fn read_parts<'a>(file: &'a [u8], headers: &[ProgramHeader]) -> Result<Vec<Part<'a>>, ElfError> {
    let mut parts: Vec<Part<'a>> = Vec::new();
    for header in headers.iter().filter(|h| h.p_type == abi::PT_LOAD && h.p_memsz > 0) {
        let part = read_part(file, header)?;
        if parts.last().is_some_and(|last| last.pages().end > part.pages().start) {
            return Err(ElfError::SharedPage(part.addresses.start));
        }
        parts.push(part);
    }
    Ok(parts)
}

fn read_part<'a>(file: &'a [u8], header: &ProgramHeader) -> Result<Part<'a>, ElfError> {
    let start = header.p_vaddr;
    let protection = match (header.p_flags & abi::PF_W != 0, header.p_flags & abi::PF_X != 0) {
        (true, true) => return Err(ElfError::WritableAndExecutable(start)),
        (true, false) => Protection::ReadWrite,
        (false, true) => Protection::ReadExecute,
        (false, false) => Protection::ReadOnly,
    };
    let end = start.checked_add(header.p_memsz).filter(|end| end.checked_add(PAGE_BYTES).is_some());
    let end = end.ok_or(ElfError::Malformed("address of a segment"))?;
    if header.p_filesz > header.p_memsz {
        return Err(ElfError::Malformed("length of a segment"));
    }
    let bytes = bytes_at(file, header.p_offset, header.p_filesz).ok_or(ElfError::Truncated)?;
    Ok(Part { addresses: start..end, bytes, protection })
}

/// Makes those parts read-only that are written by relocation alone (`PT_GNU_RELRO`).
fn protect_relro(headers: &[ProgramHeader], parts: &mut [Part<'_>]) {
    for relro in headers.iter().filter(|h| h.p_type == abi::PT_GNU_RELRO) {
        let end = page_up(relro.p_vaddr.saturating_add(relro.p_memsz));
        let range = page_down(relro.p_vaddr)..end;
        for part in parts.iter_mut().filter(|part| part.protection == Protection::ReadWrite) {
            let pages = part.pages();
            if range.start <= pages.start && pages.end <= range.end {
                part.protection = Protection::ReadOnly;
            }
        }
    }
}

/// The first and one past the last address of the image's pages.
fn span(parts: &[Part<'_>]) -> Result<(u64, u64), ElfError> {
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
        return Err(ElfError::Malformed("list of segments"));
    };
    let (start, end) = (first.pages().start, last.pages().end);
    if end - start > MAX_IMAGE_BYTES {
        return Err(ElfError::TooLarge(end - start));
    }
    Ok((start, end))
}

/// `len_bytes` of `file` from `offset`.
fn bytes_at(file: &[u8], offset: u64, len_bytes: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    file.get(start..)?.get(..usize::try_from(len_bytes).ok()?)
}

/// `address` rounded down to a page.
const fn page_down(address: u64) -> u64 {
    address & !(PAGE_BYTES - 1)
}

/// `address` rounded up to a page; the last page rounds to its own start.
const fn page_up(address: u64) -> u64 {
    page_down(address.saturating_add(PAGE_BYTES - 1))
}
