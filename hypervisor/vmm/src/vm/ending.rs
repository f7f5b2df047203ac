//! How a VM ends.

use base::{Gpa, VmName};
use core::fmt;
use devices::DebugExit;
use vcpu::EntryFailure;

/// Why a VM ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The guest entered the soft-off state.
    PowerOff,
    /// The guest reset its machine, and the configuration says `on_reset = "end"`.
    Reset,
    /// The guest wrote to the debug exit port.
    DebugExit {
        /// What it wrote, N; the VM's status is 2N+1.
        value: u32,
    },
    /// The guest shut down by a triple fault. This is a crash also where a reset restarts the VM: it would most often
    /// crash again.
    TripleFault,
    /// The guest did what this hypervisor cannot continue from.
    Fault(Fault),
}

/// What a VM cannot continue from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An instruction was fetched where there is no memory.
    FetchOutsideMemory(Gpa),
    /// The guest's page tables lie where there is no memory.
    TablesOutsideMemory(Gpa),
    /// An interrupt or exception was delivered by a table or to a stack where there is no memory.
    DeliveryOutsideMemory(Gpa),
    /// The guest's memory refused an access that its map allows.
    MemoryRefused(Gpa),
    /// An instruction that accesses a device's memory is not one of those that can be carried out.
    UnsupportedAccess(Gpa),
    /// An instruction that exited could not be read or decoded.
    UnreadableInstruction,
    /// The host's processor reported a hardware error while the guest ran.
    MachineCheck,
    /// A task switch by a gate or descriptor.
    TaskSwitch,
    /// The processor refused the vCPU's state.
    EntryFailure(EntryFailure),
    /// The processor reported an exit that should be impossible: its code.
    UnexpectedExit(u64),
}

impl Ending {
    /// The VM's status as its debug exit port gives it: 2N+1.
    pub const fn debug_status(self) -> Option<u64> {
        match self {
            Self::DebugExit { value } => Some(DebugExit::status(value)),
            _ => None,
        }
    }

    /// Whether registers and the last exits are of interest.
    pub const fn is_crash(self) -> bool {
        matches!(self, Self::TripleFault | Self::Fault(_))
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOff => write!(f, "powered off by the guest (ACPI S5)"),
            Self::Reset => write!(f, "reset by the guest"),
            Self::DebugExit { value } => {
                write!(f, "debug exit by the guest, status {}", DebugExit::status(*value))
            }
            Self::TripleFault => write!(f, "triple fault"),
            Self::Fault(fault) => write!(f, "{fault}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FetchOutsideMemory(gpa) => {
                write!(f, "executed outside its memory, at guest-physical {gpa}")
            }
            Self::TablesOutsideMemory(gpa) => {
                write!(f, "page tables outside its memory, at guest-physical {gpa}")
            }
            Self::DeliveryOutsideMemory(gpa) => {
                write!(f, "interrupt or exception delivered outside its memory, at guest-physical {gpa}")
            }
            Self::MemoryRefused(gpa) => write!(f, "memory refused the access to guest-physical {gpa}"),
            Self::UnsupportedAccess(gpa) => {
                write!(f, "unsupported instruction on device memory at guest-physical {gpa}")
            }
            Self::UnreadableInstruction => write!(f, "an instruction that exited cannot be decoded"),
            Self::MachineCheck => write!(f, "machine check: the host's hardware failed while it ran"),
            Self::TaskSwitch => write!(f, "hardware task switch, which is not supported"),
            Self::EntryFailure(failure) => {
                write!(f, "the processor refused its state: {} (code {:#x})", failure.reason, failure.code)?;
                failure.fields.iter().try_for_each(|field| write!(f, ", {} {:#x}", field.name, field.value))
            }
            Self::UnexpectedExit(code) => write!(f, "unexpected exit, code {code:#x}"),
        }
    }
}

/// The line that announces an ending.
#[derive(Clone, Copy, Debug)]
pub struct EndingLine {
    pub(super) name: VmName,
    pub(super) ending: Ending,
}

impl fmt::Display for EndingLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vm {}: ended: {}", self.name, self.ending)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;
    use vcpu::{FieldValue, OffendingFields};

    #[test]
    fn an_ending_is_one_line_with_name_and_reason() {
        let name = VmName::new("demo").unwrap();
        let line = |ending| EndingLine { name, ending }.to_string();
        assert_eq!(line(Ending::PowerOff), "vm demo: ended: powered off by the guest (ACPI S5)");
        assert_eq!(line(Ending::DebugExit { value: 3 }), "vm demo: ended: debug exit by the guest, status 7");
        assert_eq!(line(Ending::TripleFault), "vm demo: ended: triple fault");
        assert_eq!(
            line(Ending::Fault(Fault::FetchOutsideMemory(Gpa::new(0xf000_0000).unwrap()))),
            "vm demo: ended: executed outside its memory, at guest-physical 0xf0000000"
        );
    }

    #[test]
    fn a_refused_state_is_told_with_the_fields_at_fault() {
        let field = |name, value| Some(FieldValue { name, value });
        let fields = OffendingFields::new([field("guest CR0", 0x8000_0000), field("guest CR4", 0x20), None]);
        let fault =
            Fault::EntryFailure(EntryFailure { code: 0x21, reason: "CR0.PE is clear (SDM 1)", fields });
        assert_eq!(
            fault.to_string(),
            "the processor refused its state: CR0.PE is clear (SDM 1) (code 0x21), guest CR0 0x80000000, guest CR4 0x20"
        );
    }

    #[test]
    fn the_largest_debug_exit_value_has_a_status() {
        assert_eq!(Ending::DebugExit { value: u32::MAX }.debug_status(), Some((1 << 33) - 1));
    }
}
