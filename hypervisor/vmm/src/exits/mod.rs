//! What becomes of each exit: one file for each subject.
//!
//! A handler either completes the instruction (registers, then RIP), or leaves everything as it was and says why not:
//! an exception for the guest, another try, or the end of the VM. What an instruction needs to be completed, its length above all, is
//! found out before its first effect.

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
    /// Does what `exit` asks for. Frequent exits are handled where the VM is served, others out of line.
    #[inline(always)]
    pub(crate) fn handle(&mut self, exit: &Exit, host: &impl Host) -> Result<(), Stop> {
        match exit {
            Exit::Hlt => self.hlt(),
            Exit::WriteMsr => self.write_msr(host),
            Exit::ReadMsr => self.read_msr(host),
            Exit::Io(io) => self.io(io, host),
            Exit::Cpuid => self.cpuid(),
            Exit::NestedFault(fault) => self.nested_fault(fault, host),
            Exit::Hypercall => self.hypercall(),
            Exit::Pause => self.skip(Known::Pause),
            Exit::WriteControlRegister(register) => self.write_control_register(*register),
            Exit::Privileged(privileged) => self.privileged(*privileged),
            // The guest's work may be damaged, and nothing in it could tell.
            Exit::Exception(Exception::MACHINE_CHECK) => Err(Fault::MachineCheck.into()),
            // Intercepted to be seen; the guest's all the same.
            Exit::Exception(exception) => Err(Stop::Raise(*exception)),
            Exit::InterruptWindow => {
                self.window = Wanted::No;
                Ok(())
            }
            // What was waited for is delivered before the next entry; host interrupts are the caller's.
            Exit::NmiWindow | Exit::HostInterrupt | Exit::HostNmi => Ok(()),
            Exit::TripleFault => Err(Stop::End(Ending::TripleFault)),
            Exit::TaskSwitch => Err(Fault::TaskSwitch.into()),
            Exit::EntryFailure(failure) => Err(Fault::EntryFailure(*failure).into()),
            Exit::Unexpected(code) => Err(Fault::UnexpectedExit(*code).into()),
        }
    }
}
