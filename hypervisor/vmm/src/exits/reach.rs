//! What an emulated instruction reaches: the vCPU's registers, its memory, and the board's devices and ports.

use crate::exits::breakpoints;
use crate::platform::{Board, Claim};
use crate::vm::{Host, Vm};
use base::{Gpa, Port};
use devices::Width;
use seams::{GuestMemory, MemoryError};
use vcpu::emulate::{Decodings, EmulationContext, Privilege};
use vcpu::walk::{self, Paging, WalkFault};
use vcpu::{Access, Gprs, Segment, SegmentName, Vcpu, VectorValue};

/// A VM as one of its instructions reaches it.
pub(super) struct Reach<'a, V: Vcpu, M: GuestMemory, H> {
    pub vm: &'a mut Vm<V, M>,
    pub host: &'a H,
}

impl<V: Vcpu, M: GuestMemory, H: Host> Reach<'_, V, M, H> {
    fn read_device(&mut self, gpa: Gpa, size_bytes: u8) -> u64 {
        // Where nobody answers, no time passes that anybody could see.
        if !self.vm.board.answers_memory(gpa) {
            self.count_unclaimed();
            // As many ones as are read: 1 to 8 bytes.
            return u64::MAX >> (56 - 8 * u32::from(size_bytes.wrapping_sub(1) & 7));
        }
        self.board_for(gpa).read_memory(gpa, size_bytes).0
    }

    fn write_device(&mut self, gpa: Gpa, size_bytes: u8, value: u64) {
        // Eight bytes are two registers.
        if size_bytes <= 4 && self.vm.board.ring(gpa) == Claim::Claimed {
            return;
        }
        if !self.vm.board.answers_memory(gpa) {
            return self.count_unclaimed();
        }
        self.board_for(gpa).write_memory(gpa, size_bytes, value);
    }

    fn board_for(&mut self, gpa: Gpa) -> &mut Board {
        if self.vm.board.is_local_apic(gpa) {
            self.vm.catch_up_apic();
        }
        self.vm.board_at(self.host)
    }

    fn count_unclaimed(&mut self) {
        let stats = &mut self.vm.stats;
        stats.unclaimed_memory = stats.unclaimed_memory.wrapping_add(1);
    }
}

impl<V: Vcpu, M: GuestMemory, H: Host> EmulationContext for Reach<'_, V, M, H> {
    fn gprs(&self) -> &Gprs {
        self.vm.vcpu.gprs()
    }

    fn gprs_mut(&mut self) -> &mut Gprs {
        self.vm.vcpu.gprs_mut()
    }

    fn rip(&self) -> u64 {
        self.vm.vcpu.rip()
    }

    fn set_rip(&mut self, rip: u64) {
        self.vm.vcpu.set_rip(rip);
    }

    fn rflags(&self) -> u64 {
        self.vm.vcpu.rflags()
    }

    fn set_rflags(&mut self, value: u64) {
        self.vm.vcpu.set_rflags(value);
    }

    fn segment(&self, name: SegmentName) -> Segment {
        self.vm.vcpu.segment(name)
    }

    fn cr0(&self) -> u64 {
        self.vm.vcpu.cr0()
    }

    fn cr4(&self) -> u64 {
        self.vm.vcpu.cr4()
    }

    fn xcr0(&self) -> u64 {
        self.vm.vcpu.xcr0()
    }

    fn cpl(&self) -> u8 {
        self.vm.vcpu.cpl()
    }

    fn watches(&self) -> bool {
        self.vm.vcpu.dr7() & breakpoints::ENABLED != 0
    }

    fn translate(&mut self, linear: u64, access: Access, privilege: Privilege) -> Result<Gpa, WalkFault> {
        let mut paging = Paging::of(&self.vm.vcpu, self.vm.cpuid.allowed().physical_bits);
        if privilege == Privilege::Supervisor {
            paging.cpl = 0;
        }
        walk::translate(&self.vm.memory, &paging, linear, access)
    }

    #[inline]
    fn read(&mut self, gpa: Gpa, size_bytes: u8) -> Result<u64, MemoryError> {
        if !self.vm.settings.ram.contains(gpa) {
            return Ok(self.read_device(gpa, size_bytes));
        }
        let mut buffer = [0; 8];
        let bytes = buffer.get_mut(..usize::from(size_bytes)).ok_or(MemoryError::Unmapped(gpa))?;
        self.vm.memory.read(gpa, bytes)?;
        Ok(u64::from_le_bytes(buffer))
    }

    #[inline]
    fn write(&mut self, gpa: Gpa, size_bytes: u8, value: u64) -> Result<(), MemoryError> {
        if !self.vm.settings.ram.contains(gpa) {
            self.write_device(gpa, size_bytes, value);
            return Ok(());
        }
        let buffer = value.to_le_bytes();
        let bytes = buffer.get(..usize::from(size_bytes)).ok_or(MemoryError::Unmapped(gpa))?;
        self.vm.memory.write(gpa, bytes)
    }

    fn compare_exchange(
        &mut self,
        gpa: Gpa,
        len_bytes: u8,
        current: u64,
        new: u64,
    ) -> Result<u64, MemoryError> {
        if self.vm.settings.ram.contains(gpa) {
            return self.vm.memory.compare_exchange(gpa, len_bytes, current, new);
        }
        self.write_device(gpa, len_bytes, new);
        Ok(current)
    }

    fn read_port(&mut self, port: Port, size_bytes: u8) -> u32 {
        Width::from_bytes(size_bytes).map_or(u32::MAX, |width| self.vm.port_in(port, width, self.host))
    }

    fn write_port(&mut self, port: Port, size_bytes: u8, value: u32) {
        if let Some(width) = Width::from_bytes(size_bytes) {
            self.vm.port_out(port, width, value, self.host);
        }
    }

    fn decodings(&mut self) -> Option<&mut Decodings> {
        Some(&mut self.vm.decodings)
    }

    fn vector(&mut self, number: u8) -> [u8; 32] {
        self.vm.vcpu.vector(number)
    }

    fn set_vector(&mut self, number: u8, value: VectorValue) {
        self.vm.vcpu.set_vector(number, value);
    }
}
