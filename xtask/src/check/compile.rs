//! Checks by the compiler's own tools.

use std::process::Command;

use anyhow::Result;

use super::metadata;
use crate::process;
use crate::setup::{self, Need};
use crate::toolchain::{BARE, Toolchain, UEFI, host_cargo};
use crate::{build, paths};

/// What exists only for a bare target: package and target.
const BARE_PACKAGES: [(&str, &str); 3] = [("kernel", BARE), ("guests", BARE), ("boot", UEFI)];

/// Formatting.
pub fn fmt() -> Result<String> {
    process::quiet("checking the formatting", host_cargo().args(["fmt", "--all", "--", "--check", "-l"]))?;
    Ok("all files".into())
}

/// Lints.
pub fn clippy() -> Result<String> {
    let mut host = host_cargo();
    host.args(["clippy", "--all-targets", "--package", "system"]);
    // The default members and the scenarios.
    host.args(metadata::default_members()?.iter().flat_map(|name| ["--package", name.as_str()]));
    process::quiet("linting the host crates", host.args(["--", "-Dwarnings"]))?;

    setup::ensure(&[Need::Toolchain, Need::BareLinter])?;
    let toolchain = Toolchain::choose()?;
    for (package, target) in BARE_PACKAGES {
        let mut command = toolchain.cargo("clippy", target);
        in_own_lane(&mut command, package);
        process::quiet(&format!("linting {package} for {target}"), command.args(["--", "-Dwarnings"]))?;
    }
    Ok("host crates, kernel, guests, boot".into())
}

/// Documentation.
pub fn docs() -> Result<String> {
    let mut host = host_cargo();
    host.args(["doc", "--no-deps", "--document-private-items", "--package", "system"]);
    host.args(metadata::default_members()?.iter().flat_map(|name| ["--package", name.as_str()]));
    process::quiet("building the documentation", host.env("RUSTDOCFLAGS", "-Dwarnings"))?;
    Ok(format!("{}", paths::target().join("doc").display()))
}

/// Lints compile for the bare targets with another driver than builds: a folder of their own.
fn in_own_lane(command: &mut Command, package: &str) {
    let lane = paths::lane(&format!("{}-clippy", build::LANE));
    command.args(["--release", "--package", package, "--target-dir"]).arg(lane);
}
