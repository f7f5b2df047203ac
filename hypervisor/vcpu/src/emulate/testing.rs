//! A machine for the emulator's tests: 64 KiB of RAM, a device at [`DEVICE`] that keeps a log, ports that do so too.

extern crate std;

use super::{Decodings, EmulationContext, EmulationFault, Exited, Outcome, Privilege, step};
use crate::control::{cr0, cr4, efer, xcr0};
use crate::walk::{self, Paging, WalkFault};
use crate::{Access, CpuMode, Gpr, Gprs, Segment, SegmentName, VcpuState, VectorValue};
use base::{Gpa, Port};
use seams::fake::FlatMemory;
use seams::{GuestMemory, MemoryError};
use std::vec::Vec;

pub(super) const RAM_BYTES: u64 = 0x1_0000;
/// The first of 4096 bytes that a device answers.
pub(super) const DEVICE: u64 = 0xd000_0000;
/// Where the instruction stands.
pub(super) const CODE: u64 = 0x1000;
/// Where most tests have their operand.
pub(super) const DATA: u64 = 0x2000;

/// What a device or port saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Read(u64, usize),
    Write(u64, Vec<u8>),
    PortRead(u16, u8),
    PortWrite(u16, u8, u32),
}

pub(super) struct Machine {
    pub state: VcpuState,
    pub mode: CpuMode,
    pub cpl: u8,
    pub memory: FlatMemory,
    pub vectors: [[u8; 32]; 16],
    /// What the device's every byte and the ports read as, counted up by each access.
    pub device_value: u8,
    pub seen: Vec<Seen>,
    /// Where decodings are kept, if they are.
    pub kept: Option<Decodings>,
}

impl Machine {
    /// A machine in `mode` with flat segments (real mode: base and limit of reset), without paging.
    pub(super) fn new(mode: CpuMode) -> Self {
        let mut state = VcpuState::reset();
        state.rip = CODE;
        state.cr4 = cr4::OSFXSR | cr4::OSXSAVE;
        state.xcr0 = xcr0::X87 | xcr0::SSE | xcr0::AVX;
        state.cs.base = 0;
        state.gprs.set(Gpr::Rsp, 0x8000);
        if !matches!(mode, CpuMode::Real | CpuMode::Virtual8086) {
            state.cr0 |= cr0::PE;
            let big = if mode == CpuMode::Protected16 { 0 } else { Segment::DEFAULT_BIG };
            for segment in [&mut state.ds, &mut state.es, &mut state.ss, &mut state.fs, &mut state.gs] {
                *segment = Segment { selector: 8, attributes: 0x93 | big, limit: u32::MAX, base: 0 };
            }
            state.cs.limit = u32::MAX;
        }
        if mode == CpuMode::Long64 {
            state.efer = efer::LME | efer::LMA;
        }
        Self {
            state,
            mode,
            cpl: 0,
            memory: FlatMemory::new(RAM_BYTES),
            vectors: [[0; 32]; 16],
            device_value: 0x80,
            seen: Vec::new(),
            kept: None,
        }
    }

    pub(super) fn long() -> Self {
        Self::new(CpuMode::Long64)
    }

    pub(super) fn with(mut self, register: Gpr, value: u64) -> Self {
        self.state.gprs.set(register, value);
        self
    }

    pub(super) fn holding(self, at: u64, bytes: &[u8]) -> Self {
        self.memory.put(at, bytes);
        self
    }

    pub(super) fn flags(mut self, set: u64) -> Self {
        self.state.rflags |= set;
        self
    }

    /// Changes whatever else there is to change.
    pub(super) fn but(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<Outcome, EmulationFault> {
        let mode = self.mode;
        step(self, bytes, mode, None)
    }

    /// As [`Machine::step`], after an exit by an access.
    pub(super) fn step_exited(&mut self, bytes: &[u8], exited: Exited) -> Result<Outcome, EmulationFault> {
        let mode = self.mode;
        step(self, bytes, mode, Some(exited))
    }

    /// The machine after `bytes`, which complete.
    pub(super) fn after(mut self, bytes: &[u8]) -> Self {
        assert_eq!(self.step(bytes), Ok(Outcome::Completed), "{bytes:02x?}");
        assert_eq!(self.state.rip, CODE + bytes.len() as u64, "{bytes:02x?}");
        self
    }

    /// The fault that `bytes` end in, which change nothing.
    pub(super) fn fault(mut self, bytes: &[u8]) -> EmulationFault {
        let before = self.state;
        let ram = self.bytes(0, RAM_BYTES as usize);
        let fault = self.step(bytes).unwrap_err();
        assert_eq!(self.state, before, "{bytes:02x?} changed registers");
        assert_eq!(self.bytes(0, RAM_BYTES as usize), ram, "{bytes:02x?} changed memory");
        assert_eq!(self.seen, [], "{bytes:02x?} reached a device");
        fault
    }

    pub(super) fn get(&self, register: Gpr) -> u64 {
        self.state.gprs.get(register)
    }

    pub(super) fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        self.memory.bytes(at, len)
    }

    pub(super) fn word(&self, at: u64) -> u64 {
        self.memory.read_u64(Gpa::new(at).unwrap()).unwrap()
    }

    /// The status flags that are set.
    pub(super) fn status(&self) -> u64 {
        self.state.rflags & super::flags::STATUS
    }
}

fn is_device(gpa: Gpa) -> bool {
    (DEVICE..DEVICE + 0x1000).contains(&gpa.as_u64())
}

impl EmulationContext for Machine {
    fn gprs(&self) -> &Gprs {
        &self.state.gprs
    }
    fn gprs_mut(&mut self) -> &mut Gprs {
        &mut self.state.gprs
    }
    fn rip(&self) -> u64 {
        self.state.rip
    }
    fn set_rip(&mut self, rip: u64) {
        self.state.rip = rip;
        self.state.rflags &= !super::flags::RESUME;
    }
    fn rflags(&self) -> u64 {
        self.state.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        self.state.rflags = value;
    }
    fn segment(&self, name: SegmentName) -> Segment {
        *self.state.segment(name)
    }
    fn cr0(&self) -> u64 {
        self.state.cr0
    }
    fn cr4(&self) -> u64 {
        self.state.cr4
    }
    fn xcr0(&self) -> u64 {
        self.state.xcr0
    }
    fn cpl(&self) -> u8 {
        self.cpl
    }
    fn watches(&self) -> bool {
        false
    }

    fn translate(&mut self, linear: u64, access: Access, privilege: Privilege) -> Result<Gpa, WalkFault> {
        let VcpuState { cr0, cr3, cr4, efer, rflags, .. } = self.state;
        let cpl = if privilege == Privilege::Supervisor { 0 } else { self.cpl };
        let paging = Paging { cr0, cr3, cr4, efer, cpl, rflags, physical_bits: 40 };
        walk::translate(&self.memory, &paging, linear, access)
    }

    fn read(&mut self, gpa: Gpa, size_bytes: u8) -> Result<u64, MemoryError> {
        let mut buffer = [0; 8];
        let bytes = &mut buffer[..size_bytes.into()];
        if is_device(gpa) {
            self.seen.push(Seen::Read(gpa.as_u64(), bytes.len()));
            bytes.fill(self.device_value);
            self.device_value += 1;
        } else {
            self.memory.read(gpa, bytes)?;
        }
        Ok(u64::from_le_bytes(buffer))
    }

    fn write(&mut self, gpa: Gpa, size_bytes: u8, value: u64) -> Result<(), MemoryError> {
        let bytes = &value.to_le_bytes()[..size_bytes.into()];
        if !is_device(gpa) {
            return self.memory.write(gpa, bytes);
        }
        self.seen.push(Seen::Write(gpa.as_u64(), bytes.to_vec()));
        Ok(())
    }

    fn compare_exchange(&mut self, gpa: Gpa, len: u8, current: u64, new: u64) -> Result<u64, MemoryError> {
        if !is_device(gpa) {
            return self.memory.compare_exchange(gpa, len, current, new);
        }
        self.write(gpa, len, new)?;
        Ok(current)
    }

    fn read_port(&mut self, port: Port, size_bytes: u8) -> u32 {
        self.seen.push(Seen::PortRead(port.0, size_bytes));
        self.device_value += 1;
        u32::from_le_bytes([self.device_value - 1; 4])
    }

    fn write_port(&mut self, port: Port, size_bytes: u8, value: u32) {
        self.seen.push(Seen::PortWrite(port.0, size_bytes, value));
    }

    fn decodings(&mut self) -> Option<&mut Decodings> {
        self.kept.as_mut()
    }

    fn vector(&mut self, number: u8) -> [u8; 32] {
        self.vectors[usize::from(number)]
    }

    fn set_vector(&mut self, number: u8, value: VectorValue) {
        let register = &mut self.vectors[usize::from(number)];
        *register = value.over(*register);
    }
}
