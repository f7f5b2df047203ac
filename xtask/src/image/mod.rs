//! Disk images: what an operator writes to a disk and boots (docs/decisions/0003-image-and-guests.md).
//!
//! One partition, the EFI system partition:
//! ```text
//! \EFI\BOOT\BOOTX64.EFI        our boot loader, at the path that firmware tries by itself
//! \cofferdam\cofferdam.toml    the configuration
//! \cofferdam\hypervisor.elf    the hypervisor, stripped
//! \cofferdam\...               every file that the configuration names, by its relative path
//! ```

mod contents;
mod data;
mod elf;
mod esp;
pub mod ext4;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use contents::{BOOT_LOADER, Contents, Kernels};
pub use data::{Partition, write_disk};
pub use elf::without_sections;
pub use table::Table;

use crate::build::Hypervisor;
use crate::progress::Step;

/// An image to be made.
#[derive(Clone, Debug)]
pub struct Request {
    /// The configuration; the files that it names are beside it.
    pub config: PathBuf,
    /// The image.
    pub out: PathBuf,
    /// The partition table.
    pub table: Table,
    /// What to do with kernels that are a bzImage.
    pub kernels: Kernels,
}

/// Makes a disk image. The hypervisor is asked for when the configuration is known to be good: building it takes
/// minutes, and a slip in the configuration is told at once.
///
/// # Errors
/// Whatever is wrong with the configuration or a file that it names, with the line; or there is no hypervisor; or
/// the image cannot be written.
pub fn make(request: &Request, hypervisor: impl FnOnce() -> Result<Hypervisor>) -> Result<Hypervisor> {
    let mut contents = Contents::of_config(&request.config, request.kernels)?;
    let hypervisor = hypervisor()?;
    contents.add_hypervisor(&hypervisor)?;
    let _step = Step::start(format!("making {}", request.out.display()));
    write(&contents, request.table, &request.out)?;
    Ok(hypervisor)
}

/// Writes an image with the given contents.
///
/// # Errors
/// When they do not fit on a partition, or the file cannot be written.
pub fn write(contents: &Contents, table: Table, out: &Path) -> Result<()> {
    let esp = esp::build(contents)?;
    table.write(&esp, out).with_context(|| format!("cannot write the image {}", out.display()))
}
