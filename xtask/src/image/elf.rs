//! Strips an ELF file to what a loader reads: headers and segments. Sections, symbols and debug information are
//! for people and stay in the build folder.
//!
//! Layout of the header: System V ABI, "Object Files", for 64-bit little-endian files.

use elf::ElfBytes;
use elf::endian::LittleEndian;

/// `e_shoff`: where the section headers are.
const SECTIONS_OFFSET: std::ops::Range<usize> = 0x28..0x30;
/// `e_shentsize`, `e_shnum`, `e_shstrndx`.
const SECTIONS_SHAPE: std::ops::Range<usize> = 0x3a..0x40;

/// The bytes are no ELF file as we build them.
#[derive(Debug, PartialEq, Eq)]
pub struct NotElf64;

impl std::fmt::Display for NotElf64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a complete 64-bit ELF file with segments")
    }
}

impl std::error::Error for NotElf64 {}

/// `file` without all that follows its last segment, and without the reference to sections.
///
/// # Errors
/// When `file` is no 64-bit little-endian ELF file or is cut off.
pub fn without_sections(file: &[u8]) -> Result<Vec<u8>, NotElf64> {
    let end = end_of_segments(file).ok_or(NotElf64)?;
    let mut stripped = file.get(..end).ok_or(NotElf64)?.to_vec();
    for range in [SECTIONS_OFFSET, SECTIONS_SHAPE] {
        stripped.get_mut(range).ok_or(NotElf64)?.fill(0);
    }
    Ok(stripped)
}

/// The first byte after the headers and all segments.
fn end_of_segments(file: &[u8]) -> Option<usize> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file).ok()?;
    if elf.ehdr.class != elf::file::Class::ELF64 {
        return None;
    }
    let headers_bytes = u64::from(elf.ehdr.e_phnum) * u64::from(elf.ehdr.e_phentsize);
    let mut end = elf.ehdr.e_phoff.checked_add(headers_bytes)?;
    for segment in elf.segments()? {
        end = end.max(segment.p_offset.checked_add(segment.p_filesz)?);
    }
    usize::try_from(end).ok()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Offsets of fields of the header and of the one program header.
    const PHOFF: usize = 0x20;
    const PHENTSIZE: usize = 0x36;
    const PHNUM: usize = 0x38;
    const P_OFFSET: usize = 0x40 + 0x08;
    const P_FILESZ: usize = 0x40 + 0x20;

    /// One segment of four bytes directly after its header, then what would be sections.
    pub fn tiny_elf() -> Vec<u8> {
        let mut file = vec![0; 0x40 + 0x38];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[PHOFF] = 0x40;
        file[PHENTSIZE] = 0x38;
        file[PHNUM] = 1;
        file[P_OFFSET] = 0x78;
        file[P_FILESZ] = 4;
        file.extend(b"codesections");
        file
    }

    #[test]
    fn what_follows_the_last_segment_is_cut() {
        let stripped = without_sections(&tiny_elf()).unwrap();
        assert!(stripped.ends_with(b"code"));
    }

    #[test]
    fn the_header_no_longer_speaks_of_sections() {
        let stripped = without_sections(&tiny_elf()).unwrap();
        assert!(stripped[SECTIONS_OFFSET].iter().chain(&stripped[SECTIONS_SHAPE]).all(|byte| *byte == 0));
        assert_eq!(without_sections(&stripped).unwrap(), stripped);
    }

    #[test]
    fn any_prefix_that_lacks_a_segment_is_refused() {
        let file = tiny_elf();
        for length in 0..0x7c {
            assert_eq!(without_sections(&file[..length]), Err(NotElf64), "{length}");
        }
    }

    #[test]
    fn a_segment_beyond_the_address_space_is_refused() {
        let mut file = tiny_elf();
        file[P_OFFSET..P_OFFSET + 8].fill(0xff);
        assert_eq!(without_sections(&file), Err(NotElf64));
    }
}
