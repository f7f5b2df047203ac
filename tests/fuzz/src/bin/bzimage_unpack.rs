//! Kernels on the builder's side: whatever a bzImage carries is unpacked to an ELF file or refused with an error that can
//! be shown; and whatever an ELF file claims, stripping it gives a prefix of it, once and for all.
//!
//! The input: the way of compression u8, or 0xff for an ELF file as it is; the payload without its magic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xtask::guest::bzimage;
use xtask::image::without_sections;

/// What payloads begin with: LZ4's legacy frame, zstd, gzip, xz, nothing known.
const MAGICS: [&[u8]; 5] =
    [&[0x02, 0x21, 0x4c, 0x18], &[0x28, 0xb5, 0x2f, 0xfd], &[0x1f, 0x8b], b"\xfd7zXZ\0", b""];

const SETUP_SECTORS: usize = 1;
const PAYLOAD: usize = (SETUP_SECTORS + 1) * 512;

/// A bzImage of boot protocol 2.15 that carries `payload`.
fn bzimage(magic: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; PAYLOAD];
    file[0x1f1] = SETUP_SECTORS as u8;
    file[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
    let len_bytes = (magic.len() + payload.len()) as u32;
    file[0x24c..0x250].copy_from_slice(&len_bytes.to_le_bytes());
    file.extend(magic);
    file.extend(payload);
    file
}

fuzz_target!(|data: &[u8]| {
    match data {
        [0xff, elf @ ..] => {
            if let Ok(stripped) = without_sections(elf) {
                assert!(stripped.len() <= elf.len());
                assert_eq!(without_sections(&stripped).as_ref(), Ok(&stripped));
            }
        }
        [way, payload @ ..] => {
            match bzimage::unpack(&bzimage(MAGICS[usize::from(*way) % MAGICS.len()], payload)) {
                Ok(elf) => assert!(elf.starts_with(b"\x7fELF")),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        [] => assert!(bzimage::unpack(&[]).is_err()),
    }
});
