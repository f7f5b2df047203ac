//! MOV, MOVZX, MOVSX, MOVSXD, MOVNTI and MOVBE.

use super::operand::RegisterOperand;
use super::size::Size;
use super::{EmulationContext, EmulationFault, Executor, address};

/// How a value fills a register that is wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    Zero,
    Sign,
}

impl<C: EmulationContext> Executor<'_, C> {
    /// A load into a segment register, a control or a debug register is none of ours.
    pub(super) fn mov(&mut self, extension: Extension) -> Result<(), EmulationFault> {
        if !self.is_memory(0) && RegisterOperand::of(self.register(0)?).is_none() {
            return Err(EmulationFault::Unsupported);
        }
        let value = self.value_of(1)?;
        let value = match (extension, self.source_size()?) {
            (Extension::Sign, Some(size)) => size.sign_extend(value),
            _ => value,
        };
        self.assign(0, value)
    }

    /// The width of the source, where that is a register or memory.
    fn source_size(&self) -> Result<Option<Size>, EmulationFault> {
        match self.register(1) {
            Ok(register) if address::segment_name(register).is_some() => Ok(None),
            Ok(_) => self.operand_size(1).map(Some),
            Err(_) if self.is_memory(1) => self.operand_size(1).map(Some),
            Err(_) => Ok(None),
        }
    }

    pub(super) fn movbe(&mut self) -> Result<(), EmulationFault> {
        let size = self.operand_size(0)?;
        let value = self.value_of(1)? & size.mask();
        self.assign(0, value.swap_bytes() >> (64 - size.bits()))
    }
}
