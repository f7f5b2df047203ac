//! What a kernel file is, told by its content alone.
//!
//! A file can be several things at once. The first of these that holds decides:
//!
//! 1. Linux's setup header makes a bzImage, whatever else it is (many are PE programs too).
//! 2. A Multiboot 1 header with a right checksum makes a Multiboot kernel, ELF or not: nobody has one by accident, and
//!    other loaders prefer it too.
//! 3. An ELF file with a note whose owner is Linux is a `vmlinux`, PVH note or not: Linux's own protocol spares it the
//!    way from 32-bit to 64-bit mode, and it is the one that every boot loader uses.
//! 4. An ELF file with a PVH note is a PVH kernel.
//! 5. An ELF64 file that says nothing is entered as a `vmlinux`: older ones have no note.

use crate::loader::elf::Elf;
use crate::loader::{Problem, multiboot};
use core::fmt;
use elf::file::Class;

/// A kind of kernel that can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ELF file that is entered by Linux's boot protocol: `vmlinux`.
    LinuxElf,
    /// A bzImage.
    BzImage,
    /// An ELF file that is entered by its PVH note.
    Pvh,
    /// A kernel with a Multiboot 1 header.
    Multiboot,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinuxElf => "Linux ELF",
            Self::BzImage => "Linux bzImage",
            Self::Pvh => "PVH",
            Self::Multiboot => "Multiboot",
        })
    }
}

/// Something recognized that cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No bytes at all.
    EmptyFile,
    /// A 32-bit ELF file that does not say how it is entered.
    Elf32,
    /// A big-endian ELF file.
    ElfBigEndian,
    /// A kernel with a Multiboot 2 header only.
    Multiboot2,
    /// A file compressed by the named program.
    Compressed(&'static str),
    /// A Windows or UEFI program without a Linux setup header.
    Pe,
    /// Text.
    Text,
    /// Nothing known: the first bytes, big endian.
    Unknown(u32),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyFile => write!(f, "an empty file"),
            Self::Elf32 => write!(f, "a 32-bit ELF file without PVH note or Multiboot header"),
            Self::ElfBigEndian => write!(f, "a big-endian ELF file"),
            Self::Multiboot2 => write!(f, "a kernel for Multiboot 2 only"),
            Self::Compressed(program) => write!(f, "a {program} file, to be unpacked first"),
            Self::Pe => write!(f, "a PE program without a Linux setup header"),
            Self::Text => write!(f, "text"),
            Self::Unknown(magic) => write!(f, "an unknown format (first bytes {magic:08x})"),
        }
    }
}

/// What compressed files begin with.
const COMPRESSED: [(&[u8], &str); 6] = [
    (&[0x1f, 0x8b], "gzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
    (b"BZh", "bzip2"),
    (&[0x02, 0x21, 0x4c, 0x18], "lz4"),
    (&[0x04, 0x22, 0x4d, 0x18], "lz4"),
];

/// Tells what `bytes` are.
///
/// # Errors
/// What was found instead of a kernel, or what is wrong with the ELF file that they are.
pub fn detect(bytes: &[u8]) -> Result<Kind, Problem> {
    if bytes.get(0x202..0x206) == Some(b"HdrS") && bytes.get(0x1fe..0x200) == Some(&[0x55, 0xaa]) {
        return Ok(Kind::BzImage);
    }
    if multiboot::find_header(bytes).is_some() {
        return Ok(Kind::Multiboot);
    }
    if bytes.starts_with(b"\x7fELF") {
        return detect_elf(bytes);
    }
    Err(Problem::NotLoadable(if has_multiboot_2(bytes) { Found::Multiboot2 } else { not_a_kernel(bytes) }))
}

fn detect_elf(bytes: &[u8]) -> Result<Kind, Problem> {
    if bytes.get(5) == Some(&2) {
        return Err(Problem::NotLoadable(Found::ElfBigEndian));
    }
    let elf = Elf::parse(bytes)?;
    let notes = elf.notes()?;
    match elf.class() {
        _ if notes.linux => Ok(Kind::LinuxElf),
        _ if notes.pvh_entry.is_some() => Ok(Kind::Pvh),
        _ if has_multiboot_2(bytes) => Err(Problem::NotLoadable(Found::Multiboot2)),
        Class::ELF32 => Err(Problem::NotLoadable(Found::Elf32)),
        Class::ELF64 => Ok(Kind::LinuxElf),
    }
}

/// Whether there is a Multiboot 2 header: four words that add up to nothing, in the first 32 KiB, on a boundary of eight
/// bytes (Multiboot 2.0, section 3.1).
fn has_multiboot_2(bytes: &[u8]) -> bool {
    let area = bytes.get(..bytes.len().min(32768)).unwrap_or_default();
    (0..area.len()).step_by(8).any(|offset| {
        let header: Option<[u32; 4]> = multiboot::words(area, offset);
        header.is_some_and(|words| {
            words.first() == Some(&0xe852_50d6) && words.into_iter().fold(0, u32::wrapping_add) == 0
        })
    })
}

fn not_a_kernel(bytes: &[u8]) -> Found {
    if bytes.is_empty() {
        return Found::EmptyFile;
    }
    if let Some((_, program)) = COMPRESSED.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Found::Compressed(program);
    }
    if bytes.starts_with(b"MZ") {
        return Found::Pe;
    }
    let head = bytes.get(..bytes.len().min(64)).unwrap_or_default();
    if head.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) {
        return Found::Text;
    }
    let mut magic = [0; 4];
    magic.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    Found::Unknown(u32::from_be_bytes(magic))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{string::ToString, vec, vec::Vec};

    fn elf(class: u8, order: u8) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order, 1]);
        // An executable, version 1.
        bytes[16..21].copy_from_slice(&[2, 0, if class == 2 { 62 } else { 3 }, 0, 1]);
        bytes
    }

    fn found(bytes: &[u8]) -> Found {
        match detect(bytes) {
            Err(Problem::NotLoadable(found)) => found,
            other => panic!("{other:?}"),
        }
    }

    fn put_words(bytes: &mut [u8], at: usize, words: &[u32]) {
        for (at, word) in (at..).step_by(4).zip(words) {
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
    }

    #[test]
    fn an_elf64_file_that_says_nothing_is_taken_for_vmlinux() {
        assert_eq!(detect(&elf(2, 1)), Ok(Kind::LinuxElf));
    }

    #[test]
    fn a_setup_header_makes_a_bzimage_whatever_else_the_file_is() {
        let mut bytes = vec![0; 1024];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x1fe..0x206].copy_from_slice(&[0x55, 0xaa, 0xeb, 0x66, b'H', b'd', b'r', b'S']);
        assert_eq!(detect(&bytes), Ok(Kind::BzImage));
        put_words(&mut bytes, 0x40, &[0x1bad_b002, 0, 0_u32.wrapping_sub(0x1bad_b002)]);
        assert_eq!(detect(&bytes), Ok(Kind::BzImage));
    }

    #[test]
    fn a_multiboot_header_goes_before_elf() {
        let mut bytes = elf(2, 1);
        put_words(&mut bytes, 0x100, &[0x1bad_b002, 3, 0_u32.wrapping_sub(0x1bad_b002 + 3)]);
        assert_eq!(detect(&bytes), Ok(Kind::Multiboot));
    }

    #[test]
    fn what_cannot_be_booted_is_called_by_its_name() {
        assert_eq!(found(&elf(1, 1)), Found::Elf32);
        assert_eq!(found(&elf(2, 2)), Found::ElfBigEndian);
        assert_eq!(found(&[]), Found::EmptyFile);
        assert_eq!(found(b"MZ\x90\0"), Found::Pe);
        assert_eq!(found(&[0x1f, 0x8b, 8, 0]), Found::Compressed("gzip"));
        assert_eq!(found(&[0x28, 0xb5, 0x2f, 0xfd, 0]), Found::Compressed("zstd"));
        assert_eq!(found(b"#!/bin/sh\n"), Found::Text);
        assert_eq!(found(&[1, 2]), Found::Unknown(0x0102_0000));
    }

    #[test]
    fn a_kernel_for_multiboot_2_only_is_called_that_elf_or_not() {
        let words = [0xe852_50d6_u32, 0, 16, 0_u32.wrapping_sub(0xe852_50d6 + 16)];
        for mut bytes in [elf(1, 1), elf(2, 1), vec![0xc5; 64]] {
            let at = bytes.len() - 32;
            put_words(&mut bytes, at, &words);
            assert_eq!(found(&bytes), Found::Multiboot2);
        }
    }

    #[test]
    fn the_message_says_what_was_found() {
        assert_eq!(Found::Multiboot2.to_string(), "a kernel for Multiboot 2 only");
        assert_eq!(Found::Unknown(0xcafe_babe).to_string(), "an unknown format (first bytes cafebabe)");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = detect(&bytes);
        }
    }
}
