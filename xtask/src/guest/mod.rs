//! What runs in the virtual machines: Debian's kernels, an initial RAM disk, our own tiny guests.

pub mod bzimage;
pub mod initramfs;

use std::path::PathBuf;

use anyhow::Result;

use crate::setup::{self, Need};

/// A series of Linux, as Debian packages it for clouds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// Debian 12's own; its bzImage is compressed by LZ4.
    V6_1,
    /// Debian 12's backport; its bzImage is compressed by zstd.
    V6_12,
}

impl Kernel {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    /// Its name: `6.1` or `6.12`.
    #[must_use]
    pub fn series(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
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
    setup::ensure(&[Need::Busybox])?;
    let busybox = crate::paths::read(&setup::busybox_path()?)?;
    Ok(initramfs::build(&busybox)?)
}

/// The ELF inside a Debian kernel's bzImage. Kept in the build folder: unpacking takes seconds.
///
/// # Errors
/// When the kernel cannot be fetched or unpacked.
pub fn vmlinux(kernel: Kernel) -> Result<Vec<u8>> {
    let bzimage = debian_kernel(kernel)?;
    let kept = crate::paths::lane("guests").join(format!("vmlinux-{}", kernel.series()));
    if is_newer(&kept, &bzimage) {
        return crate::paths::read(&kept);
    }
    let _step = crate::progress::Step::start(format!("unpacking Linux {}", kernel.series()));
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
