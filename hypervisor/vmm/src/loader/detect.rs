//! What a kernel file is, told by its content alone.

use core::fmt;

/// A kind of kernel that can be loaded. PVH and Multiboot kernels will join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// An ELF64 file that is entered by Linux's 64-bit boot protocol: `vmlinux`.
    LinuxElf,
    /// A bzImage.
    BzImage,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinuxElf => "Linux ELF",
            Self::BzImage => "Linux bzImage",
        })
    }
}

/// Something recognized that cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No bytes at all.
    EmptyFile,
    /// A 32-bit ELF file.
    Elf32,
    /// A big-endian ELF file.
    ElfBigEndian,
    /// A kernel with a Multiboot header, of version 1 or 2.
    Multiboot(u8),
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
            Self::Elf32 => write!(f, "a 32-bit ELF file"),
            Self::ElfBigEndian => write!(f, "a big-endian ELF file"),
            Self::Multiboot(version) => write!(f, "a Multiboot {version} kernel, not supported yet"),
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

/// Where a Multiboot header is searched for, and on what boundary (Multiboot 0.6.96, section 3.1; Multiboot 2.0 has
/// 32 KiB and 8 bytes).
const MULTIBOOT: [(u32, usize, usize, u8); 2] = [(0x1bad_b002, 8192, 4, 1), (0xe852_50d6, 32768, 8, 2)];

/// Tells what `bytes` are.
///
/// # Errors
/// What was found instead of a kernel.
pub fn detect(bytes: &[u8]) -> Result<Kind, Found> {
    if bytes.get(0x202..0x206) == Some(b"HdrS") && bytes.get(0x1fe..0x200) == Some(&[0x55, 0xaa]) {
        return Ok(Kind::BzImage);
    }
    if bytes.starts_with(b"\x7fELF") {
        return detect_elf(bytes);
    }
    Err(not_a_kernel(bytes))
}

fn detect_elf(bytes: &[u8]) -> Result<Kind, Found> {
    if bytes.get(5) == Some(&2) {
        return Err(Found::ElfBigEndian);
    }
    if let Some(version) = multiboot_version(bytes) {
        return Err(Found::Multiboot(version));
    }
    match bytes.get(4) {
        Some(1) => Err(Found::Elf32),
        _ => Ok(Kind::LinuxElf),
    }
}

/// The version of the first Multiboot header whose checksum is right.
fn multiboot_version(bytes: &[u8]) -> Option<u8> {
    let word = |chunk: &[u8], n: usize| {
        chunk.get(n * 4..n * 4 + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
    };
    let holds = |magic: u32, area: usize, step: usize, words: usize| {
        let area = bytes.get(..area.min(bytes.len())).unwrap_or_default();
        (0..area.len()).step_by(step).filter_map(|at| area.get(at..at + words * 4)).any(|header| {
            let sum = (0..words).fold(0, |sum: u32, n| sum.wrapping_add(word(header, n)));
            word(header, 0) == magic && sum == 0
        })
    };
    // Version 1 sums three words, version 2 four.
    MULTIBOOT
        .iter()
        .find(|&&(magic, area, step, version)| holds(magic, area, step, usize::from(version) + 2))
        .map(|&(_, _, _, version)| version)
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
        bytes
    }

    #[test]
    fn a_little_endian_elf64_is_taken_for_vmlinux() {
        assert_eq!(detect(&elf(2, 1)), Ok(Kind::LinuxElf));
    }

    #[test]
    fn a_setup_header_makes_a_bzimage_even_behind_a_pe_header() {
        let mut bytes = vec![0; 1024];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x1fe..0x206].copy_from_slice(&[0x55, 0xaa, 0xeb, 0x66, b'H', b'd', b'r', b'S']);
        assert_eq!(detect(&bytes), Ok(Kind::BzImage));
    }

    #[test]
    fn what_cannot_be_booted_is_called_by_its_name() {
        assert_eq!(detect(&elf(1, 1)), Err(Found::Elf32));
        assert_eq!(detect(&elf(2, 2)), Err(Found::ElfBigEndian));
        assert_eq!(detect(&[]), Err(Found::EmptyFile));
        assert_eq!(detect(b"MZ\x90\0"), Err(Found::Pe));
        assert_eq!(detect(&[0x1f, 0x8b, 8, 0]), Err(Found::Compressed("gzip")));
        assert_eq!(detect(&[0x28, 0xb5, 0x2f, 0xfd, 0]), Err(Found::Compressed("zstd")));
        assert_eq!(detect(b"#!/bin/sh\n"), Err(Found::Text));
        assert_eq!(detect(&[1, 2]), Err(Found::Unknown(0x0102_0000)));
    }

    #[test]
    fn multiboot_kernels_are_told_from_others_by_a_header_with_a_right_checksum() {
        let mut bytes = elf(1, 1);
        let header = [0x1bad_b002u32, 3, 0u32.wrapping_sub(0x1bad_b002 + 3)];
        for (n, word) in header.iter().enumerate() {
            bytes[0x100 + n * 4..0x104 + n * 4].copy_from_slice(&word.to_le_bytes());
        }
        assert_eq!(detect(&bytes), Err(Found::Multiboot(1)));
        bytes[0x104] ^= 1;
        assert_eq!(detect(&bytes), Err(Found::Elf32));
    }

    #[test]
    fn the_message_says_what_was_found() {
        assert_eq!(Found::Multiboot(2).to_string(), "a Multiboot 2 kernel, not supported yet");
        assert_eq!(Found::Unknown(0xcafe_babe).to_string(), "an unknown format (first bytes cafebabe)");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = detect(&bytes);
        }
    }
}
