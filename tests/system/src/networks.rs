//! Guests' networks: frames between guests, and what does not pass.

use crate::linux::{command, config};
use crate::{BOOT, STEP};
use anyhow::{Result, ensure};
use xtask::emulator::{Emulator, Ending};
use xtask::guest::Kernel;
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    quick("two_guests_exchange_tcp_and_udp", On::Both, exchange),
    quick("a_guest_reaches_the_outside_through_an_uplink", On::Amd("Bochs' NIC leads nowhere"), outside),
    quick("spoofed_and_vlan_crossing_frames_do_not_arrive_and_are_counted", On::Both, spoofed),
];

const fn quick(name: &'static str, on: On, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on, run }
}

/// The second VM.
const OTHER: &str = "[[vm]]\nname = \"other\"\nmemory = \"192M\"\nkernel = \"kernel\"\ninitrd = \"initramfs.cpio\"\n\
                     cmdline = \"console=ttyS0 hostname=other\"\n";

/// A host with the VMs `demo` and `other`, whose NICs are the tables `demo_nic` and `other_nic`; both are at their prompts,
/// and the terminal is at `other`.
fn start(lab: &Lab, demo_nic: &str, other_nic: &str) -> Result<Emulator> {
    let network = "[[network]]\nname = \"lan0\"\n\n";
    let config = config("cmdline = \"console=ttyS0\"") + demo_nic + OTHER + other_nic + network;
    let mut contents = lab.contents(&config)?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", lab.initramfs_with_peer()?);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?))?;
    emulator.expect("demo:~# ", BOOT)?;
    command(&mut emulator, "ip addr add 10.0.0.1/24 dev eth0; ip link set eth0 up")?;
    go_to(&mut emulator, "other")?;
    emulator.expect("other:~# ", BOOT)?;
    on_other(&mut emulator, "ip addr add 10.0.0.2/24 dev eth0; ip link set eth0 up")?;
    Ok(emulator)
}

/// Takes the terminal to a VM's console.
fn go_to(emulator: &mut Emulator, vm: &str) -> Result<()> {
    emulator.send("\x1d")?;
    emulator.expect("cofferdam> ", STEP)?;
    emulator.send(&format!("vm console {vm}\r"))?;
    Ok(())
}

/// Runs a command in the other guest's shell, and returns what it printed.
fn on_other(emulator: &mut Emulator, line: &str) -> Result<String> {
    emulator.send(&format!("{line}\n"))?;
    emulator.expect("\n", STEP)?;
    Ok(emulator.expect("other:~# ", STEP)?)
}

const NIC: &str = "[[vm.nic]]\nnetwork = \"lan0\"\n";

/// Both guests are served by turns, so that what one sends while the other is at the terminal arrives.
fn exchange(lab: &Lab) -> Result<()> {
    let mut emulator = start(lab, NIC, NIC)?;
    let ping = on_other(&mut emulator, "ping -c 3 10.0.0.1")?;
    ensure!(ping.contains("3 packets received"), "ping says {ping:?}");
    let large = on_other(&mut emulator, "ping -c 2 -s 4000 10.0.0.1")?;
    ensure!(large.contains("2 packets received"), "ping with fragments says {large:?}");
    // TCP: 8 MiB from the first guest, by offloads.
    on_other(&mut emulator, "peer udp-echo 5001 & peer tcp-sink 5000 >/tmp/got &")?;
    go_to(&mut emulator, "demo")?;
    emulator.send("\n")?;
    emulator.expect("demo:~# ", STEP)?;
    let datagrams = command(&mut emulator, "peer udp-ping 10.0.0.2 5001 200")?;
    ensure!(datagrams.contains("peer: 200 datagrams came back"), "by UDP: {datagrams:?}");
    let sent = command(&mut emulator, "peer tcp-send 10.0.0.2 5000 8")?;
    ensure!(sent.contains("peer: 8388608 bytes"), "by TCP: {sent:?}");
    go_to(&mut emulator, "other")?;
    emulator.send("\n")?;
    emulator.expect("other:~# ", STEP)?;
    let got = on_other(&mut emulator, "sleep 1; cat /tmp/got")?;
    ensure!(got.trim().ends_with(sent.trim()), "sent {sent:?}, got {got:?}");
    Ok(())
}

/// QEMU's user network answers at 10.0.2.2 behind the host's NIC.
fn outside(lab: &Lab) -> Result<()> {
    for nic in ["virtio-net-pci", "e1000e"] {
        let network = "[[network]]\nname = \"lan0\"\nuplink = \"eth0\"\n\n";
        let config = config("cmdline = \"console=ttyS0\"") + NIC + network;
        let mut contents = lab.contents(&config)?;
        contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
        contents.add("initramfs.cpio", lab.initramfs()?);
        let machine = lab.machine(&lab.image(&contents)?);
        let device = format!("{nic},netdev=out");
        let machine = machine.qemu_args(["-netdev", "user,id=out,restrict=on", "-device", &device]);
        let mut emulator = lab.start(machine)?;
        emulator.expect("demo:~# ", BOOT)?;
        command(&mut emulator, "ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up")?;
        let ping = command(&mut emulator, "ping -c 2 10.0.2.2")?;
        ensure!(ping.contains("2 packets received"), "{nic}: ping says {ping:?}");
        emulator.send("poweroff -f\n")?;
        emulator.expect("vm demo: ended: powered off", STEP)?;
        ensure!(emulator.wait_exit(STEP)? == Ending::PoweredOff);
    }
    Ok(())
}

/// The other guest may send from its own address only; with another source, by IP or by Ethernet, nothing arrives.
fn spoofed(lab: &Lab) -> Result<()> {
    let bound = "[[vm.nic]]\nnetwork = \"lan0\"\nmac = \"52:54:00:00:00:02\"\nip = [\"10.0.0.2\"]\n";
    let mut emulator = start(lab, NIC, bound)?;
    let own = on_other(&mut emulator, "ping -c 2 10.0.0.1")?;
    ensure!(own.contains("2 packets received"), "ping from its own address says {own:?}");
    on_other(&mut emulator, "ip addr add 10.0.0.9/24 dev eth0")?;
    let foreign = on_other(&mut emulator, "ping -c 2 -I 10.0.0.9 10.0.0.1")?;
    ensure!(foreign.contains(" 0 packets received"), "ping from a foreign address says {foreign:?}");
    on_other(
        &mut emulator,
        "ip link set eth0 down; ip link set eth0 address 52:54:00:00:00:03; ip link set eth0 up",
    )?;
    let forged = on_other(&mut emulator, "ping -c 2 10.0.0.1")?;
    ensure!(forged.contains(" 0 packets received"), "ping from a forged station says {forged:?}");
    emulator.send("\x1d")?;
    emulator.expect("cofferdam> ", STEP)?;
    emulator.send("net list\r")?;
    let told = emulator.expect("cofferdam> ", STEP)?;
    ensure!(told.contains("source IP") && told.contains("source MAC"), "the counters say {told:?}");
    Ok(())
}
