//! The emulator's side: a user's process with the same memory at the same addresses.

use base::{Gpa, Port};
use seams::MemoryError;
use vcpu::control::{cr0, cr4, xcr0};
use vcpu::emulate::{EmulationContext, EmulationFault, Outcome, Privilege, step};
use vcpu::walk::{WalkFault, error_code};
use vcpu::{Access, CpuMode, Gprs, Segment, SegmentName, VectorValue};

use instruction_cases::{Case, Ending, MEMORY_BYTES, Outcome as CaseOutcome, PAGE, Place, Registers};

/// Runs a case in the emulator; `None` when it is none of its instructions.
pub fn run(case: &Case, place: &Place) -> Option<CaseOutcome> {
    let mut process = Process {
        gprs: Gprs(case.registers.gprs),
        rip: place.code_address,
        rflags: case.registers.rflags,
        vectors: case.registers.vectors,
        memory: case.memory,
        memory_address: place.memory_address,
    };
    let ending = loop {
        match step(&mut process, &case.code, CpuMode::Long64, None) {
            Ok(Outcome::Unfinished) => {}
            Ok(_) => break Ending::Completed,
            Err(EmulationFault::PageFault { error_code, linear }) => {
                break Ending::Fault(14, error_code, linear);
            }
            Err(EmulationFault::Raise(exception)) => {
                break Ending::Fault(exception.vector.0, exception.error_code.unwrap_or(0), 0);
            }
            Err(_) => return None,
        }
    };
    let Process { gprs, rflags, vectors, memory, .. } = process;
    let registers = Registers { gprs: gprs.0, rflags, vectors, ..case.registers };
    Some(CaseOutcome { ending, registers, memory })
}

struct Process {
    gprs: Gprs,
    rip: u64,
    rflags: u64,
    vectors: [[u8; 32]; 16],
    memory: [u8; MEMORY_BYTES],
    memory_address: u64,
}

impl Process {
    fn offset(&self, gpa: Gpa) -> Result<usize, MemoryError> {
        let offset = gpa.as_u64().checked_sub(self.memory_address).ok_or(MemoryError::Unmapped(gpa))?;
        Ok(offset as usize)
    }
}

impl EmulationContext for Process {
    fn gprs(&self) -> &Gprs {
        &self.gprs
    }
    fn gprs_mut(&mut self) -> &mut Gprs {
        &mut self.gprs
    }
    fn rip(&self) -> u64 {
        self.rip
    }
    fn set_rip(&mut self, rip: u64) {
        self.rip = rip;
    }
    fn rflags(&self) -> u64 {
        self.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        self.rflags = value;
    }
    fn segment(&self, _: SegmentName) -> Segment {
        Segment::default()
    }
    fn cr0(&self) -> u64 {
        cr0::PE | cr0::PG | cr0::AM
    }
    fn cr4(&self) -> u64 {
        cr4::OSFXSR | cr4::OSXSAVE
    }
    fn xcr0(&self) -> u64 {
        xcr0::X87 | xcr0::SSE | xcr0::AVX
    }
    fn cpl(&self) -> u8 {
        3
    }
    fn watches(&self) -> bool {
        false
    }

    fn translate(&mut self, linear: u64, access: Access, _: Privilege) -> Result<Gpa, WalkFault> {
        let page = linear.wrapping_sub(self.memory_address) / PAGE as u64;
        let write = if access == Access::Write { error_code::WRITE } else { 0 };
        let fault =
            |cause| Err(WalkFault::PageFault { error_code: cause | write | error_code::USER, linear });
        match page {
            0 if write != 0 => fault(error_code::PRESENT),
            0..3 => Ok(Gpa::from_low_bits(linear)),
            _ => fault(0),
        }
    }

    fn read(&mut self, gpa: Gpa, size_bytes: u8) -> Result<u64, MemoryError> {
        let (at, mut buffer) = (self.offset(gpa)?, [0; 8]);
        let from = self.memory.get(at..at + usize::from(size_bytes)).ok_or(MemoryError::Unmapped(gpa))?;
        buffer[..from.len()].copy_from_slice(from);
        Ok(u64::from_le_bytes(buffer))
    }

    fn write(&mut self, gpa: Gpa, size_bytes: u8, value: u64) -> Result<(), MemoryError> {
        let (at, len) = (self.offset(gpa)?, usize::from(size_bytes));
        self.memory[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        Ok(())
    }

    fn compare_exchange(
        &mut self,
        gpa: Gpa,
        len_bytes: u8,
        current: u64,
        new: u64,
    ) -> Result<u64, MemoryError> {
        let found = self.read(gpa, len_bytes)?;
        if found == current {
            self.write(gpa, len_bytes, new)?;
        }
        Ok(found)
    }

    fn read_port(&mut self, _: Port, _: u8) -> u32 {
        0
    }

    fn write_port(&mut self, _: Port, _: u8, _: u32) {}

    fn vector(&mut self, number: u8) -> [u8; 32] {
        self.vectors[usize::from(number)]
    }

    fn set_vector(&mut self, number: u8, value: VectorValue) {
        let register = &mut self.vectors[usize::from(number)];
        *register = value.over(*register);
    }
}
