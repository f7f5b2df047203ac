//! Guests' networks: frames between guests, and what does not pass.

use crate::linux::{command, config};
use crate::{BOOT, STEP, line};
use anyhow::{Context, Result, ensure};
use xtask::emulator::{Cable, Emulator, Network, Vendor};
use xtask::guest::Kernel;
use xtask::scenario::{Lab, On, Scenario, Speed};

pub const SCENARIOS: &[Scenario] = &[
    quick("two_guests_exchange_tcp_and_udp", On::Both, exchange),
    quick("spoofed_frames_do_not_arrive_and_are_counted", On::Both, spoofed),
    quick("frames_stay_in_their_vlan_and_within_their_rate_and_are_counted", On::Both, apart),
    quick(
        "an_isolated_guest_reaches_the_outside_and_no_other_guest",
        On::Amd("Bochs' NIC leads nowhere"),
        isolated,
    ),
    quick(
        "an_isolated_guest_sees_whether_the_uplink_has_a_cable_and_others_do_not",
        On::Amd("Bochs' NIC has no cable"),
        cable,
    ),
    Scenario {
        name: "guests_that_send_to_each_other_at_a_rate_never_stall",
        speed: Speed::Long,
        on: On::Both,
        run: crossing,
    },
];

const fn quick(name: &'static str, on: On, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on, run }
}

/// The second VM.
pub const OTHER: &str = "[[vm]]\nname = \"other\"\nmemory = \"192M\"\nkernel = \"kernel\"\ninitrd = \"initramfs.cpio\"\n\
                     cmdline = \"console=ttyS0 hostname=other\"\n";

/// As [`start_with`], with `peer` in the initial RAM disk and no uplink.
fn start(lab: &Lab, demo_nic: &str, other_nic: &str) -> Result<Emulator> {
    start_with(lab, lab.initramfs_with_peer()?, demo_nic, other_nic, Network::None)
}

/// A host with the VMs `demo` and `other`, whose NICs are the tables `demo_nic` and `other_nic`; both are at their prompts,
/// and the terminal is at `other`. The guests' network leads to the computer's, if it is on one.
pub fn start_with(
    lab: &Lab,
    initramfs: Vec<u8>,
    demo_nic: &str,
    other_nic: &str,
    network: Network,
) -> Result<Emulator> {
    let uplink = if network == Network::None { "" } else { "uplink = \"eth0\"\n" };
    let lan = format!("[[network]]\nname = \"lan0\"\n{uplink}\n");
    let config = config("cmdline = \"console=ttyS0\"") + demo_nic + OTHER + other_nic + &lan;
    let mut contents = lab.contents(&config)?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    contents.add("initramfs.cpio", initramfs);
    let mut emulator = lab.start(lab.machine(&lab.image(&contents)?).network(network))?;
    emulator.expect("demo:~# ", BOOT)?;
    command(&mut emulator, "ip addr add 10.0.0.1/24 dev eth0; ip link set eth0 up")?;
    go_to(&mut emulator, "other")?;
    emulator.expect("other:~# ", BOOT)?;
    on_other(&mut emulator, "ip addr add 10.0.0.2/24 dev eth0; ip link set eth0 up")?;
    Ok(emulator)
}

/// Takes the terminal to a VM's console.
pub fn go_to(emulator: &mut Emulator, vm: &str) -> Result<()> {
    line::to_shell(emulator)?;
    emulator.send(&format!("vm console {vm}\r"))?;
    Ok(())
}

/// Runs a command in the other guest's shell, and returns what it printed.
pub fn on_other(emulator: &mut Emulator, line: &str) -> Result<String> {
    emulator.send(&format!("{line}\n"))?;
    emulator.expect("\n", STEP)?;
    Ok(emulator.expect("other:~# ", STEP)?)
}

/// Of [`exchange`]'s 200 datagrams: a frame may be lost, but not regularly.
const ASKED_AGAIN_MAX: u64 = 5;

pub const NIC: &str = "[[vm.nic]]\nnetwork = \"lan0\"\n";

/// Both guests are served by turns, so that what one sends while the other is at the terminal arrives.
fn exchange(lab: &Lab) -> Result<()> {
    let mut emulator = start(lab, NIC, NIC)?;
    let ping = on_other(&mut emulator, "ping -c 3 10.0.0.1")?;
    ensure!(ping.contains("3 packets received"), "ping says {ping:?}");
    let large = on_other(&mut emulator, "ping -c 2 -s 4000 10.0.0.1")?;
    ensure!(large.contains("2 packets received"), "ping with fragments says {large:?}");
    // TCP: 8 MiB from the first guest, by offloads.
    on_other(&mut emulator, "peer udp-echo 5001 & peer tcp-sink 5000 >/tmp/got &")?;
    to_prompt(&mut emulator, "demo")?;
    let datagrams = command(&mut emulator, "peer udp-ping 10.0.0.2 5001 200")?;
    let asked_again = datagrams.split_once("peer: 200 datagrams came back; asked again: ");
    let asked_again = asked_again.and_then(|(_, times)| times.trim().parse::<u64>().ok());
    ensure!(asked_again.is_some_and(|times| times <= ASKED_AGAIN_MAX), "by UDP: {datagrams:?}");
    let sent = command(&mut emulator, "peer tcp-send 10.0.0.2 5000 8")?;
    ensure!(sent.contains("peer: 8388608 bytes"), "by TCP: {sent:?}");
    to_prompt(&mut emulator, "other")?;
    let got = on_other(&mut emulator, "wait $!; cat /tmp/got")?;
    // What is said before it is that the sender came first, and asked again.
    let tally = sent.trim().lines().next_back().unwrap_or_default();
    ensure!(got.trim().ends_with(tally), "sent {sent:?}, got {got:?}");
    Ok(())
}

/// How many requests a guest sends to see whether they arrive.
const PINGS: u64 = 2;

/// What is known at one moment of what `other` has sent to `demo`.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The requests for an echo that have come to `demo`.
    echoes: u64,
    /// The frames of `other` that were dropped for their source by IP.
    source_ip: u64,
    /// And by Ethernet.
    source_mac: u64,
}

impl Seen {
    /// Asks `demo` and the hypervisor; the terminal goes from `other` to them, and back.
    fn now(emulator: &mut Emulator) -> Result<Self> {
        to_prompt(emulator, "demo")?;
        let statistics = command(emulator, "grep Icmp: /proc/net/snmp")?;
        let told = counters(emulator)?;
        attach(emulator, "other")?;
        Ok(Self {
            echoes: snmp(&statistics, "InEchos")
                .with_context(|| format!("nothing tells of echoes: {statistics:?}"))?,
            source_ip: dropped(&told, "other", "source IP"),
            source_mac: dropped(&told, "other", "source MAC"),
        })
    }
}

/// The number called `name` in two lines of `/proc/net/snmp`, of which the first has the names.
pub fn snmp(lines: &str, name: &str) -> Option<u64> {
    let mut lines = lines.lines().map(str::split_whitespace);
    let mut both = lines.next()?.zip(lines.next()?);
    both.find_map(|(its, number)| (its == name).then_some(number))?.parse().ok()
}

/// The other guest may send from its own address only; with another source, by IP or by Ethernet, nothing arrives. Who has
/// which station is written down on both sides: it is not for want of an answer to ARP that nothing arrives.
fn spoofed(lab: &Lab) -> Result<()> {
    const KNOWN: &str = "arp -s 10.0.0.1 52:54:00:00:00:01";
    let nic = String::from(NIC) + "mac = \"52:54:00:00:00:01\"\n";
    let bound = String::from(NIC) + "mac = \"52:54:00:00:00:02\"\nip = [\"10.0.0.2\"]\n";
    let mut emulator = start(lab, &nic, &bound)?;
    // What IPv6 sends unasked would count as well.
    on_other(&mut emulator, "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6")?;
    on_other(&mut emulator, KNOWN)?;
    to_prompt(&mut emulator, "demo")?;
    for address in ["10.0.0.2", "10.0.0.9"] {
        command(&mut emulator, &format!("arp -s {address} 52:54:00:00:00:02"))?;
    }
    let before = Seen::now(&mut emulator)?;

    let own = on_other(&mut emulator, &format!("ping -c {PINGS} 10.0.0.1"))?;
    ensure!(own.contains("2 packets received"), "ping from its own address says {own:?}");
    let honest = Seen::now(&mut emulator)?;
    ensure!(honest.echoes == before.echoes + PINGS, "{before:?}, and after honest pings {honest:?}");

    on_other(&mut emulator, "ip addr add 10.0.0.9/24 dev eth0")?;
    let foreign = on_other(&mut emulator, &format!("ping -c {PINGS} -I 10.0.0.9 10.0.0.1"))?;
    let by_ip = Seen::now(&mut emulator)?;
    ensure!(
        by_ip.echoes == honest.echoes && by_ip.source_ip >= honest.source_ip + PINGS,
        "{honest:?}, and after pings from a foreign address {by_ip:?}; these say {foreign:?}"
    );

    on_other(
        &mut emulator,
        "ip link set eth0 down; ip link set eth0 address 52:54:00:00:00:03; ip link set eth0 up",
    )?;
    // A device that goes down forgets its neighbours.
    on_other(&mut emulator, KNOWN)?;
    let forged = on_other(&mut emulator, &format!("ping -c {PINGS} 10.0.0.1"))?;
    let by_mac = Seen::now(&mut emulator)?;
    ensure!(
        by_mac.echoes == by_ip.echoes && by_mac.source_mac >= by_ip.source_mac + PINGS,
        "{by_ip:?}, and after pings from a forged station {by_mac:?}; these say {forged:?}"
    );
    Ok(())
}

/// What the shell says of networks; the terminal stays there.
pub fn counters(emulator: &mut Emulator) -> Result<String> {
    line::to_shell(emulator)?;
    emulator.send("net list\r")?;
    Ok(emulator.expect("cofferdam> ", STEP)?)
}

/// How long a mebibyte takes at 4 Mbit/s, less the time for 64 KiB that a silent port has saved up. It can only take longer:
/// a busy machine passes this as well.
const LEAST_SECONDS: f64 = (8 * ((1 << 20) - (64 << 10))) as f64 / 4e6;

/// The first NICs are in different VLANs, the second ones in the same.
fn apart(lab: &Lab) -> Result<()> {
    let nics = |last: u8, vlan: u16| {
        let nic = |n: u8, more: &str| {
            format!("[[vm.nic]]\nnetwork = \"lan0\"\nmac = \"52:54:00:00:0{n}:0{last}\"\n{more}\n")
        };
        nic(0, &format!("vlan = {vlan}")) + &nic(1, "vlan = 30\nrate = \"4Mbit\"")
    };
    let mut emulator = start(lab, &nics(1, 10), &nics(2, 20))?;
    // The sender knows its receiver's address: frames for one station are what must not arrive.
    let address = |n: u8, own: u8, its: u8| {
        format!(
            "ip addr add 10.0.{n}.{own}/24 dev eth{n}; ip link set eth{n} up; \
             arp -i eth{n} -s 10.0.{n}.{its} 52:54:00:00:0{n}:0{its}"
        )
    };
    for n in 0..2 {
        on_other(&mut emulator, &address(n, 2, 1))?;
    }
    on_other(&mut emulator, "peer tcp-sink 5000 &")?;
    to_prompt(&mut emulator, "demo")?;
    for n in 0..2 {
        command(&mut emulator, &address(n, 1, 2))?;
    }
    let same = command(&mut emulator, "ping -c 2 10.0.1.2")?;
    ensure!(same.contains("2 packets received"), "in the same VLAN: {same:?}");
    let another = command(&mut emulator, "ping -c 2 10.0.0.2")?;
    ensure!(another.contains(" 0 packets received"), "in another VLAN: {another:?}");
    let send = "time -f 'took %e' peer tcp-send 10.0.1.2 5000 1 2>&1";
    let sent = command(&mut emulator, send)?;
    ensure!(sent.contains("peer: 1048576 bytes"), "at a rate: {sent:?}");
    let took = sent.lines().find_map(|line| line.strip_prefix("took ")?.trim().parse::<f64>().ok());
    ensure!(took.is_some_and(|took| took > LEAST_SECONDS), "by the guest's clock: {sent:?}");
    to_prompt(&mut emulator, "other")?;
    let got = on_other(&mut emulator, "cat /sys/class/net/eth0/statistics/rx_packets")?;
    ensure!(got.lines().any(|line| line.trim() == "0"), "frames from another VLAN: {got:?}");
    let told = counters(&mut emulator)?;
    ensure!(is_counted(&told, "demo", "VLAN 2"), "the counters say {told}");
    Ok(())
}

/// How often [`crossing`] sends both ways: fewer times where the emulator interprets each instruction.
const fn crossings(vendor: Vendor) -> u32 {
    match vendor {
        Vendor::Amd => 40,
        Vendor::Intel => 8,
    }
}

/// Both send at once, and each waits for its rate while the other's frames arrive.
fn crossing(lab: &Lab) -> Result<()> {
    let nic = String::from(NIC) + "rate = \"4Mbit\"\n";
    let mut emulator = start(lab, &nic, &nic)?;
    let mut all = String::new();
    for round in 0..crossings(lab.vendor()) {
        on_other(&mut emulator, "peer tcp-sink 5000 >/tmp/got &")?;
        to_prompt(&mut emulator, "demo")?;
        command(&mut emulator, "peer tcp-sink 5000 >/tmp/got &")?;
        to_prompt(&mut emulator, "other")?;
        on_other(&mut emulator, "peer tcp-send 10.0.0.1 5000 1 >/tmp/sent &")?;
        to_prompt(&mut emulator, "demo")?;
        let sent = command(&mut emulator, "peer tcp-send 10.0.0.2 5000 1")?;
        let got = command(&mut emulator, "wait; cat /tmp/got")?;
        to_prompt(&mut emulator, "other")?;
        let others = on_other(&mut emulator, "wait; cat /tmp/sent /tmp/got")?;
        let tallies: Vec<&str> = [&sent, &got, &others]
            .into_iter()
            .flat_map(|said| said.lines())
            .filter_map(|line| line.trim().strip_prefix("peer: 1048576 bytes, "))
            .collect();
        ensure!(tallies.len() == 4, "round {round}: sent {sent:?}, got {got:?}, the other {others:?}");
        if all.is_empty() {
            all = tallies[0].into();
        }
        ensure!(tallies.iter().all(|tally| *tally == all), "round {round}: {tallies:?}, before {all:?}");
    }
    Ok(())
}

/// Takes the terminal to a VM's console, and shows its prompt.
pub fn to_prompt(emulator: &mut Emulator, vm: &str) -> Result<()> {
    line::to_shell(emulator)?;
    attach(emulator, vm)
}

/// The same from the hypervisor's shell.
fn attach(emulator: &mut Emulator, vm: &str) -> Result<()> {
    emulator.send(&format!("vm console {vm}\r"))?;
    emulator.send("\n")?;
    emulator.expect(&format!("{vm}:~# "), STEP)?;
    Ok(())
}

/// How many frames of `vm`, which has one port, were dropped for this reason.
fn dropped(told: &str, vm: &str, why: &str) -> u64 {
    let line = told.lines().find(|line| line.contains(&format!("{vm}: sent "))).unwrap_or_default();
    let mut drops = line.split("; ").filter_map(|part| part.strip_prefix("dropped: ")?.strip_prefix(why));
    drops.find_map(|count| count.trim().parse().ok()).unwrap_or_default()
}

/// Whether a port of `vm` has a counter with this text.
fn is_counted(told: &str, vm: &str, text: &str) -> bool {
    let mut lines = told.lines().filter(|line| line.contains(&format!("{vm}: sent ")));
    lines.any(|line| line.contains(text))
}

/// The first guest reaches the outside, and neither guest the other.
fn isolated(lab: &Lab) -> Result<()> {
    let mac = |last: u8| format!("mac = \"52:54:00:00:00:0{last}\"\n");
    let demo_nic = String::from(NIC) + &mac(1) + "isolated = true\n";
    let mut emulator =
        start_with(lab, lab.initramfs()?, &demo_nic, &(String::from(NIC) + &mac(2)), Network::Closed)?;
    on_other(&mut emulator, "arp -s 10.0.0.1 52:54:00:00:00:01")?;
    let ping = on_other(&mut emulator, "ping -c 2 10.0.0.1")?;
    ensure!(ping.contains(" 0 packets received"), "to an isolated guest: {ping:?}");
    to_prompt(&mut emulator, "demo")?;
    command(&mut emulator, "ip addr add 10.0.2.15/24 dev eth0")?;
    let outside = command(&mut emulator, "ping -c 2 10.0.2.2")?;
    ensure!(outside.contains("2 packets received"), "to the outside: {outside:?}");
    command(&mut emulator, "arp -s 10.0.0.2 52:54:00:00:00:02")?;
    let ping = command(&mut emulator, "ping -c 2 10.0.0.2")?;
    ensure!(ping.contains(" 0 packets received"), "from an isolated guest: {ping:?}");
    let told = counters(&mut emulator)?;
    for vm in ["demo", "other"] {
        ensure!(is_counted(&told, vm, "isolation 2"), "the counters say {told}");
    }
    Ok(())
}

/// What a guest has of its NIC while the host's cable is in, out, and in again; nothing is sent meanwhile.
fn cable(lab: &Lab) -> Result<()> {
    const CARRIER: &str = "cat /sys/class/net/eth0/carrier";
    let demo_nic = String::from(NIC) + "isolated = true\n";
    let mut emulator = start_with(lab, lab.initramfs()?, &demo_nic, NIC, Network::Closed)?;
    to_prompt(&mut emulator, "demo")?;
    // Lines short enough to be echoed as one.
    command(&mut emulator, &format!("look='{CARRIER}'"))?;
    for (cable, seen) in [(Cable::In, "1"), (Cable::Out, "0"), (Cable::In, "1")] {
        emulator.set_cable(cable)?;
        let wait = format!("until [ $($look) = {seen} ]; do sleep 1; done; $look");
        let carrier = command(&mut emulator, &wait)?;
        ensure!(carrier.trim() == seen, "{cable:?}: the guest sees {carrier:?}");
        if cable == Cable::Out {
            to_prompt(&mut emulator, "other")?;
            let other = on_other(&mut emulator, CARRIER)?;
            ensure!(other.trim() == "1", "a guest that is not isolated sees {other:?}");
            to_prompt(&mut emulator, "demo")?;
        }
    }
    Ok(())
}
