//! What the operator does at the serial line.

use crate::{BOOT, STEP, linux};
use anyhow::{Result, ensure};
use xtask::emulator::Ending;
use xtask::guest::Kernel;
use xtask::image::Contents;
use xtask::scenario::{Lab, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "the_escape_key_leads_to_the_shell_and_back", speed: Speed::Quick, run: escape },
    Scenario { name: "an_idle_host_stays_at_its_shell_until_powered_off", speed: Speed::Quick, run: idle },
];

fn escape(lab: &Lab) -> Result<()> {
    let mut emulator = linux::boot(lab, lab.vmlinux(Kernel::V6_12)?, "cmdline = \"console=ttyS0\"")?;
    emulator.send("\x1d")?;
    emulator.expect("cofferdam> ", STEP)?;
    emulator.send("help\r")?;
    let help = emulator.expect("cofferdam> ", STEP)?;
    for word in ["vm", "log", "host", "poweroff"] {
        ensure!(help.contains(word), "help does not name {word}: {help}");
    }
    emulator.send("vm list\r")?;
    let list = emulator.expect("cofferdam> ", STEP)?;
    ensure!(list.contains("demo") && list.contains("256M"), "vm list shows {list}");
    emulator.send("vm console nobody\r")?;
    emulator.expect("no VM is named \"nobody\"", STEP)?;
    emulator.send("log\r")?;
    emulator.expect("vm demo: started", STEP)?;
    emulator.send("host\r")?;
    emulator.expect("memory", STEP)?;
    emulator.send("vm console demo\r")?;
    emulator.expect("[console of demo", STEP)?;
    emulator.send("echo $((3 * 5))\n")?;
    emulator.expect("15", STEP)?;
    emulator.send("\x1d")?;
    emulator.expect("cofferdam> ", STEP)?;
    emulator.send("poweroff\r")?;
    let ending = emulator.wait_exit(STEP)?;
    ensure!(ending == Ending::PoweredOff, "the host ended by {ending:?}");
    Ok(())
}

fn idle(lab: &Lab) -> Result<()> {
    let config = "[[vm]]\nname = \"ends\"\nmemory = \"16M\"\nkernel = \"guest\"\ndebug_exit = true\n";
    let mut contents: Contents = lab.contents(config)?;
    contents.add("guest", lab.guest("port-io")?);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect("vm ends: ended: debug exit", BOOT)?;
    emulator.send("vm list\r")?;
    emulator.expect("debug exit by the guest", STEP)?;
    emulator.send("poweroff\r")?;
    ensure!(emulator.wait_exit(STEP)? == Ending::PoweredOff);
    Ok(())
}
