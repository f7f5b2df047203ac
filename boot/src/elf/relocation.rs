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

/// Tags of packed relocations, which have no names in the `elf` crate.
const DT_RELRSZ: i64 = 35;
const DT_RELR: i64 = 36;

/// An entry of the packed relocations.
const RELR_BYTES: usize = 8;
/// How many places a bitmap among them tells of.
const RELR_PLACES: u64 = 63;

/// What a dynamic linker would have to do, by tag.
const REFUSED_TAGS: [(i64, &str); 4] = [
    (abi::DT_NEEDED, "a library"),
    (abi::DT_TEXTREL, "relocated code"),
    (abi::DT_REL, "relocations without addends"),
    (abi::DT_JMPREL, "a procedure linkage table"),
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
    let tables = find_tables(dynamic)?;
    let bytes = |table: Option<(u64, u64)>| {
        let Some((address, len_bytes)) = table else { return Ok(&[][..]) };
        let table = table_bytes(parts, address.wrapping_sub(first), len_bytes);
        table.ok_or(ElfError::Malformed("place of the relocations"))
    };
    let whole = bytes(tables.whole)?.chunks_exact(RELA_BYTES).map(|entry| read_one(entry, parts, first));
    let mut relocations: Vec<Relocation> = whole.collect::<Result<_, _>>()?;
    read_packed(bytes(tables.packed)?, parts, first, &mut relocations)?;
    Ok(relocations)
}

/// Where relocations are: address and length of each kind.
struct Tables {
    /// With place, kind and value.
    whole: Option<(u64, u64)>,
    /// Places alone, whose values are there.
    packed: Option<(u64, u64)>,
}

/// The relocations' tables, from the dynamic table.
fn find_tables(dynamic: &[u8]) -> Result<Tables, ElfError> {
    let (mut address, mut len_bytes, mut entry_bytes) = (None, 0, RELA_BYTES as u64);
    let (mut packed, mut packed_bytes) = (None, 0);
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
            DT_RELR => packed = Some(value),
            DT_RELRSZ => packed_bytes = value,
            _ => {}
        }
    }
    if entry_bytes != RELA_BYTES as u64 || !len_bytes.is_multiple_of(entry_bytes) {
        return Err(ElfError::Malformed("length of the relocations"));
    }
    Ok(Tables {
        whole: address.map(|address| (address, len_bytes)),
        packed: packed.map(|address| (address, packed_bytes)),
    })
}

/// Adds the packed relocations of `table` (System V gABI, chapter 5, "Relative relocations"): an even entry is a place, an odd
/// one a bitmap of the places behind the last. Places rise, so that there are never more than the image has room for.
fn read_packed(
    table: &[u8],
    parts: &[Part<'_>],
    first: u64,
    relocations: &mut Vec<Relocation>,
) -> Result<(), ElfError> {
    let mut next = 0;
    for entry in table.chunks_exact(RELR_BYTES) {
        let entry = word(entry, 0);
        if entry & 1 == 0 {
            if entry < next {
                return Err(ElfError::Malformed("order of the packed relocations"));
            }
            relocations.push(read_in_place(entry, parts, first)?);
            next = entry.saturating_add(RELR_BYTES as u64);
            continue;
        }
        for place in (0..RELR_PLACES).filter(|place| entry >> (place + 1) & 1 == 1) {
            let address = next.saturating_add(place * RELR_BYTES as u64);
            relocations.push(read_in_place(address, parts, first)?);
        }
        next = next.saturating_add(RELR_PLACES * RELR_BYTES as u64);
    }
    Ok(())
}

/// The relocation at `address`, whose value is there in the file.
fn read_in_place(address: u64, parts: &[Part<'_>], first: u64) -> Result<Relocation, ElfError> {
    let value = table_bytes(parts, address.wrapping_sub(first), RELR_BYTES as u64);
    let value = value.map(|bytes| word(bytes, 0)).ok_or(ElfError::BadRelocation { address, value: 0 })?;
    checked(address, value, parts, first)
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
    checked(address, value, parts, first)
}

/// The relocation at `address` to `value`, if both are where they may be.
fn checked(address: u64, value: u64, parts: &[Part<'_>], first: u64) -> Result<Relocation, ElfError> {
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
