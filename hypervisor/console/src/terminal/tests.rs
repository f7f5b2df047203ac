//! What an operator sees and types.

use super::*;
use crate::VmLine;
use alloc::{string::String, vec, vec::Vec};
use base::{ByteSize, MIB, Nanoseconds};
use core::fmt;

#[derive(Default)]
struct Host {
    typed: Vec<(VmName, u8)>,
    started: Vec<VmName>,
    powered_off: usize,
}

impl Operator for Host {
    fn vms(&self) -> impl Iterator<Item = VmLine> {
        let line = |name, state: &str| VmLine {
            name: vm(name),
            state: state.into(),
            memory: ByteSize(256 * MIB),
            served: Nanoseconds::from_millis(1234),
        };
        vec![line("demo", "running"), line("web-0", "ended: powered off")].into_iter()
    }

    fn type_into(&mut self, vm: VmName, byte: u8) {
        self.typed.push((vm, byte));
    }

    fn log(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "[    0.000001] the log")
    }

    fn host(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "the host")
    }

    fn host_memory(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "the memory")
    }

    fn host_cpus(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "the CPUs")
    }
    fn disks(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "the disks")
    }
    fn networks(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "the networks")
    }

    fn start(&mut self, vm: VmName) {
        self.started.push(vm);
    }

    fn power_off(&mut self) {
        self.powered_off += 1;
    }
}

fn vm(name: &str) -> VmName {
    VmName::new(name).unwrap()
}

fn output(terminal: &mut Terminal) -> String {
    let bytes = core::iter::from_fn(|| terminal.take()).collect::<Vec<_>>();
    String::from_utf8(bytes).unwrap()
}

fn typed(terminal: &mut Terminal, host: &mut Host, keys: &str) -> String {
    let _ = output(terminal);
    keys.bytes().for_each(|byte| terminal.input(byte, host));
    output(terminal)
}

#[test]
fn the_host_shows_itself_or_its_memory() {
    let (mut terminal, mut host) = (Terminal::new(None), Host::default());
    assert!(typed(&mut terminal, &mut host, "host\r").contains("the host"));
    assert!(typed(&mut terminal, &mut host, "host mem\r").contains("the memory"));
    assert!(typed(&mut terminal, &mut host, "host cpus\r").contains("the CPUs"));
    assert!(typed(&mut terminal, &mut host, "disk list\r").contains("the disks"));
    assert!(typed(&mut terminal, &mut host, "net list\r").contains("the networks"));
    assert!(typed(&mut terminal, &mut host, "host men\r").contains("`host mem`"));
}

#[test]
fn a_vm_is_started_by_its_name() {
    let (mut terminal, mut host) = (Terminal::new(None), Host::default());
    assert!(typed(&mut terminal, &mut host, "vm start nobody\r").contains("no VM is named"));
    let _ = typed(&mut terminal, &mut host, "vm start web-0\r");
    assert_eq!(host.started, [vm("web-0")]);
}

#[test]
fn keys_go_to_the_attached_guest() {
    let (mut terminal, mut host) = (Terminal::new(Some(vm("demo"))), Host::default());
    typed(&mut terminal, &mut host, "ls");
    assert_eq!(host.typed, [(vm("demo"), b'l'), (vm("demo"), b's')]);
}

#[test]
fn the_escape_key_goes_to_the_shell_and_back() {
    let (mut terminal, mut host) = (Terminal::new(Some(vm("demo"))), Host::default());
    assert!(typed(&mut terminal, &mut host, "\x1d").ends_with("cofferdam> "));
    assert_eq!(terminal.attached(), None);
    assert!(typed(&mut terminal, &mut host, "\x1d").contains("[console of demo"));
    assert_eq!(terminal.attached(), Some(vm("demo")));
    assert!(host.typed.is_empty());
}

#[test]
fn vm_list_shows_every_vm() {
    let (mut terminal, mut host) = (Terminal::new(None), Host::default());
    let shown = typed(&mut terminal, &mut host, "vm list\r");
    assert!(shown.contains("demo                                256M     1.234s  running\r\n"), "{shown}");
    assert!(shown.contains("web-0"), "{shown}");
    assert!(shown.ends_with("cofferdam> "), "{shown}");
}

#[test]
fn vm_console_attaches_and_an_unknown_name_is_told() {
    let (mut terminal, mut host) = (Terminal::new(None), Host::default());
    let shown = typed(&mut terminal, &mut host, "vm console nobody\r");
    assert!(shown.contains("no VM is named \"nobody\"; `vm list` shows the names"), "{shown}");
    typed(&mut terminal, &mut host, "vm console web-0\r");
    assert_eq!(terminal.attached(), Some(vm("web-0")));
}

#[test]
fn help_names_every_command() {
    let (mut terminal, mut host) = (Terminal::new(None), Host::default());
    let shown = typed(&mut terminal, &mut host, "help\r");
    for command in ["vm", "log", "host", "poweroff"] {
        assert!(shown.contains(command), "{command}: {shown}");
    }
}

/// Overlong and lone bytes of UTF-8 are none, whatever an editor makes of them.
#[test]
fn bytes_that_are_no_letters_are_not_typed() {
    let (mut terminal, mut host) = (Terminal::new(None), Host::default());
    for byte in b"vm cons\xe0\x82\x82ole de\xff\"mo\r".iter().chain(b"\rho\xc0\x80st\r") {
        terminal.input(*byte, &mut host);
    }
    assert!(output(&mut terminal).contains("the host"));
}

#[test]
fn an_unknown_command_is_answered_and_harms_nothing() {
    let (mut terminal, mut host) = (Terminal::new(None), Host::default());
    let shown = typed(&mut terminal, &mut host, "frobnicate\r");
    assert!(shown.contains("unknown command"), "{shown}");
}

#[test]
fn log_and_poweroff_reach_the_hypervisor() {
    let (mut terminal, mut host) = (Terminal::new(None), Host::default());
    assert!(typed(&mut terminal, &mut host, "log\r").contains("the log"));
    typed(&mut terminal, &mut host, "poweroff\r");
    assert_eq!(host.powered_off, 1);
}

#[test]
fn a_log_line_starts_on_a_line_of_its_own() {
    let mut terminal = Terminal::new(Some(vm("demo")));
    let _ = output(&mut terminal);
    terminal.guest_byte(b'$');
    terminal.log_line("warning");
    assert_eq!(output(&mut terminal), "$\r\nwarning\r\n");
}

#[test]
fn the_prompt_comes_back_after_a_log_line() {
    let mut terminal = Terminal::new(None);
    let _ = output(&mut terminal);
    terminal.log_line("warning");
    let shown = output(&mut terminal);
    assert!(shown.contains("warning\r\n") && shown.ends_with("cofferdam> "), "{shown:?}");
}

#[test]
fn a_flooding_guest_leaves_room_for_the_log() {
    let mut terminal = Terminal::new(Some(vm("demo")));
    while terminal.has_room() {
        terminal.guest_byte(b'x');
    }
    terminal.log_line("still here");
    assert!(output(&mut terminal).contains("still here"));
}

proptest::proptest! {
    #[test]
    fn arbitrary_keys_never_panic(keys: Vec<u8>) {
        let (mut terminal, mut host) = (Terminal::new(Some(vm("demo"))), Host::default());
        keys.iter().for_each(|&byte| terminal.input(byte, &mut host));
        while terminal.take().is_some() {}
    }
}
