//! Which compiler builds the bare-metal parts (docs/decisions/0002-toolchain.md).
//!
//! Four cases, the first that applies:
//! 1. the active toolchain has `core` for the target: it builds as any host program;
//! 2. it has its own library sources (`rust-src`): it builds `core` first;
//! 3. a distribution's toolchain in `/usr` has both: that one does, for these targets only;
//! 4. otherwise there is a line to type.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{paths, process};

/// What the hypervisor and the guests run on: bare x86-64.
pub const BARE: &str = "x86_64-unknown-none";
/// What the boot loader runs on: UEFI firmware.
pub const UEFI: &str = "x86_64-unknown-uefi";

/// The distribution's toolchain of case 3.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
const SYSTEM_CARGO: &str = "/usr/bin/cargo";
const SYSTEM_CLIPPY: &str = "/usr/bin/cargo-clippy";
const SYSTEM_SOURCES: &str = "/usr/lib/rustlib/src/rust/library";

/// A compiler that can build for the bare targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// Case 1.
    Ready,
    /// Case 2.
    ActiveWithSources,
    /// Case 3.
    System,
}

impl Toolchain {
    /// Chooses the toolchain.
    ///
    /// # Errors
    /// Case 4: nothing can build; the message has the commands to type.
    pub fn choose() -> Result<Self> {
        let sysroot = active_sysroot()?;
        if [BARE, UEFI].iter().all(|target| sysroot.join("lib/rustlib").join(target).join("lib").is_dir()) {
            return Ok(Self::Ready);
        }
        if sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file() {
            return Ok(Self::ActiveWithSources);
        }
        if system_is_complete() {
            return Ok(Self::System);
        }
        bail!(
            "no Rust toolchain here can build for {BARE} and {UEFI}. Any one of these helps:\n  \
             rustup target add {BARE} {UEFI}\n  \
             rustup component add rust-src\n  \
             sudo apt-get install rustc-web cargo-web rust-web-src lld    (Debian)"
        )
    }

    /// A `cargo` command for `target`: `cargo SUBCOMMAND --target TARGET` with all that this toolchain needs.
    #[must_use]
    pub fn cargo(&self, subcommand: &str, target: &str) -> Command {
        let mut command = match self {
            Self::Ready | Self::ActiveWithSources => Command::new(active_cargo()),
            Self::System => {
                // By its full name: cargo would look for the linter in rustup's folder first.
                let program = if subcommand == "clippy" { SYSTEM_CLIPPY } else { SYSTEM_CARGO };
                let mut command = Command::new(program);
                command.env("CARGO", SYSTEM_CARGO);
                // Set on this child only: the host's own builds stay with the active toolchain.
                command.env("RUSTC", SYSTEM_RUSTC);
                command.env(linker_variable(target), system_linker(target));
                command
            }
        };
        without_outer_cargo(&mut command);
        command.current_dir(paths::workspace()).args([subcommand, "--target", target]);
        if *self != Self::Ready {
            command.env("RUSTC_BOOTSTRAP", "1");
            command.args(["-Zbuild-std=core,alloc,compiler_builtins"]);
            command.args(["-Zbuild-std-features=compiler-builtins-mem"]);
        }
        command
    }

    /// Whether it comes with clippy.
    #[must_use]
    pub fn has_linter(&self) -> bool {
        match self {
            Self::Ready | Self::ActiveWithSources => paths::program("cargo-clippy").is_some(),
            Self::System => Path::new(SYSTEM_CLIPPY).is_file(),
        }
    }

    /// Its name and version, for people.
    ///
    /// # Errors
    /// When the compiler does not run.
    pub fn describe(&self) -> Result<String> {
        let (rustc, how) = match self {
            Self::Ready => (OsString::from("rustc"), "has core for both targets"),
            Self::ActiveWithSources => (OsString::from("rustc"), "builds core from its own sources"),
            Self::System => (OsString::from(SYSTEM_RUSTC), "builds core from the distribution's sources"),
        };
        let version = process::output("asking rustc", Command::new(rustc).arg("--version"))?;
        Ok(format!("{} ({how})", version.trim()))
    }
}

/// The `cargo` that builds for the host.
#[must_use]
pub fn active_cargo() -> OsString {
    // Set by the cargo that runs us; it is of the active toolchain.
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A host `cargo` command in the workspace.
#[must_use]
pub fn host_cargo() -> Command {
    let mut command = Command::new(active_cargo());
    without_outer_cargo(&mut command);
    command.current_dir(paths::workspace());
    command
}

/// Takes away what the cargo that runs us told us about our own package: a child would take it for its own.
fn without_outer_cargo(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || ["CARGO_CRATE_NAME", "CARGO_BIN_NAME", "CARGO_PRIMARY_PACKAGE", "LD_LIBRARY_PATH"]
                .contains(&text.as_ref());
        if ours {
            command.env_remove(&name);
        }
    }
}

/// The active toolchain's folder.
fn active_sysroot() -> Result<PathBuf> {
    let mut command = Command::new("rustc");
    command.current_dir(paths::workspace()).args(["--print", "sysroot"]);
    let sysroot = process::output("asking rustc for its folder", &mut command)
        .context("is Rust installed? https://rustup.rs shows how")?;
    Ok(PathBuf::from(sysroot.trim()))
}

/// Whether the distribution's toolchain has compiler, linkers and library sources of one version.
fn system_is_complete() -> bool {
    let sources = Path::new(SYSTEM_SOURCES);
    let present = Path::new(SYSTEM_CARGO).is_file()
        && sources.join("core/src/lib.rs").is_file()
        && [BARE, UEFI].iter().all(|target| Path::new(system_linker(target)).is_file());
    let version = || {
        let output = Command::new(SYSTEM_RUSTC).arg("--version").output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // The sources carry no version of their own; the packages are tied to each other by Debian.
    present && version().is_some_and(|version| is_new_enough(&version))
}

/// Whether a `rustc --version` line names at least the oldest release that the workspace supports.
fn is_new_enough(version: &str) -> bool {
    let number = version.split_whitespace().nth(1).unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let oldest = (env!("CARGO_PKG_RUST_VERSION")).split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    oldest
        .map(|least| (parts.next().unwrap_or(0), least))
        .find(|(have, least)| have != least)
        .is_none_or(|(have, least)| have > least)
}

/// LLVM's linkers, as Debian's `lld` installs them. Changing them rebuilds `core`.
fn system_linker(target: &str) -> &'static str {
    if target == UEFI { "/usr/bin/lld-link" } else { "/usr/bin/ld.lld" }
}

/// The variable that names a target's linker to cargo.
fn linker_variable(target: &str) -> String {
    format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linker_variable_is_spelled_as_cargo_wants_it() {
        assert_eq!(linker_variable(BARE), "CARGO_TARGET_X86_64_UNKNOWN_NONE_LINKER");
    }

    #[test]
    fn a_compiler_older_than_the_workspace_asks_for_is_not_taken() {
        assert!(is_new_enough("rustc 1.96.0 (ac68faa20 2026-05-25)"));
        assert!(is_new_enough("rustc 1.95.0 (x)"));
        assert!(!is_new_enough("rustc 1.85.0 (x)"));
        assert!(is_new_enough("rustc 2.0.0 (x)"));
        assert!(!is_new_enough("no version"));
    }
}
