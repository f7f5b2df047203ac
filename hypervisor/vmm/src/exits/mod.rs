//! What becomes of each exit: one file for each subject.
//!
//! A handler either completes the instruction (registers, then RIP), or leaves everything as it was and says why not:
//! an exception for the guest, another try, or the end of the VM. What an instruction needs to be completed, its length above all, is
//! found out before its first effect.

mod apic;
mod breakpoints;
mod control;
mod cpuid;
mod emulation;
mod hlt;
mod hypercall;
mod instruction;
mod io;
mod mmio;
mod msr;
mod privileged;
mod reach;
#[cfg(test)]
mod tests;

pub(crate) use msr::{Msrs, VmClock};

use crate::vm::{Ending, Fault, Host, Vm};
use seams::GuestMemory;
use vcpu::{Exception, Exit, Vcpu, Wanted, decode::Known};

/// Why an instruction was not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The guest gets an exception; the instruction may be tried again.
    Raise(Exception),
    /// The guest runs on as it stands, and tries the instruction again.
    Retry,
    /// A host interrupt waits: the CPU is given up.
    Yield,
    /// A queue was kicked, and the instruction is complete: the CPU is given up to the queue's task.
    Kicked,
    /// The VM ends.
    End(Ending),
}

impl From<Exception> for Stop {
    fn from(exception: Exception) -> Self {
        Self::Raise(exception)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::End(Ending::Fault(fault))
    }
}

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    /// Records `exit` and does what it asks for. Frequent exits are handled where the VM is served, others out of line.
    #[inline(always)]
    pub(crate) fn handle(&mut self, exit: Exit, host: &impl Host) -> Result<(), Stop> {
        // Each frequent exit is recorded in its own arm, where it is known what there is to record.
        match exit {
            Exit::WriteMsr => {
                self.record(&exit);
                self.write_msr(host)
            }
            Exit::ReadMsr => {
                self.record(&exit);
                self.read_msr(host)
            }
            Exit::Io(io) => {
                self.record(&exit);
                self.io(&io, host)
            }
            Exit::Cpuid => {
                self.record(&exit);
                #[cfg(feature = "exit-shares")]
                self.mark_if_asked(host);
                self.cpuid()
            }
            Exit::Hypercall => {
                self.record(&exit);
                self.hypercall()
            }
            Exit::NestedFault(fault) => {
                self.record(&exit);
                self.nested_fault(&fault, host)
            }
            Exit::Hlt => {
                self.record(&exit);
                self.hlt()
            }
            _ => self.handle_rare(exit, host),
        }
    }

    /// What the hardware or the host brought about, and instructions that are seldom used.
    #[inline(never)]
    pub(crate) fn handle_rare(&mut self, exit: Exit, host: &impl Host) -> Result<(), Stop> {
        self.record(&exit);
        match exit {
            Exit::HostInterrupt | Exit::HostNmi => Err(Stop::Yield),
            Exit::Pause => self.skip(Known::Pause),
            Exit::WriteControlRegister(register) => self.write_control_register(register),
            Exit::Privileged(privileged) => self.privileged(privileged),
            // The guest's work may be damaged, and nothing in it could tell.
            Exit::Exception(Exception::MACHINE_CHECK) => Err(Fault::MachineCheck.into()),
            // Intercepted to be seen; the guest's all the same.
            Exit::Exception(exception) => Err(Stop::Raise(exception)),
            Exit::InterruptWindow => {
                self.window = Wanted::No;
                Ok(())
            }
            Exit::EndOfInterrupt(vector) => {
                self.end_of_interrupt(vector);
                Ok(())
            }
            Exit::ApicWrite(register) => {
                self.apic_written(register, host);
                Ok(())
            }
            Exit::TripleFault => Err(Stop::End(Ending::TripleFault)),
            Exit::TaskSwitch => Err(Fault::TaskSwitch.into()),
            Exit::EntryFailure(failure) => Err(Fault::EntryFailure(failure).into()),
            Exit::Unexpected(code) => Err(Fault::UnexpectedExit(code).into()),
            // An access to the local APIC's page that the processor does not carry out.
            Exit::NestedFault(fault) => self.nested_fault(&fault, host),
            // An NMI that was waited for is delivered before the next entry. The others are `handle`'s.
            Exit::NmiWindow
            | Exit::WriteMsr
            | Exit::ReadMsr
            | Exit::Io(_)
            | Exit::Cpuid
            | Exit::Hypercall
            | Exit::Hlt => Ok(()),
        }
    }
}
