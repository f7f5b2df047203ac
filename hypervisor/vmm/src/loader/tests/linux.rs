//! Linux, as ELF file and as bzImage.

use super::*;
use crate::testing::{elf_32_with, note};

/// A bzImage of protocol 2.15: two setup sectors, 0x2000 bytes of kernel at 1 MiB, 2 MiB of `init_size`.
pub fn bzimage() -> Vec<u8> {
    let mut bytes = vec![0; 3 * 512];
    bytes.extend(vec![0xb2; 0x2000]);
    bytes[0x1f1] = 2;
    bytes[0x1f4..0x1f8].copy_from_slice(&0x200u32.to_le_bytes());
    bytes[0x1fe..0x202].copy_from_slice(&[0x55, 0xaa, 0xeb, 0x6a]);
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    bytes[0x22c..0x230].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    bytes[0x236..0x238].copy_from_slice(&1u16.to_le_bytes());
    bytes[0x238..0x23c].copy_from_slice(&2047u32.to_le_bytes());
    bytes[0x258..0x260].copy_from_slice(&(MIB).to_le_bytes());
    bytes[0x260..0x264].copy_from_slice(&(2 * MIB as u32).to_le_bytes());
    bytes
}

#[test]
fn segments_go_to_their_physical_addresses_and_the_rest_of_them_is_zero() {
    let memory = FlatMemory::new(RAM_BYTES);
    memory.put(0x20_0000, &[0xff; 0x4000]);
    let loaded = load_with(&elf(), None, "", &memory).unwrap();
    assert_eq!(loaded.kind, Kind::LinuxElf);
    assert_eq!(loaded.kernel, Extent { start: 0x10_0000, end: 0x20_4000 });
    assert_eq!(memory.bytes(0x10_0000, 0x1000), vec![0xc5; 0x1000]);
    assert_eq!(memory.bytes(0x20_0000, 0x1000), vec![0xc5; 0x1000]);
    assert_eq!(memory.bytes(0x20_1000, 0x3000), vec![0; 0x3000]);
}

#[test]
fn the_vcpu_starts_in_64_bit_mode_at_the_entry_with_the_zero_page_in_rsi() {
    let memory = FlatMemory::new(RAM_BYTES);
    let state = load_with(&elf(), None, "", &memory).unwrap().state;
    assert_eq!(state.rip, 0x10_0010);
    assert_eq!(state.gprs.get(Gpr::Rsi), INFO);
    assert_eq!(state.rflags, 2);
    assert_eq!((state.cs.selector, state.ds.selector), (0x10, 0x18));
    assert_eq!(state.efer, efer::LME | efer::LMA);
    let gdt = memory.bytes(state.gdtr.base, usize::from(state.gdtr.limit) + 1);
    assert_eq!(&gdt[0x10..0x18], &0x00af_9b00_0000_ffff_u64.to_le_bytes());
}

#[test]
fn the_page_tables_map_the_first_4_gib_to_themselves() {
    let memory = FlatMemory::new(RAM_BYTES);
    let state = load_with(&elf(), None, "", &memory).unwrap().state;
    let entry = |table: u64, index: u64| {
        let bytes = memory.bytes((table & !0xfff) + index * 8, 8);
        u64::from_le_bytes(bytes.try_into().unwrap())
    };
    let pdpt = entry(state.cr3, 0);
    for address in [0, 0x20_0000, 0xfee0_0000_u64] {
        let directory = entry(pdpt, address >> 30);
        assert_eq!(entry(directory, address >> 21 & 511), address | 0x83, "{address:#x}");
    }
    assert_eq!(entry(state.cr3, 1), 0);
    assert_eq!(entry(pdpt, 4), 0);
}

#[test]
fn the_zero_page_tells_memory_map_command_line_and_rsdp() {
    let memory = FlatMemory::new(RAM_BYTES);
    load_with(&elf(), None, "console=ttyS0", &memory).unwrap();
    assert_eq!(memory.bytes(field(&memory, 0x228, 4), 14), b"console=ttyS0\0");
    assert_eq!(field(&memory, 0x070, 8), 0xe_0000);
    assert_eq!(memory.bytes(0xe_0000, 8), b"RSD PTR ");
    assert_eq!(field(&memory, 0x1fe, 2), 0xaa55);
    let entries: Vec<_> = (0..field(&memory, 0x1e8, 1))
        .map(|n| 0x2d0 + n * 20)
        .map(|at| (field(&memory, at, 8), field(&memory, at + 8, 8), field(&memory, at + 16, 4)))
        .collect();
    assert_eq!(entries, [(0, 0xa_0000, 1), (0xa_0000, 0x6_0000, 2), (MIB, 15 * MIB, 1)]);
}

#[test]
fn the_initial_ram_disk_lies_page_aligned_at_the_top_of_memory() {
    let memory = FlatMemory::new(RAM_BYTES);
    let initrd = load_with(&elf(), Some(&[7; 5000]), "", &memory).unwrap().initrd.unwrap();
    assert_eq!(initrd, Extent { start: RAM_BYTES - 8192, end: RAM_BYTES - 8192 + 5000 });
    assert_eq!(memory.bytes(initrd.start, 5000), vec![7; 5000]);
    assert_eq!((field(&memory, 0x218, 4), field(&memory, 0x21c, 4)), (initrd.start, 5000));
}

#[test]
fn an_initial_ram_disk_obeys_the_kernels_highest_address() {
    let mut kernel = bzimage();
    kernel[0x22c..0x230].copy_from_slice(&0x7f_ffffu32.to_le_bytes());
    let initrd =
        load_with(&kernel, Some(&[7; 4096]), "", &FlatMemory::new(RAM_BYTES)).unwrap().initrd.unwrap();
    assert_eq!(initrd.end, 0x80_0000);
}

#[test]
fn an_initial_ram_disk_that_does_not_fit_is_refused_by_its_own_name() {
    let large = vec![0; 14 * MIB as usize];
    let error = load_with(&elf(), Some(&large), "", &FlatMemory::new(RAM_BYTES)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "initramfs.cpio: 14M do not fit beside the kernel, there is room for 14320K; give the VM more memory"
    );
}

#[test]
fn a_bzimage_goes_to_its_preferred_address_and_is_entered_behind_its_first_sector() {
    let memory = FlatMemory::new(RAM_BYTES);
    let loaded = load_with(&bzimage(), None, "quiet", &memory).unwrap();
    assert_eq!(loaded.kind, Kind::BzImage);
    assert_eq!(loaded.kernel, Extent { start: MIB, end: 3 * MIB });
    assert_eq!(loaded.state.rip, MIB + 0x200);
    assert_eq!(memory.bytes(MIB, 0x2000), vec![0xb2; 0x2000]);
    // The setup header was copied, and completed.
    assert_eq!(field(&memory, 0x258, 8), MIB);
    assert_eq!(field(&memory, 0x210, 1), 0xff);
    assert_eq!(field(&memory, 0x211, 1) & 1, 1);
}

#[test]
fn bytes_behind_a_bzimages_kernel_are_not_loaded() {
    let memory = FlatMemory::new(RAM_BYTES);
    let mut signed = bzimage();
    signed.extend([0xee; 64]);
    load_with(&signed, None, "", &memory).unwrap();
    assert_eq!(memory.bytes(MIB + 0x2000, 64), vec![0; 64]);
}

#[test]
fn a_bzimage_older_than_protocol_2_12_is_refused() {
    let mut old = bzimage();
    old[0x206..0x208].copy_from_slice(&0x020b_u16.to_le_bytes());
    assert_eq!(problem_with(&old), Problem::OldProtocol { version: 0x020b });
}

#[test]
fn a_bzimage_without_64_bit_entry_is_entered_in_protected_mode_at_its_start() {
    let mut narrow = bzimage();
    narrow[0x236] = 0;
    let memory = FlatMemory::new(RAM_BYTES);
    let state = load_with(&narrow, None, "", &memory).unwrap().state;
    assert_eq!((state.rip, state.gprs.get(Gpr::Rsi), state.gprs.get(Gpr::Rbx)), (MIB, INFO, 0));
    assert_protected_mode(&state, &memory);
}

#[test]
fn a_vmlinux_of_32_bits_is_entered_in_protected_mode() {
    let memory = FlatMemory::new(RAM_BYTES);
    let text = Phdr { offset: 0x1000, paddr: 0x10_0000, filesz: 0x1000, memsz: 0x1000 };
    let kernel = elf_32_with(0x10_0010, &[text], &note(b"Linux\0", 0x101, &[0; 4]));
    let loaded = load_with(&kernel, None, "", &memory).unwrap();
    assert_eq!((loaded.kind, loaded.state.rip), (Kind::LinuxElf, 0x10_0010));
    assert_eq!(loaded.state.gprs.get(Gpr::Rsi), INFO);
    assert_protected_mode(&loaded.state, &memory);
}

#[test]
fn a_bzimage_needs_its_init_size_of_memory() {
    let mut large = bzimage();
    large[0x260..0x264].copy_from_slice(&(16 * MIB as u32).to_le_bytes());
    let expected =
        Problem::OutsideMemory { part: Part::Kernel, start: MIB, len_bytes: 16 * MIB, ram_end: RAM_BYTES };
    assert_eq!(problem_with(&large), expected);
}

#[test]
fn files_that_were_cut_short_are_refused_with_what_is_missing() {
    let whole = bzimage();
    let cut = Problem::Truncated { part: Part::Kernel, needed_bytes: 0x2600, found_bytes: 0x2500 };
    assert_eq!(problem_with(&whole[..0x2500]), cut);
    assert!(matches!(problem_with(&whole[..0x230]), Problem::Truncated { part: Part::Header, .. }));
    let whole = elf();
    let cut = Problem::Truncated { part: Part::Segment(1), needed_bytes: 0x3000, found_bytes: 0x2fff };
    assert_eq!(problem_with(&whole[..0x2fff]), cut);
    assert!(matches!(problem_with(&whole[..20]), Problem::Truncated { part: Part::Header, .. }));
}

#[test]
fn an_elf_file_for_another_machine_is_refused() {
    let mut arm = elf();
    arm[18] = 183;
    assert_eq!(problem_with(&arm), Problem::WrongMachine(183));
}

#[test]
fn segments_outside_memory_are_refused_with_the_remedy() {
    let segment = |paddr| Phdr { offset: 0x1000, paddr, filesz: 0x1000, memsz: 0x1000 };
    let message = |paddr| {
        let kernel = elf_with(paddr, &[segment(paddr)]);
        load_with(&kernel, None, "", &FlatMemory::new(RAM_BYTES)).unwrap_err().to_string()
    };
    assert_eq!(
        message(0x1000),
        "vmlinux: segment 0 wants memory 0x1000..0x2000, the VM has 0x100000..0x1000000; link it at 0x100000 or above"
    );
    assert_eq!(
        message(RAM_BYTES - 1),
        "vmlinux: segment 0 wants memory 0xffffff..0x1000fff, the VM has 0x100000..0x1000000; \
         give the VM at least 17M of memory, or link it lower"
    );
    assert!(message(u64::MAX).contains("give the VM at least"));
}

#[test]
fn segments_that_overlap_are_refused() {
    let a = Phdr { offset: 0x1000, paddr: 0x10_0000, filesz: 0x1000, memsz: 0x2000 };
    let b = Phdr { offset: 0x1000, paddr: 0x10_1000, filesz: 0x1000, memsz: 0x1000 };
    let kernel = elf_with(0x10_0000, &[a, b]);
    assert_eq!(problem_with(&kernel), Problem::Overlap { first: 0, second: 1, at: 0x10_1000 });
}

#[test]
fn an_entry_outside_every_segment_is_refused() {
    let text = Phdr { offset: 0x1000, paddr: 0x10_0000, filesz: 0x1000, memsz: 0x1000 };
    assert_eq!(problem_with(&elf_with(0x10_1000, &[text])), Problem::EntryOutside(0x10_1000));
}

#[test]
fn a_file_without_segments_is_refused() {
    assert_eq!(problem_with(&elf_with(0, &[])), Problem::Empty);
}

#[test]
fn a_command_line_must_fit_and_hold_no_nul() {
    let memory = FlatMemory::new(RAM_BYTES);
    let long = "x".repeat(2048);
    let too_long = load_with(&elf(), None, &long, &memory).unwrap_err().problem;
    assert_eq!(too_long, Problem::CommandLineTooLong { len_bytes: 2048, max_bytes: 2047 });
    let nul = load_with(&elf(), None, "a\0b", &memory).unwrap_err().problem;
    assert_eq!(nul, Problem::CommandLineHasNul { at: 1 });
}
