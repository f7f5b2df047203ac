//! The host's CPU and board: descriptor tables, vectors, local APIC, clocks, ACPI tables, PCI and the serial port.
//!
//! # Principles
//! - **Unsafe stays in the leaves.** Instructions, ports, MSRs and MMIO are touched in the smallest modules; what is
//!   decided about their values is safe code over a trait or a slice, and is tested on any host.
//! - **Nothing is believed.** ACPI tables, CPUID frequencies and a UART's presence are claims of firmware and
//!   hardware: parsed with bounds, measured against a second source, or probed.
//! - **Handlers only enqueue.** An interrupt handler moves bytes to a ring or sets a flag; the CPU's loop does the rest.
//! - **Nothing waits for ever.** Every loop on a register has a bound, and says so when it is reached.
//! - **Dying is a path of its own.** The epitaph takes no lock, allocates nothing and reads only memory that was
//!   named as readable.
//!
//! # What it must never do
//! Know of guests or of virtualization, decide policy, or allocate.

#![no_std]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[cfg(test)]
extern crate std;

pub mod acpi;
pub mod apic;
pub mod clock;
pub mod cpu;
pub mod descriptors;
pub mod epitaph;
pub mod interrupts;
pub mod ioapic;
pub mod log;
pub mod mmio;
pub mod msr;
pub mod pci;
pub mod percpu;
pub mod pic;
pub mod port;
pub mod serial;
#[cfg(feature = "exit-shares")]
pub mod shares;
pub mod trap;
pub mod tsc;
pub mod vectors;

pub use mmio::Mmio;
pub use percpu::{CurrentCpu, PerCpu};
pub use port::{GrantedPorts, PortRange};
pub use trap::TrapFrame;

/// A ranked lock as taken by this host's CPUs.
pub type Lock<T> = sync::Lock<T, CurrentCpu>;
