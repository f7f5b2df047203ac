//! The tiny guests of `tests/guests`: one behaviour each, reported check by check by the guest itself.

use crate::BOOT;
use anyhow::{Result, ensure};
use xtask::emulator::Ending;
use xtask::scenario::{Lab, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    quick("tiny_guest_exceptions_on_amd_v", |lab| passes(lab, "exceptions")),
    quick("tiny_guest_hlt_and_timer_on_amd_v", |lab| passes(lab, "hlt-timer")),
    quick("tiny_guest_port_io_on_amd_v", |lab| passes(lab, "port-io")),
    quick("tiny_guest_msr_gp_on_amd_v", |lab| passes(lab, "msr-gp")),
    quick("tiny_guest_outside_memory_on_amd_v", |lab| passes(lab, "outside-memory")),
    quick("tiny_guest_triple_fault_on_amd_v", triple_fault),
];

const fn quick(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, run }
}

/// The configuration of one tiny guest.
fn config(guest: &str) -> String {
    format!(
        "[host]\nwhen_idle = \"poweroff\"\nattach = \"{guest}\"\n\n[[vm]]\nname = \"{guest}\"\nmemory = \"16M\"\n\
         kernel = \"guest\"\ndebug_exit = true\non_reset = \"end\"\n"
    )
}

/// Runs `guest` to the end of its host and returns all that was on the serial line.
fn run(lab: &Lab, guest: &str) -> Result<String> {
    let mut contents = lab.contents(&config(guest))?;
    contents.add("guest", lab.guest(guest)?);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect(&format!("vm {guest}: ended: "), BOOT)?;
    let ending = emulator.wait_exit(BOOT)?;
    ensure!(ending == Ending::PoweredOff, "the host ended by {ending:?}");
    Ok(emulator.serial_log())
}

fn passes(lab: &Lab, guest: &str) -> Result<()> {
    let log = run(lab, guest)?;
    let checks: Vec<&str> = log.lines().filter(|line| line.contains("guest: check ")).collect();
    let failed: Vec<&&str> = checks.iter().filter(|line| !line.trim_end().ends_with(": ok")).collect();
    ensure!(!checks.is_empty(), "the guest reported no check");
    ensure!(failed.is_empty(), "the guest reported: {failed:?}");
    // It exits with 0 when all its checks have run and passed; the status is 2N+1.
    ensure!(
        log.contains(&format!("vm {guest}: ended: debug exit by the guest, status 1\r")),
        "another ending"
    );
    Ok(())
}

fn triple_fault(lab: &Lab) -> Result<()> {
    let log = run(lab, "triple-fault")?;
    ensure!(log.contains("vm triple-fault: ended: triple fault"), "another ending");
    ensure!(log.contains("vm triple-fault: rip "), "the registers are missing");
    ensure!(log.contains("vm triple-fault: exit: triple fault"), "the last exits are missing");
    Ok(())
}
