//! The loaders against synthetic kernels, damaged ones, and arbitrary bytes.

extern crate std;

mod linux;
mod multiboot;
mod pvh;

use super::*;
use crate::testing::{Phdr, elf_with};
use base::MIB;
use devices::acpi;
use proptest::prelude::*;
use seams::fake::FlatMemory;
use std::{string::ToString, vec, vec::Vec};
use vcpu::control::{cr0, efer};

const RAM_BYTES: u64 = 16 * MIB;
/// Where a kernel's information is.
const INFO: u64 = 0x2000;

/// A Linux kernel: text of 4 KiB at 1 MiB, data of 16 KiB at 2 MiB of which the file has 4 KiB.
fn elf() -> Vec<u8> {
    let text = Phdr { offset: 0x1000, paddr: 0x10_0000, filesz: 0x1000, memsz: 0x1000 };
    let data = Phdr { offset: 0x2000, paddr: 0x20_0000, filesz: 0x1000, memsz: 0x4000 };
    elf_with(0x10_0010, &[text, data])
}

fn image<'a>(kernel: &'a [u8], initrd: Option<&'a [u8]>, cmdline: &'a str) -> Image<'a> {
    Image {
        kernel: File { name: "vmlinux", bytes: kernel },
        initrd: initrd.map(|bytes| File { name: "initramfs.cpio", bytes }),
        modules: vec![],
        cmdline,
    }
}

fn load_image(image: &Image<'_>, memory: &FlatMemory) -> Result<Loaded, LoadError> {
    let tables = acpi::build(&acpi::Platform { vcpus: 1 }).unwrap();
    load(image, RamLayout::new(RAM_BYTES).unwrap(), &tables, memory)
}

fn load_with(
    kernel: &[u8],
    initrd: Option<&[u8]>,
    cmdline: &str,
    memory: &FlatMemory,
) -> Result<Loaded, LoadError> {
    load_image(&image(kernel, initrd, cmdline), memory)
}

fn error_with(kernel: &[u8]) -> LoadError {
    load_with(kernel, None, "", &FlatMemory::new(RAM_BYTES)).unwrap_err()
}

fn problem_with(kernel: &[u8]) -> Problem {
    error_with(kernel).problem
}

/// A little-endian number in the guest's memory.
fn number(memory: &FlatMemory, address: u64, len: usize) -> u64 {
    let bytes = memory.bytes(address, len);
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// A field of a kernel's information.
fn field(memory: &FlatMemory, offset: u64, len: usize) -> u64 {
    number(memory, INFO + offset, len)
}

/// Two modules of 5000 and 100 bytes.
fn modules() -> Vec<Module<'static>> {
    let module = |name, bytes, arguments| Module { file: File { name, bytes }, arguments };
    vec![module("first", &[1; 5000], "a b"), module("second", &[2; 100], "")]
}

/// What every kernel of 32 bits finds: protected mode, no paging, flat segments, no interrupts.
fn assert_protected_mode(state: &VcpuState, memory: &FlatMemory) {
    assert_eq!((state.cr0, state.cr4, state.efer, state.rflags), (cr0::PE | cr0::ET, 0, 0, 2));
    assert_eq!((state.cs.attributes, state.cs.base, state.cs.limit), (0xc9b, 0, u32::MAX));
    for segment in [state.ds, state.es, state.fs, state.gs, state.ss] {
        assert_eq!((segment.attributes, segment.base, segment.limit), (0xc93, 0, u32::MAX));
    }
    assert_eq!((state.tr.attributes, state.tr.base, state.tr.limit), (0x8b, 0, 0x67));
    // A kernel may load its segments again before it has its own table.
    let code = number(memory, state.gdtr.base + u64::from(state.cs.selector), 8);
    let data = number(memory, state.gdtr.base + u64::from(state.ds.selector), 8);
    assert_eq!((code, data), (0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff));
}

#[test]
fn the_kinds_that_know_no_modules_refuse_them_by_name() {
    let kernel = elf();
    let image = Image { modules: modules(), ..image(&kernel, None, "") };
    let error = load_image(&image, &FlatMemory::new(RAM_BYTES)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "first: a kernel of the kind Linux ELF takes no modules; remove it, or give it as initrd"
    );
}

#[test]
fn memory_that_refuses_a_write_is_an_error_and_not_a_panic() {
    for kernel in [elf(), pvh::kernel(), multiboot::flat()] {
        let error = load_with(&kernel, None, "", &FlatMemory::new(MIB)).unwrap_err();
        assert!(matches!(error.problem, Problem::Memory(_)));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, initrd: Vec<u8>, cmdline: std::string::String) {
        let _ = load_with(&bytes, Some(&initrd), &cmdline, &FlatMemory::new(RAM_BYTES));
    }

    #[test]
    fn mutated_kernels_never_panic_nor_reach_the_low_mebibyte(
        mutations in prop::collection::vec((0usize..0x268, any::<u8>()), 1..8), kind in 0usize..5,
    ) {
        let mut kernel = [elf(), linux::bzimage(), pvh::kernel(), multiboot::flat(), multiboot::elf_32()][kind].clone();
        mutations.iter().for_each(|&(at, byte)| kernel[at] = byte);
        let memory = FlatMemory::new(RAM_BYTES);
        let mut image = image(&kernel, Some(&[1; 100]), "quiet");
        if kind > 1 {
            image.modules = modules();
        }
        if let Ok(loaded) = load_image(&image, &memory) {
            prop_assert!(loaded.kernel.start >= MIB && loaded.kernel.end <= RAM_BYTES);
            prop_assert!((loaded.kernel.start..=loaded.kernel.end).contains(&loaded.state.rip));
            // Each file lies below the one before, and all above the kernel.
            let mut top = RAM_BYTES;
            for file in loaded.initrd.iter().chain(&loaded.modules) {
                prop_assert!(file.start >= loaded.kernel.end && file.end <= top);
                top = file.start;
            }
        }
        prop_assert_eq!(memory.bytes(0xa_0000, 0x4_0000), vec![0; 0x4_0000]);
    }
}
