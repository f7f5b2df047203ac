//! Cached translations go when they should: after a guest's change of its own registers, after a change of the nested
//! tables, and when a vCPU gets a tag that was another's.
//!
//! The last two need a hypervisor with seeded faults: one that changes tables when asked, and one with few tags. That the
//! tests can fail is shown where translations stay over entries and exits, as on processors: on our Bochs.

use crate::faults::noticed;
use crate::{BOOT, line, reference, tiny_guests};
use anyhow::{Context, Result, ensure};
use xtask::emulator::Vendor;
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    scenario("changed_nested_tables_hold_at_once", On::Both, |lab| {
        remapping(&as_on_processors(lab, "remapping")?)
    }),
    scenario("a_tag_used_again_brings_no_old_page", On::Both, |lab| {
        few_tags(&as_on_processors(lab, "few-tags")?)
    }),
    scenario("a_guest_that_changes_its_tables_sees_it_where_translations_stay", INTEL, |lab| {
        own_tables(&lab.keeping_translations()?)
    }),
    scenario("translations_kept_fail_the_guest_that_changes_its_tables", INTEL, |lab| {
        noticed(&lab.keeping_translations()?, "kept-translations", own_tables, "a-page-remapped")
    }),
    scenario("nested_translations_kept_fail_the_guest_with_changed_tables", INTEL, |lab| {
        let reason = "the-first-page-shows-the-second";
        noticed(&lab.keeping_translations()?, "kept-nested-translations", remapping, reason)
    }),
    scenario("translations_kept_under_a_tag_fail_the_guests_that_share_it", INTEL, |lab| {
        noticed(&lab.keeping_translations()?, "kept-tag-translations", few_tags, "no-page-appears-again")
    }),
];

const INTEL: On =
    On::Intel("QEMU drops all translations at each entry and exit, and cannot be told otherwise");

const fn scenario(name: &'static str, on: On, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on, run }
}

/// A hypervisor in this mode, on a computer that keeps translations where there is one.
fn as_on_processors(lab: &Lab, fault: &str) -> Result<Lab> {
    match lab.vendor() {
        Vendor::Amd => lab.with_fault(fault),
        Vendor::Intel => lab.keeping_translations()?.with_fault(fault),
    }
}

/// The guest sees what it has changed itself.
fn own_tables(lab: &Lab) -> Result<()> {
    tiny_guests::passes_within(lab, "translations", BOOT).map(drop)
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
    line::await_power_off(&mut emulator)?;
    Ok(emulator.serial_log())
}
