//! Disks, networks and NICs.

use super::*;

const NETWORKS: &str = "[[network]]\nname = \"lan0\"\nuplink = \"eth0\"\n[[network]]\nname = \"dmz\"\n";

/// The message for two networks, at lines 1 and 4, the least configuration from line 6 on, and `lines` from line 10 on.
fn message_on_networks(lines: &str) -> String {
    message(&format!("{NETWORKS}{LEAST}{lines}\n"))
}

#[test]
fn disks_and_nics_are_read() {
    let text = r#"
[[vm.disk]]
source = "partition:web-root"
overlay = "512M"
[[vm.disk]]
source = "file:rootfs.img"
read_only = true
[[vm.nic]]
network = "dmz"
mac = "52:54:00:12:34:56"
ip = ["10.0.0.2", "fd00::2"]
vlan = 10
rate = "1Gbit"
[[vm.nic]]
network = "lan0"
isolated = true
"#;
    let config = parse(&format!("{NETWORKS}{LEAST}console = \"virtio\"{text}")).unwrap();
    let names: Vec<_> = config.networks.iter().map(|network| network.name.as_str()).collect();
    assert_eq!(names, ["lan0", "dmz"]);
    assert_eq!(config.networks[0].uplink.as_ref().unwrap().value, "eth0");
    let [vm] = config.vms.as_slice() else { panic!("one VM") };
    assert_eq!(vm.console, VmConsole::Virtio);
    let [base, file] = vm.disks.as_slice() else { panic!("two disks") };
    assert_eq!(base.source.value, DiskSource::Partition("web-root".into()));
    assert_eq!((base.overlay, base.writes_to_source()), (Some(ByteSize(512 << 20)), false));
    assert_eq!((file.access, file.overlay), (DiskAccess::ReadOnly, None));
    let [dmz, lan] = vm.nics.as_slice() else { panic!("two NICs") };
    assert_eq!((dmz.network, lan.network), (1, 0));
    assert_eq!(dmz.mac.to_string(), "52:54:00:12:34:56");
    assert_eq!(dmz.ip, ["10.0.0.2".parse::<core::net::IpAddr>().unwrap(), "fd00::2".parse().unwrap()]);
    assert_eq!(
        (dmz.vlan.map(|vlan| vlan.number()), dmz.rate),
        (Some(10), Some(base::BitRate(1_000_000_000)))
    );
    assert_eq!((lan.mac, lan.ip.len(), lan.vlan, lan.rate), (generated_mac(&vm.name, 1), 0, None, None));
    assert_eq!((dmz.reach, lan.reach), (Reach::Network, Reach::Uplink));
}

#[test]
fn a_file_behind_a_disk_is_one_of_the_files() {
    let disk = "[[vm.disk]]\nsource = \"file:rootfs.img\"\nread_only = true\n";
    let config = parse(&format!("{LEAST}{disk}")).unwrap();
    let files: Vec<_> = config.files().map(|(path, at)| (path.as_str(), at.line, at.column)).collect();
    assert_eq!(files, [("k", 4, 10), ("rootfs.img", 6, 10)]);
    assert_eq!(config.vms[0].boot_files().count(), 1);
}

#[test]
fn without_disks_and_nics_there_are_none() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.networks, []);
    let vm = &config.vms[0];
    assert_eq!((vm.disks.len(), vm.nics.len(), vm.console), (0, 0, VmConsole::Serial));
}

#[test]
fn a_disks_mistakes_are_named() {
    for (lines, expected) in [
        (
            "console = \"vga\"",
            "5:11: vm \"a\": console: \"vga\" is not known; write \"serial\" or \"virtio\"",
        ),
        (
            "[vm.disk]",
            "5:1: vm \"a\": disk: is a table; write [[vm.disk]], with two brackets, before each disk",
        ),
        ("[[vm.disk]]", "5:1: vm \"a\": disk 1: source: is missing; add it"),
        (
            "[[vm.disk]]\nsorce = \"disk:x\"",
            "6:1: vm \"a\": disk 1: unknown key \"sorce\"; did you mean \"source\"?",
        ),
        (
            "[[vm.disk]]\nsource = 1",
            "6:10: vm \"a\": disk 1: source: is an integer; write \"partition:NAME\", \"disk:NAME\" or \"file:PATH\"",
        ),
        (
            "[[vm.disk]]\nsource = \"nvme0n1\"",
            "6:10: vm \"a\": disk 1: source: \"nvme0n1\" names no kind; write \"partition:NAME\", \"disk:NAME\" or \"file:PATH\"",
        ),
        (
            "[[vm.disk]]\nsource = \"disk:\"",
            "6:10: vm \"a\": disk 1: source: \"disk:\" names nothing; write the name after the colon",
        ),
        (
            "[[vm.disk]]\nsource = \"file:../x\"",
            "6:10: vm \"a\": disk 1: source: \"file:../x\" has an empty, \".\" or \"..\" part; name a file below the configuration",
        ),
        (
            "[[vm.disk]]\nsource = \"disk:x\"\noverlay = \"1\"",
            "7:11: vm \"a\": disk 1: overlay: \"1\" has no unit; write a size with K, M or G such as \"256M\"",
        ),
        (
            "[[vm.disk]]\nsource = \"disk:x\"\noverlay = \"512K\"",
            "7:11: vm \"a\": disk 1: overlay: 512K is out of range; write 1M to 256G",
        ),
        (
            "[[vm.disk]]\nsource = \"disk:x\"\noverlay = \"1M\"\nread_only = true",
            "7:11: vm \"a\": disk 1: overlay: a read-only disk needs no memory for writes; remove overlay or read_only",
        ),
        (
            "[[vm.disk]]\nsource = \"file:K\"",
            "6:10: \"K\" and the path at line 4 differ only in case, which FAT ignores; rename one of the files",
        ),
        (
            "[[vm.disk]]\nsource = \"file:k\"",
            "6:10: vm \"a\": disk 1: source: vm \"a\" uses it too, at line 4, and one of them would write to it; add overlay or read_only = true",
        ),
    ] {
        assert_eq!(message_with(lines), format!("cofferdam.toml:{expected}"));
    }
    let disks = "[[vm.disk]]\nsource = \"disk:x\"\nread_only = true\n".repeat(MAX_DISKS + 1);
    assert_eq!(message_with(&disks), "cofferdam.toml:29:1: vm \"a\": disk: more than 8 disks; remove some");
}

#[test]
fn what_one_disk_writes_to_nothing_else_uses() {
    let disk = |how: &str| format!("[[vm.disk]]\nsource = \"partition:x\"\n{how}\n");
    let two = |one: &str, other: &str| {
        let second = LEAST.replace("\"a\"", "\"b\"");
        parse(&format!("{LEAST}{}{second}{}", disk(one), disk(other))).map_err(|error| error.to_string())
    };
    for (one, other) in [("read_only = true", "overlay = \"1M\""), ("overlay = \"1M\"", "overlay = \"1M\"")] {
        assert!(two(one, other).is_ok());
    }
    for (one, other) in [("", ""), ("", "read_only = true"), ("overlay = \"1M\"", "")] {
        assert_eq!(
            two(one, other).unwrap_err(),
            "cofferdam.toml:13:10: vm \"b\": disk 1: source: vm \"a\" uses it too, at line 6, and one of them would write to it; add overlay or read_only = true"
        );
    }
}

#[test]
fn a_networks_mistakes_are_named() {
    for (lines, expected) in [
        ("[network]", "1:1: network: is a table; write [[network]], with two brackets, before each network"),
        ("[[network]]", "1:1: network number 1: name: is missing; add it"),
        (
            "[[network]]\nname = \"LAN\"",
            "2:8: network number 1: name: a network's name is 1 to 31 of a-z, 0-9 and -; choose such a name",
        ),
        (
            "[[network]]\nname = \"a\"\nuplnk = \"x\"",
            "3:1: network \"a\": unknown key \"uplnk\"; did you mean \"uplink\"?",
        ),
        (
            "[[network]]\nname = \"a\"\nuplink = \"\"",
            "3:10: network \"a\": uplink: names no NIC of the host; write a name as `net list` shows it",
        ),
        (
            "[[network]]\nname = \"a\"\n[[network]]\nname = \"a\"",
            "4:8: network \"a\": name: the network at line 1 has the same; change one of them",
        ),
        (
            "[[network]]\nname = \"a\"\nuplink = \"e\"\n[[network]]\nname = \"b\"\nuplink = \"e\"",
            "6:10: network \"b\": uplink: the network at line 1 has the same; change one of them",
        ),
    ] {
        assert_eq!(message(lines), format!("cofferdam.toml:{expected}"));
    }
    let networks: String = (0..=MAX_NETWORKS).map(|i| format!("[[network]]\nname = \"n{i}\"\n")).collect();
    assert_eq!(message(&networks), "cofferdam.toml:33:1: network: more than 16 networks; remove some");
}

#[test]
fn a_nics_mistakes_are_named() {
    const MAC: &str = "mac = \"52:54:00:12:34:56\"";
    let same_mac = format!("network = \"lan0\"\n{MAC}\n[[vm.nic]]\nnetwork = \"lan0\"\n{MAC}");
    for (lines, expected) in [
        ("", "10:1: vm \"a\": nic 1: network: is missing; add it"),
        (
            "network = \"lan\"",
            "11:11: vm \"a\": nic 1: network: there is no network \"lan\"; did you mean \"lan0\"?",
        ),
        (
            "network = \"storage\"",
            "11:11: vm \"a\": nic 1: network: there is no network \"storage\"; add a [[network]] table",
        ),
        (
            "network = \"dmz\"\nmac = \"52:54:00\"",
            "12:7: vm \"a\": nic 1: mac: \"52:54:00\" is no address of one NIC; write one such as \"52:54:00:12:34:56\"",
        ),
        (
            "network = \"dmz\"\nmac = \"01:00:5e:00:00:01\"",
            "12:7: vm \"a\": nic 1: mac: \"01:00:5e:00:00:01\" is no address of one NIC; write one such as \"52:54:00:12:34:56\"",
        ),
        (
            "network = \"dmz\"\nmac = \"00:00:00:00:00:00\"",
            "12:7: vm \"a\": nic 1: mac: \"00:00:00:00:00:00\" is no address of one NIC; write one such as \"52:54:00:12:34:56\"",
        ),
        (
            "network = \"dmz\"\nip = \"10.0.0.2\"",
            "12:6: vm \"a\": nic 1: ip: is a string; write an array of texts: [\"10.0.0.2\"]",
        ),
        (
            "network = \"dmz\"\nip = [\"10.0.0.2\", \"224.0.0.1\"]",
            "12:19: vm \"a\": nic 1: ip: \"224.0.0.1\" is no address of one host; write one such as \"10.0.0.2\" or \"fd00::2\"",
        ),
        (
            "network = \"dmz\"\nvlan = 4095",
            "12:8: vm \"a\": nic 1: vlan: is no VLAN; write 1 to 4094, or remove it",
        ),
        (
            "network = \"dmz\"\nvlan = \"10\"",
            "12:8: vm \"a\": nic 1: vlan: is a string; write a whole number: vlan = 10",
        ),
        (
            "network = \"dmz\"\nrate = \"1Gb\"",
            "12:8: vm \"a\": nic 1: rate: \"1Gb\" is no rate; write 64Kbit to 1000Gbit such as \"100Mbit\" or \"1Gbit\"",
        ),
        (
            "network = \"dmz\"\nisolated = true",
            "10:1: vm \"a\": nic 1: isolated: the network has no uplink to talk to; add one, or write isolated = false",
        ),
        (
            same_mac.as_str(),
            "13:1: vm \"a\": nic 2: mac: the NIC at line 10 has 52:54:00:12:34:56 too; write another",
        ),
        (
            "network = \"dmz\"\nip = [\"fd00::2\"]\n[[vm.nic]]\nnetwork = \"dmz\"\nip = [\"fd00:0::2\"]",
            "13:1: vm \"a\": nic 2: ip: the NIC at line 10 has fd00::2 too; write another",
        ),
    ] {
        assert_eq!(
            message_on_networks(&format!("[[vm.nic]]\n{lines}")),
            format!("cofferdam.toml:{expected}")
        );
    }
    let nine = "[[vm.nic]]\nnetwork = \"dmz\"\n".repeat(MAX_NICS + 1);
    assert_eq!(
        message_on_networks(&nine),
        "cofferdam.toml:26:1: vm \"a\": nic: more than 8 NICs; remove some"
    );
}

#[test]
fn a_network_has_a_port_for_each_nic() {
    let nics = "[[vm.nic]]\nnetwork = \"lan0\"\n".repeat(MAX_NICS);
    let vm = |i| format!("{}{nics}", LEAST.replace("\"a\"", &format!("\"v{i}\"")));
    let vms: String = (0..8).map(vm).collect();
    let refused = message(&format!("{NETWORKS}{vms}"));
    assert!(
        refused.ends_with("vm \"v7\": nic 8: network: more than 63 NICs on the network; remove some"),
        "{refused}"
    );
}

#[test]
fn the_same_addresses_may_be_on_two_networks_and_an_ip_on_two_vlans() {
    let nic = |network: &str, more: &str| {
        format!("[[vm.nic]]\nnetwork = \"{network}\"\nip = [\"10.0.0.2\"]\n{more}\n")
    };
    let mac = "mac = \"52:54:00:12:34:56\"";
    let nics = format!("{}{}{}", nic("lan0", mac), nic("dmz", mac), nic("dmz", "vlan = 2"));
    assert_eq!(parse(&format!("{NETWORKS}{LEAST}{nics}")).unwrap().vms[0].nics.len(), 3);
}
