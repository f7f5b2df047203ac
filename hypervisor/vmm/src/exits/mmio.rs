//! Accesses to guest-physical memory that is no RAM: device registers, or nothing at all.
//!
//! Where nothing answers, a read gives ones and a write goes nowhere, as on a PC's bus. There is nothing to execute,
//! and no page table, in either.

use crate::exits::Stop;
use crate::vm::{Fault, Host, Vm};
use seams::GuestMemory;
use vcpu::{Access, NestedFault, Vcpu, decode};

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

        let decoded = self.with_instruction(decode::mmio)?;
        let instruction = decoded.map_err(|_| Fault::UnsupportedAccess(gpa))?;
        let next = self.rip_after(instruction.length);
        let size_bytes = instruction.size_bytes;
        let stored = instruction.value_to_store(self.vcpu.gprs());
        // Where nobody answers, no time passes that anybody could see.
        let board = if self.board.answers_memory(gpa) {
            self.board_at(host)
        } else {
            self.stats.unclaimed_memory = self.stats.unclaimed_memory.wrapping_add(1);
            &mut self.board
        };
        if let Some(value) = stored {
            board.write_memory(gpa, size_bytes, value);
        } else {
            let (value, _) = board.read_memory(gpa, size_bytes);
            instruction.complete_load(self.vcpu.gprs_mut(), value);
        }
        self.vcpu.set_rip(next);
        Ok(())
    }
}
