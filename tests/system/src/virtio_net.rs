//! Guests' NICs under a driver that knows nothing of us.

use crate::{BOOT, line, reference};
use anyhow::{Result, ensure};
use xtask::emulator::Time;
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "virtio_nics_obey_the_virtio_drivers_crate",
    speed: Speed::Quick,
    on: On::Both,
    run: nics,
}];

/// One of two VMs with the tiny guest; the last byte of its NIC's MAC is `last`.
fn vm(name: &str, last: u8) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nmemory = \"16M\"\nkernel = \"guest\"\ndebug_exit = true\non_reset = \"end\"\n\
         [[vm.nic]]\nnetwork = \"lan0\"\nmac = \"52:54:00:00:00:0{last}\"\n\n"
    )
}

/// Two VMs with the same guest talk with each other. Time is instructions: an answer that is late is lost, not slow.
fn nics(lab: &Lab) -> Result<()> {
    let config = String::from("[host]\nwhen_idle = \"poweroff\"\nattach = \"left\"\n\n")
        + &vm("left", 1)
        + &vm("right", 2)
        + "[[network]]\nname = \"lan0\"\n";
    let mut contents = lab.contents(&config)?;
    contents.add("guest", lab.guest("virtio-net")?);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?).time(Time::Instructions))?;
    emulator.expect("hypervisor ready", BOOT)?;
    for _ in 0..2 {
        emulator.expect(": ended: ", BOOT)?;
    }
    line::await_power_off(&mut emulator)?;
    let log = emulator.serial_log();
    // What the hypervisor says of one VM's end may stand in the middle of a line of the other's.
    let failed = reference::checks(&log).into_iter().filter(|(_, outcome)| outcome.starts_with("FAILED"));
    let failed: Vec<_> = failed.collect();
    ensure!(failed.is_empty(), "the guest reported: {failed:?}");
    let macs = "guest: [52, 54, 00, 00, 00, 01] has talked to [52, 54, 00, 00, 00, 02]";
    ensure!(log.contains(macs), "other MACs than were configured");
    // A guest exits with 0 when all its checks have run and passed; the status is 2N+1. Only one is on the line.
    for vm in ["left", "right"] {
        let ended = format!("vm {vm}: ended: debug exit by the guest, status 1\r");
        ensure!(log.contains(&ended), "vm {vm} has another ending");
    }
    Ok(())
}
