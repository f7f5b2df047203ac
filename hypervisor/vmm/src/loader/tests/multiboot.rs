//! Multiboot kernels, ELF and flat.

use super::*;
use crate::testing::elf_32_with;

/// Where the header is in [`flat`] and [`elf_32`].
const OFFSET: usize = 0x200;
const LOAD: u32 = 0x10_0000;
const ADDRESSES: u32 = 1 << 16;

fn put(bytes: &mut [u8], at: usize, words: &[u32]) {
    for (at, word) in (at..).step_by(4).zip(words) {
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
}

fn put_header(bytes: &mut [u8], at: usize, flags: u32) {
    put(bytes, at, &[0x1bad_b002, flags, 0_u32.wrapping_sub(0x1bad_b002).wrapping_sub(flags)]);
}

/// A flat kernel of 0x2000 bytes, the first 0x100 of which are not loaded, with these addresses.
fn flat_with(flags: u32, addresses: [u32; 5]) -> Vec<u8> {
    let mut bytes = vec![0xc5; 0x2000];
    put_header(&mut bytes, OFFSET, flags | ADDRESSES);
    put(&mut bytes, OFFSET + 12, &addresses);
    bytes
}

/// The addresses of a flat kernel: header, load, end of loading, end, entry.
const FLAT: [u32; 5] = [LOAD + 0x100, LOAD, LOAD + 0x1000, LOAD + 0x3000, LOAD + 0x40];

pub fn flat() -> Vec<u8> {
    flat_with(3, FLAT)
}

pub fn elf_32() -> Vec<u8> {
    let text = Phdr { offset: 0x1000, paddr: 0x10_0000, filesz: 0x1000, memsz: 0x2000 };
    let mut bytes = elf_32_with(LOAD + 8, &[text], &[]);
    put_header(&mut bytes, OFFSET, 3);
    bytes
}

#[test]
fn a_flat_kernel_goes_where_its_header_says_and_the_rest_is_zero() {
    let memory = FlatMemory::new(RAM_BYTES);
    memory.put(0x10_1000, &[0xff; 0x2000]);
    let kernel = flat();
    let loaded = load_with(&kernel, None, "", &memory).unwrap();
    assert_eq!(loaded.kind, Kind::Multiboot);
    assert_eq!(loaded.kernel, Extent { start: 0x10_0000, end: 0x10_3000 });
    assert_eq!(memory.bytes(0x10_0000, 0x1000), kernel[0x100..0x1100]);
    assert_eq!(memory.bytes(0x10_1000, 0x2000), vec![0; 0x2000]);
    assert_eq!(loaded.state.rip, u64::from(LOAD) + 0x40);
}

#[test]
fn without_ends_a_flat_kernel_is_its_file() {
    let memory = FlatMemory::new(RAM_BYTES);
    let kernel = flat_with(0, [LOAD + 0x100, LOAD, 0, 0, LOAD]);
    let loaded = load_with(&kernel, None, "", &memory).unwrap();
    assert_eq!(loaded.kernel, Extent { start: 0x10_0000, end: 0x10_1f00 });
    assert_eq!(memory.bytes(0x10_0000, 0x1f00), kernel[0x100..]);
}

#[test]
fn an_elf_kernel_goes_where_its_segments_say() {
    let memory = FlatMemory::new(RAM_BYTES);
    let loaded = load_with(&elf_32(), None, "", &memory).unwrap();
    assert_eq!(loaded.kind, Kind::Multiboot);
    assert_eq!(loaded.kernel, Extent { start: 0x10_0000, end: 0x10_2000 });
    assert_eq!(loaded.state.rip, u64::from(LOAD) + 8);
}

#[test]
fn it_is_entered_in_protected_mode_with_the_magic_in_eax_and_the_information_in_ebx() {
    let memory = FlatMemory::new(RAM_BYTES);
    let state = load_with(&flat(), None, "", &memory).unwrap().state;
    assert_eq!((state.gprs.get(Gpr::Rax), state.gprs.get(Gpr::Rbx)), (0x2bad_b002, INFO));
    assert_protected_mode(&state, &memory);
}

#[test]
fn the_information_tells_memory_command_line_and_loader() {
    let memory = FlatMemory::new(RAM_BYTES);
    load_with(&flat(), None, "quiet", &memory).unwrap();
    assert_eq!(field(&memory, 0, 4), 0b10_0100_1101);
    assert_eq!((field(&memory, 4, 4), field(&memory, 8, 4)), (640, 15 * 1024));
    assert_eq!(memory.bytes(field(&memory, 16, 4), 6), b"quiet\0");
    assert_eq!(memory.bytes(field(&memory, 64, 4), 10), b"Cofferdam\0");
    let (len, map) = (field(&memory, 44, 4), field(&memory, 48, 4));
    let entries: Vec<_> = (map..map + len)
        .step_by(24)
        .map(|at| {
            assert_eq!(number(&memory, at, 4), 20);
            (number(&memory, at + 4, 8), number(&memory, at + 12, 8), number(&memory, at + 20, 4))
        })
        .collect();
    assert_eq!(entries, [(0, 0xa_0000, 1), (0xa_0000, 0x6_0000, 2), (MIB, 15 * MIB, 1)]);
}

#[test]
fn modules_are_page_aligned_and_have_their_strings() {
    let memory = FlatMemory::new(RAM_BYTES);
    let kernel = flat();
    let image = Image { modules: modules(), ..image(&kernel, Some(&[7; 10]), "") };
    load_image(&image, &memory).unwrap();
    let (count, list) = (field(&memory, 20, 4), field(&memory, 24, 4));
    let entries: Vec<_> = (0..count)
        .map(|n| list + n * 16)
        .map(|at| {
            let text = memory.bytes(number(&memory, at + 8, 4), 4);
            let text = text.split(|b| *b == 0).next().unwrap().to_vec();
            (number(&memory, at, 4), number(&memory, at + 4, 4), text)
        })
        .collect();
    let top = RAM_BYTES;
    assert_eq!(
        entries,
        [
            (top - 0x1000, top - 0x1000 + 10, b"".to_vec()),
            (top - 0x3000, top - 0x3000 + 5000, b"a b".to_vec()),
            (top - 0x4000, top - 0x4000 + 100, b"".to_vec()),
        ]
    );
    assert_eq!(memory.bytes(top - 0x4000, 100), vec![2; 100]);
}

#[test]
fn a_wish_for_a_video_mode_is_no_reason_to_refuse_but_unknown_requirements_are() {
    assert!(load_with(&flat_with(7, FLAT), None, "", &FlatMemory::new(RAM_BYTES)).is_ok());
    assert_eq!(
        error_with(&flat_with(0x8001, FLAT)).to_string(),
        "vmlinux: its Multiboot header requires what is unknown here (flags 0x8000); build it without"
    );
    // The upper half are only offers.
    assert!(load_with(&flat_with(0x8000_0000, FLAT), None, "", &FlatMemory::new(RAM_BYTES)).is_ok());
}

#[test]
fn a_header_counts_only_within_8_kib_on_a_boundary_with_a_right_checksum() {
    let at = |offset: usize| {
        let mut bytes = vec![0xc5; 0x4000];
        put_header(&mut bytes, offset, ADDRESSES);
        detect(&bytes)
    };
    assert_eq!(at(8192 - 12), Ok(Kind::Multiboot));
    assert!(at(8192 - 8).is_err() && at(2).is_err());
    let mut wrong = flat();
    wrong[OFFSET + 8] ^= 1;
    assert_eq!(
        error_with(&wrong).to_string(),
        "vmlinux: this is an unknown format (first bytes c5c5c5c5); \
         give a Linux vmlinux or bzImage, or a PVH or Multiboot 1 kernel"
    );
}

#[test]
fn addresses_that_contradict_each_other_are_refused() {
    let message = |change: fn(&mut [u32; 5])| {
        let mut addresses = FLAT;
        change(&mut addresses);
        error_with(&flat_with(0, addresses)).to_string()
    };
    let damaged = |what: &str| std::format!("vmlinux: damaged kernel: {what}; build or copy it again");
    let before = damaged("its Multiboot load address lies before the file's first byte");
    assert_eq!(message(|a| a[0] = LOAD - 4), before);
    assert_eq!(message(|a| a[0] = LOAD + 0x204), before);
    assert_eq!(message(|a| a[2] = LOAD - 1), damaged("its Multiboot load_end_addr is too low"));
    assert_eq!(message(|a| a[3] = LOAD + 0xfff), damaged("its Multiboot bss_end_addr is too low"));
    assert_eq!(
        message(|a| a[4] = LOAD + 0x3000),
        "vmlinux: the entry 0x103000 lies in no loaded segment; it must be a physical address"
    );
    assert_eq!(
        message(|a| a[2] = LOAD + 0x1f01),
        "vmlinux: the file is truncated: the Multiboot image needs 8193 bytes, the file has 8192; copy it again"
    );
    assert_eq!(
        message(|a| a[3] = u32::MAX),
        "vmlinux: the Multiboot image wants memory 0x100000..0xffffffff, the VM has 0x100000..0x1000000; \
         give the VM at least 4G of memory, or link it lower"
    );
}

#[test]
fn a_kernel_that_is_neither_elf_nor_has_addresses_is_refused() {
    let mut kernel = flat();
    put_header(&mut kernel, OFFSET, 0);
    assert_eq!(
        error_with(&kernel).to_string(),
        "vmlinux: damaged kernel: it is no ELF file, and its Multiboot header tells no addresses; \
         build or copy it again"
    );
}

#[test]
fn a_header_that_the_file_cuts_is_refused() {
    let expected =
        Problem::Truncated { part: Part::MultibootHeader, needed_bytes: 0x220, found_bytes: 0x21f };
    assert_eq!(problem_with(&flat()[..0x21f]), expected);
}
