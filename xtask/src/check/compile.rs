//! Checks by the compiler's own tools.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::process;
use crate::setup::{self, Need};
use crate::toolchain::{BARE, Toolchain, UEFI, host_cargo};
use crate::{build, paths};

/// What exists only for a bare target: package, target, and features.
const BARE_PACKAGES: [(&str, &str, &[&str]); 6] = [
    ("kernel", BARE, &[]),
    ("kernel", BARE, &["--features", "seeded-faults"]),
    ("kernel", BARE, &["--features", "exit-shares"]),
    ("guests", BARE, &[]),
    ("boot", UEFI, &[]),
    ("firmware-tables", UEFI, &[]),
];

/// Arguments that choose what builds on any host: the workspace's default members, and the scenarios.
const HOST_PACKAGES: [&[&str]; 2] = [&[], &["--package", "system"]];

/// Formatting.
pub fn fmt() -> Result<String> {
    process::quiet("checking the formatting", host_cargo().args(["fmt", "--all", "--", "--check", "-l"]))?;
    Ok("all files".into())
}

/// Lints. All crates are linted even if one has warnings.
pub fn clippy() -> Result<String> {
    let mut results = Vec::new();
    for packages in HOST_PACKAGES {
        let mut command = host_cargo();
        command
            .args(["clippy", "--quiet", "--keep-going", "--all-targets"])
            .args(packages)
            .args(["--", "-Dwarnings"]);
        results.push(process::quiet("linting the host crates", &mut command));
    }

    setup::ensure(&[Need::Toolchain, Need::BareLinter])?;
    let toolchain = Toolchain::choose()?;
    for (package, target, features) in BARE_PACKAGES {
        let mut command = toolchain.cargo("clippy", target);
        in_own_lane(&mut command, package);
        command.args(features);
        let what = format!("linting {package} for {target}");
        results.push(process::quiet(&what, command.args(["--", "-Dwarnings"])));
    }
    let wrong: Vec<String> =
        results.into_iter().filter_map(|result| Some(format!("{:#}", result.err()?))).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok("host crates, kernel, guests, boot, firmware-tables".into())
}

/// Documentation.
pub fn docs() -> Result<String> {
    for packages in HOST_PACKAGES {
        let mut command = host_cargo();
        command
            .args(["doc", "--quiet", "--keep-going", "--no-deps", "--document-private-items"])
            .args(packages);
        process::quiet("building the documentation", command.env("RUSTDOCFLAGS", "-Dwarnings"))?;
    }
    Ok(format!("{}", paths::target().join("doc").display()))
}

/// Lints compile for the bare targets with another driver than builds: a folder of their own.
fn in_own_lane(command: &mut Command, package: &str) {
    let lane = paths::lane(&format!("{}-clippy", build::LANE));
    command.args(["--quiet", "--release", "--package", package, "--target-dir"]).arg(lane);
}
