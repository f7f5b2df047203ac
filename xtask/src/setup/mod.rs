//! Installs or fetches what is missing, from the package registries alone.
//!
//! Idempotent, and quick when nothing is missing: whether something is there is asked of the thing itself
//! (does the program exist, is the file in the cache), and apt runs only when something is not.
//!
//! The cache, below [`paths::cache`]; its first folder is the version of this layout:
//! ```text
//! v1/busybox               a static busybox for the demo's initial RAM disk
//! v1/busybox-i386          the same, of 32 bits
//! v1/memtest86+            a memory tester
//! v1/linux-6.12-…/vmlinuz  kernels of guests, as Debian built them; the rest of the name changes with the list of drivers
//! v1/linux-6.12-…/origin   the package, its version and checksum
//! v1/linux-6.12-…/modules/ its drivers for virtio devices, in the order to load them
//! v1/rootfs-3/root.ext4    a root file system of Debian's packages
//! v1/bochs-3.0-2/          Bochs, built from Debian's source with changes of ours
//! v1/apt/                  apt's private configuration, lists and downloads
//! v1/apt-i386/             the same for packages of 32 bits
//! ```

mod apt;
mod bochs;
mod deb;
mod distribution;
mod fetch;
mod install;
mod modules;
mod rootfs;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use apt::{NeedsRoot, Registries};

use crate::emulator::{Firmware, firmware};
use crate::guest::{Architecture, Kernel};
use crate::image::ext4;
use crate::paths;
use crate::toolchain::Toolchain;

/// Folder of the cache's present layout; a new layout gets a new name and leaves the old one to its users.
const LAYOUT: &str = "v1";

/// What a command is about to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A compiler for the bare targets.
    Toolchain,
    /// A linter for the bare targets; only `check` uses it.
    BareLinter,
    /// A C++ compiler: libFuzzer is C++.
    CxxCompiler,
    /// Programs that make, check and read ext4.
    Ext4,
    /// iasl, which reads ACPI tables as an operating system's authors do.
    AcpiCompiler,
    /// QEMU and firmware.
    Emulator,
    /// Bochs and firmware.
    Bochs,
    /// busybox, for the initial RAM disk.
    Busybox(Architecture),
    /// A guest's kernel.
    Kernel(Kernel),
    /// The memory tester.
    Memtest,
    /// A root file system.
    RootFs,
}

impl Need {
    /// What building, running and testing need.
    pub const ALL: [Self; 13] = [
        Self::Toolchain,
        Self::CxxCompiler,
        Self::Ext4,
        Self::AcpiCompiler,
        Self::Emulator,
        Self::Bochs,
        Self::Busybox(Architecture::Amd64),
        Self::Busybox(Architecture::I386),
        Self::Kernel(Kernel::V6_1),
        Self::Kernel(Kernel::V6_12),
        Self::Kernel(Kernel::V6_1I386),
        Self::Memtest,
        Self::RootFs,
    ];

    /// Whether it is there.
    fn is_met(self) -> Result<bool> {
        Ok(match self {
            Self::Toolchain => Toolchain::choose().is_ok(),
            Self::BareLinter => Toolchain::choose().is_ok_and(|toolchain| toolchain.has_linter()),
            Self::CxxCompiler => std::env::var_os("CXX").is_some() || paths::program("c++").is_some(),
            Self::Ext4 => ext4::PROGRAMS.iter().all(|name| ext4::program(name).is_some()),
            Self::AcpiCompiler => paths::program("iasl").is_some(),
            Self::Emulator => install::qemu_is_new_enough() && Firmware::find().is_ok(),
            Self::Bochs => bochs_program(&bochs_folder()?).is_file() && firmware::find_small().is_ok(),
            Self::Busybox(architecture) => busybox_path(architecture)?.is_file(),
            Self::Kernel(kernel) => kernel_path(kernel)?.is_file() && kernel_modules_path(kernel)?.is_dir(),
            Self::Memtest => memtest_path()?.is_file(),
            Self::RootFs => rootfs_path()?.is_file(),
        })
    }

    /// Whether it is programs that are installed, or built with such.
    const fn is_of_programs(self) -> bool {
        !matches!(self, Self::Busybox(_) | Self::Kernel(_) | Self::Memtest | Self::RootFs)
    }

    /// Gets it.
    fn meet(self, registries: &Registries) -> Result<()> {
        let registry = registries.of(Architecture::Amd64);
        match self {
            Self::Toolchain => install::toolchain(registry),
            Self::BareLinter => install::linter(registry),
            Self::CxxCompiler => install::cxx_compiler(registry),
            Self::Ext4 => install::ext4(registry),
            Self::AcpiCompiler => install::acpi_compiler(registry),
            Self::Emulator => install::emulator(registry),
            Self::Bochs => bochs::make(registry, &bochs_folder()?),
            Self::Busybox(architecture) => {
                fetch::busybox(registries.of(architecture), &busybox_path(architecture)?)
            }
            Self::Kernel(kernel) => {
                fetch::kernel(registries.of(kernel.architecture()), kernel, &kernel_path(kernel)?)
            }
            Self::Memtest => fetch::memtest(registry, &memtest_path()?),
            Self::RootFs => rootfs::make(registry, &rootfs_path()?),
        }
    }
}

/// Sees to it that `needs` are there.
///
/// # Errors
/// When something is missing and cannot be had by itself: the message has what to type, one command for all that root has to
/// install.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let registries = Registries::new(&layout()?);
    let mut unmet = Vec::new();
    for need in needs {
        // Files may be made by the programs that are missing.
        if need.is_met()? || (!unmet.is_empty() && !need.is_of_programs()) {
            continue;
        }
        match need.meet(&registries) {
            Err(error) if error.is::<NeedsRoot>() => unmet.push(error.to_string()),
            met => met?,
        }
    }
    match registries.of(Architecture::Amd64).command_for_root() {
        Some(command) => bail!("{}\nInstalling needs root. Type:\n  {command}", unmet.join("\n")),
        None => Ok(()),
    }
}

/// `cargo xtask setup`: everything, and a word about each thing.
///
/// # Errors
/// As for [`ensure`].
pub fn command() -> Result<()> {
    ensure(&Need::ALL)?;
    println!("compiler    {}", Toolchain::choose()?.describe()?);
    println!("emulator    {}", install::qemu_version()?);
    println!("emulator    {}", bochs_program(&bochs_folder()?).display());
    println!("firmware    {}", Firmware::find()?.code.display());
    for kernel in Kernel::ALL {
        println!("guest       {}", fetch::origin(&kernel_path(kernel)?)?);
    }
    println!("cache       {} (another place: set COFFERDAM_CACHE)", layout()?.display());
    Ok(())
}

/// The root of the cache's present layout.
fn layout() -> Result<PathBuf> {
    Ok(paths::cache()?.join(LAYOUT))
}

/// The folder of Bochs, or that it will have. What it is built of and how is part of the name.
///
/// # Errors
/// When there is no cache folder.
pub fn bochs_folder() -> Result<PathBuf> {
    Ok(layout()?.join(bochs::FOLDER))
}

/// The environment variable by which our Bochs keeps translations.
pub const KEEP_TRANSLATIONS: &str = bochs::KEEP_TRANSLATIONS;

/// The program in Bochs' folder.
#[must_use]
pub fn bochs_program(folder: &Path) -> PathBuf {
    folder.join("bin/bochs")
}

/// Where busybox is, or will be.
///
/// # Errors
/// When there is no cache folder.
pub fn busybox_path(architecture: Architecture) -> Result<PathBuf> {
    Ok(layout()?.join(match architecture {
        Architecture::Amd64 => "busybox",
        Architecture::I386 => "busybox-i386",
    }))
}

/// Where the memory tester is, or will be.
///
/// # Errors
/// When there is no cache folder.
pub fn memtest_path() -> Result<PathBuf> {
    Ok(layout()?.join("memtest86+"))
}

/// Where the root file system's image is, or will be.
///
/// # Errors
/// When there is no cache folder.
pub fn rootfs_path() -> Result<PathBuf> {
    Ok(layout()?.join(rootfs::FOLDER).join(rootfs::IMAGE))
}

/// Where a guest's kernel is, or will be.
///
/// # Errors
/// When there is no cache folder.
pub fn kernel_path(kernel: Kernel) -> Result<PathBuf> {
    Ok(layout()?.join(fetch::kernel_folder(kernel)).join(fetch::KERNEL))
}

/// Where the modules of a guest's kernel are, or will be.
///
/// # Errors
/// When there is no cache folder.
pub fn kernel_modules_path(kernel: Kernel) -> Result<PathBuf> {
    Ok(kernel_path(kernel)?.with_file_name(fetch::MODULES))
}
