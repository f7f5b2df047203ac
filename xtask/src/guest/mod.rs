//! What runs in the virtual machines: Debian's kernels, an initial RAM disk, our own tiny guests.

pub mod bzimage;
pub mod initramfs;

use std::path::PathBuf;

use anyhow::{Context, Result};
use initramfs::Drivers;

use crate::setup::{self, Need};

/// An architecture that Debian builds for, and that the processor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// 64 bits.
    Amd64,
    /// 32 bits.
    I386,
}

impl Architecture {
    /// Debian's name for it.
    #[must_use]
    pub fn debian_name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::I386 => "i386",
        }
    }
}

/// A build of Linux that Debian packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// Debian 12's own for clouds; its bzImage is compressed by LZ4.
    V6_1,
    /// Debian 12's backport for clouds; its bzImage is compressed by zstd.
    V6_12,
    /// Debian 12's own of 32 bits, with PAE.
    V6_1I386,
}

impl Kernel {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V6_1, Self::V6_12, Self::V6_1I386];
    /// Those that scenarios start as ELF files, too.
    pub const UNPACKED: [Self; 2] = [Self::V6_1, Self::V6_12];

    /// The series: `6.1` or `6.12`.
    #[must_use]
    pub fn series(self) -> &'static str {
        match self {
            Self::V6_1 | Self::V6_1I386 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// What it is built for.
    #[must_use]
    pub fn architecture(self) -> Architecture {
        match self {
            Self::V6_1 | Self::V6_12 => Architecture::Amd64,
            Self::V6_1I386 => Architecture::I386,
        }
    }

    /// Its own name: `6.1`, `6.12` or `6.1-i386`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V6_1I386 => "6.1-i386",
            other => other.series(),
        }
    }
}

/// The bzImage of a Debian kernel, fetched if necessary.
///
/// # Errors
/// When it cannot be fetched.
pub fn debian_kernel(kernel: Kernel) -> Result<PathBuf> {
    setup::ensure(&[Need::Kernel(kernel)])?;
    setup::kernel_path(kernel)
}

/// The initial RAM disk with busybox and a shell on the serial line, as bytes.
///
/// # Errors
/// When busybox cannot be fetched.
pub fn initramfs() -> Result<Vec<u8>> {
    initramfs_of(Architecture::Amd64)
}

/// As [`initramfs()`], of an architecture's programs.
///
/// # Errors
/// When busybox or a kernel cannot be fetched.
pub fn initramfs_of(architecture: Architecture) -> Result<Vec<u8>> {
    setup::ensure(&[Need::Busybox(architecture)])?;
    let kernels = Kernel::ALL.into_iter().filter(|kernel| kernel.architecture() == architecture);
    let kernels: Vec<Kernel> = kernels.collect();
    setup::ensure(&kernels.iter().copied().map(Need::Kernel).collect::<Vec<_>>())?;
    let busybox = crate::paths::read(&setup::busybox_path(architecture)?)?;
    let drivers = kernels.into_iter().map(drivers).collect::<Result<Vec<_>>>()?;
    Ok(initramfs::build(&busybox, &drivers)?)
}

/// The drivers of a kernel for virtio devices.
fn drivers(kernel: Kernel) -> Result<Drivers> {
    let folder = setup::kernel_modules_path(kernel)?;
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut modules = Vec::new();
    for entry in entries {
        let entry = entry?;
        modules.push((entry.file_name().to_string_lossy().into_owned(), crate::paths::read(&entry.path())?));
    }
    modules.sort();
    Ok(Drivers { series: kernel.series().to_string(), modules })
}

/// An ext4 image with a root file system of Debian's packages, fetched and made if necessary.
///
/// # Errors
/// When it cannot be made.
pub fn rootfs() -> Result<PathBuf> {
    setup::ensure(&[Need::Ext4, Need::RootFs])?;
    setup::rootfs_path()
}

/// memtest86+, a memory tester that starts by Linux's boot protocol.
///
/// # Errors
/// When it cannot be fetched.
pub fn memtest() -> Result<Vec<u8>> {
    setup::ensure(&[Need::Memtest])?;
    crate::paths::read(&setup::memtest_path()?)
}

/// The ELF inside a Debian kernel's bzImage. Kept in the build folder: unpacking takes seconds.
///
/// # Errors
/// When the kernel cannot be fetched or unpacked.
pub fn vmlinux(kernel: Kernel) -> Result<Vec<u8>> {
    let bzimage = debian_kernel(kernel)?;
    let kept = crate::paths::lane("guests").join(format!("vmlinux-{}", kernel.name()));
    if is_newer(&kept, &bzimage) {
        return crate::paths::read(&kept);
    }
    let _step = crate::progress::Step::start(format!("unpacking Linux {}", kernel.name()));
    let vmlinux = bzimage::unpack(&crate::paths::read(&bzimage)?)?;
    crate::paths::write(&kept, &vmlinux)?;
    Ok(vmlinux)
}

/// Whether `made` exists and is not older than what it was made of.
fn is_newer(made: &std::path::Path, source: &std::path::Path) -> bool {
    let modified =
        |path: &std::path::Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    match (modified(made), modified(source)) {
        (Some(made), Some(source)) => made >= source,
        _ => false,
    }
}
