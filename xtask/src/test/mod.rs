//! `cargo xtask test`: host tests, fuzz targets, then scenarios; ends with `N passed, N failed`.

mod fuzz;
mod host;
mod scenarios;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::setup::{self, Need};

/// How many of the slowest scenarios are named.
const SLOWEST: usize = 10;

/// What to test.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Only tests whose name contains this
    filter: Option<String>,
    /// Also what is too slow for every run
    #[arg(long)]
    long: bool,
    /// Only name the scenarios
    #[arg(long)]
    list: bool,
}

/// Tests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Runs the tests.
///
/// # Errors
/// When tests cannot be built or run; a failed test is an exit status.
pub fn command(options: &Options) -> Result<ExitCode> {
    if options.list {
        return scenarios::list(options);
    }
    // Tests of images run its programs.
    setup::ensure(&[Need::Ext4])?;
    let filter = options.filter.as_deref();
    let mut total = host::run("host tests", filter, host::Lane::Ordinary)?;
    if host::has_loom_tests() {
        total += host::run("interleavings (loom)", filter, host::Lane::Loom)?;
    }
    total += fuzz::run(options)?;
    let scenarios = scenarios::run(options)?;
    total += scenarios.counts;
    print_slowest(scenarios.times);
    println!("{total}");
    if total == Counts::default() {
        anyhow::bail!("no test has \"{}\" in its name", filter.unwrap_or_default());
    }
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_slowest(mut times: Vec<(Duration, String)>) {
    if times.is_empty() {
        return;
    }
    times.sort_by(|a, b| b.cmp(a));
    println!("slowest scenarios:");
    for (took, name) in times.iter().take(SLOWEST) {
        println!("  {:>6.1} s  {name}", took.as_secs_f32());
    }
}
