//! Drivers of host devices over registers that the kernel grants: the power switch, disks and network cards.
//!
//! ```text
//!   backends ── disk::Disk, nic::Nic ──► nvme, virtio, e1000e ──► seams::Registers, seams::dma ──► the device
//! ```
//!
//! # Principles
//! - **State machines.** A driver is stepped by a task and told the time; it never waits.
//! - **Granted registers only.** It sees `impl PortIo`, or `impl Registers` and memory for DMA, and nothing else. No other
//!   memory than that is ever named to a device.
//! - **A device may lie, stall or vanish.** Every state has a way out.
//!
//! # What it must never do
//! Hold `unsafe`, allocate while serving a request, or touch a device that was not granted.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[cfg(test)]
extern crate std;

pub mod any;
pub mod disk;
pub mod e1000e;
pub mod error;
pub mod flight;
pub mod nic;
pub mod nvme;
pub mod power;
pub mod virtio;

use base::Nanoseconds;

/// How often a running device's status is looked at: reading a register takes as long as a thousand instructions.
const STATUS_INTERVAL: Nanoseconds = Nanoseconds::from_secs(1);

/// Whether a device can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet: poll on.
    Pending,
    /// It can.
    Ready,
    /// It never will.
    Failed,
    /// It was shut down, and the power may go.
    Off,
}

/// How a driver learns that its device has something for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// By an interrupt: the device's first message is routed, and whoever takes it polls the driver.
    Interrupt,
    /// Not at all: the driver is polled from time to time.
    Polled,
}
