//! Loaders: put a kernel and what it is given into a VM's memory, and say how its vCPU starts.
//!
//! ```text
//! 0x0000_1000  GDT                       0x000E_0000  ACPI tables
//! 0x0000_2000  what the kernel is told   0x0010_0000  kernel, where it was linked to, or higher
//! 0x0000_3000  page tables               below the end of low RAM: initial RAM disk, modules
//! 0x0001_0000  command lines
//! ```
//!
//! | kind | entered in | told by |
//! |---|---|---|
//! | Linux: ELF, bzImage | 64-bit mode; 32-bit where the kernel is | zero page in RSI |
//! | PVH | 32-bit mode | `hvm_start_info` in EBX |
//! | Multiboot 1 | 32-bit mode | Multiboot information in EBX |
//!
//! A file is hostile: everything is checked before the first byte of it is written, and every refusal names the file,
//! what is wrong with it, where, and what to do.

mod bzimage;
pub mod detect;
mod elf;
pub mod error;
mod given;
mod long_mode;
mod low;
mod memory_map;
mod multiboot;
mod protected_mode;
mod pvh;
mod record;
#[cfg(test)]
mod tests;
mod vmlinux;
mod zero_page;

pub use detect::{Found, Kind, detect};
pub use error::{LoadError, Part, Problem};
pub use given::MODULES_MAX;

use crate::layout::{BIOS_HOLE_END, RamLayout};
use alloc::{boxed::Box, string::String, vec::Vec};
use base::Gpa;
use devices::acpi::Tables;
use given::Given;
use memory_map::memory_map;
use seams::GuestMemory;
use vcpu::{Gpr, VcpuState};
use zero_page::ZeroPage;

/// A file of a VM.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its name as the configuration gives it.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

/// A file for a PVH or Multiboot kernel, and the text that belongs to it.
#[derive(Clone, Copy, Debug)]
pub struct Module<'a> {
    /// The file.
    pub file: File<'a>,
    /// Its arguments.
    pub arguments: &'a str,
}

/// What a VM starts from.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// The kernel.
    pub kernel: File<'a>,
    /// The initial RAM disk. To kernels that know modules only, it is the first of them.
    pub initrd: Option<File<'a>>,
    /// The modules, [`MODULES_MAX`] at most; Linux takes none.
    pub modules: Vec<Module<'a>>,
    /// The kernel's command line.
    pub cmdline: &'a str,
}

/// A stretch of guest-physical memory that was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The guest-physical address of the first byte.
    pub start: u64,
    /// One past the last.
    pub end: u64,
}

impl Extent {
    /// Its length in bytes.
    pub const fn len_bytes(self) -> u64 {
        self.end - self.start
    }
}

/// What was loaded where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// How the vCPU starts.
    pub state: VcpuState,
    /// What the kernel was recognized as.
    pub kind: Kind,
    /// The memory that the kernel has, its uninitialized data included.
    pub kernel: Extent,
    /// The initial RAM disk.
    pub initrd: Option<Extent>,
    /// The modules, in their order.
    pub modules: Vec<Extent>,
}

/// A kernel as its loader has placed it.
struct Kernel {
    /// The address of its first instruction.
    entry: u64,
    /// Its memory.
    extent: Extent,
    protocol: Protocol,
    /// The longest command line in bytes, without its final NUL.
    cmdline_max_bytes: u64,
    /// The highest address that a byte of another file may have.
    files_last: u64,
}

/// How a kernel is told what it was given.
enum Protocol {
    /// By a zero page, its setup header filled in as far as the kernel's file decides.
    Linux(Mode, Box<ZeroPage>),
    Pvh,
    Multiboot,
}

/// The mode in which a vCPU starts.
#[derive(Clone, Copy)]
enum Mode {
    /// 32-bit, without paging.
    Protected,
    /// 64-bit.
    Long,
}

/// Loads `image` into a VM with `ram`, and `acpi` beside it.
///
/// # Errors
/// [`LoadError`]; the memory may hold a part of the image then.
pub fn load(
    image: &Image<'_>,
    ram: RamLayout,
    acpi: &Tables,
    memory: &impl GuestMemory,
) -> Result<Loaded, LoadError> {
    let of_kernel = |problem| LoadError { file: String::from(image.kernel.name), problem };
    let bytes = image.kernel.bytes;
    let kind = detect(bytes).map_err(of_kernel)?;
    given::check_modules(image, kind)?;
    let kernel = match kind {
        Kind::LinuxElf => vmlinux::load(bytes, ram, memory),
        Kind::BzImage => bzimage::load(bytes, ram, memory),
        Kind::Pvh => pvh::load(bytes, ram, memory),
        Kind::Multiboot => multiboot::load(bytes, ram, memory),
    }
    .map_err(of_kernel)?;

    let mut given = Given::place(image, &kernel, ram, memory)?;
    for (place, table) in &acpi.blobs {
        memory.write(*place, table).map_err(|error| of_kernel(error.into()))?;
    }
    let Kernel { entry, extent, .. } = kernel;
    let state = match kernel.protocol {
        Protocol::Linux(mode, page) => prepare_linux(entry, mode, page, &given, ram, acpi.rsdp, memory),
        Protocol::Pvh => pvh::prepare(entry, &given, ram, acpi.rsdp, memory),
        Protocol::Multiboot => multiboot::prepare(entry, &mut given, ram, memory),
    }
    .map_err(of_kernel)?;
    Ok(Loaded {
        state,
        kind,
        kernel: extent,
        initrd: given.initrd.map(|file| file.extent),
        modules: given.modules.iter().map(|file| file.extent).collect(),
    })
}

/// Completes and writes the zero page; the state to enter Linux with.
fn prepare_linux(
    entry: u64,
    mode: Mode,
    mut page: Box<ZeroPage>,
    given: &Given,
    ram: RamLayout,
    rsdp: Gpa,
    memory: &impl GuestMemory,
) -> Result<VcpuState, Problem> {
    page.set_command_line(given.command_line);
    if let Some(initrd) = &given.initrd {
        page.set_initrd(initrd.extent);
    }
    page.set_memory_map(ram);
    page.set_rsdp(rsdp);
    memory.write(Gpa::from_low_bits(low::INFO), page.bytes())?;
    let mut state = match mode {
        Mode::Long => long_mode::prepare(entry, memory)?,
        Mode::Protected => protected_mode::prepare(entry, memory)?,
    };
    state.gprs.set(Gpr::Rsi, low::INFO);
    Ok(state)
}

/// Checks that `len_bytes` from `start` on lie in low RAM above the BIOS hole.
fn check_in_ram(part: Part, start: u64, len_bytes: u64, ram: RamLayout) -> Result<Extent, Problem> {
    let ram_end = ram.low_end();
    match start.checked_add(len_bytes) {
        Some(end) if start >= BIOS_HOLE_END && end <= ram_end => Ok(Extent { start, end }),
        _ => Err(Problem::OutsideMemory { part, start, len_bytes, ram_end }),
    }
}
