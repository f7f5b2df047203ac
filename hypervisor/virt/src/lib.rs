//! Hardware virtualization: the vCPUs that run guest code, and what a CPU needs before it can.
//!
//! Two mirrored folders hold the vendors, `amd` for AMD-V and `intel` for VT-x, with the same file names for the same
//! subjects. Above them, [`Engine`] and [`Vcpu`] are chosen once, at bring-up, and no floor
//! above names a vendor.
//!
//! ```text
//!   bring_up(cpu, frames) ──> Engine ──new_vcpu──> Vcpu ──load_on_cpu──> enter ⇄ exit ──unload──> Vcpu
//! ```
//!
//! # Principles
//! - **Closed by default.** Registers, ports and instructions reach hardware only where [`vcpu::permission`] says so.
//! - **One page an exit.** Between an exit and the next entry only the VMCB or VMCS and the vCPU itself are touched; no
//!   MSR is read or written.
//! - **Pure outside, unsafe inside.** Layouts, encodings and rules are pure and tested on any host; assembly stands
//!   alone in `switch`, `vmcs`, `fpu`, `kept` and `debug_registers`.
//! - **Nothing is trusted.** What the guest left in a field is decoded totally; an unknown exit is a value, not a panic.
//!
//! # What it must never do
//! Decide what a guest is allowed (that is [`vcpu::permission`] and `vmm`), reach into guest memory, or allocate,
//! lock or format between an exit and an entry.

#![no_std]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[cfg(test)]
extern crate std;

mod amd;
mod debug_registers;
mod engine;
pub mod flushes;
mod fpu;
mod frames;
mod intel;
mod mitigations;
mod save_area;
mod tags;
#[cfg(test)]
mod testing;
mod vendor;
mod xsave;

pub use engine::{ApicVirtualization, BringUpError, Engine, bring_up};
pub use frames::{FrameSource, Frames, OutOfFrames};
pub use mitigations::Mitigations;
pub use vendor::{CpuResident, Either, Itself, OfVcpu, Vcpu};
