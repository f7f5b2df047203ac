//! `cargo xtask check`: what must hold before a change is good, short of tests.
//!
//! Those that only read sources are tests of this crate too, so that `cargo xtask test` fails on them.

mod compile;
mod floors;
mod metadata;
mod size;
mod source;
mod unsafety;
mod vendors;

use std::process::ExitCode;

use anyhow::Result;

/// One of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Check {
    /// Formatting as rustfmt has it
    Fmt,
    /// Crates depend only on lower floors
    Floors,
    /// Only the files listed may name a processor vendor
    Vendors,
    /// Every unsafe site says why it is sound
    Unsafe,
    /// Lints of host crates and of bare-metal crates, warnings being errors
    Clippy,
    /// Documentation builds without a warning
    Docs,
    /// The hypervisor is small
    Size,
}

impl Check {
    /// All, the quick ones first.
    const ALL: [Self; 7] =
        [Self::Fmt, Self::Floors, Self::Vendors, Self::Unsafe, Self::Clippy, Self::Docs, Self::Size];

    /// Carries it out: what it found as text, or what is wrong as an error.
    fn run(self) -> Result<String> {
        match self {
            Self::Fmt => compile::fmt(),
            Self::Floors => floors::check(),
            Self::Vendors => vendors::check(),
            Self::Unsafe => unsafety::check(),
            Self::Clippy => compile::clippy(),
            Self::Docs => compile::docs(),
            Self::Size => size::check(),
        }
    }
}

/// What to check.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Only these [default: all]
    #[arg(value_enum)]
    checks: Vec<Check>,
}

/// Carries out the checks, all of them even if one fails.
#[must_use]
pub fn command(options: &Options) -> ExitCode {
    let checks = if options.checks.is_empty() { &Check::ALL[..] } else { &options.checks };
    let mut failed = 0;
    for check in checks {
        let name = format!("{check:?}").to_lowercase();
        match check.run() {
            Ok(found) => println!("ok      {name:<8} {found}"),
            Err(error) => {
                failed += 1;
                println!("FAILED  {name:<8} {error:#}");
            }
        }
    }
    println!("{} passed, {failed} failed", checks.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
