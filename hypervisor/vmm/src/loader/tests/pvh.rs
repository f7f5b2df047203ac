//! ELF kernels with a PVH note.

use super::*;
use crate::testing::{elf_32_with, note};

const ENTRY: u32 = 0x10_0020;

fn pvh_note(desc: &[u8]) -> Vec<u8> {
    note(b"Xen\0", 18, desc)
}

fn with_notes(notes: &[u8]) -> Vec<u8> {
    let text = Phdr { offset: 0x1000, paddr: 0x10_0000, filesz: 0x1000, memsz: 0x1000 };
    let data = Phdr { offset: 0x2000, paddr: 0x20_0000, filesz: 0x1000, memsz: 0x4000 };
    elf_32_with(0xc010_0000, &[text, data], notes)
}

/// A kernel whose entry in the ELF header is a virtual address, as Xen's is.
pub fn kernel() -> Vec<u8> {
    with_notes(&pvh_note(&ENTRY.to_le_bytes()))
}

#[test]
fn it_is_entered_in_protected_mode_at_its_notes_address_with_the_start_info_in_ebx() {
    let memory = FlatMemory::new(RAM_BYTES);
    let loaded = load_with(&kernel(), None, "", &memory).unwrap();
    assert_eq!(loaded.kind, Kind::Pvh);
    assert_eq!(loaded.kernel, Extent { start: 0x10_0000, end: 0x20_4000 });
    assert_eq!((loaded.state.rip, loaded.state.gprs.get(Gpr::Rbx)), (ENTRY.into(), INFO));
    assert_protected_mode(&loaded.state, &memory);
    assert_eq!((field(&memory, 0, 4), field(&memory, 4, 4), field(&memory, 8, 4)), (0x336e_c578, 1, 0));
}

#[test]
fn the_start_info_tells_command_line_rsdp_and_memory_map() {
    let memory = FlatMemory::new(RAM_BYTES);
    load_with(&kernel(), None, "quiet", &memory).unwrap();
    assert_eq!(memory.bytes(field(&memory, 24, 8), 6), b"quiet\0");
    assert_eq!(field(&memory, 32, 8), 0xe_0000);
    assert_eq!(field(&memory, 12, 4), 0);
    let map = field(&memory, 40, 8);
    let entries: Vec<_> = (0..field(&memory, 48, 4))
        .map(|n| map + n * 24)
        .map(|at| (number(&memory, at, 8), number(&memory, at + 8, 8), number(&memory, at + 16, 8)))
        .collect();
    assert_eq!(entries, [(0, 0xa_0000, 1), (0xa_0000, 0x6_0000, 2), (MIB, 15 * MIB, 1)]);
}

#[test]
fn the_initial_ram_disk_is_the_first_module_and_each_has_its_command_line() {
    let memory = FlatMemory::new(RAM_BYTES);
    let kernel = kernel();
    let image = Image { modules: modules(), ..image(&kernel, Some(&[7; 10]), "") };
    let loaded = load_image(&image, &memory).unwrap();
    let list = field(&memory, 16, 8);
    let entries: Vec<_> = (0..field(&memory, 12, 4))
        .map(|n| list + n * 32)
        .map(|at| {
            let text = memory.bytes(number(&memory, at + 16, 8), 4);
            assert_eq!(number(&memory, at + 24, 8), 0);
            (
                number(&memory, at, 8),
                number(&memory, at + 8, 8),
                text.split(|b| *b == 0).next().unwrap().to_vec(),
            )
        })
        .collect();
    assert_eq!(
        entries,
        [
            (RAM_BYTES - 0x1000, 10, b"".to_vec()),
            (RAM_BYTES - 0x3000, 5000, b"a b".to_vec()),
            (RAM_BYTES - 0x4000, 100, b"".to_vec()),
        ]
    );
    assert_eq!(loaded.initrd.unwrap().len_bytes(), 10);
    assert_eq!(loaded.modules.iter().map(|m| m.len_bytes()).collect::<Vec<_>>(), [5000, 100]);
    assert_eq!(memory.bytes(RAM_BYTES - 0x3000, 5000), vec![1; 5000]);
}

#[test]
fn the_note_may_hold_four_bytes_or_eight_and_stand_behind_others() {
    let long = [note(b"GNU\0", 3, &[1; 20]), pvh_note(&u64::from(ENTRY).to_le_bytes())].concat();
    let loaded = load_with(&with_notes(&long), None, "", &FlatMemory::new(RAM_BYTES)).unwrap();
    assert_eq!((loaded.kind, loaded.state.rip), (Kind::Pvh, ENTRY.into()));
    assert_eq!(
        error_with(&with_notes(&pvh_note(&[1, 2]))).to_string(),
        "vmlinux: damaged kernel: its PVH note holds no address; build or copy it again"
    );
}

#[test]
fn linux_with_a_pvh_note_is_entered_by_its_own_protocol() {
    let notes = [pvh_note(&ENTRY.to_le_bytes()), note(b"Linux\0", 0x101, &[0; 4])].concat();
    assert_eq!(detect(&with_notes(&notes)), Ok(Kind::LinuxElf));
}

#[test]
fn other_notes_make_no_pvh_kernel() {
    let notes = [note(b"Xen\0", 6, b"bsd\0"), note(b"Tin\0", 18, &ENTRY.to_le_bytes())].concat();
    assert_eq!(
        error_with(&with_notes(&notes)).to_string(),
        "vmlinux: this is a 32-bit ELF file without PVH note or Multiboot header; \
         give a Linux vmlinux or bzImage, or a PVH or Multiboot 1 kernel"
    );
}

#[test]
fn an_entry_outside_the_kernel_is_refused() {
    let kernel = with_notes(&pvh_note(&0x30_0000_u32.to_le_bytes()));
    assert_eq!(
        error_with(&kernel).to_string(),
        "vmlinux: the entry 0x300000 lies in no loaded segment; it must be a physical address"
    );
}

#[test]
fn notes_behind_the_files_end_are_missed_by_name() {
    let cut = kernel();
    let missing = Problem::Truncated { part: Part::Segment(2), needed_bytes: 0x814, found_bytes: 0x810 };
    assert_eq!(problem_with(&cut[..0x810]), missing);
}

#[test]
fn more_modules_than_the_list_holds_are_refused_by_the_first_that_is_too_many() {
    let kernel = kernel();
    let module = Module { file: File { name: "many", bytes: &[] }, arguments: "" };
    let mut image = Image { modules: vec![module; MODULES_MAX], ..image(&kernel, Some(&[]), "") };
    assert!(load_image(&image, &FlatMemory::new(RAM_BYTES)).is_ok());
    image.modules.push(Module { file: File { name: "last", bytes: &[] }, arguments: "" });
    let error = load_image(&image, &FlatMemory::new(RAM_BYTES)).unwrap_err();
    assert_eq!(error.to_string(), "last: more than 64 modules; remove some");
}

#[test]
fn modules_and_arguments_that_do_not_fit_are_refused_by_their_own_name() {
    let kernel = kernel();
    let (large, long) = (vec![0; 14 * MIB as usize], "x".repeat(0x8_0000));
    let refused = |bytes, arguments| {
        let modules = vec![Module { file: File { name: "module", bytes }, arguments }];
        let image = Image { modules, ..image(&kernel, None, "") };
        load_image(&image, &FlatMemory::new(RAM_BYTES)).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&large, ""),
        "module: 14M do not fit beside the kernel, there is room for 14320K; give the VM more memory"
    );
    assert_eq!(
        refused(&[], &long),
        "module: its arguments have 524288 bytes, there is room for 524286; shorten them"
    );
}
