//! `cargo xtask bench boot`: what it takes to boot Linux in a VM, in exits by reason, and the hypervisor and a VM until
//! they do something, in instructions.
//!
//! Linux is Debian's 6.12 as an ELF file, unmodified, on the command line of [`CONFIG`]. Exits count from the VM's first
//! instruction until a shell has written its first line; the next thing the guest does is to reset, which ends its VM.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{await_power_off, measure};
use crate::build;
use crate::emulator::{Emulator, Time};
use crate::guest::{self, Kernel};
use crate::image::Contents;
use crate::setup::{self, Need};

/// Patience with a run whose time is counted instructions: some minutes are usual.
const LIMIT: Duration = Duration::from_secs(1200);

/// Patience with the hypervisor's shell.
const ANSWER: Duration = Duration::from_secs(120);

/// What is started and when. The VM of Linux runs first; `first` is started from the shell, when idle CPUs have scrubbed
/// all memory.
///
/// The command line is one that users of small virtual machine monitors choose: nothing is printed by the kernel, and it
/// looks neither for PCI nor for more serial lines, and sets no IOAPIC up. The last command resets the guest at once, which
/// ends its VM.
const CONFIG: &str = r#"
[host]
attach = "boot"

[[vm]]
name = "boot"
memory = "256M"
kernel = "vmlinux"
initrd = "initramfs.cpio"
cmdline = "console=ttyS0 quiet loglevel=1 noapic pci=off 8250.nr_uarts=1 run=\"echo hello from the shell; echo b >/proc/sysrq-trigger\""
on_reset = "end"
exit_profile = true

[[vm]]
name = "first"
memory = "256M"
kernel = "first-byte"
debug_exit = true
on_reset = "end"
autostart = false
"#;

/// Measures and prints.
///
/// # Errors
/// When it cannot be built or run, or does not come to its end.
pub fn command() -> Result<()> {
    setup::ensure(&Need::ALL)?;
    let hypervisor = build::hypervisor()?;
    build::guests()?;
    let mut contents = Contents::with_hypervisor(&hypervisor, CONFIG.into())?;
    contents.add("vmlinux", guest::vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", guest::initramfs()?);
    contents.add("first-byte", crate::paths::read(&build::guest("first-byte"))?);
    let log = measure("booting Linux", &contents, |machine| machine.time(Time::FastInstructions), run)?;
    print(&log)
}

/// Lets both VMs live and die.
fn run(emulator: &mut Emulator) -> Result<()> {
    emulator.expect("vm boot: lived ", LIMIT)?;
    emulator.expect("cofferdam> ", ANSWER)?;
    await_scrubbed(emulator)?;
    emulator.send("vm start first\r")?;
    emulator.expect("vm first: lived ", ANSWER)?;
    emulator.send("poweroff\r")?;
    await_power_off(emulator, ANSWER)
}

/// Waits until no free memory is left to scrub.
fn await_scrubbed(emulator: &mut Emulator) -> Result<()> {
    const TRIES: u32 = 600;
    for _ in 0..TRIES {
        emulator.send("host mem\r")?;
        let answer = emulator.expect("cofferdam> ", ANSWER)?;
        if answer.contains(", 0 KiB to be scrubbed") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("the memory was never scrubbed")
}

/// A number that the hypervisor reports.
#[derive(Debug, PartialEq, Eq)]
struct Counter {
    /// What is counted: `exits: HLT`.
    what: String,
    /// How often.
    count: u64,
}

/// The counters of the VM `boot` in a log: lines that end like `vm boot: exits: HLT 12`.
fn counters(log: &str) -> Vec<Counter> {
    let counter = |line: &str| {
        let (_, report) = line.split_once("vm boot: ")?;
        let (what, count) = report.trim_end().rsplit_once(' ')?;
        what.contains(": ").then_some(())?;
        Some(Counter { what: what.to_string(), count: count.parse().ok()? })
    };
    log.lines().filter_map(counter).collect()
}

/// The nanoseconds in the log's line with `words`: `words 12 ns`. There they are instructions.
fn instructions(log: &str, words: &str) -> Result<u64> {
    let number = |line: &str| line.split_once(words)?.1.trim().strip_suffix("ns")?.trim().parse().ok();
    log.lines().find_map(number).with_context(|| format!("the log does not say \"{words}\""))
}

fn print(log: &str) -> Result<()> {
    let counters = counters(log);
    ensure!(!counters.is_empty(), "the hypervisor's log has no counters");
    ensure!(log.contains("hello from the shell"), "the shell wrote nothing");
    let rows = [
        ("from firmware's end to readiness", instructions(log, "bring-up took ")?),
        ("from a VM's creation to its first byte", instructions(log, "vm first: lived ")?),
    ];
    let mut out = std::io::stdout().lock();
    writeln!(out, "Exits from the kernel's entry to the shell's first line:")?;
    for Counter { what, count } in counters {
        writeln!(out, "{count:>12}  {what}")?;
    }
    writeln!(out, "Instructions:")?;
    for (what, count) in rows {
        writeln!(out, "{count:>12}  {what}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_log() {
        let log = "[1.5] info vm boot: exits: HLT 12\r\nvm boot: has ended: power off\r\nvm boot: profile: port I/O 0x3f8 out 1 byte 7\r\n";
        let expected = [("exits: HLT", 12), ("profile: port I/O 0x3f8 out 1 byte", 7)];
        let expected = expected.map(|(what, count)| Counter { what: what.into(), count });
        assert_eq!(counters(log), expected);
    }

    #[test]
    fn instructions_are_read_from_the_log() {
        assert_eq!(
            instructions("x\r\n[1.5] info vm first: lived 12 ns\r\n", "vm first: lived ").unwrap(),
            12
        );
        assert!(instructions("", "vm first: lived ").is_err());
    }

    #[test]
    fn its_configuration_is_valid() {
        assert_eq!(config::parse(CONFIG).unwrap().vms.len(), 2);
    }
}
