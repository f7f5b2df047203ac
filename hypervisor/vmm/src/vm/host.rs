//! What a VM needs of the host while it is served.

use base::{ApicId, Instant, Vector};

/// One look at the clock of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time.
    pub time: Instant,
    /// The CPU's time-stamp counter then; it runs at the frequency of [`crate::Settings::tsc`].
    pub tsc: u64,
}

/// The CPU that serves a VM.
pub trait Host {
    /// The time now.
    fn now(&self) -> Instant;

    /// Time and time-stamp counter now, by one look: between two a CPU can be held up for long, by firmware or by a
    /// hypervisor below.
    fn moment(&self) -> Moment;

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
