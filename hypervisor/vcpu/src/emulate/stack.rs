//! PUSH and POP of registers, constants and memory.

use super::address::{Alignment, Pointer, address_mask};
use super::fault::STACK_FAULT;
use super::operand::RegisterOperand;
use super::size::Size;
use super::{EmulationContext, EmulationFault, Executor, address};
use crate::{Access, CpuMode, Gpr, Segment, SegmentName};
use iced_x86::{Code, OpKind};

impl<C: EmulationContext + ?Sized> Executor<'_, C> {
    pub(super) fn push(&mut self) -> Result<(), EmulationFault> {
        let size = self.pushed_size()?;
        let new = self.stack_pointer().wrapping_sub(size.bytes().into()) & self.stack_mask();
        let slot = Pointer { segment: SegmentName::Ss, offset: new, refusal: STACK_FAULT };
        // The source is read first, and may be a device: the stack must agree before.
        let source = if self.is_memory(0) { Some(self.memory(size, Access::Read)?) } else { None };
        let span = self.span(&slot, size.bytes(), Access::Write, Alignment::Checked)?;
        let value = match source {
            Some(source) => self.read_scalar(&source)?,
            None => self.value_of(0)?,
        };
        self.write_scalar(&span, value)?;
        self.set_stack_pointer(new);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Result<(), EmulationFault> {
        let size = self.operand_size(0)?;
        let old = self.stack_pointer();
        let slot = Pointer { segment: SegmentName::Ss, offset: old, refusal: STACK_FAULT };
        let span = self.span(&slot, size.bytes(), Access::Read, Alignment::Checked)?;
        let new = old.wrapping_add(size.bytes().into()) & self.stack_mask();
        if self.is_memory(0) {
            // An address with the stack pointer as its base is computed after the pop (SDM, POP).
            let base = RegisterOperand::of(self.instruction.memory_base());
            let stack = [Size::Dword, Size::Qword].map(|size| RegisterOperand::whole(Gpr::Rsp, size));
            let bias = if base.is_some_and(|base| stack.contains(&base)) { size.bytes() } else { 0 };
            let pointer = self.pointer(bias.into())?;
            let to = self.span(&pointer, size.bytes(), Access::Write, Alignment::Checked)?;
            let value = self.read_scalar(&span)?;
            self.write_scalar(&to, value)?;
            self.set_stack_pointer(new);
            return Ok(());
        }
        let to = self.gpr_operand(0)?;
        let value = self.read_scalar(&span)?;
        // POP of the stack pointer: what was popped is what stays.
        self.set_stack_pointer(new);
        to.write(self.cx.gprs_mut(), value);
        Ok(())
    }

    fn stack_mask(&self) -> u64 {
        if self.mode == CpuMode::Long64 {
            return u64::MAX;
        }
        let big = self.cx.segment(SegmentName::Ss).attributes & Segment::DEFAULT_BIG != 0;
        address_mask(if big { 4 } else { 2 })
    }

    fn stack_pointer(&self) -> u64 {
        self.cx.gprs().get(Gpr::Rsp) & self.stack_mask()
    }

    /// What the stack's width does not reach stays.
    fn set_stack_pointer(&mut self, value: u64) {
        let mask = self.stack_mask();
        let old = self.cx.gprs().get(Gpr::Rsp);
        // Bits 63:32 do not exist outside of 64-bit mode.
        self.cx.gprs_mut().set(Gpr::Rsp, old & !mask | value & mask);
    }

    fn pushed_size(&self) -> Result<Size, EmulationFault> {
        match self.kind(0) {
            OpKind::Immediate8to16 | OpKind::Immediate16 => Ok(Size::Word),
            OpKind::Immediate8to32 | OpKind::Immediate32 => Ok(Size::Dword),
            OpKind::Immediate8to64 | OpKind::Immediate32to64 => Ok(Size::Qword),
            OpKind::Register if address::segment_name(self.register(0)?).is_some() => {
                self.pushed_segment_size()
            }
            _ => self.operand_size(0),
        }
    }

    /// A selector is pushed with zeros above it.
    fn pushed_segment_size(&self) -> Result<Size, EmulationFault> {
        match self.instruction.code() {
            Code::Pushw_ES | Code::Pushw_CS | Code::Pushw_SS | Code::Pushw_DS => Ok(Size::Word),
            Code::Pushw_FS | Code::Pushw_GS => Ok(Size::Word),
            Code::Pushd_ES | Code::Pushd_CS | Code::Pushd_SS | Code::Pushd_DS => Ok(Size::Dword),
            Code::Pushd_FS | Code::Pushd_GS => Ok(Size::Dword),
            Code::Pushq_FS | Code::Pushq_GS => Ok(Size::Qword),
            _ => Err(EmulationFault::Unsupported),
        }
    }
}
