//! The states of a VM.
//!
//! ```text
//!             start              HLT
//!   Created -------> Running <=========> Halted
//!      ^                |    interrupt      |
//!      |  reset         |                   |
//!      +----------------+                   |
//!                       +----> Ended <------+
//! ```

use crate::vm::Ending;
use base::Instant;

/// The state of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Nothing is loaded: the VM is new, or its guest reset it.
    Created,
    /// The vCPU executes, or would if it had the CPU.
    Running,
    /// The vCPU waits for an interrupt.
    Halted,
    /// It is over.
    Ended(Ending),
}

/// Whether the nested tables show the guest its local APIC's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageInMap {
    /// They lead to the frame that stands for it.
    Shown,
    /// Nothing is there.
    Hidden,
    /// They cannot show it: the APIC stays emulated in xAPIC mode.
    Impossible,
}

/// Why a VM gave the CPU up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// A host interrupt or NMI waits: take it, then serve whom the scheduler chooses.
    HostInterrupt,
    /// The guest has kicked a queue: run what [`crate::Vm::kicked_devices`] names, and go on.
    Kicked,
    /// The vCPU waits for an interrupt.
    Halted {
        /// When one of the VM's timers is due; `None` when only input from outside can wake it.
        wake: Option<Instant>,
    },
    /// The processor can run the local APIC in its page, or can no longer: let the nested tables show or hide the page, tell
    /// [`crate::Vm::apic_page_is`], and go on.
    ApicPage(PageInMap),
    /// Nothing is loaded: call [`crate::Vm::start`], for the first time or because the guest reset its machine.
    LoadRequested,
    /// It is over.
    Ended(Ending),
}
