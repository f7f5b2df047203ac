//! The tiny guests without a hypervisor, directly on the emulators: what they say of Cofferdam is worth as much as what
//! they say of a machine that is known.
//!
//! Each must report the same checks there with the same outcome, but for the [`differences`].

use crate::{STEP, differences};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use xtask::emulator::{Bare, Ending, Error, Machine, QEMU, Time, Vendor};
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    qemu("tiny_guest_exceptions_on_bare_qemu", |lab| passes(lab, "exceptions")),
    qemu("tiny_guest_hlt_and_timer_on_bare_qemu", |lab| passes(lab, "hlt-timer")),
    qemu("tiny_guest_port_io_on_bare_qemu", |lab| passes(lab, "port-io")),
    qemu("tiny_guest_msr_gp_on_bare_qemu", |lab| passes(lab, "msr-gp")),
    qemu("tiny_guest_outside_memory_on_bare_qemu", |lab| passes(lab, "outside-memory")),
    qemu("tiny_guest_control_registers_on_bare_qemu", |lab| passes(lab, "control-registers")),
    qemu("tiny_guest_cpuid_on_bare_qemu", |lab| passes(lab, "cpuid")),
    qemu("tiny_guest_debug_registers_on_bare_qemu", |lab| passes(lab, "debug-registers")),
    qemu("tiny_guest_ioapic_on_bare_qemu", |lab| passes(lab, "ioapic")),
    qemu("tiny_guest_local_apic_on_bare_qemu", |lab| passes(lab, "local-apic")),
    qemu("tiny_guest_nmi_and_shadow_on_bare_qemu", |lab| passes(lab, "nmi-and-shadow")),
    qemu("tiny_guest_pat_mtrr_on_bare_qemu", |lab| passes(lab, "pat-mtrr")),
    qemu("tiny_guest_pic_on_bare_qemu", |lab| passes(lab, "pic")),
    qemu("tiny_guest_pit_on_bare_qemu", |lab| passes(lab, "pit")),
    qemu("tiny_guest_rtc_on_bare_qemu", |lab| passes(lab, "rtc")),
    qemu("tiny_guest_instructions_on_bare_qemu", |lab| passes(lab, "instructions")),
    qemu("tiny_guest_translations_on_bare_qemu", |lab| passes(lab, "translations")),
    qemu("tiny_guest_virtio_on_bare_qemu", |lab| passes(lab, VIRTIO)),
    qemu("tiny_guest_triple_fault_on_bare_qemu", triple_fault),
    bochs("tiny_guest_exceptions_on_bare_bochs", |lab| passes(lab, "exceptions")),
    bochs("tiny_guest_hlt_and_timer_on_bare_bochs", |lab| passes(lab, "hlt-timer")),
    bochs("tiny_guest_port_io_on_bare_bochs", |lab| passes(lab, "port-io")),
    bochs("tiny_guest_msr_gp_on_bare_bochs", |lab| passes(lab, "msr-gp")),
    bochs("tiny_guest_outside_memory_on_bare_bochs", |lab| passes(lab, "outside-memory")),
    bochs("tiny_guest_control_registers_on_bare_bochs", |lab| passes(lab, "control-registers")),
    bochs("tiny_guest_cpuid_on_bare_bochs", |lab| passes(lab, "cpuid")),
    bochs("tiny_guest_ioapic_on_bare_bochs", |lab| passes(lab, "ioapic")),
    bochs("tiny_guest_nmi_and_shadow_on_bare_bochs", |lab| passes(lab, "nmi-and-shadow")),
    bochs("tiny_guest_pat_mtrr_on_bare_bochs", |lab| passes(lab, "pat-mtrr")),
    bochs("tiny_guest_translations_on_bare_bochs", |lab| passes(lab, "translations")),
    bochs("tiny_guest_triple_fault_on_bare_bochs", triple_fault),
];

const fn qemu(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on: On::Amd("it is QEMU that is looked at"), run }
}

const fn bochs(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on: On::Intel("it is Bochs that is looked at"), run }
}

/// The checks that a serial line tells of, each with its outcome.
pub fn checks(log: &str) -> BTreeSet<(String, String)> {
    let lines = log.lines().filter_map(|line| line.split_once("guest: check "));
    let pairs = lines.filter_map(|(_, check)| check.trim_end().split_once(": "));
    pairs.map(|(name, outcome)| (name.into(), outcome.into())).collect()
}

/// Compares what `guest` reported under the hypervisor, as its `log` tells, with what it reports on the bare emulator, if
/// that is a reference for it.
pub fn compare(lab: &Lab, guest: &str, log: &str) -> Result<()> {
    if !differences::has_reference(lab.vendor(), guest) {
        return Ok(());
    }
    let (ours, reference) = (checks(log), checks(&run(lab, guest)?.log));
    let names = |checks: &BTreeSet<(String, String)>| -> BTreeSet<String> {
        checks.iter().map(|(name, _)| name.clone()).collect()
    };
    let (our_names, its_names) = (names(&ours), names(&reference));
    ensure!(our_names == its_names, "checks here: {our_names:?}, on the bare emulator: {its_names:?}");
    let differing: Vec<_> = names(&(&ours - &reference)).into_iter().collect();
    let listed = differences::of(lab.vendor(), guest);
    ensure!(differing == listed, "these differ from the bare emulator: {differing:?}, listed are {listed:?}");
    Ok(())
}

/// A run that has come to its end.
struct Run {
    log: String,
    /// What the guest wrote to the debug-exit port, if the emulator has one.
    exit: Option<i32>,
}

/// Runs `guest` on the bare emulator of the lab's vendor.
fn run(lab: &Lab, guest: &str) -> Result<Run> {
    match lab.vendor() {
        Vendor::Amd => run_on_qemu(lab, guest),
        Vendor::Intel => run_on_bochs(lab, guest),
    }
}

/// Runs `guest` until it says that it ends; Bochs has no debug-exit port.
fn run_on_bochs(lab: &Lab, guest: &str) -> Result<Run> {
    let program = Bare::from_elf(&lab.guest(guest)?)?;
    let mut emulator = lab.start(Machine::bare(program).memory_mib(256).time(Time::Instructions))?;
    let end = format!("guest: {guest}: end, ");
    match emulator.expect(&end, STEP).and_then(|_| emulator.expect("\n", STEP)) {
        Ok(_) | Err(Error::Ended { ending: Ending::Reset, .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Run { log: emulator.serial_log(), exit: None })
}

/// Runs `guest` as tests/guests/README.md says.
fn run_on_qemu(lab: &Lab, guest: &str) -> Result<Run> {
    let kernel = lab.folder().join(guest);
    std::fs::write(&kernel, lab.guest(guest)?)?;
    let mut command = Command::new(QEMU);
    command.args(["-nodefaults", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256"]);
    command.args(["-display", "none", "-serial", "stdio", "-no-reboot"]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-kernel"]).arg(kernel);
    if guest == VIRTIO {
        command.args(virtio_devices(lab)?);
    }
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
    // Writing N ends QEMU with status 2N+1.
    let exit = Some(status.code().map_or(-1, |status| status / 2));
    Ok(Run { log: String::from_utf8_lossy(&log?).into_owned(), exit })
}

/// The guest that drives virtio devices.
pub const VIRTIO: &str = "virtio";

/// QEMU's arguments for the devices that [`VIRTIO`] looks for.
fn virtio_devices(lab: &Lab) -> Result<Vec<String>> {
    let disk = lab.folder().join("disk.img");
    std::fs::write(&disk, crate::disks::numbered_sectors())?;
    let drive = format!("if=none,id=disk,format=raw,file={}", disk.display());
    let devices = ["virtio-blk-pci,drive=disk,serial=disk", "virtio-rng-pci", "virtio-serial-pci"];
    let mut args = vec!["-drive".into(), drive, "-chardev".into(), "null,id=nowhere".into()];
    for device in devices.into_iter().chain(["virtconsole,chardev=nowhere"]) {
        args.extend(["-device".into(), device.into()]);
    }
    Ok(args)
}

/// The guest comes to its end, and no check fails but those that are known to.
fn passes(lab: &Lab, guest: &str) -> Result<()> {
    let Run { log, exit } = run(lab, guest)?;
    let known = differences::of(lab.vendor(), guest);
    let failed: Vec<_> =
        checks(&log).into_iter().filter(|(_, outcome)| outcome.starts_with("FAILED")).collect();
    let unknown: Vec<_> = failed.iter().filter(|(name, _)| !known.contains(name)).collect();
    ensure!(unknown.is_empty(), "the guest reported: {unknown:?}");
    ensure!(
        log.contains(&format!("guest: {guest}: end, {} failed", failed.len())),
        "the guest did not come to its end: {log}"
    );
    ensure!(exit.is_none_or(|exit| exit == 0), "the guest ended the emulator with {exit:?}");
    Ok(())
}

fn triple_fault(lab: &Lab) -> Result<()> {
    let Run { log, .. } = run(lab, "triple-fault")?;
    // The emulator ends at the reset that follows.
    ensure!(log.trim_end().ends_with("guest: triple fault now"), "the guest went on: {log}");
    Ok(())
}
