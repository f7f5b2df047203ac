//! The instruction that exited: its bytes, its length, and going on behind it.

use crate::exits::Stop;
use crate::vm::{Fault, Vm};
use seams::GuestMemory;
use vcpu::decode::{self, Known};
use vcpu::walk::{self, Fetched, WalkFault};
use vcpu::{CpuMode, Vcpu};

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    /// The bytes of the instruction: the hardware's, or else the guest's memory's. They are at most what the processor has
    /// executed: a guest that changes them meanwhile changes what it gets.
    #[inline(always)]
    pub(crate) fn instruction(&mut self) -> Result<Fetched, Stop> {
        let given = self.vcpu.instruction_bytes();
        if !given.is_empty() {
            return Ok(Fetched::of(given));
        }
        if let Some(fetched) = walk::fetch_simply(&self.memory, &self.vcpu) {
            return Ok(fetched);
        }
        self.fetch_by_walk()
    }

    #[cold]
    #[inline(never)]
    fn fetch_by_walk(&mut self) -> Result<Fetched, Stop> {
        let physical_bits = self.cpuid.allowed().physical_bits;
        walk::fetch(&self.memory, &self.vcpu, physical_bits).map_err(|fault| self.walk_fault(fault))
    }

    /// What a failed walk of the guest's page tables means for it. Sets CR2 for a page fault.
    pub(crate) fn walk_fault(&mut self, fault: WalkFault) -> Stop {
        if let WalkFault::PageFault { linear, .. } = fault {
            self.vcpu.set_cr2(linear);
        }
        match (fault.exception(), fault) {
            (Some(exception), _) => Stop::Raise(exception),
            (None, WalkFault::Memory(error)) => Fault::MemoryRefused(error.address()).into(),
            // The next try meets other tables, or the host's interrupt first.
            (None, _) => Stop::Retry,
        }
    }

    /// Where the guest goes on after `known`, the instruction that exited.
    #[inline(always)]
    pub(crate) fn next_rip(&mut self, known: Known) -> Result<u64, Stop> {
        if let Some(length) = self.vcpu.instruction_length() {
            return Ok(self.rip_after(length));
        }
        let bytes = walk::first_bytes(&self.memory, &self.vcpu);
        match bytes.and_then(|bytes| decode::known_length_64(bytes, known)) {
            Some(length) => Ok(self.vcpu.rip().wrapping_add(length.into())),
            None => self.next_rip_by_walk(known),
        }
    }

    /// The RIP behind an instruction of `length` bytes.
    #[inline]
    pub(crate) fn rip_after(&self, length: u8) -> u64 {
        let rip = self.vcpu.rip().wrapping_add(length.into());
        if self.vcpu.mode() == CpuMode::Long64 { rip } else { rip & 0xffff_ffff }
    }

    #[cold]
    #[inline(never)]
    fn next_rip_by_walk(&mut self, known: Known) -> Result<u64, Stop> {
        let bytes = self.instruction()?;
        let length = decode::known_length(bytes.as_slice(), self.vcpu.mode(), known);
        length.map(|length| self.rip_after(length)).ok_or(Fault::UnreadableInstruction.into())
    }

    /// Does nothing for `known`.
    #[inline]
    pub(crate) fn skip(&mut self, known: Known) -> Result<(), Stop> {
        let next = self.next_rip(known)?;
        self.vcpu.set_rip(next);
        Ok(())
    }
}
