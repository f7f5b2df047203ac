//! Builds what runs on bare machines: the hypervisor, the boot loader, the tiny guests.
//!
//! Flags of the bare target are in `.cargo/config.toml`, so that a plain `cargo build --target` builds the same.
//! One build folder serves both targets: the compiler and linker are the same for all. A hypervisor with seeded faults
//! shares it too, but for the finished program.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::setup::{self, Need};
use crate::toolchain::{BARE, Toolchain, UEFI};
use crate::{paths, process};

/// Build folder of the bare targets.
pub const LANE: &str = "bare";

/// Where programs with seeded faults are put: never where an image would be made of it by itself.
const FAULTY_LANE: &str = "bare-seeded-faults";

/// Where the hypervisor that counts shares is put, for the same reason.
const SHARES_LANE: &str = "bare-exit-shares";

/// The two programs that make up Cofferdam.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hypervisor {
    /// The hypervisor's ELF file, with symbols.
    pub kernel: PathBuf,
    /// The boot loader, a UEFI application.
    pub boot: PathBuf,
}

impl Hypervisor {
    /// Where [`hypervisor`] leaves them.
    #[must_use]
    pub fn built() -> Self {
        Self { kernel: program(LANE, BARE, "cofferdam"), boot: program(LANE, UEFI, "boot.efi") }
    }

    /// Where [`faulty_hypervisor`] leaves those with seeded faults.
    #[must_use]
    pub fn built_faulty() -> Self {
        Self { kernel: program(FAULTY_LANE, BARE, "cofferdam"), boot: program(FAULTY_LANE, UEFI, "boot.efi") }
    }
}

/// Builds the hypervisor and its boot loader.
///
/// # Errors
/// What the compiler said.
pub fn hypervisor() -> Result<Hypervisor> {
    cargo("building the hypervisor", "kernel", BARE)?;
    cargo("building the boot loader", "boot", UEFI)?;
    present(Hypervisor::built())
}

/// Builds the hypervisor and its boot loader once more, with faults that scenarios choose from.
///
/// # Errors
/// What the compiler said.
pub fn faulty_hypervisor() -> Result<Hypervisor> {
    setup::ensure(&[Need::Toolchain])?;
    for (package, target) in [("kernel", BARE), ("boot", UEFI)] {
        let what = format!("building the {package} with seeded faults");
        featured(&what, package, target, "seeded-faults", FAULTY_LANE)?;
    }
    present(Hypervisor::built_faulty())
}

/// Builds the hypervisor once more, so that it counts whose instructions were executed, for benches.
///
/// # Errors
/// What the compiler said.
pub fn counting_hypervisor() -> Result<Hypervisor> {
    cargo("building the boot loader", "boot", UEFI)?;
    featured("building the hypervisor with counters", "kernel", BARE, "exit-shares", SHARES_LANE)?;
    present(Hypervisor { kernel: program(SHARES_LANE, BARE, "cofferdam"), ..Hypervisor::built() })
}

/// Builds a package with a feature that ordinary builds do not have, and leaves the finished program in a lane of its own.
fn featured(what: &str, package: &str, target: &str, feature: &str, lane: &str) -> Result<()> {
    let mut command = command(package, target, lane)?;
    // What does not know the feature is taken from the ordinary build.
    command.args(["--features", feature]).env("CARGO_BUILD_BUILD_DIR", paths::lane(LANE));
    process::quiet(what, &mut command)
}

fn present(hypervisor: Hypervisor) -> Result<Hypervisor> {
    for file in [&hypervisor.kernel, &hypervisor.boot] {
        ensure!(file.is_file(), "the build left no {}", file.display());
    }
    Ok(hypervisor)
}

/// Builds the program that completes firmware on Bochs.
///
/// # Errors
/// What the compiler said.
pub fn firmware_tables() -> Result<()> {
    cargo("building the firmware's tables for Bochs", "firmware-tables", UEFI)
}

/// Where [`firmware_tables`] leaves it.
#[must_use]
pub fn firmware_tables_path() -> PathBuf {
    program(LANE, UEFI, "firmware-tables.efi")
}

/// Builds the tiny guests of the scenarios.
///
/// # Errors
/// What the compiler said.
pub fn guests() -> Result<()> {
    cargo("building the tiny guests", "guests", BARE)
}

/// Where [`guests`] leaves the guest of this name.
#[must_use]
pub fn guest(name: &str) -> PathBuf {
    program(LANE, BARE, name)
}

/// Build folder of the programs that run in Linux guests.
const PEER_LANE: &str = "peer";

/// Builds the program by which Linux guests talk with each other: static, for this computer's kind.
///
/// # Errors
/// What the compiler said.
pub fn peer() -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::workspace()).args(["build", "--quiet", "--release", "--package", "peer"]);
    command.arg("--target-dir").arg(paths::lane(PEER_LANE)).env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    process::quiet("building the program that Linux guests talk by", &mut command)
}

/// Where [`peer`] leaves it.
#[must_use]
pub fn peer_path() -> PathBuf {
    paths::lane(PEER_LANE).join("release").join("peer")
}

fn program(lane: &str, target: &str, name: &str) -> PathBuf {
    paths::lane(lane).join(target).join("release").join(name)
}

fn cargo(what: &str, package: &str, target: &str) -> Result<()> {
    setup::ensure(&[Need::Toolchain])?;
    process::quiet(what, &mut command(package, target, LANE)?)
}

/// The command that builds a package for a target and leaves the finished program in a lane.
fn command(package: &str, target: &str, lane: &str) -> Result<Command> {
    let mut command = Toolchain::choose()?.cargo("build", target);
    command.args(["--quiet", "--release", "--package", package, "--target-dir"]).arg(paths::lane(lane));
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        command.arg("--color=always");
    }
    // Only what reads the variable is built anew when it changes.
    command.env("COFFERDAM_BUILD_ID", build_id());
    Ok(command)
}

/// What the hypervisor calls its build: the commit, and `-dirty` if files differ from it.
#[must_use]
pub fn build_id() -> String {
    let describe = || -> Result<String> {
        let mut git = Command::new("git");
        git.current_dir(paths::workspace()).args(["describe", "--always", "--dirty", "--abbrev=12"]);
        let output = git.output().context("git")?;
        ensure!(output.status.success());
        Ok(String::from_utf8(output.stdout)?.trim().to_string())
    };
    // A source archive without git's history still builds.
    describe().unwrap_or_else(|_| "unknown".into())
}

/// The size of a file's loadable part, in bytes: what goes on the image.
///
/// # Errors
/// When it cannot be read or is no ELF file.
pub fn stripped_len_bytes(elf: &Path) -> Result<usize> {
    let file = paths::read(elf)?;
    Ok(crate::image::without_sections(&file).with_context(|| elf.display().to_string())?.len())
}
