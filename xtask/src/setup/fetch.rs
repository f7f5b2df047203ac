//! Data packages: downloaded and unpacked into the cache, never installed.

use std::path::Path;

use anyhow::{Context, Result};

use super::apt::{Apt, Package, Registry};
use super::{deb, modules};
use crate::guest::{Architecture, Kernel};
use crate::paths;

/// The file beside an unpacked one that says where it is from.
const ORIGIN: &str = "origin";
/// A kernel, in the folder of its series.
pub const KERNEL: &str = "vmlinuz";
/// The folder beside a kernel with the drivers for Cofferdam's devices.
pub const MODULES: &str = "modules";

/// Fetches busybox to `to`.
pub fn busybox(registry: &Registry, to: &Path) -> Result<()> {
    let remedy = format!("Put a statically linked busybox at {}", to.display());
    let apt = registry.apt(&remedy)?;
    let package = apt.versions("busybox-static")?.into_iter().next().context("no package busybox-static")?;
    let deb = apt.download(&package)?;
    paths::write(to, &deb::file(&deb[..], |path| path.ends_with("bin/busybox"))?)
}

/// Fetches the kernel of a series to `to`, whose folder is there only when all is in it.
pub fn kernel(registry: &Registry, kernel: Kernel, to: &Path) -> Result<()> {
    let series = kernel.series();
    let folder = to.parent().context("a kernel has no folder")?;
    let remedy = format!(
        "Put a Linux {series} bzImage at {}, and its virtio modules into {MODULES} beside it",
        to.display()
    );
    let apt = registry.apt(&remedy)?;
    let package = kernel_package(apt, kernel)?;
    let deb = apt.download(&package)?;
    let image = deb::file(&deb[..], |path| path.starts_with("boot/vmlinuz-"))?;
    let modules = modules::select(deb::files(&deb[..], modules::is_module)?)?;
    // Beside its place, so that the finished folder can be moved there.
    let cache = folder.parent().context("the cache has no folder")?;
    paths::make_folder(cache)?;
    let scratch = tempfile::Builder::new().prefix("linux-").tempdir_in(cache)?;
    let made = scratch.path().join("made");
    for (number, modules::Module { name, elf }) in modules.into_iter().enumerate() {
        // Their names are sorted as they are to be loaded.
        paths::write(&made.join(MODULES).join(format!("{number:02}-{name}.ko")), &elf)?;
    }
    let origin = format!("{} {} sha256 {}\n", package.name, package.version, package.sha256);
    paths::write(&made.join(ORIGIN), origin.as_bytes())?;
    paths::write(&made.join(KERNEL), &image)?;
    match std::fs::rename(&made, folder) {
        // Somebody else was faster.
        Err(_) if to.is_file() => Ok(()),
        renamed => renamed.with_context(|| format!("cannot make {}", folder.display())),
    }
}

/// The folder of a guest's kernel and its drivers. Which drivers these are is part of the name.
pub fn kernel_folder(kernel: Kernel) -> String {
    format!("linux-{}-{}", kernel.name(), modules::version())
}

/// Fetches the memory tester to `to`.
pub fn memtest(registry: &Registry, to: &Path) -> Result<()> {
    let remedy = format!("Put memtest86+x64.bin at {}", to.display());
    let apt = registry.apt(&remedy)?;
    let package = apt.versions("memtest86+")?.into_iter().next().context("no package memtest86+")?;
    let deb = apt.download(&package)?;
    paths::write(to, &deb::file(&deb[..], |path| path.ends_with("memtest86+x64.bin"))?)
}

/// Where the kernel at `path` is from.
pub fn origin(path: &Path) -> Result<String> {
    let file = path.with_file_name(ORIGIN);
    let text =
        std::fs::read_to_string(&file).unwrap_or_else(|_| format!("{} (put there by hand)", path.display()));
    Ok(text.trim().to_string())
}

/// The newest kernel of a series: the one that Debian's meta package of that series depends on.
fn kernel_package(apt: &Apt, kernel: Kernel) -> Result<Package> {
    let prefix = format!("{}.", kernel.series());
    let meta = match kernel.architecture() {
        Architecture::Amd64 => "linux-image-cloud-amd64",
        Architecture::I386 => "linux-image-686-pae",
    };
    let meta = apt
        .versions(meta)?
        .into_iter()
        .find(|package| package.version.starts_with(&prefix))
        .with_context(|| format!("no {meta} {} in the lists of packages", kernel.series()))?;
    let name = meta.depends.split_whitespace().next().unwrap_or_default();
    apt.versions(name)?.into_iter().next().with_context(|| format!("no package {name}"))
}
