//! Several VMs on one host: none disturbs another.

use crate::{BOOT, STEP, line, linux};
use anyhow::{Result, ensure};
use xtask::guest::Kernel;
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_crash_of_one_vm_leaves_the_others_running",
        speed: Speed::Quick,
        on: On::Both,
        run: crash,
    },
    Scenario { name: "two_linux_vms_share_one_cpu", speed: Speed::Quick, on: On::Both, run: two_linux },
];

pub fn crash(lab: &Lab) -> Result<()> {
    let crasher = "[[vm]]\nname = \"crasher\"\nmemory = \"16M\"\nkernel = \"guest\"\non_reset = \"end\"\n";
    let config = linux::config("cmdline = \"console=ttyS0\"") + crasher;
    let mut contents = lab.contents(&config)?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", lab.initramfs()?);
    contents.add("guest", lab.guest("triple-fault")?);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect("vm crasher: ended: triple fault", BOOT)?;
    emulator.expect("demo:~# ", BOOT)?;
    let alive = linux::command(&mut emulator, "echo still $((40 + 2))")?;
    ensure!(alive.trim() == "still 42", "the other VM says {alive:?}");
    line::power_off_guest(&mut emulator)
}

fn two_linux(lab: &Lab) -> Result<()> {
    let second = "[[vm]]\nname = \"other\"\nmemory = \"192M\"\nkernel = \"kernel\"\ninitrd = \"initramfs.cpio\"\n\
                  cmdline = \"console=ttyS0 hostname=other\"\n";
    let mut contents = lab.contents(&(linux::config("cmdline = \"console=ttyS0\"") + second))?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", lab.initramfs()?);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect("demo:~# ", BOOT)?;
    line::to_shell(&mut emulator)?;
    emulator.send("vm console other\r")?;
    emulator.expect("other:~# ", BOOT)?;
    emulator.send("echo $((20 + 3))\n")?;
    emulator.expect("23", STEP)?;
    emulator.send("poweroff -f\n")?;
    emulator.expect("vm other: ended: powered off", STEP)?;
    // Its console is gone, so the terminal is at the shell again.
    emulator.send("vm console demo\r")?;
    emulator.expect("console of demo", STEP)?;
    emulator.send("\npoweroff -f\n")?;
    emulator.expect("vm demo: ended: powered off", STEP)?;
    line::await_power_off(&mut emulator)
}
