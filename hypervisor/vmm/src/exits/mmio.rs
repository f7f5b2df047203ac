//! Accesses to guest-physical memory that is no RAM: device registers, or nothing at all.
//!
//! Where nothing answers, a read gives ones and a write goes nowhere, as on a PC's bus. There is nothing to execute,
//! and no page table, in either.

use crate::exits::Stop;
use crate::vm::{Fault, Host, Vm};
use seams::GuestMemory;
use vcpu::emulate::Exited;
use vcpu::{Access, NestedFault, Vcpu};

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    #[inline(never)]
    pub(super) fn nested_fault(&mut self, fault: &NestedFault, host: &impl Host) -> Result<(), Stop> {
        let gpa = fault.gpa;
        let withheld = || self.settings.withheld.as_ref().is_some_and(|part| part.contains(&gpa));
        if self.settings.ram.contains(gpa) && !withheld() {
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
        let exited = Exited { gpa, access: fault.access };
        self.emulate(Some(exited), Fault::UnsupportedAccess(gpa), host)?;
        if self.has_kicked_queues() { Err(Stop::Kicked) } else { Ok(()) }
    }
}
