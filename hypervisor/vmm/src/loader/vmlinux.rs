//! Linux as an ELF file, entered by its boot protocol of 64 or 32 bits, as the file's class says (Linux,
//! `Documentation/arch/x86/boot.rst`, "64-bit Boot Protocol", "32-bit Boot Protocol").

use crate::layout::RamLayout;
use crate::loader::elf::Elf;
use crate::loader::{Kernel, Mode, Problem, Protocol, zero_page::ZeroPage};
use alloc::boxed::Box;
use elf::file::Class;
use seams::GuestMemory;

/// Linux's COMMAND_LINE_SIZE on x86, without the final NUL: an ELF file does not tell its own.
const COMMAND_LINE_MAX_BYTES: u64 = 2047;

/// The highest address of an initial RAM disk for a kernel that does not tell (`boot.rst`, `initrd_addr_max`).
const INITRD_LAST: u64 = 0x7fff_ffff;

/// Loads the ELF file `bytes`.
pub(super) fn load(bytes: &[u8], ram: RamLayout, memory: &impl GuestMemory) -> Result<Kernel, Problem> {
    let elf = Elf::parse(bytes)?;
    let mode = match elf.class() {
        Class::ELF32 => Mode::Protected,
        Class::ELF64 => Mode::Long,
    };
    Ok(Kernel {
        entry: elf.entry(),
        extent: elf.load(elf.entry(), ram, memory)?,
        protocol: Protocol::Linux(mode, Box::new(ZeroPage::for_elf())),
        cmdline_max_bytes: COMMAND_LINE_MAX_BYTES,
        files_last: INITRD_LAST,
    })
}
