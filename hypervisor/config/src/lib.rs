//! The operator's configuration: `cofferdam.toml`, read by `cargo xtask image`, by boot and by the kernel alike.
//!
//! ```toml
//! [host]
//! console   = "com1"        # com1..com4, a port number such as 0x3F8, or "spcr"    default "com1"
//! log       = "info"        # error, warn, info, debug, trace                        default "info"
//! when_idle = "shell"       # or "poweroff": what to do when the last VM has ended    default "shell"
//! attach    = "demo"        # whose console is attached at start                      default: the host's prompt
//!
//! [[vm]]
//! name = "demo"             # 1-31 of a-z, 0-9 and -, unique                          required
//! vcpus = 1                 # one in this release                                     default 1
//! memory = "256M"           # 4M to 256G in steps of 4K; K, M, G are binary           required
//! kernel = "vmlinux"        # path relative to this file                              required
//! initrd = "initramfs.cpio" # path relative to this file                              default: none
//! modules = ["file arg"]    # path, blank, arguments; PVH and Multiboot kernels        default []
//! cmdline = "console=ttyS0" # up to 2047 bytes                                        default ""
//! autostart = true          # whether it starts with the host                         default true
//! on_reset = "restart"      # or "end": what a reset asked for by the guest does       default "restart"
//! debug_exit = false        # port 0xF4: writing N ends the VM with status 2N+1        default false
//! exit_profile = false      # whether the log tells the most frequent exits at its end default false
//! console = "serial"        # or "virtio": where the operator's keys go               default "serial"
//!
//! [[vm.disk]]               # up to 8 a VM
//! source = "partition:root" # or "disk:nvme0n1", "file:rootfs.img" (beside this file)  required
//! overlay = "512M"          # memory for writes, dropped with the VM                   default: none
//! read_only = false         # true refuses writes; not with an overlay                 default false
//!
//! [[vm.nic]]                # up to 8 a VM, 63 a network
//! network = "lan0"          # one of the [[network]] tables                            required
//! mac = "52:54:00:12:34:56" # one station's address, unique on the network             default: generated, stable
//! ip = ["10.0.0.2"]         # up to 8; the only source addresses then                  default: any
//! vlan = 10                 # 1-4094                                                   default: no VLAN
//! rate = "1Gbit"            # of what the guest sends: 64Kbit to 1000Gbit, decimal     default: no limit
//! isolated = false          # true lets it talk to the uplink only                     default false
//!
//! [[network]]               # up to 16
//! name = "lan0"             # 1-31 of a-z, 0-9 and -, unique                           required
//! uplink = "eth0"           # a NIC of the host, for one network only                  default: none
//! ```
//!
//! # Principles
//! - **Strict.** Unknown keys, wrong types, values out of range and duplicates are errors, never warnings.
//! - **An error is a place, a thing and a remedy.** Each has a line and a column, counted from 1 in characters.
//! - **One reader.** The kernel parses the text again and believes nothing that boot concluded from it.
//! - **Bounded.** Size, nesting and counts are limited before memory is spent: the text is untrusted input.
//!
//! # What it must never do
//! Open a file, or guess what the operator meant.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate alloc;

mod error;
mod model;
mod nearest;
mod nesting;
mod network;
mod path;
mod position;
mod reader;
mod schema;
mod size;
mod storage;
#[cfg(test)]
mod tests;

pub use error::{ConfigError, Problem, Subject, Type};
pub use model::{Config, Console, Host, LogLevel, Module, OnReset, Vm, VmConsole, WhenIdle};
pub use network::{Network, NetworkName, Nic, Reach, generated_mac};
pub use path::{PathProblem, RelativePath};
pub use position::{Located, Position};
pub use size::SizeProblem;
pub use storage::{Disk, DiskAccess, DiskSource, SourceProblem};

use position::Lines;

/// The name of the configuration file, on the ESP and in messages.
pub const FILE_NAME: &str = "cofferdam.toml";

/// The longest text that is read, in bytes.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// The largest number of VMs.
pub const MAX_VMS: usize = 64;

/// The largest number of modules of one VM.
pub const MAX_MODULES: usize = 32;

/// The longest command line, in bytes: Linux's `COMMAND_LINE_SIZE` on x86 is 2048 with its terminator.
pub const MAX_CMDLINE_BYTES: usize = 2047;

/// The least memory of a VM, in bytes.
pub const MIN_MEMORY_BYTES: u64 = 4 * base::MIB;

/// The most memory of a VM, in bytes: the hypervisor's window onto one guest spans 512 GiB of guest-physical
/// addresses, of which the low 4 GiB hold devices too.
pub const MAX_MEMORY_BYTES: u64 = 256 * base::GIB;

/// The largest number of disks of one VM.
pub const MAX_DISKS: usize = 8;

/// The least memory of an overlay, in bytes.
pub const MIN_OVERLAY_BYTES: u64 = base::MIB;

/// The largest number of networks.
pub const MAX_NETWORKS: usize = 16;

/// The largest number of NICs of one VM.
pub const MAX_NICS: usize = 8;

/// The largest number of NICs on one network: its 64th port is the uplink's.
pub const MAX_NICS_ON_NETWORK: usize = 63;

/// The largest number of IP addresses of one NIC.
pub const MAX_ADDRESSES: usize = 8;

/// Reads the configuration in `text`.
///
/// # Errors
/// The first thing that is wrong, with its place and a remedy.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    let lines = Lines::new(text);
    if text.len() > MAX_TEXT_BYTES {
        let problem = Problem::TextTooLong { len_bytes: text.len() };
        return Err(ConfigError::file(lines.position(MAX_TEXT_BYTES), problem));
    }
    if text.trim().is_empty() {
        return Err(ConfigError::file(Position::START, Problem::Empty));
    }
    nesting::check(text, &lines)?;
    let document = toml::de::DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(text.len(), |span| span.start);
        ConfigError::file(lines.position(offset), Problem::Syntax(error.message().into()))
    })?;
    schema::read(document.get_ref(), &lines)
}

/// Reads the configuration in `bytes`, which must be UTF-8.
///
/// # Errors
/// As [`parse`]; also when the bytes are not UTF-8, with the place of the first that is not.
pub fn parse_bytes(bytes: &[u8]) -> Result<Config, ConfigError> {
    match core::str::from_utf8(bytes) {
        Ok(text) => parse(text),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let text = core::str::from_utf8(valid).unwrap_or_default();
            Err(ConfigError::file(Lines::new(text).position(text.len()), Problem::NotUtf8))
        }
    }
}
