//! A VM's turn on a CPU of this machine.
//!
//! ```text
//!   the CPU's loop ──► AnyVm::serve(Serving) ──► vmm::Vm over the vendor's vCPU ──► exits, devices, entries
//!                                                     │ asks for the time, the timer
//!                                                Serving ──► Alarm ──► the CPU's one timer
//! ```
//!
//! This is a crate because here the generic code that lies between an exit and the next entry meets its real types, so it
//! is compiled here, and for speed: the kernel above is compiled for size.

#![no_std]
#![forbid(unsafe_code)]

mod alarm;
mod any_vm;
mod turn;

pub use alarm::Alarm;
#[cfg(feature = "seeded-faults")]
pub use alarm::deafen_timers;
pub use any_vm::AnyVm;
pub use turn::Serving;
