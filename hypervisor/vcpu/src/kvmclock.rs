//! KVM's paravirtual clock: the pages that tell a guest how to turn its TSC into time.

use crate::cpuid::TscStability;
use base::{Gpa, Nanoseconds, TscScale};
use seams::{GuestMemory, MemoryError};

/// What the guest wrote to [`crate::permission::msr::KVM_SYSTEM_TIME`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemTimeRegister(pub u64);

impl SystemTimeRegister {
    /// Where the structure is wanted; `None` when the clock is off.
    pub fn enabled(self) -> Option<Gpa> {
        todo!()
    }
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The guest's TSC.
    pub tsc: u64,
    /// The time since the VM began.
    pub system_time: Nanoseconds,
}

/// Writes the time structure at `gpa`.
///
/// # Errors
/// When the guest named no memory of its own.
pub fn publish_system_time<M: GuestMemory>(
    _memory: &M,
    _gpa: Gpa,
    _scale: &TscScale,
    _reference: Reference,
    _stability: TscStability,
) -> Result<(), MemoryError> {
    todo!()
}

/// Writes the wall clock structure at `gpa`: `began` is when the VM's system time was zero, since 1970 UTC.
///
/// # Errors
/// When the guest named no memory of its own.
pub fn publish_wall_clock<M: GuestMemory>(
    _memory: &M,
    _gpa: Gpa,
    _began: Nanoseconds,
) -> Result<(), MemoryError> {
    todo!()
}
