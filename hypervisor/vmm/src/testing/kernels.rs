//! Small ELF files to be loaded.

use super::std::{vec, vec::Vec};

/// A segment of [`elf_with`].
pub struct Phdr {
    pub offset: u64,
    pub paddr: u64,
    pub filesz: u64,
    pub memsz: u64,
}

/// An ELF64 x86-64 executable of 0x3000 bytes with these segments; its content is 0xC5 throughout.
pub fn elf_with(entry: u64, phdrs: &[Phdr]) -> Vec<u8> {
    let mut bytes = vec![0xc5; 0x3000];
    bytes[..64].fill(0);
    bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    bytes[16..18].copy_from_slice(&2u16.to_le_bytes());
    bytes[18..20].copy_from_slice(&62u16.to_le_bytes());
    bytes[20..24].copy_from_slice(&1u32.to_le_bytes());
    bytes[24..32].copy_from_slice(&entry.to_le_bytes());
    bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
    bytes[52..54].copy_from_slice(&64u16.to_le_bytes());
    bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
    bytes[56..58].copy_from_slice(&(phdrs.len() as u16).to_le_bytes());
    for (n, p) in phdrs.iter().enumerate() {
        let at = 64 + n * 56;
        bytes[at..at + 8].copy_from_slice(&0x5_0000_0001_u64.to_le_bytes());
        for (field, value) in [p.offset, p.paddr, p.paddr, p.filesz, p.memsz, 0x1000].iter().enumerate() {
            bytes[at + 8 + field * 8..at + 16 + field * 8].copy_from_slice(&value.to_le_bytes());
        }
    }
    bytes
}

/// An ELF32 i386 executable of 0x3000 bytes with these segments, and another with `notes`, which lie at 0x800; its
/// content is 0xC5 throughout.
pub fn elf_32_with(entry: u32, phdrs: &[Phdr], notes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc5; 0x3000];
    bytes[..52].fill(0);
    bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1, 1, 1]);
    bytes[16..20].copy_from_slice(&[2, 0, 3, 0]);
    bytes[20..24].copy_from_slice(&1u32.to_le_bytes());
    bytes[24..28].copy_from_slice(&entry.to_le_bytes());
    bytes[28..32].copy_from_slice(&52u32.to_le_bytes());
    bytes[40..44].copy_from_slice(&[52, 0, 32, 0]);
    bytes[44..46].copy_from_slice(&(phdrs.len() as u16 + 1).to_le_bytes());
    bytes[0x800..0x800 + notes.len()].copy_from_slice(notes);
    let len = notes.len() as u32;
    let segments = phdrs.iter().map(|p| {
        let [offset, paddr, filesz, memsz] = [p.offset, p.paddr, p.filesz, p.memsz].map(|n| n as u32);
        [1, offset, paddr, paddr, filesz, memsz, 5, 0x1000]
    });
    let all = segments.chain([[4, 0x800, 0, 0, len, len, 4, 4]]);
    for (at, word) in (52..).step_by(4).zip(all.flatten()) {
        bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(word));
    }
    bytes
}

/// An ELF note.
pub fn note(owner: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    for word in [owner.len() as u32, desc.len() as u32, kind] {
        bytes.extend(word.to_le_bytes());
    }
    for part in [owner, desc] {
        bytes.extend(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}
