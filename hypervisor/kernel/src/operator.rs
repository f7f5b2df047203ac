//! What the operator's shell can see and do.

use crate::devices::HostDevices;
use crate::guests::{Backing, Guest, Guests};
use crate::ledger::FixedMemory;
use alloc::string::{String, ToString};
use base::{VmId, VmName};
use console::{Operator, VmLine};
use core::fmt::{self, Write};
use machine::log::{Entry, Reader};
use memory::SharedMemory;
use seams::ByteSink;

/// What the shell works on.
pub struct Desk {
    pub guests: Guests,
    /// What stands behind the VMs' devices.
    pub backing: Backing,
    /// The host's disks and NICs.
    pub devices: HostDevices,
    /// What `host` shows: lines that do not change after bring-up.
    pub host_lines: alloc::vec::Vec<alloc::string::String>,
    /// What `host cpus` shows.
    pub cpus: alloc::string::String,
    /// The host's memory.
    pub memory: &'static SharedMemory,
    /// The memory that is not shared out.
    pub fixed: FixedMemory,
    /// The VM that the operator wants to be started.
    pub start_wanted: Option<VmName>,
    /// The operator wants the host to end.
    pub power_off_wanted: bool,
}

impl Operator for Desk {
    fn vms(&self) -> impl Iterator<Item = VmLine> {
        self.guests.iter().map(|(_, guest)| VmLine {
            name: guest.config.name,
            state: guest.body.to_string(),
            memory: guest.config.memory,
            served: guest.served,
        })
    }

    fn type_into(&mut self, vm: VmName, byte: u8) {
        if let Some(present) = self.guests.by_name(vm).and_then(Guest::present) {
            // A guest that does not read loses what does not fit, as on a real line.
            let _ = present.vm.console_mut().offer(byte);
        }
    }

    fn log(&self, out: &mut dyn Write) -> fmt::Result {
        let mut reader = Reader::of_what_is_kept();
        while let Some(entry) = reader.next_entry() {
            match entry {
                Entry::Line(line) => writeln!(out, "{line}")?,
                Entry::Missed(bytes) => writeln!(out, "[{bytes} bytes are gone]")?,
            }
        }
        Ok(())
    }

    fn host(&self, out: &mut dyn Write) -> fmt::Result {
        self.host_lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        let usage = self.memory.lock().usage();
        let heap = crate::heap::usage();
        let mib = |bytes: u64| bytes / base::MIB;
        writeln!(
            out,
            "memory {} MiB free, {} MiB of VMs, {} KiB of the hypervisor (heap {} of {} KiB)",
            mib(usage.free_clean_bytes + usage.free_dirty_bytes),
            mib(usage.private_bytes),
            usage.hypervisor_bytes / base::KIB,
            heap.used_bytes / 1024,
            heap.total_bytes / 1024,
        )
    }

    fn host_memory(&self, out: &mut dyn Write) -> fmt::Result {
        let usage = self.memory.lock().usage();
        self.fixed.tell(out, &usage, self.guests.file_bytes())
    }

    fn host_cpus(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "{}", self.cpus)
    }

    fn disks(&self, out: &mut dyn Write) -> fmt::Result {
        let lines = self.devices.disk_lines().into_iter().chain(self.backing.storage.lines());
        tell(out, lines, "the host has no disk that it drives")
    }

    fn networks(&self, out: &mut dyn Write) -> fmt::Result {
        let name_of = |vm: VmId| {
            let found = self.guests.iter().find(|(id, _)| *id == vm);
            found.map_or_else(String::new, |(_, guest)| guest.config.name.to_string())
        };
        let lines = self.devices.card_lines().into_iter().chain(self.backing.networks.lines(name_of));
        tell(out, lines, "the host has no NIC that it drives, and no network")
    }

    fn start(&mut self, vm: VmName) {
        self.start_wanted = Some(vm);
    }

    fn power_off(&mut self) {
        self.power_off_wanted = true;
    }
}

/// Writes `lines`, or `nothing` when there are none.
fn tell(out: &mut dyn Write, lines: impl Iterator<Item = String>, nothing: &str) -> fmt::Result {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return writeln!(out, "{nothing}");
    }
    lines.try_for_each(|line| writeln!(out, "{line}"))
}
