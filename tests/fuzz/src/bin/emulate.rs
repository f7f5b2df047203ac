//! The instruction emulator: any bytes in any mode, registers and tables end in something, and never in a panic.
//! - An instruction that completes moves RIP by its length and changes status flags alone.
//! - One that faults has changed nothing, but for the elements that a repeated one has done and marks in tables.
//! - Each access is of 1, 2, 4 or 8 bytes within a page; an atomic one is aligned.

#![no_main]

use base::{Gpa, PAGE_BYTES, Port};
use fuzz::{Bytes, SparseMemory};
use libfuzzer_sys::fuzz_target;
use seams::{GuestMemory, MemoryError};
use vcpu::control::{cr0, cr4, efer};
use vcpu::emulate::{self, EmulationContext, EmulationFault, Exited, Outcome, Privilege};
use vcpu::walk::{self, INSTRUCTION_MAX_BYTES, Paging, WalkFault};
use vcpu::{Access, CpuMode, Gpr, Gprs, Segment, SegmentName, VectorValue};

const MODES: [CpuMode; 5] =
    [CpuMode::Real, CpuMode::Virtual8086, CpuMode::Protected16, CpuMode::Protected32, CpuMode::Long64];
const MEMORY_BYTES: u64 = 0x4_0000;
/// Where a device answers: everywhere else there is none, and no memory either.
const DEVICE: u64 = 0xd000_0000;
const DEVICE_BYTES: u64 = 0x1_0000;

/// CF, PF, AF, ZF, SF and OF, which instructions change; and RF, which is cleared.
const CHANGING: u64 = 0x8d5 | 1 << 16;
/// What string instructions move along with, and LODS and SCAS work on.
const STRING_REGISTERS: [Gpr; 4] = [Gpr::Rcx, Gpr::Rsi, Gpr::Rdi, Gpr::Rax];
/// Accessed and dirty, in both entries of a word of a legacy table.
const MARKS: u64 = 0x60 << 32 | 0x60;

#[derive(Clone, PartialEq)]
struct Machine {
    gprs: Gprs,
    rip: u64,
    rflags: u64,
    segments: [Segment; 8],
    paging: Paging,
    xcr0: u64,
    vectors: [[u8; 32]; 16],
    memory: SparseMemory,
    /// Places found in the processor's own tables, which may lie in a device, and were not read yet.
    table_reads: u64,
    /// How often a device or port was reached for what the instruction does.
    effects: u64,
}

impl Machine {
    fn new(mode: CpuMode, input: &mut Bytes<'_>) -> Self {
        let flags = input.u8();
        let paged = flags & 1 != 0 && mode != CpuMode::Real;
        let mut paging = Paging {
            cr0: u64::from(input.u32()) & !(cr0::PE | cr0::PG),
            cr3: input.u16().into(),
            cr4: input.u32().into(),
            efer: if flags & 2 == 0 { efer::NXE } else { 0 },
            cpl: if mode == CpuMode::Virtual8086 { 3 } else { flags >> 2 & 3 },
            rflags: u64::from(input.u32()) & !(1 << 17) | 2,
            physical_bits: 40,
        };
        if mode != CpuMode::Real {
            paging.cr0 |= cr0::PE;
        }
        if mode == CpuMode::Virtual8086 {
            paging.rflags |= 1 << 17;
        }
        // 64-bit mode is paged: by one page of 1 GiB for each GiB of the first four, unless the input says other tables.
        if mode == CpuMode::Long64 {
            paging.efer |= efer::LME | efer::LMA;
            paging.cr4 = (paging.cr4 | cr4::PAE) & !cr4::LA57;
        }
        if paged || mode == CpuMode::Long64 {
            paging.cr0 |= cr0::PG;
        }
        let segment = |input: &mut Bytes<'_>| Segment {
            selector: input.u16(),
            attributes: input.u16(),
            limit: if flags & 16 == 0 { u32::MAX } else { input.u32() },
            base: input.scaled(),
        };
        let machine = Self {
            gprs: Gprs(core::array::from_fn(|_| input.scaled())),
            rip: input.scaled(),
            rflags: paging.rflags,
            segments: core::array::from_fn(|_| segment(input)),
            paging,
            xcr0: input.u8().into(),
            vectors: core::array::from_fn(|n| [n as u8; 32]),
            memory: SparseMemory::new(MEMORY_BYTES),
            table_reads: 0,
            effects: 0,
        };
        if mode == CpuMode::Long64 && !paged {
            machine.identity_map();
        }
        while !input.is_empty() {
            let at = Gpa::from_low_bits(u64::from(input.u16()) * 8 % MEMORY_BYTES);
            machine.memory.write(at, &input.u64().to_le_bytes()).expect("the place is in memory");
        }
        machine
    }

    fn identity_map(&self) {
        const TABLE: u64 = 0x1000;
        const USER_WRITABLE: u64 = 0x7;
        const LARGE: u64 = 0x80;
        let put = |at: u64, entry: u64| {
            self.memory.write(Gpa::from_low_bits(at), &entry.to_le_bytes()).expect("the place is in memory");
        };
        put(self.paging.cr3 & !0xfff, TABLE | USER_WRITABLE);
        (0..4).for_each(|n| put(TABLE + n * 8, n << 30 | LARGE | USER_WRITABLE));
    }

    fn is_device(&self, gpa: Gpa, size_bytes: u8) -> bool {
        assert!(matches!(size_bytes, 1 | 2 | 4 | 8));
        assert!(gpa.as_u64() % PAGE_BYTES + u64::from(size_bytes) <= PAGE_BYTES);
        (DEVICE..DEVICE + DEVICE_BYTES).contains(&gpa.as_u64())
    }

    /// Asserts that this is `before` but for what a fault may leave behind.
    fn assert_unchanged(&self, before: &Self) {
        assert_eq!(self.rip, before.rip);
        let other = |gpr: &&Gpr| !STRING_REGISTERS.contains(gpr);
        assert!(Gpr::ALL.iter().filter(other).all(|gpr| self.gprs.get(*gpr) == before.gprs.get(*gpr)));
        if self.gprs.get(Gpr::Rcx) != before.gprs.get(Gpr::Rcx) {
            return;
        }
        assert_eq!(self.gprs, before.gprs);
        assert_eq!((self.rflags, self.effects), (before.rflags, before.effects));
        assert_eq!(self.vectors, before.vectors);
        let unmarked = |machine: &Self| -> Vec<_> {
            let words = machine.memory.words().into_iter().map(|(at, word)| (at, word & !MARKS));
            words.filter(|(_, word)| *word != 0).collect()
        };
        assert_eq!(unmarked(self), unmarked(before));
    }
}

impl EmulationContext for Machine {
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
        assert_eq!((self.rflags ^ value) & !CHANGING, 0);
        self.rflags = value;
    }
    fn segment(&self, name: SegmentName) -> Segment {
        self.segments[name as usize]
    }
    fn cr0(&self) -> u64 {
        self.paging.cr0
    }
    fn cr4(&self) -> u64 {
        self.paging.cr4
    }
    fn xcr0(&self) -> u64 {
        self.xcr0
    }
    fn cpl(&self) -> u8 {
        self.paging.cpl
    }
    fn watches(&self) -> bool {
        false
    }

    fn translate(&mut self, linear: u64, access: Access, privilege: Privilege) -> Result<Gpa, WalkFault> {
        self.table_reads += u64::from(privilege == Privilege::Supervisor);
        let cpl = if privilege == Privilege::Supervisor { 0 } else { self.paging.cpl };
        walk::translate(&self.memory, &Paging { cpl, ..self.paging }, linear, access)
    }

    fn read(&mut self, gpa: Gpa, size_bytes: u8) -> Result<u64, MemoryError> {
        let mut bytes = [0; 8];
        let of_table = self.table_reads > 0;
        self.table_reads = self.table_reads.saturating_sub(1);
        if self.is_device(gpa, size_bytes) {
            self.effects += u64::from(!of_table);
        } else {
            self.memory.read(gpa, &mut bytes[..size_bytes.into()])?;
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn write(&mut self, gpa: Gpa, size_bytes: u8, value: u64) -> Result<(), MemoryError> {
        if self.is_device(gpa, size_bytes) {
            self.effects += 1;
            return Ok(());
        }
        self.memory.write(gpa, &value.to_le_bytes()[..size_bytes.into()])
    }

    fn compare_exchange(&mut self, gpa: Gpa, len: u8, current: u64, new: u64) -> Result<u64, MemoryError> {
        assert!(gpa.is_aligned(len.into()));
        let found = self.read(gpa, len)?;
        if found == current {
            self.write(gpa, len, new)?;
        }
        Ok(found)
    }

    fn read_port(&mut self, _: Port, size_bytes: u8) -> u32 {
        assert!(matches!(size_bytes, 1 | 2 | 4));
        self.effects += 1;
        u32::MAX
    }
    fn write_port(&mut self, _: Port, size_bytes: u8, _: u32) {
        assert!(matches!(size_bytes, 1 | 2 | 4));
        self.effects += 1;
    }

    fn vector(&mut self, number: u8) -> [u8; 32] {
        self.vectors[usize::from(number)]
    }
    fn set_vector(&mut self, number: u8, value: VectorValue) {
        let register = &mut self.vectors[usize::from(number)];
        *register = value.over(*register);
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes::new(data);
    let code: [u8; INSTRUCTION_MAX_BYTES] = input.array();
    let mode = input.pick(&MODES);
    let access = input.pick(&[None, Some(Access::Read), Some(Access::Write)]);
    let exited = access.map(|access| Exited { gpa: Gpa::from_low_bits(input.scaled()), access });
    let mut machine = Machine::new(mode, &mut input);
    let before = machine.clone();

    match emulate::step(&mut machine, &code, mode, exited) {
        Ok(Outcome::Completed) => {
            let moved = machine.rip.wrapping_sub(before.rip);
            let moved = if mode == CpuMode::Long64 { moved } else { moved & u64::from(u32::MAX) };
            assert!((1..=INSTRUCTION_MAX_BYTES as u64).contains(&moved), "{code:x?} moved RIP by {moved}");
        }
        Ok(Outcome::Unfinished) => assert_eq!(machine.rip, before.rip),
        Ok(Outcome::Trapped) => assert_ne!(machine.rflags & 1 << 8, 0),
        // Memory that refuses what the tables allow ends the VM; a part may have been done.
        Err(EmulationFault::Memory(_)) => {}
        Err(_) => machine.assert_unchanged(&before),
    }
});
