//! What an emulated instruction reaches: the vCPU's registers, its memory, and the board's devices and ports.

use crate::layout::RamLayout;
use crate::platform::{Board, Claim};
use crate::stats::Stats;
use crate::vm::{Host, Vm};
use base::{Gpa, Port};
use devices::Width;
use seams::{GuestMemory, MemoryError};
use vcpu::emulate::{EmulationContext, Privilege, VectorValue};
use vcpu::walk::{self, Paging, WalkFault};
use vcpu::{Access, Gprs, Segment, SegmentName, Vcpu};

/// The parts of a VM that an instruction can touch, at one moment.
pub(super) struct Reach<'a, V, M> {
    vcpu: &'a mut V,
    memory: &'a M,
    board: &'a mut Board,
    stats: &'a mut Stats,
    ram: RamLayout,
    physical_bits: u32,
}

impl<V: Vcpu, M: GuestMemory> Vm<V, M> {
    /// What an instruction reaches now.
    pub(super) fn reach(&mut self, host: &impl Host) -> Reach<'_, V, M> {
        // Devices must know the time.
        self.board_at(host);
        Reach {
            vcpu: &mut self.vcpu,
            memory: &self.memory,
            board: &mut self.board,
            stats: &mut self.stats,
            ram: self.settings.ram,
            physical_bits: self.cpuid.allowed().physical_bits,
        }
    }
}

impl<V, M> Reach<'_, V, M> {
    fn count_memory(&mut self, claim: Claim) {
        if claim == Claim::Unclaimed {
            self.stats.unclaimed_memory = self.stats.unclaimed_memory.wrapping_add(1);
        }
    }

    fn count_port(&mut self, claim: Claim) {
        if claim == Claim::Unclaimed {
            self.stats.unclaimed_ports = self.stats.unclaimed_ports.wrapping_add(1);
        }
    }
}

/// How many of `bytes` bytes one access to a device carries: 1, 2, 4 or 8.
const fn portion(bytes: usize) -> usize {
    match bytes {
        0 | 1 => 1,
        2 | 3 => 2,
        4..8 => 4,
        _ => 8,
    }
}

impl<V: Vcpu, M: GuestMemory> EmulationContext for Reach<'_, V, M> {
    fn gprs(&self) -> &Gprs {
        self.vcpu.gprs()
    }

    fn gprs_mut(&mut self) -> &mut Gprs {
        self.vcpu.gprs_mut()
    }

    fn rip(&self) -> u64 {
        self.vcpu.rip()
    }

    fn set_rip(&mut self, rip: u64) {
        self.vcpu.set_rip(rip);
    }

    fn rflags(&self) -> u64 {
        self.vcpu.rflags()
    }

    fn set_rflags(&mut self, value: u64) {
        self.vcpu.set_rflags(value);
    }

    fn segment(&self, name: SegmentName) -> Segment {
        self.vcpu.segment(name)
    }

    fn cr0(&self) -> u64 {
        self.vcpu.cr0()
    }

    fn cr4(&self) -> u64 {
        self.vcpu.cr4()
    }

    fn xcr0(&self) -> u64 {
        self.vcpu.xcr0()
    }

    fn cpl(&self) -> u8 {
        self.vcpu.cpl()
    }

    fn translate(&mut self, linear: u64, access: Access, privilege: Privilege) -> Result<Gpa, WalkFault> {
        let mut paging = Paging::of(&*self.vcpu, self.physical_bits);
        if privilege == Privilege::Supervisor {
            paging.cpl = 0;
        }
        walk::translate(self.memory, &paging, linear, access)
    }

    fn read(&mut self, gpa: Gpa, buffer: &mut [u8]) -> Result<(), MemoryError> {
        if self.ram.contains(gpa) {
            return self.memory.read(gpa, buffer);
        }
        let (mut at, mut rest) = (gpa, buffer);
        while !rest.is_empty() {
            let bytes = portion(rest.len());
            let (value, claim) = self.board.read_memory(at, bytes as u8);
            self.count_memory(claim);
            let (now, later) = rest.split_at_mut_checked(bytes).ok_or(MemoryError::Unmapped(at))?;
            now.iter_mut().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
            at = Gpa::from_low_bits(at.as_u64() + bytes as u64);
            rest = later;
        }
        Ok(())
    }

    fn write(&mut self, gpa: Gpa, bytes: &[u8]) -> Result<(), MemoryError> {
        if self.ram.contains(gpa) {
            return self.memory.write(gpa, bytes);
        }
        let (mut at, mut rest) = (gpa, bytes);
        while !rest.is_empty() {
            let bytes = portion(rest.len());
            let (now, later) = rest.split_at_checked(bytes).ok_or(MemoryError::Unmapped(at))?;
            let mut value = [0; 8];
            value.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            let claim = self.board.write_memory(at, bytes as u8, u64::from_le_bytes(value));
            self.count_memory(claim);
            at = Gpa::from_low_bits(at.as_u64() + bytes as u64);
            rest = later;
        }
        Ok(())
    }

    fn compare_exchange(
        &mut self,
        gpa: Gpa,
        len_bytes: u8,
        current: u64,
        new: u64,
    ) -> Result<u64, MemoryError> {
        if self.ram.contains(gpa) {
            return self.memory.compare_exchange(gpa, len_bytes, current, new);
        }
        let claim = self.board.write_memory(gpa, len_bytes, new);
        self.count_memory(claim);
        Ok(current)
    }

    fn read_port(&mut self, port: Port, size_bytes: u8) -> u32 {
        let Some(width) = Width::from_bytes(size_bytes) else { return u32::MAX };
        let (value, claim) = self.board.read_port(port, width);
        self.count_port(claim);
        value
    }

    fn write_port(&mut self, port: Port, size_bytes: u8, value: u32) {
        let Some(width) = Width::from_bytes(size_bytes) else { return };
        let claim = self.board.write_port(port, width, value);
        self.count_port(claim);
    }

    /// The guest's vector registers stay in hardware, where a VM cannot read them.
    fn vector(&self, _: u8) -> Option<[u8; 32]> {
        None
    }

    fn set_vector(&mut self, _: u8, _: VectorValue) {}
}
