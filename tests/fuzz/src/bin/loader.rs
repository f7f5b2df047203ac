//! The loaders: any kernel, command line, initial RAM disk and modules are loaded or refused with an error that can be
//! shown, and never panic. What was loaded lies in RAM above the BIOS hole, apart from each other; nothing is written
//! into that hole but the ACPI tables.
//!
//! The input: length of the command line u8, the command line, which is each module's too; length of the RAM disk in
//! 64 bytes, and in the upper four bits the number of modules of its size, u16; the kernel.

#![no_main]

use base::MIB;
use devices::acpi;
use fuzz::{Bytes, SparseMemory};
use libfuzzer_sys::fuzz_target;
use vmm::{File, Image, Module, RamLayout, loader};

const RAM_BYTES: u64 = 4 * MIB;
/// The hole of a PC's video memory and BIOS, as far as the ACPI tables in it.
const HOLE: (u64, u64) = (0xa_0000, 0xe_0000);

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes::new(data);
    let cmdline_len = input.u8();
    let cmdline = String::from_utf8_lossy(input.take(cmdline_len.into()));
    let (modules, initrd_units) = split(input.u16());
    let initrd = vec![0x1d; usize::from(initrd_units) * 64];
    let module = Module { file: File { name: "module", bytes: &initrd }, arguments: &cmdline };
    let image = Image {
        kernel: File { name: "kernel", bytes: input.rest() },
        initrd: (!initrd.is_empty()).then_some(File { name: "initrd", bytes: &initrd }),
        modules: vec![module; modules.into()],
        cmdline: &cmdline,
    };
    let tables = acpi::build(&acpi::Platform { vcpus: 1 }).expect("the tables of one vCPU fit");
    let ram = RamLayout::new(RAM_BYTES).expect("a possible size");
    let memory = SparseMemory::new(RAM_BYTES);
    match loader::load(&image, ram, &tables, &memory) {
        Ok(loaded) => {
            let kernel = loaded.kernel;
            assert!(kernel.start >= MIB && kernel.start < kernel.end && kernel.end <= RAM_BYTES);
            assert!((kernel.start..kernel.end).contains(&loaded.state.rip));
            assert_eq!(loaded.initrd.is_some(), !initrd.is_empty());
            assert_eq!(loaded.modules.len(), modules.into());
            let mut top = RAM_BYTES;
            for file in loaded.initrd.iter().chain(&loaded.modules) {
                assert!(kernel.end <= file.start && file.start <= file.end && file.end <= top);
                assert_eq!(file.len_bytes(), initrd.len() as u64);
                top = file.start;
            }
        }
        Err(error) => assert!(error.to_string().contains(": ")),
    }
    assert!(memory.is_zero(HOLE.0, HOLE.1));
});

/// The upper four bits, and the others.
const fn split(value: u16) -> (u16, u16) {
    (value >> 12, value & 0xfff)
}
