//! The tiny guests without a hypervisor, directly on the emulator: what they say of Cofferdam is worth as much as what
//! they say of a machine that is known.
//!
//! Each must report the same checks there with the same outcome, but for the [`differences::DIFFERENCES`].

use crate::{STEP, differences};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use xtask::emulator::QEMU;
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    quick("tiny_guest_exceptions_on_bare_qemu", |lab| passes(lab, "exceptions")),
    quick("tiny_guest_hlt_and_timer_on_bare_qemu", |lab| passes(lab, "hlt-timer")),
    quick("tiny_guest_port_io_on_bare_qemu", |lab| passes(lab, "port-io")),
    quick("tiny_guest_msr_gp_on_bare_qemu", |lab| passes(lab, "msr-gp")),
    quick("tiny_guest_outside_memory_on_bare_qemu", |lab| passes(lab, "outside-memory")),
    quick("tiny_guest_control_registers_on_bare_qemu", |lab| passes(lab, "control-registers")),
    quick("tiny_guest_cpuid_on_bare_qemu", |lab| passes(lab, "cpuid")),
    quick("tiny_guest_debug_registers_on_bare_qemu", |lab| passes(lab, "debug-registers")),
    quick("tiny_guest_ioapic_on_bare_qemu", |lab| passes(lab, "ioapic")),
    quick("tiny_guest_local_apic_on_bare_qemu", |lab| passes(lab, "local-apic")),
    quick("tiny_guest_nmi_and_shadow_on_bare_qemu", |lab| passes(lab, "nmi-and-shadow")),
    quick("tiny_guest_pat_mtrr_on_bare_qemu", |lab| passes(lab, "pat-mtrr")),
    quick("tiny_guest_pic_on_bare_qemu", |lab| passes(lab, "pic")),
    quick("tiny_guest_pit_on_bare_qemu", |lab| passes(lab, "pit")),
    quick("tiny_guest_rtc_on_bare_qemu", |lab| passes(lab, "rtc")),
    quick("tiny_guest_instructions_on_bare_qemu", |lab| passes(lab, "instructions")),
    quick("tiny_guest_triple_fault_on_bare_qemu", triple_fault),
];

const fn quick(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on: On::Amd("it is QEMU that is looked at"), run }
}

/// The checks that a serial line tells of, each with its outcome.
pub fn checks(log: &str) -> BTreeSet<(String, String)> {
    let lines = log.lines().filter_map(|line| line.split_once("guest: check "));
    let pairs = lines.filter_map(|(_, check)| check.trim_end().split_once(": "));
    pairs.map(|(name, outcome)| (name.into(), outcome.into())).collect()
}

/// Compares what `guest` reported under the hypervisor, as its `log` tells, with what it reports on the bare emulator.
pub fn compare(lab: &Lab, guest: &str, log: &str) -> Result<()> {
    let (ours, reference) = (checks(log), checks(&run(lab, guest)?.log));
    let names = |checks: &BTreeSet<(String, String)>| -> BTreeSet<String> {
        checks.iter().map(|(name, _)| name.clone()).collect()
    };
    let (our_names, its_names) = (names(&ours), names(&reference));
    ensure!(our_names == its_names, "checks here: {our_names:?}, on the bare emulator: {its_names:?}");
    let differing: Vec<_> = names(&(&ours - &reference)).into_iter().collect();
    let listed = differences::of(guest);
    ensure!(differing == listed, "these differ from the bare emulator: {differing:?}, listed are {listed:?}");
    Ok(())
}

/// A run that has ended.
struct Run {
    log: String,
    /// The emulator's exit status.
    status: Option<i32>,
}

/// Runs `guest` as tests/guests/README.md says.
fn run(lab: &Lab, guest: &str) -> Result<Run> {
    let kernel = lab.folder().join(guest);
    std::fs::write(&kernel, lab.guest(guest)?)?;
    let mut command = Command::new(QEMU);
    command.args(["-nodefaults", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256"]);
    command.args(["-display", "none", "-serial", "stdio", "-no-reboot"]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-kernel"]).arg(kernel);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context(QEMU)?;
    let mut output = child.stdout.take().context("the emulator has no output")?;
    let reader = std::thread::spawn(move || {
        let mut log = Vec::new();
        output.read_to_end(&mut log).map(|_| log)
    });
    let deadline = Instant::now() + STEP;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!("{guest} does not end on the bare emulator within {STEP:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let Ok(log) = reader.join() else { bail!("the reader of the serial line panicked") };
    Ok(Run { log: String::from_utf8_lossy(&log?).into_owned(), status: status.code() })
}

fn passes(lab: &Lab, guest: &str) -> Result<()> {
    let Run { log, status } = run(lab, guest)?;
    let failed: Vec<_> =
        checks(&log).into_iter().filter(|(_, outcome)| outcome.starts_with("FAILED")).collect();
    ensure!(failed.is_empty(), "the guest reported: {failed:?}");
    ensure!(
        log.contains(&format!("guest: {guest}: end, 0 failed")),
        "the guest did not come to its end: {log}"
    );
    ensure!(status == Some(1), "the emulator ended with {status:?}");
    Ok(())
}

fn triple_fault(lab: &Lab) -> Result<()> {
    let Run { log, .. } = run(lab, "triple-fault")?;
    // The emulator ends at the reset that follows.
    ensure!(log.trim_end().ends_with("guest: triple fault now"), "the guest went on: {log}");
    Ok(())
}
