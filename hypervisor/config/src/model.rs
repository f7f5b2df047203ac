//! What a configuration says, once it is known to be valid.

use crate::network::{Network, Nic};
use crate::path::RelativePath;
use crate::position::{Located, Position};
use crate::storage::Disk;
use alloc::{string::String, vec::Vec};
use base::{ByteSize, Port, VmName};

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What concerns the whole machine.
    pub host: Host,
    /// The VMs, in the order of the text; a VM's index here is its `base::VmId`.
    pub vms: Vec<Vm>,
    /// The networks, in the order of the text.
    pub networks: Vec<Network>,
}

/// What concerns the whole machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The serial port of the console and the log.
    pub console: Console,
    /// What the log keeps.
    pub log: LogLevel,
    /// What to do when the last VM has ended.
    pub when_idle: WhenIdle,
    /// The VM whose console is attached at start; `None` is the host's prompt.
    pub attach: Option<VmName>,
}

impl Default for Host {
    fn default() -> Self {
        Self { console: Console::Com1, log: LogLevel::Info, when_idle: WhenIdle::Shell, attach: None }
    }
}

/// A serial port with a 16550.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// Port 0x3F8.
    Com1,
    /// Port 0x2F8.
    Com2,
    /// Port 0x3E8.
    Com3,
    /// Port 0x2E8.
    Com4,
    /// The first of eight ports in a row, at most 0xFFF8.
    Port(Port),
    /// What the ACPI table SPCR names.
    Spcr,
}

impl Console {
    /// The first I/O port, where the configuration alone decides it.
    pub const fn port(self) -> Option<Port> {
        match self {
            Self::Com1 => Some(Port(0x3F8)),
            Self::Com2 => Some(Port(0x2F8)),
            Self::Com3 => Some(Port(0x3E8)),
            Self::Com4 => Some(Port(0x2E8)),
            Self::Port(port) => Some(port),
            Self::Spcr => None,
        }
    }
}

/// The least severe message that the log keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what is suspicious.
    Warn,
    /// And what an operator wants to know.
    Info,
    /// And what an engineer wants to know.
    Debug,
    /// And all the rest.
    Trace,
}

/// What to do when the last VM has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenIdle {
    /// Stay at the prompt.
    Shell,
    /// Switch the machine off.
    PowerOff,
}

/// What a reset that the guest asked for does to its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReset {
    /// The VM starts again.
    Restart,
    /// The VM ends.
    End,
}

/// The device of a VM that the operator's keys go to. What the guest writes is shown from both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmConsole {
    /// The 16550 at port 0x3F8.
    Serial,
    /// The virtio console.
    Virtio,
}

/// One VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Its name, unique.
    pub name: VmName,
    /// Where its table begins.
    pub position: Position,
    /// Its number of vCPUs: 1 in this release.
    pub vcpus: u32,
    /// Its memory: a multiple of 4 KiB between [`crate::MIN_MEMORY_BYTES`] and [`crate::MAX_MEMORY_BYTES`].
    pub memory: ByteSize,
    /// Its kernel; the kind is detected by content.
    pub kernel: Located<RelativePath>,
    /// Its initial RAM disk.
    pub initrd: Option<Located<RelativePath>>,
    /// Its modules, for a PVH or Multiboot kernel.
    pub modules: Vec<Module>,
    /// Its kernel's command line, at most [`crate::MAX_CMDLINE_BYTES`] bytes, without NUL.
    pub cmdline: String,
    /// Whether it starts with the host.
    pub autostart: bool,
    /// What a reset asked for by the guest does.
    pub on_reset: OnReset,
    /// Whether port 0xF4 ends the VM.
    pub debug_exit: bool,
    /// Whether the log tells at the VM's end which exits were the most frequent.
    pub exit_profile: bool,
    /// Where the operator's keys go.
    pub console: VmConsole,
    /// Its disks, at most [`crate::MAX_DISKS`].
    pub disks: Vec<Disk>,
    /// Its NICs, at most [`crate::MAX_NICS`].
    pub nics: Vec<Nic>,
}

/// A file that a PVH or Multiboot kernel is given, and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The file.
    pub path: Located<RelativePath>,
    /// What follows the path after one blank; empty if nothing does.
    pub arguments: String,
}

impl Vm {
    /// Every file that this VM names, with the place: kernel, initrd, modules, disks.
    pub fn files(&self) -> impl Iterator<Item = (&RelativePath, Position)> {
        self.boot_files().chain(self.disk_files())
    }

    /// The files that are copied to the guest's memory at its start, and not needed while it runs.
    pub fn boot_files(&self) -> impl Iterator<Item = (&RelativePath, Position)> {
        let modules = self.modules.iter().map(|module| &module.path);
        let all = core::iter::once(&self.kernel).chain(self.initrd.as_ref()).chain(modules);
        all.map(|path| (&path.value, path.position))
    }

    /// The files that stand behind disks, needed as long as the VM is there.
    pub fn disk_files(&self) -> impl Iterator<Item = (&RelativePath, Position)> {
        self.disks.iter().filter_map(Disk::file)
    }
}

impl Config {
    /// Every reference to a file, with its place, in the order of the VMs. A file that is named twice comes twice.
    pub fn files(&self) -> impl Iterator<Item = (&RelativePath, Position)> {
        self.vms.iter().flat_map(Vm::files)
    }

    /// The VM called `name`.
    pub fn vm(&self, name: &VmName) -> Option<&Vm> {
        self.vms.iter().find(|vm| vm.name == *name)
    }
}
