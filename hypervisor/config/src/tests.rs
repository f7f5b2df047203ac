//! The contract, by example: what is accepted, and the exact words for what is not.

mod devices;

use super::*;
use alloc::{format, string::String, string::ToString, vec, vec::Vec};
use base::{ByteSize, Port, VmName};

const EXAMPLE: &str = r#"[host]
console   = "com1"
log       = "info"
when_idle = "shell"
attach    = "demo"

[[vm]]
name = "demo"
vcpus = 1
memory = "256M"
kernel = "vmlinux"
initrd = "initramfs.cpio"
modules = ["first", "dir/second with  arguments"]
cmdline = "console=ttyS0"
autostart = true
on_reset = "restart"
debug_exit = true

[[vm.disk]]
source = "partition:root"
overlay = "64M"

[[vm.nic]]
network = "lan0"
ip = ["10.0.0.2"]
rate = "1Gbit"

[[network]]
name = "lan0"
"#;

const LEAST: &str = "[[vm]]\nname = \"a\"\nmemory = \"4M\"\nkernel = \"k\"\n";

fn message(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The message for the least configuration with one more line, line 5.
fn message_with(line: &str) -> String {
    message(&format!("{LEAST}{line}\n"))
}

#[test]
fn every_key_of_the_contract_is_read() {
    let config = parse(EXAMPLE).unwrap();
    assert_eq!(config.host.attach, Some(VmName::new("demo").unwrap()));
    let [vm] = config.vms.as_slice() else { panic!("one VM") };
    assert_eq!((vm.vcpus, vm.memory), (1, ByteSize(256 << 20)));
    assert_eq!(vm.modules[0].arguments, "");
    assert_eq!(vm.modules[1].arguments, "with  arguments");
    assert_eq!((vm.autostart, vm.on_reset, vm.debug_exit), (true, OnReset::Restart, true));
    assert_eq!(vm.cmdline, "console=ttyS0");
    assert_eq!(vm.position, Position { line: 7, column: 1 });
}

#[test]
fn files_come_with_the_place_that_names_them() {
    let config = parse(EXAMPLE).unwrap();
    let files: Vec<_> = config.files().map(|(path, at)| (path.as_str(), at.line, at.column)).collect();
    let expected =
        vec![("vmlinux", 11, 10), ("initramfs.cpio", 12, 10), ("first", 13, 12), ("dir/second", 13, 21)];
    assert_eq!(files, expected);
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let config = parse(LEAST).unwrap();
    let host = Host { console: Console::Com1, log: LogLevel::Info, when_idle: WhenIdle::Shell, attach: None };
    assert_eq!(config.host, host);
    let vm = &config.vms[0];
    assert_eq!((vm.vcpus, vm.initrd.clone(), vm.modules.len(), vm.cmdline.as_str()), (1, None, 0, ""));
    assert_eq!((vm.autostart, vm.on_reset, vm.debug_exit), (true, OnReset::Restart, false));
}

#[test]
fn a_host_without_vms_is_a_prompt() {
    assert_eq!(parse("[host]\nlog = \"debug\"\n").unwrap().vms, []);
}

#[test]
fn consoles_are_names_or_ports() {
    for (text, console, port) in [
        ("\"com2\"", Console::Com2, Some(Port(0x2F8))),
        ("0x3F8", Console::Port(Port(0x3F8)), Some(Port(0x3F8))),
        ("1016", Console::Port(Port(0x3F8)), Some(Port(0x3F8))),
        ("\"spcr\"", Console::Spcr, None),
    ] {
        let config = parse(&format!("[host]\nconsole = {text}\n")).unwrap();
        assert_eq!((config.host.console, config.host.console.port()), (console, port));
    }
}

#[test]
fn what_is_no_configuration_at_all_is_refused() {
    assert_eq!(message(" \n"), "cofferdam.toml:1:1: the file is empty; write a [[vm]] table");
    assert_eq!(
        parse_bytes(b"[host]\nlog = \"\xff\"\n").unwrap_err().to_string(),
        "cofferdam.toml:2:8: not UTF-8; save the file as UTF-8 text"
    );
    assert_eq!(
        message(&"#".repeat(65537)),
        "cofferdam.toml:1:65537: the file has 65537 bytes; 65536 are allowed, so shorten it"
    );
    assert_eq!(
        message("x = [[[[[[[[[1]]]]]]]]]"),
        "cofferdam.toml:1:13: nested too deep; write [host] and [[vm]] tables with plain values"
    );
    assert_eq!(
        message("[host]\nlog = quiet\n"),
        "cofferdam.toml:2:7: not TOML: string values must be quoted, expected literal string; correct the line"
    );
    assert_eq!(
        message("[host]\nlog =\n"),
        "cofferdam.toml:2:6: not TOML: string values must be quoted, expected literal string; correct the line"
    );
    assert_eq!(
        message("[host]\nlog = \"info\"\nlog = \"warn\"\n"),
        "cofferdam.toml:3:1: not TOML: duplicate key; correct the line"
    );
}

#[test]
fn an_error_can_name_another_file() {
    let error = parse("hots = 1").unwrap_err();
    assert_eq!(
        error.in_file("lab.toml").to_string(),
        "lab.toml:1:1: unknown key \"hots\"; did you mean \"host\"?"
    );
}

#[test]
fn tables_of_the_wrong_shape_are_refused() {
    assert_eq!(message("host = 1"), "cofferdam.toml:1:8: host: is an integer; write a table: [host]");
    assert_eq!(
        message("[vm]\nname = \"a\"\n"),
        "cofferdam.toml:1:1: vm: is a table; write [[vm]], with two brackets, before each VM"
    );
    assert_eq!(
        message("vm = [1]"),
        "cofferdam.toml:1:7: vm: is an integer; write [[vm]], with two brackets, before each VM"
    );
}

#[test]
fn the_hosts_mistakes_are_named() {
    for (line, expected) in [
        ("colour = 1", "3:1: host: unknown key \"colour\"; remove it"),
        ("attch = \"a\"", "3:1: host: unknown key \"attch\"; did you mean \"attach\"?"),
        (
            "log = \"loud\"",
            "3:7: host: log: \"loud\" is not known; write \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
        ),
        (
            "log = 3",
            "3:7: host: log: is an integer; write \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
        ),
        (
            "when_idle = \"halt\"",
            "3:13: host: when_idle: \"halt\" is not known; write \"shell\" or \"poweroff\"",
        ),
        (
            "console = \"com9\"",
            "3:11: host: console: \"com9\" is not known; write \"com1\" to \"com4\", \"spcr\" or a port number such as 0x3F8",
        ),
        (
            "console = true",
            "3:11: host: console: is a boolean; write \"com1\" to \"com4\", \"spcr\" or a port number such as 0x3F8",
        ),
        (
            "console = 0xFFF9",
            "3:11: host: console: is no port of a 16550; write 0x1 to 0xFFF8, usually 0x3F8",
        ),
        ("console = 0", "3:11: host: console: is no port of a 16550; write 0x1 to 0xFFF8, usually 0x3F8"),
        ("attach = \"b\"", "3:10: host: attach: there is no VM \"b\"; name one of the [[vm]] tables"),
        (
            "attach = \"B\"",
            "3:10: host: attach: a VM's name is 1 to 31 of a-z, 0-9 and -; choose such a name",
        ),
    ] {
        assert_eq!(message(&format!("\n[host]\n{line}\n\n{LEAST}")), format!("cofferdam.toml:{expected}"));
    }
}

#[test]
fn a_vms_mistakes_are_named() {
    let long = "x".repeat(2048);
    for (line, expected) in [
        ("memry = \"1G\"", "5:1: vm \"a\": unknown key \"memry\"; did you mean \"memory\"?".into()),
        ("vcpus = 2", "5:9: vm \"a\": vcpus: this release gives each VM one vCPU; write vcpus = 1".into()),
        ("vcpus = 0", "5:9: vm \"a\": vcpus: this release gives each VM one vCPU; write vcpus = 1".into()),
        ("vcpus = \"1\"", "5:9: vm \"a\": vcpus: is a string; write a whole number: vcpus = 1".into()),
        ("initrd = \"../x\"", "5:10: vm \"a\": initrd: \"../x\" has an empty, \".\" or \"..\" part; name a file below the configuration".into()),
        ("initrd = [\"x\"]", "5:10: vm \"a\": initrd: is an array; write a file's path in quotes".into()),
        ("initrd = \"K\"", "5:10: \"K\" and the path at line 4 differ only in case, which FAT ignores; rename one of the files".into()),
        ("modules = \"x\"", "5:11: vm \"a\": modules: is a string; write an array of texts: [\"file arguments\"]".into()),
        ("modules = [1]", "5:12: vm \"a\": modules: is an integer; write an array of texts: [\"file arguments\"]".into()),
        ("modules = [\"\"]", "5:12: vm \"a\": modules: \"\" is empty; name a file".into()),
        ("cmdline = \"a\\u0000\"", "5:11: vm \"a\": cmdline: holds a NUL character; remove it".into()),
        ("autostart = \"yes\"", "5:13: vm \"a\": autostart: is a string; write true or false".into()),
        ("on_reset = \"die\"", "5:12: vm \"a\": on_reset: \"die\" is not known; write \"restart\" or \"end\"".into()),
        ("debug_exit = 1.5", "5:14: vm \"a\": debug_exit: is a float; write true or false".into()),
        ("[[vm]]\nname = \"a\"", String::from("6:8: vm \"a\": name: the VM at line 1 has this name too; rename one of them")),
        ("[[vm]]\nname = \"\"", "6:8: vm number 2: name: a VM's name is 1 to 31 of a-z, 0-9 and -; choose such a name".into()),
        ("[[vm]]\nmemory = \"4M\"", "5:1: vm number 2: name: is missing; add it".into()),
        ("[[vm]]\nname = \"b\"", "5:1: vm \"b\": kernel: is missing; add it".into()),
    ] {
        assert_eq!(message_with(line), format!("cofferdam.toml:{expected}"));
    }
    assert_eq!(
        message_with(&format!("cmdline = \"{long}\"")),
        "cofferdam.toml:5:11: vm \"a\": cmdline: has 2048 bytes; 2047 are allowed, so shorten it"
    );
}

#[test]
fn memory_is_a_size_within_the_limits() {
    let text = |memory| format!("[[vm]]\nname = \"a\"\nkernel = \"k\"\nmemory = {memory}\n");
    for (memory, expected) in [
        ("256", "is an integer; write a size in quotes such as \"256M\""),
        ("\"256\"", "\"256\" has no unit; write a size with K, M or G such as \"256M\""),
        ("\"lots\"", "\"lots\" has no unit; write a size with K, M or G such as \"256M\""),
        ("\"xM\"", "\"xM\" is not a whole number with a unit; write a size with K, M or G such as \"256M\""),
        ("\"4095K\"", "4095K is out of range; write 4M to 256G in steps of 4K"),
        ("\"4098K\"", "4098K is out of range; write 4M to 256G in steps of 4K"),
        ("\"257G\"", "257G is out of range; write 4M to 256G in steps of 4K"),
    ] {
        assert_eq!(message(&text(memory)), format!("cofferdam.toml:4:10: vm \"a\": memory: {expected}"));
    }
    assert_eq!(parse(&text("\"4100K\"")).unwrap().vms[0].memory, ByteSize(4100 << 10));
}

#[test]
fn counts_are_bounded() {
    let vm = |i| format!("[[vm]]\nname = \"v{i}\"\nmemory = \"4M\"\nkernel = \"k\"\n");
    let most: String = (0..MAX_VMS).map(vm).collect();
    assert_eq!(parse(&most).unwrap().vms.len(), MAX_VMS);
    assert_eq!(
        message(&format!("{most}{}", vm(MAX_VMS))),
        "cofferdam.toml:257:1: vm: more than 64 VMs; remove some"
    );
    let modules = "\"m\",".repeat(MAX_MODULES + 1);
    assert_eq!(
        message_with(&format!("modules = [{modules}]")),
        "cofferdam.toml:5:11: vm \"a\": modules: more than 32 modules; remove some"
    );
}

#[test]
fn a_long_value_is_cut_in_the_message() {
    let line = format!("on_reset = \"{}\"", "x".repeat(5000));
    assert!(message_with(&line).len() < 200);
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = parse_bytes(&bytes);
    }

    #[test]
    fn a_damaged_example_never_panics(at in 0..EXAMPLE.len(), byte: u8, cut in 0..EXAMPLE.len()) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = parse_bytes(&bytes);
        let _ = parse_bytes(&bytes[..cut]);
    }

    #[test]
    fn pieces_of_toml_never_panic(text in "([\\[\\]{}=.,\"'#\n ]|host|vm|disk|nic|network|source|name|memory|kernel|1|true|a){0,200}") {
        let _ = parse(&text);
    }
}
