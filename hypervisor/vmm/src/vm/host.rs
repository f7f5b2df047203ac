//! What a VM needs of the host while it is served.

use base::{ApicId, Instant, Vector};

/// The CPU that serves a VM.
pub trait Host {
    /// The time now.
    fn now(&self) -> Instant;

    /// The CPU's time-stamp counter now; it runs at the frequency of [`crate::Settings::tsc`].
    fn tsc(&self) -> u64;

    /// Sends `vector` to the CPU `destination`: an interrupt was posted to the vCPU that it runs.
    fn notify(&mut self, vector: Vector, destination: ApicId);

    /// Asks for a host interrupt at `deadline`, so that the VM is served again then; replaces the deadline asked for
    /// before, and `None` takes it back.
    fn set_guest_timer(&mut self, deadline: Option<Instant>);

    /// Asks for a host interrupt now: the guest's next entry delivers what is queued and ends before an instruction.
    fn interrupt_entry(&mut self);

    /// Keeps a snapshot of whose ticks have passed, under the name `label`, where that is counted.
    #[cfg(feature = "exit-shares")]
    fn mark(&self, _label: u8) {}
}
