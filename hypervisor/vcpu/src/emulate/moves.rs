//! MOV, MOVZX, MOVSX, MOVSXD, MOVNTI and MOVBE.

use super::{EmulationContext, EmulationFault, Executor};

/// How a value fills a register that is wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    Zero,
    Sign,
}

impl<C: EmulationContext + ?Sized> Executor<'_, C> {
    /// A load into a segment register, a control or a debug register is none of ours.
    pub(super) fn mov(&mut self, extension: Extension) -> Result<(), EmulationFault> {
        if self.is_memory(0) {
            let value = self.value_of(1)?;
            return self.assign(0, value);
        }
        let to = self.gpr_operand(0)?;
        let value = if self.is_memory(1) { self.load()? } else { self.value_of(1)? };
        let value = match extension {
            Extension::Zero => value,
            Extension::Sign => self.operand_size(1)?.sign_extend(value),
        };
        to.write(self.cx.gprs_mut(), value);
        Ok(())
    }

    pub(super) fn movbe(&mut self) -> Result<(), EmulationFault> {
        let size = self.operand_size(0)?;
        let value = self.value_of(1)? & size.mask();
        self.assign(0, value.swap_bytes() >> (64 - size.bits()))
    }
}
