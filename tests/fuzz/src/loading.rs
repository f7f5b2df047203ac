//! The loaders: any kernel, command line, initial RAM disk and modules are loaded or refused with an error that can be
//! shown, and never panic. What was loaded lies in RAM above the BIOS hole, apart from each other; nothing is written
//! into that hole but the ACPI tables.
//!
//! The input: length of the command line u8, the command line, which is each module's too; length of the RAM disk in
//! 64 bytes, and in the upper four bits the number of modules of its size, u16; the kernel.

use crate::{Bytes, WrittenMemory};
use base::MIB;
use devices::acpi::{self, Tables};
use std::sync::LazyLock;
use vmm::loader::Kind;
use vmm::{File, Image, Module, RamLayout, loader};

const RAM_BYTES: u64 = 4 * MIB;
/// The hole of a PC's video memory and BIOS, as far as the ACPI tables in it.
const HOLE: (u64, u64) = (0xa_0000, 0xe_0000);
/// The largest RAM disk that an input can ask for.
const INITRD_MAX_BYTES: usize = 0xfff * 64;

/// The same for all inputs.
static TABLES: LazyLock<Tables> =
    LazyLock::new(|| acpi::build(&acpi::Platform { vcpus: 1 }).expect("the tables of one vCPU fit"));

/// Loads what `input` describes, once `disguise` has made the kernel's bytes pass for a kind of kernel.
pub fn load(input: &[u8], disguise: fn(&mut Vec<u8>)) {
    static INITRD: [u8; INITRD_MAX_BYTES] = [0x1d; INITRD_MAX_BYTES];
    let mut input = Bytes::new(input);
    let cmdline_len = input.u8();
    let cmdline = String::from_utf8_lossy(input.take(cmdline_len.into()));
    let (modules, initrd_units) = split(input.u16());
    let initrd = &INITRD[..usize::from(initrd_units) * 64];
    let mut kernel = input.rest().to_vec();
    disguise(&mut kernel);
    let module = Module { file: File { name: "module", bytes: initrd }, arguments: &cmdline };
    let image = Image {
        kernel: File { name: "kernel", bytes: &kernel },
        initrd: (!initrd.is_empty()).then_some(File { name: "initrd", bytes: initrd }),
        modules: vec![module; modules.into()],
        cmdline: &cmdline,
    };
    let ram = RamLayout::new(RAM_BYTES).expect("a possible size");
    let memory = WrittenMemory::new(RAM_BYTES);
    match loader::load(&image, ram, &TABLES, &memory) {
        Ok(loaded) => {
            let kernel = loaded.kernel;
            assert!(kernel.start >= MIB && kernel.start < kernel.end && kernel.end <= RAM_BYTES);
            assert!((kernel.start..kernel.end).contains(&loaded.state.rip));
            assert!(modules == 0 || !matches!(loaded.kind, Kind::LinuxElf | Kind::BzImage));
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
    assert!(!memory.is_written(HOLE.0, HOLE.1));
}

/// The upper four bits, and the others.
const fn split(value: u16) -> (u16, u16) {
    (value >> 12, value & 0xfff)
}

/// Makes `kernel` a bzImage of a known boot protocol.
pub fn as_bzimage(kernel: &mut Vec<u8>) {
    const MARKS: [(usize, &[u8]); 3] = [(0x1fe, &[0x55, 0xaa]), (0x202, b"HdrS"), (0x207, &[2])];
    put_all(kernel, &MARKS);
}

/// Makes `kernel` an ELF file for x86, of 32 or 64 bits.
pub fn as_elf(kernel: &mut Vec<u8>) {
    const CLASS: usize = 4;
    const MARKS: [(usize, &[u8]); 4] = [(0, b"\x7fELF"), (5, &[1, 1]), (16, &[2, 0]), (20, &[1, 0, 0, 0])];
    put_all(kernel, &MARKS);
    let is_32_bit = kernel[CLASS] % 2 == 1;
    kernel[CLASS] = if is_32_bit { 1 } else { 2 };
    put_all(kernel, &[(18, if is_32_bit { &[3, 0] } else { &[62, 0] })]);
}

/// Makes the first 12 bytes of `kernel` a Multiboot header with its flags, and the rest what it is.
pub fn as_multiboot(kernel: &mut Vec<u8>) {
    const MAGIC: u32 = 0x1bad_b002;
    put_all(kernel, &[(0, &MAGIC.to_le_bytes()), (8, &[0; 4])]);
    let flags = u32::from_le_bytes([kernel[4], kernel[5], kernel[6], kernel[7]]);
    let checksum = 0_u32.wrapping_sub(MAGIC).wrapping_sub(flags);
    put_all(kernel, &[(8, &checksum.to_le_bytes())]);
}

/// Puts each mark at its offset.
fn put_all(kernel: &mut Vec<u8>, marks: &[(usize, &[u8])]) {
    for (at, mark) in marks {
        let end = at + mark.len();
        if kernel.len() < end {
            kernel.resize(end, 0);
        }
        kernel[*at..end].copy_from_slice(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmm::loader::detect;

    #[test]
    fn a_disguise_makes_the_kind() {
        let disguised = |disguise: fn(&mut Vec<u8>)| {
            let mut kernel = vec![0; 100];
            disguise(&mut kernel);
            detect(&kernel)
        };
        assert_eq!(disguised(as_bzimage), Ok(Kind::BzImage));
        assert_eq!(disguised(as_multiboot), Ok(Kind::Multiboot));
        assert_eq!(disguised(as_elf), Ok(Kind::LinuxElf));
    }
}
