//! The operator's terminal: any keys are taken, and never panic.

#![no_main]

use base::{ByteSize, Nanoseconds, VmName};
use console::{Operator, Terminal, VmLine};
use core::fmt::{self, Write};
use libfuzzer_sys::{Corpus, fuzz_target};

/// The longest input: some lines. A thousand lines of `help` take long and show nothing more.
const MAX_BYTES: usize = 320;

/// A host with one VM, which takes every key.
struct Host(VmName);

impl Operator for Host {
    fn vms(&self) -> impl Iterator<Item = VmLine> {
        let state = String::from("running");
        core::iter::once(VmLine { name: self.0, state, memory: ByteSize(1 << 28), served: Nanoseconds(0) })
    }

    fn type_into(&mut self, _: VmName, _: u8) {}

    fn log(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("a line\n")
    }

    fn host(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("a host\n")
    }

    fn host_cpus(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("its CPUs\n")
    }

    fn host_memory(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("its memory\n")
    }

    fn disks(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("its disks\n")
    }

    fn networks(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("its networks\n")
    }

    fn start(&mut self, _: VmName) {}

    fn power_off(&mut self) {}
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(name) = VmName::new("demo") else { return Corpus::Reject };
    if data.len() > MAX_BYTES {
        return Corpus::Reject;
    }
    let (mut terminal, mut host) = (Terminal::new(None), Host(name));
    for &byte in data {
        terminal.input(byte, &mut host);
        while terminal.take().is_some() {}
    }
    Corpus::Keep
});
