//! Executing the instruction that exited in place of the processor, and what that leaves to do.

use crate::exits::Stop;
use crate::exits::reach::Reach;
use crate::vm::{Fault, Host, Vm};
use seams::GuestMemory;
use vcpu::emulate::{self, EmulationFault, Exited, Outcome};
use vcpu::{Exception, Vcpu};

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    /// Executes the instruction at RIP, which `exited` by an access to memory. `unsupported` is what ends the VM when it is
    /// none of the emulator's.
    pub(super) fn emulate(
        &mut self,
        exited: Option<Exited>,
        unsupported: Fault,
        host: &impl Host,
    ) -> Result<(), Stop> {
        let bytes = self.instruction()?;
        let mode = self.vcpu.mode();
        match emulate::step(&mut Reach { vm: self, host }, bytes.as_slice(), mode, exited) {
            // An unfinished one exits again.
            Ok(Outcome::Completed | Outcome::Unfinished) => Ok(()),
            // Also between two elements of a string: an instruction that ends is what makes the vCPU trap.
            Ok(Outcome::Trapped) => {
                let rip = self.vcpu.rip();
                self.vcpu.set_rip(rip);
                Ok(())
            }
            Err(EmulationFault::Raise(exception)) => Err(exception.into()),
            Err(EmulationFault::PageFault { error_code, linear }) => {
                self.vcpu.set_cr2(linear);
                Err(Exception::page_fault(error_code).into())
            }
            Err(EmulationFault::Memory(error)) => Err(Fault::MemoryRefused(error.address()).into()),
            Err(EmulationFault::Contended) => Err(Stop::Retry),
            Err(EmulationFault::Truncated) => Err(Fault::UnreadableInstruction.into()),
            Err(EmulationFault::Unsupported) => Err(unsupported.into()),
        }
    }
}
