//! Accesses to guest-physical memory that is no RAM: device registers, or nothing at all.
//!
//! Where nothing answers, a read gives ones and a write goes nowhere, as on a PC's bus. There is nothing to execute,
//! and no page table, in either.

use crate::exits::Stop;
use crate::vm::{Fault, Host, Vm};
use base::Gpa;
use seams::GuestMemory;
use vcpu::emulate::{self, EmulationFault, Outcome};
use vcpu::walk::INSTRUCTION_MAX_BYTES;
use vcpu::{Access, Exception, NestedFault, Vcpu};

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    #[inline(never)]
    pub(super) fn nested_fault(&mut self, fault: &NestedFault, host: &impl Host) -> Result<(), Stop> {
        let gpa = fault.gpa;
        if self.settings.ram.contains(gpa) {
            return Err(Fault::MemoryRefused(gpa).into());
        }
        if fault.in_guest_walk {
            return Err(Fault::TablesOutsideMemory(gpa).into());
        }
        if fault.access == Access::Execute {
            return Err(Fault::FetchOutsideMemory(gpa).into());
        }
        // Not the instruction at RIP but the delivery of an event went there: a table or a stack.
        if self.vcpu.queued_event().is_some() {
            return Err(Fault::DeliveryOutsideMemory(gpa).into());
        }

        let (bytes, mode) = self.with_instruction(|bytes, mode| (Instruction::of(bytes), mode))?;
        let outcome = emulate::step(&mut self.reach(host), bytes.as_slice(), mode);
        self.conclude(outcome, gpa)
    }

    /// What an emulated instruction that exited at `gpa` leaves to do.
    fn conclude(&mut self, outcome: Result<Outcome, EmulationFault>, gpa: Gpa) -> Result<(), Stop> {
        match outcome {
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
            Err(EmulationFault::Unsupported) => Err(Fault::UnsupportedAccess(gpa).into()),
        }
    }
}

/// A copy of an instruction's bytes, which leaves the vCPU free to be changed.
struct Instruction {
    bytes: [u8; INSTRUCTION_MAX_BYTES],
    len: usize,
}

impl Instruction {
    fn of(from: &[u8]) -> Self {
        let mut bytes = [0; INSTRUCTION_MAX_BYTES];
        bytes.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        Self { bytes, len: from.len().min(INSTRUCTION_MAX_BYTES) }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}
