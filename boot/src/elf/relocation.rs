//! Relocations: the addresses within the image that depend on where it runs.

use super::{ElfError, Part, bytes_at};
use ::elf::abi;
use ::elf::segment::ProgramHeader;
use alloc::vec::Vec;
use handoff::Protection;

/// An entry of the dynamic table: tag and value.
const DYNAMIC_ENTRY_BYTES: usize = 16;

/// An `Elf64_Rela`: place, kind, addend.
const RELA_BYTES: usize = 24;

/// What a dynamic linker would have to do, by tag; `DT_RELR` has no name in the `elf` crate.
const REFUSED_TAGS: [(i64, &str); 5] = [
    (abi::DT_NEEDED, "a library"),
    (abi::DT_TEXTREL, "relocated code"),
    (abi::DT_REL, "relocations without addends"),
    (abi::DT_JMPREL, "a procedure linkage table"),
    (36, "packed relocations"),
];

/// The address of the byte at `target_offset` is to be put at `place_offset`, both relative to the image's start.
/// Eight bytes of the image lie there, in a part that is not executable.
#[derive(Debug)]
pub(super) struct Relocation {
    place_offset: u64,
    target_offset: u64,
}

impl Relocation {
    /// Puts the address into `memory`, which holds the image that is to run at `virtual_start`.
    pub(super) fn apply(&self, memory: &mut [u8], virtual_start: u64) {
        let value = virtual_start.wrapping_add(self.target_offset);
        let place = memory.get_mut(self.place_offset as usize..).and_then(|m| m.first_chunk_mut());
        if let Some(place) = place {
            *place = value.to_le_bytes();
        }
    }
}

/// The relocations of the file. The addresses of `parts` are relative to the image's start, those of the file to
/// `first`.
pub(super) fn read(
    headers: &[ProgramHeader],
    file: &[u8],
    parts: &[Part<'_>],
    first: u64,
) -> Result<Vec<Relocation>, ElfError> {
    let Some(header) = headers.iter().find(|header| header.p_type == abi::PT_DYNAMIC) else {
        return Ok(Vec::new());
    };
    let dynamic = bytes_at(file, header.p_offset, header.p_filesz).ok_or(ElfError::Truncated)?;
    let Some((address, len_bytes)) = find_table(dynamic)? else {
        return Ok(Vec::new());
    };
    let table = table_bytes(parts, address.wrapping_sub(first), len_bytes);
    let table = table.ok_or(ElfError::Malformed("place of the relocations"))?;
    table.chunks_exact(RELA_BYTES).map(|entry| read_one(entry, parts, first)).collect()
}

/// The address and length of the relocations, from the dynamic table.
fn find_table(dynamic: &[u8]) -> Result<Option<(u64, u64)>, ElfError> {
    let (mut address, mut len_bytes, mut entry_bytes) = (None, 0, RELA_BYTES as u64);
    for entry in dynamic.chunks_exact(DYNAMIC_ENTRY_BYTES) {
        let (tag, value) = (word(entry, 0) as i64, word(entry, 8));
        if let Some((_, what)) = REFUSED_TAGS.iter().find(|(refused, _)| *refused == tag) {
            return Err(ElfError::Dynamic(what));
        }
        match tag {
            abi::DT_NULL => break,
            abi::DT_RELA => address = Some(value),
            abi::DT_RELASZ => len_bytes = value,
            abi::DT_RELAENT => entry_bytes = value,
            _ => {}
        }
    }
    if entry_bytes != RELA_BYTES as u64 || !len_bytes.is_multiple_of(entry_bytes) {
        return Err(ElfError::Malformed("length of the relocations"));
    }
    Ok(address.map(|address| (address, len_bytes)))
}

/// The bytes of the file that are loaded at `offset`.
fn table_bytes<'a>(parts: &[Part<'a>], offset: u64, len_bytes: u64) -> Option<&'a [u8]> {
    let part = parts.iter().find(|part| part.addresses.contains(&offset))?;
    bytes_at(part.bytes, offset - part.addresses.start, len_bytes)
}

fn read_one(entry: &[u8], parts: &[Part<'_>], first: u64) -> Result<Relocation, ElfError> {
    let (address, info, value) = (word(entry, 0), word(entry, 8), word(entry, 16));
    if info != u64::from(abi::R_X86_64_RELATIVE) {
        // The low half is the kind, the high half a symbol.
        return Err(ElfError::UnknownRelocation { address, kind: info as u32 });
    }
    let bad = ElfError::BadRelocation { address, value };
    let (Some(place_offset), Some(target_offset)) = (address.checked_sub(first), value.checked_sub(first))
    else {
        return Err(bad);
    };
    let Some(place_end) = place_offset.checked_add(8) else {
        return Err(bad);
    };
    let is_data = |part: &&Part<'_>| part.protection != Protection::ReadExecute;
    let in_data = parts.iter().filter(is_data).any(|part| part.encloses(&(place_offset..place_end)));
    let in_image = parts.last().is_some_and(|last| target_offset <= last.pages().end);
    if !in_data || !in_image {
        return Err(bad);
    }
    Ok(Relocation { place_offset, target_offset })
}

/// The little-endian number at `offset` of `entry`, or 0 past its end.
fn word(entry: &[u8], offset: usize) -> u64 {
    entry.get(offset..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
