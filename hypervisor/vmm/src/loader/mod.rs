//! Loaders: put a kernel, its initial RAM disk and its command line into a VM's memory, and say how its vCPU starts.
//!
//! ```text
//! 0x0000_1000  GDT                      0x000E_0000  ACPI tables
//! 0x0000_2000  zero page (boot_params)  0x0010_0000  kernel, where it was linked to, or higher
//! 0x0000_3000  page tables              below the end of low RAM: initial RAM disk
//! 0x0001_0000  command line
//! ```
//!
//! A file is hostile: everything is checked before the first byte is written, and every refusal names the file, what
//! is wrong with it, where, and what to do.

mod bzimage;
pub mod detect;
mod entry;
pub mod error;
#[cfg(test)]
mod tests;
mod vmlinux;
mod zero_page;

pub use detect::{Found, Kind, detect};
pub use error::{LoadError, Part, Problem};

use crate::layout::{BIOS_HOLE_END, RamLayout};
use alloc::string::String;
use base::{Gpa, PAGE_BYTES};
use devices::acpi::Tables;
use seams::GuestMemory;
use vcpu::VcpuState;
use zero_page::ZeroPage;

/// A file of a VM.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its name as the configuration gives it.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

/// What a VM starts from.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// The kernel.
    pub kernel: File<'a>,
    /// The initial RAM disk.
    pub initrd: Option<File<'a>>,
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

/// What was loaded where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// How the vCPU starts.
    pub state: VcpuState,
    /// What the kernel was recognized as.
    pub kind: Kind,
    /// The memory that the kernel has, its uninitialized data included.
    pub kernel: Extent,
    /// The initial RAM disk.
    pub initrd: Option<Extent>,
}

/// A kernel as its loader has placed it.
struct Kernel {
    /// The address of its 64-bit entry.
    entry: u64,
    /// Its memory.
    extent: Extent,
    /// The zero page, its setup header filled in as far as the kernel's file decides.
    zero_page: ZeroPage,
    /// The longest command line in bytes, without its final NUL.
    cmdline_max_bytes: u64,
    /// The highest address that a byte of the initial RAM disk may have.
    initrd_last: u64,
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
    let kind = detect(image.kernel.bytes).map_err(|found| of_kernel(Problem::NotLoadable(found)))?;
    let mut kernel = match kind {
        Kind::LinuxElf => vmlinux::load(image.kernel.bytes, ram, memory),
        Kind::BzImage => bzimage::load(image.kernel.bytes, ram, memory),
    }
    .map_err(of_kernel)?;

    let initrd = match &image.initrd {
        Some(file) => Some(
            load_initrd(file.bytes, &kernel, ram, memory)
                .map_err(|problem| LoadError { file: String::from(file.name), problem })?,
        ),
        None => None,
    };
    load_command_line(image.cmdline, &mut kernel, memory).map_err(of_kernel)?;
    if let Some(extent) = initrd {
        kernel.zero_page.set_initrd(extent);
    }
    kernel.zero_page.set_memory_map(ram);
    for (place, table) in &acpi.blobs {
        memory.write(*place, table).map_err(|error| of_kernel(error.into()))?;
    }
    kernel.zero_page.set_rsdp(acpi.rsdp);
    let state = entry::prepare(kernel.entry, &kernel.zero_page, memory).map_err(of_kernel)?;
    Ok(Loaded { state, kind, kernel: kernel.extent, initrd })
}

/// Checks that `len_bytes` from `start` on lie in low RAM above the BIOS hole.
fn check_in_ram(part: Part, start: u64, len_bytes: u64, ram: RamLayout) -> Result<Extent, Problem> {
    let ram_end = ram.low_end();
    match start.checked_add(len_bytes) {
        Some(end) if start >= BIOS_HOLE_END && end <= ram_end => Ok(Extent { start, end }),
        _ => Err(Problem::OutsideMemory { part, start, len_bytes, ram_end }),
    }
}

/// Puts the initial RAM disk as high as it may be: a kernel grows upwards from where it is.
fn load_initrd(
    bytes: &[u8],
    kernel: &Kernel,
    ram: RamLayout,
    memory: &impl GuestMemory,
) -> Result<Extent, Problem> {
    let initrd_bytes = bytes.len() as u64;
    let top = ram.low_end().min(kernel.initrd_last.saturating_add(1));
    let bottom = kernel.extent.end.next_multiple_of(PAGE_BYTES);
    let room_bytes = top.saturating_sub(bottom);
    // Page aligned, so that the kernel can free its pages.
    match top.checked_sub(initrd_bytes).map(|start| start & !(PAGE_BYTES - 1)) {
        Some(start) if start >= bottom => {
            memory.write(Gpa::from_low_bits(start), bytes)?;
            Ok(Extent { start, end: start + initrd_bytes })
        }
        _ => Err(Problem::NoRoomForInitrd { initrd_bytes, room_bytes }),
    }
}

fn load_command_line(text: &str, kernel: &mut Kernel, memory: &impl GuestMemory) -> Result<(), Problem> {
    let len_bytes = text.len() as u64;
    let max_bytes = kernel.cmdline_max_bytes.min(entry::COMMAND_LINE_MAX_BYTES);
    if len_bytes > max_bytes {
        return Err(Problem::CommandLineTooLong { len_bytes, max_bytes });
    }
    if let Some(at) = text.bytes().position(|byte| byte == 0) {
        return Err(Problem::CommandLineHasNul { at });
    }
    memory.write(Gpa::from_low_bits(entry::COMMAND_LINE), text.as_bytes())?;
    memory.fill(Gpa::from_low_bits(entry::COMMAND_LINE + len_bytes), 1, 0)?;
    kernel.zero_page.set_command_line(entry::COMMAND_LINE);
    Ok(())
}
