//! Writes to CR0, CR4 and CR8 that are intercepted: judged by the architecture's rules, then carried out.

use crate::exits::Stop;
use crate::vm::{Fault, Vm};
use base::Gpa;
use seams::GuestMemory;
use vcpu::control::{self, Current, Effect};
use vcpu::decode::{self, ControlOperation};
use vcpu::{ControlRegister, CpuMode, Gpr, Segment, SegmentName, Vcpu};

/// What LMSW loads: PE, MP, EM, TS (Intel SDM, volume 2, LMSW).
const MACHINE_STATUS: u64 = 0xf;

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    #[inline(never)]
    pub(super) fn write_control_register(&mut self, register: ControlRegister) -> Result<(), Stop> {
        let bytes = self.instruction()?;
        let decoded = decode::control(bytes.as_slice(), self.vcpu.mode());
        let instruction = decoded.map_err(|_| Fault::UnreadableInstruction)?;
        let value = match (register, instruction.operation) {
            (ControlRegister::Cr0, ControlOperation::ToControl { control: 0, from }) => self.operand(from),
            (ControlRegister::Cr4, ControlOperation::ToControl { control: 4, from }) => self.operand(from),
            (ControlRegister::Cr8, ControlOperation::ToControl { control: 8, from }) => self.operand(from),
            (ControlRegister::Cr0, ControlOperation::LoadMachineStatus(from)) => self.machine_status(from),
            (ControlRegister::Cr0, ControlOperation::ClearTaskSwitched) => {
                self.vcpu.cr0() & !control::cr0::TS
            }
            _ => return Err(Fault::UnreadableInstruction.into()),
        };
        let next = self.rip_after(instruction.length);
        let current = self.current_controls();
        match register {
            ControlRegister::Cr0 => {
                let effect = control::check_cr0(value, &current)?;
                self.load_pdptes(&effect)?;
                self.vcpu.set_cr0(effect.value);
                self.follow(&current, effect);
            }
            ControlRegister::Cr4 => {
                let effect = control::check_cr4(value, &current, self.cpuid.allowed())?;
                self.load_pdptes(&effect)?;
                self.vcpu.set_cr4(effect.value);
                self.follow(&current, effect);
            }
            // The vCPU gets it before the next entry.
            ControlRegister::Cr8 => {
                let priority = control::check_cr8(value)?;
                self.apic_now().local.lapic.set_task_priority(priority);
            }
        }
        self.vcpu.set_rip(next);
        Ok(())
    }

    /// The registers that the rules look at, as they are.
    pub(super) fn current_controls(&self) -> Current {
        Current {
            cr0: self.vcpu.cr0(),
            cr3: self.vcpu.cr3(),
            cr4: self.vcpu.cr4(),
            efer: self.vcpu.efer(),
            cs_long: self.vcpu.segment(SegmentName::Cs).attributes & Segment::LONG != 0,
        }
    }

    /// Loads PAE's directory pointers where the write does: they are read and judged before it has any effect.
    fn load_pdptes(&mut self, effect: &Effect) -> Result<(), Stop> {
        if !effect.reload_pdptes || !self.vcpu.holds_pdptes() {
            return Ok(());
        }
        let table = control::pdpte_table(self.vcpu.cr3());
        let mut pdptes = [0; 4];
        for (place, pdpte) in (table..).step_by(size_of::<u64>()).zip(&mut pdptes) {
            let read = self.memory.read_u64(Gpa::from_low_bits(place));
            *pdpte = read.map_err(|error| Fault::MemoryRefused(error.address()))?;
        }
        control::check_pdptes(&pdptes, self.cpuid.allowed().physical_bits)?;
        self.vcpu.set_pdptes(pdptes);
        Ok(())
    }

    /// What a write brings along.
    pub(super) fn follow(&mut self, before: &Current, effect: Effect) {
        if effect.efer != before.efer {
            self.vcpu.set_efer(effect.efer);
        }
        if effect.flush_tlb {
            self.vcpu.flush_tlb();
        }
    }

    fn operand(&self, from: Gpr) -> u64 {
        let value = self.vcpu.gprs().get(from);
        if self.vcpu.mode() == CpuMode::Long64 { value } else { value & 0xffff_ffff }
    }

    /// LMSW can set PE but not clear it.
    fn machine_status(&self, from: Gpr) -> u64 {
        let cr0 = self.vcpu.cr0();
        let loaded = self.vcpu.gprs().get(from) & MACHINE_STATUS;
        (cr0 & !MACHINE_STATUS) | loaded | (cr0 & control::cr0::PE)
    }
}
