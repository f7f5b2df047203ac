//! Strips an ELF file to what a loader reads: headers and segments. Sections, symbols and debug information are
//! for people and stay in the build folder.
//!
//! Layout: System V ABI, "Object Files", for 64-bit little-endian files.

/// Offsets in the ELF header.
const PHOFF: usize = 0x20;
const SHOFF: usize = 0x28;
const PHENTSIZE: usize = 0x36;
const PHNUM: usize = 0x38;
const SHENTSIZE: usize = 0x3a;
/// Offsets in a program header.
const P_OFFSET: usize = 0x08;
const P_FILESZ: usize = 0x20;
/// 64-bit, little-endian, version 1.
const IDENT: &[u8] = b"\x7fELF\x02\x01\x01";

/// The bytes are no ELF file as we build them.
#[derive(Debug, PartialEq, Eq)]
pub struct NotElf64;

impl std::fmt::Display for NotElf64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a complete 64-bit ELF file")
    }
}

impl std::error::Error for NotElf64 {}

/// `file` without all that follows its last segment, and without the reference to sections.
///
/// # Errors
/// When `file` is no 64-bit little-endian ELF file or is cut off.
pub fn without_sections(file: &[u8]) -> Result<Vec<u8>, NotElf64> {
    if !file.starts_with(IDENT) {
        return Err(NotElf64);
    }
    let headers = number(file, PHOFF, 8)?;
    let entry_bytes = number(file, PHENTSIZE, 2)?;
    let entries = number(file, PHNUM, 2)?;
    let mut end = headers.checked_add(entries * entry_bytes).ok_or(NotElf64)?;
    for index in 0..entries {
        let header = headers + index * entry_bytes;
        let segment_end =
            number(file, header + P_OFFSET, 8)?.checked_add(number(file, header + P_FILESZ, 8)?);
        end = end.max(segment_end.ok_or(NotElf64)?);
    }
    let mut stripped = file.get(..end).ok_or(NotElf64)?.to_vec();
    stripped.get_mut(SHOFF..SHOFF + 8).ok_or(NotElf64)?.fill(0);
    // e_shentsize, e_shnum, e_shstrndx.
    stripped.get_mut(SHENTSIZE..SHENTSIZE + 6).ok_or(NotElf64)?.fill(0);
    Ok(stripped)
}

/// The little-endian number of `length` bytes at `at`.
fn number(file: &[u8], at: usize, length: usize) -> Result<usize, NotElf64> {
    let end = at.checked_add(length).ok_or(NotElf64)?;
    let bytes = file.get(at..end).ok_or(NotElf64)?;
    bytes
        .iter()
        .rev()
        .try_fold(0_usize, |number, byte| number.checked_mul(256)?.checked_add(usize::from(*byte)))
        .ok_or(NotElf64)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// One segment of four bytes directly after its header, then "sections".
    pub fn tiny_elf() -> Vec<u8> {
        let mut file = vec![0; 0x40 + 0x38];
        file[..IDENT.len()].copy_from_slice(IDENT);
        file[PHOFF] = 0x40;
        file[SHOFF] = 0x7c;
        file[PHENTSIZE] = 0x38;
        file[PHNUM] = 1;
        file[SHENTSIZE] = 0x40;
        file[0x40 + P_OFFSET] = 0x78;
        file[0x40 + P_FILESZ] = 4;
        file.extend(b"codesections");
        file
    }

    #[test]
    fn what_follows_the_last_segment_is_cut() {
        let stripped = without_sections(&tiny_elf()).unwrap();
        assert!(stripped.ends_with(b"code"));
        assert_eq!(stripped[SHOFF], 0);
        assert_eq!(stripped[SHENTSIZE], 0);
    }

    #[test]
    fn a_stripped_file_stays_as_it_is() {
        let once = without_sections(&tiny_elf()).unwrap();
        assert_eq!(without_sections(&once).unwrap(), once);
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
        file[0x40 + P_OFFSET..0x40 + P_OFFSET + 8].fill(0xff);
        assert_eq!(without_sections(&file), Err(NotElf64));
    }
}
