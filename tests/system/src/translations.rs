//! Cached translations go when they should: after a change of the nested tables, and when a vCPU gets a tag that was
//! another's. (What the guest's own registers have to do with it, the guest `translations` shows.)
//!
//! Both need a hypervisor with seeded faults: one that changes tables when asked, and one with few tags.

use crate::{BOOT, STEP, reference};
use anyhow::{Context, Result, ensure};
use xtask::emulator::Ending;
use xtask::scenario::{Lab, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    quick("changed_nested_tables_hold_at_once_on_amd_v", |lab| remapping(&lab.with_fault("remapping")?)),
    quick("a_tag_used_again_brings_no_old_page_on_amd_v", |lab| few_tags(&lab.with_fault("few-tags")?)),
];

const fn quick(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, run }
}

/// The guest sees what the host changes; its last write, to a page that it may no longer write, ends the VM.
pub fn remapping(lab: &Lab) -> Result<()> {
    let log = run(lab, "remapping", &["a"])?;
    all_passed(&log)?;
    let (_, last) = log
        .split_once("guest: writing to the protected page")
        .context("the guest did not come to its end")?;
    let refusal = "vm a: ended: memory refused the access to guest-physical 0xc02000";
    ensure!(last.contains(refusal), "the write did not end the VM: {last}");
    Ok(())
}

/// Three VMs that have to share two tags see their own pages.
pub fn few_tags(lab: &Lab) -> Result<()> {
    let vms = ["a", "b", "c"];
    let log = run(lab, "recycled-tags", &vms)?;
    all_passed(&log)?;
    for vm in vms {
        let ending = format!("vm {vm}: ended: debug exit by the guest, status 1\r");
        ensure!(log.contains(&ending), "VM {vm} has another ending");
    }
    Ok(())
}

fn all_passed(log: &str) -> Result<()> {
    let checks = reference::checks(log);
    let failed: Vec<_> = checks.iter().filter(|(_, outcome)| outcome != "ok").collect();
    ensure!(!checks.is_empty(), "the guest reported no check");
    ensure!(failed.is_empty(), "the guest reported: {failed:?}");
    Ok(())
}

/// Runs `guest` in each of `vms` to the end of their host; all that was on the serial line.
fn run(lab: &Lab, guest: &str, vms: &[&str]) -> Result<String> {
    let mut config = format!("[host]\nwhen_idle = \"poweroff\"\nattach = \"{}\"\n", vms[0]);
    for vm in vms {
        config += &format!(
            "\n[[vm]]\nname = \"{vm}\"\nmemory = \"16M\"\nkernel = \"guest\"\ndebug_exit = true\non_reset = \"end\"\n"
        );
    }
    let mut contents = lab.contents(&config)?;
    contents.add("guest", lab.guest(guest)?);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect("no VM is left", BOOT)?;
    ensure!(emulator.wait_exit(STEP)? == Ending::PoweredOff);
    Ok(emulator.serial_log())
}
