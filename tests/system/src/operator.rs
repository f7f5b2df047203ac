//! What the operator does at the serial line.

use crate::{BOOT, STEP, linux};
use anyhow::{Result, anyhow, ensure};
use xtask::emulator::{Emulator, Ending};
use xtask::guest::Kernel;
use xtask::image::Contents;
use xtask::scenario::{Lab, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "the_escape_key_leads_to_the_shell_and_back", speed: Speed::Quick, run: escape },
    Scenario { name: "an_idle_host_stays_at_its_shell_until_powered_off", speed: Speed::Quick, run: idle },
    Scenario {
        name: "keys_typed_during_boot_are_not_lost_and_nonsense_harms_nothing",
        speed: Speed::Quick,
        run: nonsense,
    },
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

/// A host that stays at its shell after its only guest has ended.
fn staying(lab: &Lab) -> Result<Emulator> {
    let config = "[[vm]]\nname = \"ends\"\nmemory = \"16M\"\nkernel = \"guest\"\ndebug_exit = true\n";
    let mut contents: Contents = lab.contents(config)?;
    contents.add("guest", lab.guest("port-io")?);
    lab.start(lab.machine(&lab.image(&contents)?))
}

fn idle(lab: &Lab) -> Result<()> {
    let mut emulator = staying(lab)?;
    emulator.expect("vm ends: ended: debug exit", BOOT)?;
    emulator.send("vm list\r")?;
    emulator.expect("debug exit by the guest", STEP)?;
    emulator.send("poweroff\r")?;
    ensure!(emulator.wait_exit(STEP)? == Ending::PoweredOff);
    Ok(())
}

fn nonsense(lab: &Lab) -> Result<()> {
    let mut emulator = staying(lab)?;
    // The hypervisor has the line now, and bring-up goes on.
    emulator.expect("booted by ", BOOT)?;
    emulator.send("vm list\r")?;
    emulator.expect("ends                                 16M", STEP)?;
    emulator.expect("vm ends: ended: debug exit", BOOT)?;

    // All byte values in an order of no meaning, among them NUL, the escape key and halves of characters.
    let every_byte: Vec<u8> = (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let floods: [&[u8]; 5] =
        [&[0; 64], b"\x1b[6n\x1b[999A\x1b]0;x\x07\x1bOP\x1b[", &[b'a'; 1000], &[0x1d; 31], &every_byte];
    for flood in floods {
        type_bytes(&emulator, flood)?;
        // Whatever was left of an escape sequence and of a line ends, and the shell still answers.
        emulator.send("~\r\rvm list\r")?;
        emulator.expect("debug exit by the guest", STEP)?;
    }
    emulator.send("poweroff\r")?;
    ensure!(emulator.wait_exit(STEP)? == Ending::PoweredOff);
    Ok(())
}

/// Types what is no text.
fn type_bytes(emulator: &Emulator, bytes: &[u8]) -> Result<()> {
    let input = emulator.input();
    let mut input = input.lock().map_err(|_| anyhow!("the line's input is poisoned"))?;
    input.write_all(bytes)?;
    Ok(input.flush()?)
}
