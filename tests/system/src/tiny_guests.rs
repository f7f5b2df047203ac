//! The tiny guests of `tests/guests`: one behaviour each, reported check by check by the guest itself.

use crate::{BOOT, line, reference};
use anyhow::{Result, ensure};
use std::time::Duration;
use xtask::emulator::{Emulator, Model};
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    quick("tiny_guest_exceptions", |lab| passes(lab, "exceptions")),
    quick("tiny_guest_hlt_and_timer", |lab| passes(lab, "hlt-timer")),
    quick("tiny_guest_port_io", |lab| passes(lab, "port-io")),
    quick("tiny_guest_msr_gp", |lab| passes(lab, "msr-gp")),
    quick("tiny_guest_outside_memory", |lab| passes(lab, "outside-memory")),
    quick("tiny_guest_control_registers", |lab| passes(lab, "control-registers")),
    quick("tiny_guest_cpuid", |lab| passes(lab, "cpuid")),
    quick("tiny_guest_debug_registers", |lab| passes(lab, "debug-registers")),
    quick("tiny_guest_ioapic", |lab| passes(lab, "ioapic")),
    quick("tiny_guest_local_apic", |lab| passes(lab, "local-apic")),
    quick("tiny_guest_nmi_and_shadow", |lab| passes(lab, "nmi-and-shadow")),
    quick("tiny_guest_pat_mtrr", |lab| passes(lab, "pat-mtrr")),
    quick("tiny_guest_pic", |lab| passes(lab, "pic")),
    quick("tiny_guest_pit", |lab| passes(lab, "pit")),
    quick("tiny_guest_rtc", |lab| passes(lab, "rtc")),
    quick("tiny_guest_instructions", |lab| passes(&emulating(lab)?, "instructions")),
    quick("tiny_guest_random_instructions", |lab| {
        passes_within(&emulating(lab)?, "random-instructions", RANDOM).map(drop)
    }),
    Scenario {
        name: "tiny_guest_million_instructions",
        speed: Speed::Long,
        on: On::Both,
        run: |lab| passes_within(&emulating(lab)?, "million-instructions", MILLION).map(drop),
    },
    quick("tiny_guest_translations", |lab| passes(lab, "translations")),
    quick("tiny_guest_triple_fault", triple_fault),
];

/// Patience with twenty thousand random instructions, and with a million.
const RANDOM: Duration = Duration::from_secs(300);
const MILLION: Duration = Duration::from_secs(3600);

/// The same with the hypervisor that withholds 64 KiB of a guest's memory, so that each access there is emulated.
fn emulating(lab: &Lab) -> Result<Lab> {
    lab.with_fault("emulated-memory")
}

const fn quick(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on: On::Both, run }
}

/// The configuration of one tiny guest.
pub fn config(guest: &str) -> String {
    format!(
        "[host]\nwhen_idle = \"poweroff\"\nattach = \"{guest}\"\n\n[[vm]]\nname = \"{guest}\"\nmemory = \"16M\"\n\
         kernel = \"guest\"\ndebug_exit = true\non_reset = \"end\"\n"
    )
}

/// Starts a host with `guest`, on the computer's own processor unless a `model` is named.
pub fn start(lab: &Lab, model: Option<Model>, guest: &str) -> Result<Emulator> {
    let mut contents = lab.contents(&config(guest))?;
    contents.add("guest", lab.guest(guest)?);
    let machine = lab.machine(&lab.image(&contents)?);
    lab.start(match model {
        Some(model) => machine.model(model),
        None => machine,
    })
}

/// Runs `guest` to the end of its host, which may take `limit` once the hypervisor is ready, and returns all that was
/// on the serial line.
fn run(lab: &Lab, model: Option<Model>, guest: &str, limit: Duration) -> Result<String> {
    let mut emulator = start(lab, model, guest)?;
    emulator.expect("hypervisor ready", BOOT)?;
    emulator.expect(&format!("vm {guest}: ended: "), limit)?;
    line::await_power_off(&mut emulator)?;
    Ok(emulator.serial_log())
}

/// All checks pass, and they are those that pass without a hypervisor.
fn passes(lab: &Lab, guest: &str) -> Result<()> {
    let log = passes_within(lab, guest, BOOT)?;
    reference::compare(lab, guest, &log)
}

/// All checks pass; returns the serial line.
pub fn passes_within(lab: &Lab, guest: &str, limit: Duration) -> Result<String> {
    passes_on(lab, None, guest, limit)
}

/// The same on the processor `model`.
pub fn passes_on(lab: &Lab, model: Option<Model>, guest: &str, limit: Duration) -> Result<String> {
    let log = run(lab, model, guest, limit)?;
    let checks = reference::checks(&log);
    let failed: Vec<_> = checks.iter().filter(|(_, outcome)| *outcome != "ok").collect();
    ensure!(!checks.is_empty(), "the guest reported no check");
    ensure!(failed.is_empty(), "the guest reported: {failed:?}");
    // It exits with 0 when all its checks have run and passed; the status is 2N+1.
    ensure!(
        log.contains(&format!("vm {guest}: ended: debug exit by the guest, status 1\r")),
        "another ending"
    );
    Ok(log)
}

fn triple_fault(lab: &Lab) -> Result<()> {
    let log = run(lab, None, "triple-fault", BOOT)?;
    ensure!(log.contains("vm triple-fault: ended: triple fault"), "another ending");
    ensure!(log.contains("vm triple-fault: rip "), "the registers are missing");
    ensure!(log.contains("vm triple-fault: exit: triple fault"), "the last exits are missing");
    Ok(())
}
