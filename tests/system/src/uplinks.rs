//! Networks that lead out through the host's cards: what guests leave to their NICs is done before a card gets it.
//!
//! ```text
//!   demo ── lan0 ── eth0, virtio-net ──┐
//!                                      ├── a hub ── QEMU's own network, 10.0.2.0/24
//!   other ── lan1 ── eth1, e1000e ─────┘
//! ```
//!
//! Each guest has one NIC without a VLAN, which reaches QEMU's network, and one in the same VLAN as the other guest's.

use crate::BOOT;
use crate::linux::{command, config};
use crate::networks::{OTHER, counters, go_to, on_other, snmp, to_prompt};
use anyhow::{Context, Result, ensure};
use xtask::emulator::{ECHO, Emulator};
use xtask::guest::Kernel;
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "guests_reach_the_outside_and_their_vlan_through_cards",
    speed: Speed::Quick,
    on: On::Amd("Bochs' NIC leads nowhere"),
    run: through_cards,
}];

/// A file that 10.0.2.2 gives out by TFTP.
const FILE: &str = "numbers";

fn through_cards(lab: &Lab) -> Result<()> {
    let mut emulator = start(lab)?;
    emulator.expect("demo:~# ", BOOT)?;
    let on_demo: Shell = command;
    set_up(&mut emulator, on_demo, 1)?;
    offloads(&mut emulator, on_demo)?;
    outside(&mut emulator, on_demo)?;
    // The VLAN has a station only where its frames go out with its tag: QEMU's knows none.
    let untagged = on_demo(&mut emulator, "arping -I eth0 -c 2 10.0.2.2")?;
    ensure!(untagged.contains("Received 2 "), "without a VLAN: {untagged:?}");
    let tagged = on_demo(&mut emulator, "arping -I eth1 -c 2 10.0.2.2")?;
    ensure!(tagged.contains("Received 0 "), "from a VLAN: {tagged:?}");

    go_to(&mut emulator, "other")?;
    emulator.expect("other:~# ", BOOT)?;
    set_up(&mut emulator, on_other, 2)?;
    offloads(&mut emulator, on_other)?;
    outside(&mut emulator, on_other)?;
    on_other(&mut emulator, "nc -l -p 5000 -e cat &")?;

    to_prompt(&mut emulator, "demo")?;
    turn(&mut emulator, on_demo, "10.0.1.2 5000")?;
    let told = counters(&mut emulator)?;
    for uplink in ["eth0", "eth1"] {
        ensure!(told.contains(&format!("uplink {uplink}")), "{uplink} is no uplink: {told}");
    }
    Ok(())
}

/// Runs a command in a guest's shell, which is at the terminal.
type Shell = fn(&mut Emulator, &str) -> Result<String>;

fn start(lab: &Lab) -> Result<Emulator> {
    let nics = |network: &str| {
        let nic = |more: &str| format!("[[vm.nic]]\nnetwork = \"{network}\"\n{more}\n");
        nic("") + &nic("vlan = 10")
    };
    let network =
        |name: &str, uplink: &str| format!("[[network]]\nname = \"{name}\"\nuplink = \"{uplink}\"\n\n");
    let demo = config("cmdline = \"console=ttyS0\"") + &nics("lan0");
    let config = demo + OTHER + &nics("lan1") + &network("lan0", "eth0") + &network("lan1", "eth1");
    let mut contents = lab.contents(&config)?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", lab.initramfs_with_peer()?);

    let files = lab.folder().join("tftp");
    std::fs::create_dir(&files)?;
    std::fs::write(files.join(FILE), (0..20_000).map(|n| format!("{n}\n")).collect::<String>())?;
    let user = format!("user,id=user,restrict=on,{ECHO},tftp={}", files.display());
    let machine = lab.machine(&lab.image(&contents)?);
    let machine = machine.qemu_args(["-netdev", &user, "-netdev", "hubport,id=port,hubid=0,netdev=user"]);
    let machine = machine.qemu_args(["-netdev", "hubport,id=port0,hubid=0"]);
    let machine = machine.qemu_args(["-device", "virtio-net-pci,netdev=port0,romfile="]);
    let machine = machine.qemu_args(["-netdev", "hubport,id=port1,hubid=0"]);
    lab.start(machine.qemu_args(["-device", "e1000e,netdev=port1,romfile="]))
}

/// Gives the guest's NICs their addresses; `station` is the guest's number in each network.
fn set_up(emulator: &mut Emulator, shell: Shell, station: u8) -> Result<()> {
    shell(emulator, &format!("ip addr add 10.0.2.{}/24 dev eth0; ip link set eth0 up", 14 + station))?;
    shell(emulator, &format!("ip addr add 10.0.1.{station}/24 dev eth1; ip link set eth1 up"))?;
    Ok(())
}

/// The guest leaves checksums and segments to its NIC: `VIRTIO_NET_F_CSUM`, bit 0, and `VIRTIO_NET_F_HOST_TSO4`, bit 11.
fn offloads(emulator: &mut Emulator, shell: Shell) -> Result<()> {
    let features = shell(emulator, "cut -c1,12 /sys/class/net/eth[01]/device/features")?;
    let features: Vec<&str> = features.split_whitespace().collect();
    ensure!(features == ["11", "11"], "the NICs' offloads are {features:?}");
    Ok(())
}

/// A stream out and back, which leaves the guest in frames that others have to cut; and datagrams.
fn outside(emulator: &mut Emulator, shell: Shell) -> Result<()> {
    turn(emulator, shell, "10.0.2.100 7")?;
    let statistics = shell(emulator, "grep Tcp: /proc/net/snmp")?;
    let segments = snmp(&statistics, "OutSegs").with_context(|| format!("no segments: {statistics:?}"))?;
    let packets = shell(emulator, "cat /sys/class/net/eth0/statistics/tx_packets")?;
    let packets: u64 = packets.trim().parse().with_context(|| format!("{packets:?} packets"))?;
    ensure!(packets < segments, "{segments} segments left in {packets} packets: none was for others to cut");

    shell(emulator, &format!("tftp -g -r {FILE} 10.0.2.2"))?;
    let compared = shell(emulator, &format!("seq 0 19999 | cmp - {FILE} && echo equal"))?;
    ensure!(compared.trim() == "equal", "by UDP: {compared:?}");
    Ok(())
}

/// Sends a mebibyte to a station that sends it back.
fn turn(emulator: &mut Emulator, shell: Shell, to: &str) -> Result<()> {
    let told = shell(emulator, &format!("peer tcp-turn {to} 1"))?;
    ensure!(told.contains("peer: 1048576 bytes") && told.contains(" came back"), "to {to}: {told:?}");
    Ok(())
}
