//! `cargo xtask bench`: what things cost, in counts that do not depend on the computer.
//!
//! The emulated computer's time is executed instructions ([`Time::Instructions`]), so that a slow computer gives
//! the numbers of a fast one. Two runs differ by less than one percent: the disk answers firmware whenever the
//! host has read it, and from there on timers tick at other instructions.

mod exits;

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::build;
use crate::emulator::{Ending, Machine, Time};
use crate::guest::{self, Kernel};
use crate::image::{self, Contents, Table};
use crate::progress::Step;
use crate::setup::{self, Need};

/// Patience with a boot whose time is counted instructions: some minutes are usual.
const LIMIT: Duration = Duration::from_secs(1200);

/// One guest that boots Linux and powers off.
const BOOT_CONFIG: &str = r#"
[host]
when_idle = "poweroff"

[[vm]]
name = "boot"
memory = "256M"
kernel = "vmlinux"
initrd = "initramfs.cpio"
cmdline = "console=ttyS0 run=\"poweroff -f\""
"#;

/// What to measure.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Bench {
    /// Instructions that each kind of exit takes, in hypervisor and guest
    Exits(exits::Options),
    /// Exits, by reason, while Debian's 6.12 kernel boots to a shell and powers off
    Boot,
}

/// Measures and prints.
///
/// # Errors
/// When it cannot be built or run, or does not come to its end.
pub fn command(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Exits(options) => exits::command(options),
        Bench::Boot => boot(),
    }
}

fn boot() -> Result<()> {
    setup::ensure(&Need::ALL)?;
    let hypervisor = build::hypervisor()?;
    let mut contents = Contents::with_hypervisor(&hypervisor, BOOT_CONFIG.into())?;
    contents.add("vmlinux", guest::vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", guest::initramfs()?);
    let scratch = tempfile::tempdir()?;
    let disk = scratch.path().join("disk.img");
    image::write(&contents, Table::Gpt, &disk)?;

    let step = Step::start("booting Linux, with counted instructions");
    let mut emulator = Machine::new(disk).time(Time::Instructions).start()?;
    let ending = emulator.wait_exit(LIMIT)?;
    drop(step);
    if ending != Ending::PoweredOff {
        bail!(
            "the machine did not power itself off ({ending:?}); the serial line ends:\n{}",
            emulator.tail()
        );
    }
    print(&counters(&emulator.serial_log()))
}

/// A counter that the hypervisor reports when a VM ends.
#[derive(Debug, PartialEq, Eq)]
struct Counter {
    /// What is counted: `exits: HLT`.
    what: String,
    /// How often.
    count: u64,
}

/// The counters in a log: lines that end like `vm boot: exits: HLT 12`.
fn counters(log: &str) -> Vec<Counter> {
    let counter = |line: &str| {
        let (_, report) = line.split_once("vm boot: ")?;
        let (what, count) = report.trim_end().rsplit_once(' ')?;
        what.contains(": ").then_some(())?;
        Some(Counter { what: what.to_string(), count: count.parse().ok()? })
    };
    log.lines().filter_map(counter).collect()
}

fn print(counters: &[Counter]) -> Result<()> {
    if counters.is_empty() {
        bail!("the hypervisor's log has no counters");
    }
    let mut out = std::io::stdout().lock();
    for Counter { what, count } in counters {
        writeln!(out, "{count:>12}  {what}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_log() {
        let log = "[1.5] info vm boot: exits: HLT 12\r\nvm boot: has ended: power off\r\nvm boot: exits: I/O port 7\r\n";
        let expected = [("exits: HLT", 12), ("exits: I/O port", 7)];
        let expected = expected.map(|(what, count)| Counter { what: what.into(), count });
        assert_eq!(counters(log), expected);
    }

    #[test]
    fn its_configuration_is_valid() {
        assert_eq!(config::parse(BOOT_CONFIG).unwrap().vms.len(), 1);
    }
}
