//! What `cargo xtask run` boots: its disk and its network work.

use crate::linux::command;
use crate::networks::on_other;
use crate::{BOOT, line};
use anyhow::{Result, ensure};
use xtask::emulator::{Network, Vendor};
use xtask::image::{Contents, Kernels};
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "the_demo_has_a_disk_and_a_network",
    speed: Speed::Quick,
    on: On::Both,
    run: disk_and_network,
}];

fn disk_and_network(lab: &Lab) -> Result<()> {
    let network = match lab.vendor() {
        Vendor::Amd => Network::Closed,
        // As `cargo xtask run --cpu intel`: the guests are among themselves.
        Vendor::Intel => Network::None,
    };
    let mut contents = Contents::of_config(&xtask::demo::prepare(network)?, Kernels::Keep)?;
    contents.add_hypervisor(lab.hypervisor())?;
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?).network(network))?;
    emulator.expect("demo:~# ", BOOT)?;

    let greeting = command(&mut emulator, "cat /mnt/greeting")?;
    ensure!(greeting.contains("on a disk of Cofferdam's"), "on the disk is {greeting:?}");
    command(&mut emulator, "dd if=/dev/urandom of=/tmp/a bs=64k count=16 2>&-")?;
    command(&mut emulator, "cp /tmp/a /mnt/a; umount /mnt; mount /dev/vda /mnt")?;
    let compared = command(&mut emulator, "cmp /tmp/a /mnt/a && echo equal")?;
    ensure!(compared.trim() == "equal", "what was written and what is read: {compared:?}");

    if network != Network::None {
        let ping = command(&mut emulator, "ping -c 2 10.0.2.2")?;
        ensure!(ping.contains("2 packets received"), "to the outside: {ping:?}");
        // No more than there is room for on the way: nc takes nothing back while it cannot send.
        command(&mut emulator, "head -c 64k /tmp/a >/tmp/b; nc 10.0.2.100 7 </tmp/b >/tmp/back")?;
        let compared = command(&mut emulator, "cmp /tmp/b /tmp/back && echo equal")?;
        ensure!(compared.trim() == "equal", "sent to the outside, and come back: {compared:?}");
    }
    line::to_shell(&mut emulator)?;
    emulator.send("vm start other\rvm console other\r")?;
    emulator.expect("other:~# ", BOOT)?;
    let ping = on_other(&mut emulator, "ping -c 2 10.0.2.15")?;
    ensure!(ping.contains("2 packets received"), "to the first guest: {ping:?}");
    let greeting = on_other(&mut emulator, "ls /mnt")?;
    ensure!(greeting.contains("greeting") && !greeting.contains("a\r"), "on the disk is {greeting:?}");

    line::to_shell(&mut emulator)?;
    line::power_off_host(&mut emulator)
}
