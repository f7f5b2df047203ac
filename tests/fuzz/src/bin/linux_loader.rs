//! The loaders: any kernel, initial RAM disk and command line are loaded or refused with an error that can be shown,
//! and never panic. What was loaded lies in RAM above the BIOS hole, apart from each other; nothing is written into that
//! hole but the ACPI tables.
//!
//! The input: length of the command line u8, the command line, length of the RAM disk in 64 bytes u16, the kernel.

#![no_main]

use base::MIB;
use devices::acpi;
use fuzz::{Bytes, SparseMemory};
use libfuzzer_sys::fuzz_target;
use vmm::{File, Image, RamLayout, loader};

const RAM_BYTES: u64 = 4 * MIB;
/// The hole of a PC's video memory and BIOS, as far as the ACPI tables in it.
const HOLE: (u64, u64) = (0xa_0000, 0xe_0000);

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes::new(data);
    let cmdline_len = input.u8();
    let cmdline = String::from_utf8_lossy(input.take(cmdline_len.into()));
    let initrd = vec![0x1d; usize::from(input.u16()) * 64];
    let image = Image {
        kernel: File { name: "kernel", bytes: input.rest() },
        initrd: (!initrd.is_empty()).then_some(File { name: "initrd", bytes: &initrd }),
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
            if let Some(initrd) = loaded.initrd {
                assert!(initrd.start >= kernel.end && initrd.start < initrd.end && initrd.end <= RAM_BYTES);
            }
        }
        Err(error) => assert!(error.to_string().contains(": ")),
    }
    assert!(memory.is_zero(HOLE.0, HOLE.1));
});
