//! `cargo xtask bench`: what things cost, in counts that do not depend on the computer.
//!
//! The emulated computer's time is executed instructions ([`crate::emulator::Time`]), so that a slow computer gives
//! the numbers of a fast one. Two runs differ nevertheless, by how much is in docs/benchmarks.md: the disk answers firmware
//! whenever the host has read it, and from there on timers tick at other instructions.

mod boot;
mod exits;
mod io;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::emulator::{Emulator, Ending, Machine};
use crate::image::{self, Contents, Table};
use crate::progress::Step;

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

/// Starts a computer from a disk with `contents`, lets `drive` drive it to the measurement's end, and returns what appeared
/// on its serial line.
fn measure(
    what: &str,
    contents: &Contents,
    choose: impl FnOnce(Machine) -> Machine,
    drive: impl FnOnce(&mut Emulator) -> Result<()>,
) -> Result<String> {
    let scratch = tempfile::tempdir()?;
    let disk = scratch.path().join("disk.img");
    image::write(contents, Table::Gpt, &disk)?;

    let step = Step::start(format!("{what}, with counted instructions"));
    let mut emulator = choose(Machine::new(disk)).start()?;
    let end = drive(&mut emulator).with_context(|| format!("the serial line ends:\n{}", emulator.tail()));
    drop(step);
    end?;
    Ok(emulator.serial_log())
}

/// Waits until the machine has powered itself off.
fn await_power_off(emulator: &mut Emulator, limit: Duration) -> Result<()> {
    let ending = emulator.wait_exit(limit)?;
    ensure!(ending == Ending::PoweredOff, "the machine did not power itself off ({ending:?})");
    Ok(())
}

/// The number after `name` in a report such as `exits 12, interrupts 3`.
fn number<T: FromStr>(report: &str, name: &str) -> Option<T> {
    let named = report.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix(' '));
    named?.parse().ok()
}

/// Writes one object for each measurement to a file.
fn write_json(path: &Path, objects: &[Value]) -> Result<()> {
    let text = serde_json::to_string_pretty(objects)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_whole_name() {
        let report = "exits 12, interrupts 3";
        assert_eq!(number(report, "interrupts"), Some(3));
        assert_eq!(number::<u32>(report, "exit"), None);
        assert_eq!(number::<u8>("exits 300", "exits"), None);
    }
}
