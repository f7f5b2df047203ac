//! The file is built by hand, so that each of its fields can be broken.

use super::*;
use alloc::string::ToString;
use alloc::vec;

/// A small hypervisor: R+X at 0, R (relro) with a dynamic table and one relocation at 0x1000, R+W at 0x2000.
struct Sample {
    bytes: Vec<u8>,
}

const DYNAMIC_AT: usize = 0x1000;
const RELA_AT: usize = 0x1100;

fn header(kind: u32, flags: u32, address: u64, file_bytes: u64, memory_bytes: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    for value in [address, address, address, file_bytes, memory_bytes, PAGE_BYTES] {
        bytes.extend(value.to_le_bytes());
    }
    bytes
}

impl Sample {
    fn new() -> Self {
        let mut bytes = vec![0_u8; 0x2010];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        let mut sample = Self { bytes };
        sample.put16(16, abi::ET_DYN).put16(18, abi::EM_X86_64).put32(20, 1);
        sample.put64(24, 0x800).put64(32, 64).put16(52, 64).put16(54, 56).put16(56, 5);
        let headers = [
            header(abi::PT_LOAD, abi::PF_R | abi::PF_X, 0, 0x900, 0x900),
            header(abi::PT_LOAD, abi::PF_R | abi::PF_W, 0x1000, 0x200, 0x1000),
            header(abi::PT_LOAD, abi::PF_R | abi::PF_W, 0x2000, 0x10, 0x1800),
            header(abi::PT_DYNAMIC, abi::PF_R, DYNAMIC_AT as u64, 0x40, 0x40),
            header(abi::PT_GNU_RELRO, abi::PF_R, 0x1000, 0x200, 0x1000),
        ];
        sample.bytes[64..64 + 5 * 56].copy_from_slice(&headers.concat());
        for (i, (tag, value)) in
            [(abi::DT_RELA, RELA_AT as u64), (abi::DT_RELASZ, 24), (abi::DT_RELAENT, 24)].iter().enumerate()
        {
            sample.put64(DYNAMIC_AT + 16 * i, *tag as u64).put64(DYNAMIC_AT + 16 * i + 8, *value);
        }
        sample.put64(RELA_AT, 0x1180).put64(RELA_AT + 8, 8).put64(RELA_AT + 16, 0x2004);
        sample
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn put16(&mut self, at: usize, value: u16) -> &mut Self {
        self.put(at, &value.to_le_bytes())
    }

    fn put32(&mut self, at: usize, value: u32) -> &mut Self {
        self.put(at, &value.to_le_bytes())
    }

    fn put64(&mut self, at: usize, value: u64) -> &mut Self {
        self.put(at, &value.to_le_bytes())
    }
}

/// The offset of a field of program header `index`.
fn field(index: usize, offset: usize) -> usize {
    64 + 56 * index + offset
}

fn message(change: impl FnOnce(&mut Sample)) -> alloc::string::String {
    let mut sample = Sample::new();
    change(&mut sample);
    Image::parse(&sample.bytes).unwrap_err().to_string()
}

#[test]
fn a_sound_file_is_loaded_and_relocated() {
    let sample = Sample::new();
    let image = Image::parse(&sample.bytes).unwrap();
    assert_eq!((image.len_bytes(), image.entry_offset_bytes()), (0x4000, 0x800));
    let mut memory = vec![0xCC; 0x4000];
    image.load(&mut memory, 0xFFFF_FFFF_8020_0000).unwrap();
    assert_eq!(memory[0x1180..0x1188], 0xFFFF_FFFF_8020_2004_u64.to_le_bytes());
    assert_eq!(memory[..4], *b"\x7fELF");
    assert!(memory[0x2010..].iter().all(|&b| b == 0));
}

#[test]
fn parts_have_one_protection_and_relro_is_read_only() {
    let sample = Sample::new();
    let segment = |offset_bytes, len_bytes, protection| Segment { offset_bytes, len_bytes, protection };
    assert_eq!(
        Image::parse(&sample.bytes).unwrap().segments(),
        [
            segment(0, 0x1000, Protection::ReadExecute),
            segment(0x1000, 0x1000, Protection::ReadOnly),
            segment(0x2000, 0x2000, Protection::ReadWrite),
        ]
    );
}

#[test]
fn what_is_no_such_file_is_refused_by_name() {
    assert_eq!(Image::parse(b"MZ").unwrap_err(), ElfError::NotElf);
    assert_eq!(Image::parse(b"").unwrap_err(), ElfError::NotElf);
    assert_eq!(Image::parse(b"\x7fELF\x02").unwrap_err(), ElfError::Truncated);
    assert_eq!(message(|s| s.bytes.truncate(0x1800)), "truncated");
    assert_eq!(message(|s| s.bytes[5] = 2), "a big-endian ELF file");
    assert_eq!(message(|s| s.bytes[4] = 1), "not a 64-bit ELF file");
    assert_eq!(message(|s| _ = s.put16(18, 183)), "for machine 183, not 62 (x86-64)");
    assert_eq!(message(|s| _ = s.put16(16, 2)), "of ELF type 2, not 3 (position-independent)");
    assert_eq!(message(|s| _ = s.put16(56, 0)), "malformed list of segments");
}

#[test]
fn segments_that_break_the_rules_are_refused_by_name() {
    assert_eq!(
        message(|s| _ = s.put32(field(0, 4), 7)),
        "the segment at 0x0 is both writable and executable"
    );
    assert_eq!(
        message(|s| _ = s.put64(field(0, 40), 0x1001)),
        "the segment at 0x1000 shares a page or is out of order"
    );
    assert_eq!(message(|s| _ = s.put64(field(0, 32), 0x901)), "malformed length of a segment");
    assert_eq!(message(|s| _ = s.put64(field(2, 16), u64::MAX - 0x800)), "malformed address of a segment");
    assert_eq!(
        message(|s| _ = s.put64(field(2, 40), 65 << 20)),
        "68165632 bytes in memory, more than 67108864"
    );
    assert_eq!(message(|s| _ = s.put64(24, 0x1000)), "the entry 0x1000 is not executable");
    assert_eq!(message(|s| _ = s.put32(field(4, 0), abi::PT_INTERP)), "not static: it needs an interpreter");
    assert_eq!(
        message(|s| _ = s.put32(field(4, 0), abi::PT_TLS)),
        "not static: it needs thread-local storage"
    );
}

#[test]
fn relocations_that_break_the_rules_are_refused_by_name() {
    assert_eq!(
        message(|s| _ = s.put64(RELA_AT + 8, 6)),
        "the relocation at 0x1180 is of kind 6, not 8 (relative)"
    );
    for (place, value) in
        [(0x10, 0x2004), (0x2FFC, 0x4001), (0x1FFC, 0x2000), (0x1180, u64::MAX), (u64::MAX, 0)]
    {
        assert_eq!(
            message(|s| _ = s.put64(RELA_AT, place).put64(RELA_AT + 16, value)),
            alloc::format!("the relocation at {place:#x} to {value:#x} leaves the image or changes code")
        );
    }
    assert_eq!(message(|s| _ = s.put64(DYNAMIC_AT + 24, 25)), "malformed length of the relocations");
    assert_eq!(message(|s| _ = s.put64(DYNAMIC_AT + 8, 0x9000)), "malformed place of the relocations");
    assert_eq!(
        message(|s| _ = s.put64(DYNAMIC_AT + 32, 23)),
        "not static: it needs a procedure linkage table"
    );
}

/// A sample whose relocations are packed: `entries`, and values at 0x1180 and behind.
fn packed(entries: &[u64]) -> Sample {
    let mut sample = Sample::new();
    let dynamic = [(36, RELA_AT as u64), (35, 8 * entries.len() as u64), (37, 8)];
    for (i, (tag, value)) in dynamic.into_iter().enumerate() {
        sample.put64(DYNAMIC_AT + 16 * i, tag).put64(DYNAMIC_AT + 16 * i + 8, value);
    }
    for (i, entry) in entries.iter().enumerate() {
        sample.put64(RELA_AT + 8 * i, *entry);
    }
    for i in 0..8 {
        sample.put64(0x1180 + 8 * i, 0x2000 + i as u64);
    }
    sample
}

#[test]
fn packed_relocations_are_places_and_bitmaps_of_what_is_behind_them() {
    let relocated = |entries: &[u64]| {
        let sample = packed(entries);
        let image = Image::parse(&sample.bytes).unwrap();
        let mut memory = vec![0; image.len_bytes() as usize];
        image.load(&mut memory, 0x10_0000).unwrap();
        let word = |at: usize| u64::from_le_bytes(memory[at..at + 8].try_into().unwrap());
        (0..8).filter(|i| word(0x1180 + 8 * i) == 0x10_2000 + *i as u64).collect::<Vec<_>>()
    };
    assert_eq!(relocated(&[0x1180]), [0]);
    assert_eq!(relocated(&[0x1188, 0b1011]), [1, 2, 4]);
    assert_eq!(relocated(&[0x1180, 0x1198]), [0, 3]);
}

#[test]
fn packed_relocations_that_break_the_rules_are_refused() {
    let message = |entries: &[u64]| Image::parse(&packed(entries).bytes).unwrap_err().to_string();
    assert_eq!(message(&[0x1188, 0x1180]), "malformed order of the packed relocations");
    for entries in [&[0x10_u64][..], &[0b11], &[0x11fc], &[u64::MAX - 1, u64::MAX], &[0x2008, 0b111]] {
        assert!(message(entries).contains("leaves the image"), "{entries:x?}");
    }
}

#[test]
fn an_image_needs_memory_of_its_length() {
    let sample = Sample::new();
    let image = Image::parse(&sample.bytes).unwrap();
    assert_eq!(image.load(&mut [0; 16], 0), Err(ElfError::WrongMemory(16)));
}

/// Parses and, if that works, loads.
fn try_all(file: &[u8]) {
    if let Ok(image) = Image::parse(file) {
        let mut memory = vec![0; image.len_bytes() as usize];
        image.load(&mut memory, 0xFFFF_FFFF_8000_0000).unwrap();
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        try_all(&bytes);
    }

    #[test]
    fn a_damaged_file_never_panics(at in 0_usize..64 + 5 * 56, byte: u8, word: u64, table_at in 0_usize..0x140) {
        let mut sample = Sample::new();
        sample.bytes[at] = byte;
        try_all(&sample.bytes);
        sample.put64(DYNAMIC_AT + table_at, word);
        try_all(&sample.bytes);
        sample.put64(at & !7, word);
        try_all(&sample.bytes);
    }
}
