//! What guests see: UART, interrupt controllers, timers, RTC, power, PCI, virtio devices and ACPI tables, as pure
//! state machines.
//!
//! # Principles
//! - **Registers in, effects out.** A device is a value; it acts through [`Cx`] and reaches nothing else.
//! - **Time is an input.** Counters are computed from [`Cx::now`] when they are read; interrupts that time causes are
//!   announced by [`Device::next_deadline`] and taken by [`Device::advance`].
//! - **The driver is hostile.** No sequence of accesses, and no saved state, panics or breaks an invariant.
//! - **The datasheet is the specification.** Each rule and each test names its section.
//! - **No device knows another.** Lines and messages meet in `vmm`.
//!
//! # What it must never do
//! Touch guest memory without a queue's rules, allocate on an access, read a clock, or know which VM it serves.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate alloc;

pub mod acpi;
pub mod acpi_pm;
pub mod cx;
pub mod debug_exit;
pub mod device;
#[cfg(test)]
mod golden;
pub mod i8042;
pub mod i8254;
pub mod i8259;
pub mod ioapic;
pub mod lapic;
pub mod message;
pub mod pci;
pub mod platform;
pub mod reset;
pub mod rtc_cmos;
#[cfg(test)]
mod testing;
mod ticks;
pub mod uart16550;
pub mod virtio;

pub use acpi_pm::AcpiPm;
pub use cx::{Cx, Request};
pub use debug_exit::DebugExit;
pub use device::{Access, Device, PortAccess, Width, WindowAccess, WindowOffset};
pub use i8042::I8042;
pub use i8254::I8254;
pub use i8259::I8259Pair;
pub use ioapic::Ioapic;
pub use lapic::LocalApic;
pub use message::{DeliveryMode, Destination, InterruptMessage, Trigger};
pub use reset::ResetControl;
pub use rtc_cmos::RtcCmos;
pub use uart16550::Uart16550;
