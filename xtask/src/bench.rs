//! `cargo xtask bench`: what things cost, in counts that do not depend on the computer.
//!
//! The emulated computer's time is executed instructions ([`crate::emulator::Time`]), so that a slow computer gives
//! the numbers of a fast one. Two runs differ by less than one percent: the disk answers firmware whenever the
//! host has read it, and from there on timers tick at other instructions.

mod boot;
mod exits;
mod io;

use anyhow::Result;

/// What to measure.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Bench {
    /// Instructions that each kind of exit takes, in hypervisor and guest
    Exits(exits::Options),
    /// Exits until Debian's 6.12 kernel has a shell, by reason; instructions until hypervisor and VM are there
    Boot,
    /// Instructions of hypervisor and guest, exits and interrupts that an operation on a disk or a NIC takes
    Io(io::Options),
}

/// Measures and prints.
///
/// # Errors
/// When it cannot be built or run, or does not come to its end.
pub fn command(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Exits(options) => exits::command(options),
        Bench::Boot => boot::command(),
        Bench::Io(options) => io::command(options),
    }
}
