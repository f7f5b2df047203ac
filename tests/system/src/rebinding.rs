//! Drivers that are taken off their devices and given back, also while the devices are at work.

use crate::linux::{command, config};
use crate::networks::{self, NIC, on_other};
use crate::{BOOT, STEP, WORK, line};
use anyhow::{Result, ensure};
use xtask::emulator::{Emulator, Network, Vendor};
use xtask::guest::Kernel;
use xtask::guest::initramfs::program;
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    quick("a_disks_drivers_are_unbound_and_rebound_in_mid_traffic", disk),
    quick("a_nics_drivers_are_unbound_and_rebound_in_mid_traffic", nic),
];

const fn quick(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on: On::Both, run }
}

const SCRIPT: &str = include_str!("rebind.sh");
/// How often each driver is taken off. Bochs is slow.
fn rounds(lab: &Lab) -> u32 {
    match lab.vendor() {
        Vendor::Amd => 3,
        Vendor::Intel => 1,
    }
}

/// What the hypervisor says of a device whose driver broke the rules.
const BROKEN: &str = "has stopped until its driver resets it";

/// The initial RAM disk with `peer` and the script.
fn initramfs(lab: &Lab) -> Result<Vec<u8>> {
    let mut archive = lab.initramfs_with_peer()?;
    archive.extend(program("bin/rebind", SCRIPT.as_bytes())?);
    Ok(archive)
}

/// Runs the script in the guest `demo`; its devices are in order after it, and nobody has broken a rule.
fn rebind(emulator: &mut Emulator, what: &str) -> Result<()> {
    emulator.send(&format!("rebind {what}\n"))?;
    emulator.expect("\n", STEP)?;
    let told = emulator.expect("demo:~# ", WORK)?;
    ensure!(told.trim_end().ends_with("rebind: done"), "{what}: {told}");
    let complaints = command(emulator, "dmesg | grep -ciE 'call trace|virtio.*(error|fail)'")?;
    ensure!(complaints.trim() == "0", "Linux complains {complaints:?} times");
    ensure!(!emulator.serial_log().contains(BROKEN), "a device is broken");
    Ok(())
}

fn disk(lab: &Lab) -> Result<()> {
    let devices = String::from("[[vm.disk]]\nsource = \"file:disk.img\"\n") + NIC;
    let config = config("cmdline = \"console=ttyS0\"") + &devices + "[[network]]\nname = \"lan0\"\n";
    let mut contents = lab.contents(&config)?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", initramfs(lab)?);
    contents.add("disk.img", vec![b'x'; 2 << 20]);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect("demo:~# ", BOOT)?;
    rebind(&mut emulator, &format!("disk {}", rounds(lab)))?;
    rebind(&mut emulator, "all")?;
    rebind(&mut emulator, "disk 1")?;
    line::power_off_guest(&mut emulator)
}

/// The other guest sends all the time.
fn nic(lab: &Lab) -> Result<()> {
    let mut emulator = networks::start_with(lab, initramfs(lab)?, NIC, NIC, Network::None)?;
    on_other(&mut emulator, "peer udp-echo 5001 & peer udp-echo 5003 >&- &")?;
    on_other(&mut emulator, "while :; do peer udp-send 10.0.0.1 5002 100; done >&- &")?;
    networks::go_to(&mut emulator, "demo")?;
    emulator.send("\n")?;
    emulator.expect("demo:~# ", STEP)?;
    rebind(&mut emulator, &format!("nic {}", rounds(lab)))
}
