//! What many scenarios do on the serial line.

use crate::STEP;
use anyhow::{Result, ensure};
use xtask::emulator::{Emulator, Ending};

/// From a guest's console to the hypervisor's shell, by Ctrl-].
pub fn to_shell(emulator: &mut Emulator) -> Result<()> {
    emulator.send("\x1d")?;
    emulator.expect("cofferdam> ", STEP)?;
    Ok(())
}

/// Powers the host off by the hypervisor's shell.
pub fn power_off_host(emulator: &mut Emulator) -> Result<()> {
    emulator.send("poweroff\r")?;
    await_power_off(emulator)
}

/// Powers the guest `demo`, whose shell is on the line, off; without another VM the host follows.
pub fn power_off_guest(emulator: &mut Emulator) -> Result<()> {
    emulator.send("poweroff -f\n")?;
    emulator.expect("vm demo: ended: powered off by the guest (ACPI S5)", STEP)?;
    await_power_off(emulator)
}

/// The host powers itself off.
pub fn await_power_off(emulator: &mut Emulator) -> Result<()> {
    let ending = emulator.wait_exit(STEP)?;
    ensure!(ending == Ending::PoweredOff, "the host ended by {ending:?}");
    Ok(())
}
