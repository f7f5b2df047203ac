//! Programs: installed by the distribution's package manager, or named for the person to install.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::Registry;
use crate::emulator::{Firmware, QEMU};
use crate::toolchain::{self, Toolchain};
use crate::{paths, process};

/// Older ones emulate no x2APIC.
const OLDEST_QEMU: u32 = 9;

/// Installs a toolchain for the bare targets, unless rustup can provide it.
pub fn toolchain(registry: &Registry) -> Result<()> {
    let (bare, uefi) = (toolchain::BARE, toolchain::UEFI);
    let remedy = format!("Type:\n  rustup target add {bare} {uefi}");
    let apt = registry.apt(&remedy)?;
    apt.install(&["rustc-web", "cargo-web", "rust-web-src", "lld"])
        .with_context(|| format!("no compiler for the bare targets. {remedy}\nOr let Debian provide one"))?;
    Toolchain::choose().map(drop)
}

/// Installs the linter of the distribution's toolchain.
pub fn linter(registry: &Registry) -> Result<()> {
    let remedy = "Type:\n  rustup component add clippy";
    registry.apt(remedy)?.install(&["rust-web-clippy"]).context(remedy)
}

/// Installs a C++ compiler.
pub fn cxx_compiler(registry: &Registry) -> Result<()> {
    let remedy = "No C++ compiler for libFuzzer: install g++ or clang++, or name one in CXX.";
    registry.apt(remedy)?.install(&["g++"]).context(remedy)
}

/// Installs iasl.
pub fn acpi_compiler(registry: &Registry) -> Result<()> {
    let remedy = "No iasl to read ACPI tables with: install acpica-tools.";
    registry.apt(remedy)?.install(&["acpica-tools"]).context(remedy)
}

/// Installs the programs for ext4.
pub fn ext4(registry: &Registry) -> Result<()> {
    let remedy = "No mke2fs, e2fsck and debugfs for file systems: install e2fsprogs.";
    registry.apt(remedy)?.install(&["e2fsprogs"]).context(remedy)
}

/// Installs QEMU and firmware.
pub fn emulator(registry: &Registry) -> Result<()> {
    let remedy = format!("Install {QEMU} {OLDEST_QEMU} or newer and OVMF with its package manager.");
    let apt = registry.apt(&remedy)?;
    // Both are tried before either fails: what is missing is told at once.
    let (qemu, firmware) = (apt.install_backported(&["qemu-system-x86"]), apt.install(&["ovmf"]));
    qemu?;
    firmware?;
    if !qemu_is_new_enough() {
        bail!("{}: version {OLDEST_QEMU} or newer is needed", qemu_version()?);
    }
    Firmware::find()?;
    Ok(())
}

/// The first line that QEMU says about itself.
pub fn qemu_version() -> Result<String> {
    let text = process::output("asking QEMU for its version", Command::new(QEMU).arg("--version"))?;
    Ok(text.lines().next().unwrap_or_default().to_string())
}

/// Whether QEMU is there and new enough.
pub fn qemu_is_new_enough() -> bool {
    paths::program(QEMU).is_some()
        && qemu_version().is_ok_and(|line| major_version(&line).is_some_and(|major| major >= OLDEST_QEMU))
}

/// The first number of `QEMU emulator version 10.0.2 (…)`.
fn major_version(line: &str) -> Option<u32> {
    line.split_whitespace().nth(3)?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major_version;

    #[test]
    fn the_major_version_is_the_first_number() {
        assert_eq!(major_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2)"), Some(10));
        assert_eq!(major_version("QEMU emulator version 7.2.0"), Some(7));
        assert_eq!(major_version(""), None);
    }
}
