//! Operands: registers, constants, and the one in memory.

use super::address::{Alignment, Span};
use super::flags::Computed;
use super::size::Size;
use super::{EmulationContext, EmulationFault, Executor, Exited, Privilege, address};
use crate::{Access, Gpr, Gprs};
use base::{Gpa, PAGE_BYTES};
use iced_x86::{Mnemonic, OpKind, Register};

/// How often a locked instruction begins again because another CPU changed its operand.
const ATTEMPTS: u32 = 8;

/// Where the decoder's numbers of general-purpose registers begin: those of one width follow each other in the order of
/// encoding, and widths do so too.
const AL: usize = Register::AL as usize;
const AX: usize = Register::AX as usize;
const EAX: usize = Register::EAX as usize;
const RAX: usize = Register::RAX as usize;
const BEHIND_R15: usize = Register::R15 as usize + 1;
const _: () = assert!(AX - AL == 20 && EAX - AX == 16 && RAX - EAX == 16 && BEHIND_R15 - RAX == 16);

/// A general-purpose register as an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RegisterOperand {
    gpr: Gpr,
    pub size: Size,
    /// AH, CH, DH or BH: bits 15:8.
    high_byte: bool,
}

impl RegisterOperand {
    /// The accumulator: AL, AX, EAX or RAX.
    pub(super) const fn accumulator(size: Size) -> Self {
        Self { gpr: Gpr::Rax, size, high_byte: false }
    }

    /// The register with encoding `gpr` in width `size`, and no high byte.
    pub(super) const fn whole(gpr: Gpr, size: Size) -> Self {
        Self { gpr, size, high_byte: false }
    }

    /// The operand `register`, if it is a general-purpose one.
    #[inline]
    pub(super) fn of(register: Register) -> Option<Self> {
        let number = register as usize;
        let (place, size) = match number {
            EAX..RAX => (number - EAX, Size::Dword),
            RAX..BEHIND_R15 => (number - RAX, Size::Qword),
            AX..EAX => (number - AX, Size::Word),
            // AL to BL, AH to BH, then SPL to R15L.
            AL..AX => {
                let place = number - AL;
                let high_byte = matches!(place, 4..8);
                let gpr = if place < 4 { place } else { place - 4 };
                return Some(Self { gpr: Gpr::ALL.get(gpr).copied()?, size: Size::Byte, high_byte });
            }
            _ => return None,
        };
        Some(Self::whole(Gpr::ALL.get(place).copied()?, size))
    }

    #[inline]
    pub(super) fn read(self, gprs: &Gprs) -> u64 {
        let whole = gprs.get(self.gpr);
        let value = if self.high_byte { whole >> 8 } else { whole };
        value & self.size.mask()
    }

    /// Replaces the operand: 4 bytes clear the upper half, 1 and 2 leave the rest as it is (SDM volume 1, 3.4.1.1).
    #[inline]
    pub(super) fn write(self, gprs: &mut Gprs, value: u64) {
        let old = gprs.get(self.gpr);
        let (mask, shift) = match self.size {
            Size::Dword | Size::Qword => (u64::MAX, 0),
            size => (size.mask(), if self.high_byte { 8 } else { 0 }),
        };
        gprs.set(self.gpr, old & !(mask << shift) | (value & self.size.mask()) << shift);
    }
}

/// The place of `register` in the run of registers that begins with `first` and has `count` members.
pub(super) fn place_in(register: Register, first: Register, count: usize) -> Option<usize> {
    (register as usize).checked_sub(first as usize).filter(|place| *place < count)
}

/// A 16-, 32- or 64-bit general-purpose register, and its width in bytes.
#[inline]
pub(super) fn wide_register(register: Register) -> Option<(Gpr, u8)> {
    let operand = RegisterOperand::of(register).filter(|operand| operand.size != Size::Byte)?;
    Some((operand.gpr, operand.size.bytes()))
}

impl<C: EmulationContext + ?Sized> Executor<'_, C> {
    /// What operand `operand`, 0-2, is. Those that an instruction does not have are no register at all.
    #[inline]
    pub(super) fn kind(&self, operand: u32) -> OpKind {
        match operand {
            0 => self.instruction.op0_kind(),
            1 => self.instruction.op1_kind(),
            _ => self.instruction.op2_kind(),
        }
    }

    #[inline]
    pub(super) fn is_memory(&self, operand: u32) -> bool {
        self.kind(operand) == OpKind::Memory
    }

    /// The name of a register operand.
    #[inline]
    pub(super) fn register(&self, operand: u32) -> Result<Register, EmulationFault> {
        if self.kind(operand) != OpKind::Register {
            return Err(EmulationFault::Unsupported);
        }
        Ok(match operand {
            0 => self.instruction.op0_register(),
            1 => self.instruction.op1_register(),
            _ => self.instruction.op2_register(),
        })
    }

    /// A general-purpose register operand.
    #[inline]
    pub(super) fn gpr_operand(&self, operand: u32) -> Result<RegisterOperand, EmulationFault> {
        RegisterOperand::of(self.register(operand)?).ok_or(EmulationFault::Unsupported)
    }

    /// How wide a register or memory operand is.
    #[inline]
    pub(super) fn operand_size(&self, operand: u32) -> Result<Size, EmulationFault> {
        if self.is_memory(operand) {
            return Size::of_memory(&self.instruction).ok_or(EmulationFault::Unsupported);
        }
        Ok(self.gpr_operand(operand)?.size)
    }

    /// The memory operand, checked for `access`. No walk marks the page dirty that the processor stopped at: it is a
    /// device's, and none that anybody would save.
    pub(super) fn memory(&mut self, size: Size, access: Access) -> Result<Span, EmulationFault> {
        let (pointer, bytes) = (self.pointer(0)?, size.bytes());
        let linear = self.checked(&pointer, bytes, access, Alignment::Checked)?;
        match self.exited_at(linear, bytes, access) {
            Some(gpa) => Ok(Span::in_page(gpa, bytes)),
            None => self.span_at(linear, bytes, access, Privilege::Current, pointer.refusal),
        }
    }

    /// The value of an operand of any kind; a constant is sign-extended as far as the manual says.
    pub(super) fn value_of(&mut self, operand: u32) -> Result<u64, EmulationFault> {
        match self.kind(operand) {
            OpKind::Memory => self.load(),
            OpKind::Register => {
                let register = self.register(operand)?;
                if let Some(register) = RegisterOperand::of(register) {
                    return Ok(register.read(self.cx.gprs()));
                }
                let name = address::segment_name(register).ok_or(EmulationFault::Unsupported)?;
                Ok(self.cx.segment(name).selector.into())
            }
            _ => self.instruction.try_immediate(operand).map_err(|_| EmulationFault::Unsupported),
        }
    }

    /// The value of the memory operand.
    #[inline]
    pub(super) fn load(&mut self) -> Result<u64, EmulationFault> {
        let bytes = Size::of_memory(&self.instruction).ok_or(EmulationFault::Unsupported)?.bytes();
        let pointer = self.pointer(0)?;
        let linear = self.checked(&pointer, bytes, Access::Read, Alignment::Checked)?;
        if let Some(gpa) = self.exited_at(linear, bytes, Access::Read) {
            return Ok(self.cx.read(gpa, bytes)?);
        }
        let span = self.span_at(linear, bytes, Access::Read, Privilege::Current, pointer.refusal)?;
        self.read_scalar(&span)
    }

    /// Where `linear` leads, if it is what the processor stopped at. No instruction has two operands of this kind, and
    /// where they lie in their pages tells an operand from other memory that it reads.
    #[inline]
    fn exited_at(&self, linear: u64, bytes: u8, access: Access) -> Option<Gpa> {
        let Exited { gpa, access: exited } = self.exited?;
        let offset = linear % PAGE_BYTES;
        let same = exited == access && gpa.as_u64() % PAGE_BYTES == offset;
        (same && offset + u64::from(bytes) <= PAGE_BYTES).then_some(gpa)
    }

    /// Replaces a register or memory operand.
    #[inline]
    pub(super) fn assign(&mut self, operand: u32, value: u64) -> Result<(), EmulationFault> {
        let size = self.operand_size(operand)?;
        if self.is_memory(operand) {
            let span = self.memory(size, Access::Write)?;
            return self.write_scalar(&span, value);
        }
        self.gpr_operand(operand)?.write(self.cx.gprs_mut(), value);
        Ok(())
    }

    /// Replaces a register or memory operand by what `compute` makes of it, and the flags; returns what was there.
    pub(super) fn modify(
        &mut self,
        operand: u32,
        size: Size,
        compute: &dyn Fn(u64) -> Computed,
    ) -> Result<u64, EmulationFault> {
        if self.is_memory(operand) {
            let span = self.memory(size, Access::Write)?;
            return self.modify_span(&span, size, compute);
        }
        let register = self.gpr_operand(operand)?;
        let old = register.read(self.cx.gprs());
        let computed = compute(old);
        register.write(self.cx.gprs_mut(), computed.value);
        self.set_flags(computed);
        Ok(old)
    }

    /// As [`Executor::modify`], in memory. An operand that is not aligned is locked against nobody: one vCPU's own
    /// order is kept, and Linux and Windows treat split locks as an error.
    pub(super) fn modify_span(
        &mut self,
        span: &Span,
        size: Size,
        compute: &dyn Fn(u64) -> Computed,
    ) -> Result<u64, EmulationFault> {
        // XCHG locks by itself (SDM volume 3, section 9.1.2.1).
        let locked = self.instruction.has_lock_prefix() || self.instruction.mnemonic() == Mnemonic::Xchg;
        let mut old = self.read_scalar(span)?;
        let Some(gpa) = span.atomic(size).filter(|_| locked) else {
            let computed = compute(old);
            self.write_scalar(span, computed.value)?;
            self.set_flags(computed);
            return Ok(old);
        };
        for _ in 0..ATTEMPTS {
            let computed = compute(old);
            let found = self.cx.compare_exchange(gpa, size.bytes(), old, computed.value & size.mask())?;
            if found == old {
                self.set_flags(computed);
                return Ok(old);
            }
            old = found;
        }
        Err(EmulationFault::Contended)
    }

    pub(super) fn set_flags(&mut self, computed: Computed) {
        let rflags = computed.apply(self.cx.rflags());
        self.cx.set_rflags(rflags);
    }
}
