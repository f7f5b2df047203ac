//! Hosts on which the hypervisor cannot start, and handoffs that it does not believe.

use super::{GOOD, UNLIKELY_TO_DIFFER, promise};
use crate::{BOOT, STEP};
use anyhow::Result;
use xtask::emulator::{Machine, Model, Virtualization};
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    amd("broken_host_without_amd_v", |lab| {
        let refusal = "this CPU shows neither AMD-V (CPUID 0x80000001, ECX bit 2) nor VT-x (CPUID 1, ECX bit 5): it is too \
                       old, or runs in a virtual machine without nested virtualization";
        refuses_on(lab, |machine| machine.qemu_args(["-cpu", "max,svm=off"]), refusal)
    }),
    amd("broken_host_without_nested_paging", |lab| {
        let refusal =
            "this CPU's AMD-V has no nested paging (CPUID 0x8000000A, EDX bit 0): a newer one is needed";
        refuses_on(lab, |machine| machine.qemu_args(["-cpu", "max,npt=off"]), refusal)
    }),
    intel("broken_host_without_vt_x", |lab| {
        refuses_on(lab, |machine| machine.model(Model::Prescott), "this CPU shows neither AMD-V * nor VT-x *")
    }),
    intel("broken_host_with_vt_x_locked_by_firmware", |lab| {
        let change = |machine: Machine| machine.virtualization(Virtualization::LockedOff);
        refuses_on(lab, change, "VT-x is switched off and locked by the firmware *")
    }),
    intel("broken_host_without_ept", |lab| {
        refuses_on(lab, |machine| machine.model(Model::Penryn), "this CPU's VT-x has no EPT *")
    }),
    intel("broken_host_without_unrestricted_guest", |lab| {
        refuses_on(
            lab,
            |machine| machine.model(Model::Lynnfield),
            "this CPU's VT-x has no unrestricted guest *",
        )
    }),
    handoff("broken_handoff_magic", |lab| damaged(lab, "handoff-magic", "handoff: the magic is [*]")),
    handoff("broken_handoff_version", |lab| {
        let refusal = "handoff: version 3, not 1; install boot and hypervisor of one release";
        damaged(lab, "handoff-version", refusal)
    }),
    handoff("broken_handoff_header", |lab| {
        damaged(lab, "handoff-header", "handoff: header damaged: checksum 0x*, computed 0x*")
    }),
    handoff("broken_handoff_payload", |lab| {
        damaged(lab, "handoff-payload", "handoff: payload damaged: checksum 0x*, computed 0x*")
    }),
];

const fn handoff(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on: UNLIKELY_TO_DIFFER, run }
}

const fn amd(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on: On::Amd("what is missing is AMD-V's"), run }
}

const fn intel(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on: On::Intel("what is missing is VT-x's"), run }
}

/// Boot writes the handoff with this fault, and the hypervisor refuses it.
fn damaged(lab: &Lab, fault: &str, refusal: &str) -> Result<()> {
    refuses_on(&lab.with_fault(fault)?, |machine| machine, refusal)
}

/// The hypervisor says `refusal` on a computer that `change` has made, and halts.
fn refuses_on(lab: &Lab, change: impl FnOnce(Machine) -> Machine, refusal: &str) -> Result<()> {
    let mut contents = lab.contents(GOOD)?;
    contents.add("guest", lab.guest("port-io")?);
    let mut emulator = lab.start(change(lab.machine(&lab.image(&contents)?)))?;
    emulator.expect("cofferdam: cannot run: ", BOOT)?;
    promise::check(refusal, &emulator.expect("\n", STEP)?)?;
    emulator.expect("cofferdam: halted", STEP)?;
    Ok(())
}
