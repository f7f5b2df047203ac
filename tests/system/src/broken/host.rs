//! Hosts on which the hypervisor cannot start, and handoffs that it does not believe.

use super::{GOOD, promise};
use crate::{BOOT, STEP};
use anyhow::Result;
use xtask::scenario::{Lab, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    quick("broken_host_without_amd_v", |lab| {
        let refusal = "this CPU shows neither AMD-V (CPUID 0x80000001, ECX bit 2) nor VT-x (CPUID 1, ECX bit 5): it is too \
                       old, or runs in a virtual machine without nested virtualization";
        refuses(lab, &["-cpu", "max,svm=off"], refusal)
    }),
    quick("broken_host_without_nested_paging", |lab| {
        let refusal =
            "this CPU's AMD-V has no nested paging (CPUID 0x8000000A, EDX bit 0): a newer one is needed";
        refuses(lab, &["-cpu", "max,npt=off"], refusal)
    }),
    quick("broken_handoff_magic", |lab| damaged(lab, "handoff-magic", "handoff: the magic is [*]")),
    quick("broken_handoff_version", |lab| {
        let refusal = "handoff: version 3, not 1; install boot and hypervisor of one release";
        damaged(lab, "handoff-version", refusal)
    }),
    quick("broken_handoff_header", |lab| {
        damaged(lab, "handoff-header", "handoff: header damaged: checksum 0x*, computed 0x*")
    }),
    quick("broken_handoff_payload", |lab| {
        damaged(lab, "handoff-payload", "handoff: payload damaged: checksum 0x*, computed 0x*")
    }),
];

const fn quick(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, run }
}

/// Boot writes the handoff with this fault, and the hypervisor refuses it.
fn damaged(lab: &Lab, fault: &str, refusal: &str) -> Result<()> {
    refuses(&lab.with_fault(fault)?, &[], refusal)
}

/// The hypervisor says `refusal` on a computer with these arguments, and halts.
fn refuses(lab: &Lab, qemu_args: &[&str], refusal: &str) -> Result<()> {
    let mut contents = lab.contents(GOOD)?;
    contents.add("guest", lab.guest("port-io")?);
    let machine = lab.machine(&lab.image(&contents)?).qemu_args(qemu_args.iter().copied());
    let mut emulator = lab.start(machine)?;
    emulator.expect("cofferdam: cannot run: ", BOOT)?;
    promise::check(refusal, &emulator.expect("\n", STEP)?)?;
    emulator.expect("cofferdam: halted", STEP)?;
    Ok(())
}
