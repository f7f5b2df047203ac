//! virtio devices as the host has them: block devices and network cards on PCI, without the legacy interface.
//!
//! ```text
//!   blk, net ──► queue::Queue (a split ring) ──► seams::dma
//!       └──────► transport::Transport ─────────► seams::Registers
//! ```
//! Nothing that the device writes is believed: an id of the used ring names a request in flight, or the device has failed.
//! Source: Virtual I/O Device 1.3; sections are those of its text. Why not the `virtio-drivers` crate:
//! `docs/decisions/0013-host-devices.md`.

pub mod blk;
pub mod net;
pub mod place;
mod queue;
mod transport;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use blk::VirtioBlk;
pub use net::VirtioNet;
pub use place::{Kind, Place};

use base::Nanoseconds;

/// Features of every device (section 6).
const VERSION_1: u64 = 1 << 32;
const ACCESS_PLATFORM: u64 = 1 << 33;

/// How long a device may take to reset.
const RESET_TIME: Nanoseconds = Nanoseconds::from_secs(5);
