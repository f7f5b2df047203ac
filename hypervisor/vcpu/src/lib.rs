//! The vendor-neutral virtual CPU: its state, why it stops, what can be injected, what it may touch, and the trait
//! that `virt` implements for AMD-V and VT-x.
//!
//! # Principles
//! - **One vocabulary.** Both vendors report the same [`Exit`]s with the same meaning; floors above never name a vendor.
//! - **Architecture, not policy.** The rules of the processor (control registers, EFER, decoding) live here once;
//!   what a VM is allowed is the permission table's and `vmm`'s business.
//! - **The guest is hostile.** Nothing here trusts a register, an instruction byte or a page-table entry.
//!
//! # What it must never do
//! Touch hardware, allocate on the path of an exit, or know a device.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod apic;
pub mod control;
pub mod cpuid;
pub mod decode;
pub mod emulate;
pub mod engine;
pub mod event;
pub mod exit;
pub mod kvmclock;
pub mod permission;
pub mod state;
pub mod walk;

pub use apic::{ApicAccess, ApicPage, ApicProgress, ApicStatus};
pub use engine::{InterruptState, Vcpu, Wanted};
pub use event::{Event, Exception};
pub use exit::{
    Access, ControlRegister, Direction, EntryFailure, Exit, FieldValue, IoExit, IoOperand, NestedFault,
    OffendingFields, Privileged,
};
pub use state::{CpuMode, DescriptorTable, Gpr, Gprs, Segment, SegmentName, VcpuState, VectorValue};
