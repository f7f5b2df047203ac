//! ADD, ADC, SUB, SBB, AND, OR, XOR, CMP, TEST; INC, DEC, NEG, NOT. Here and in the like, an operation is a parameter and
//! stays one: compiled for each they would be a tenth of the hypervisor.

use super::flags::{Binary, Unary};
use super::{EmulationContext, EmulationFault, Executor};

impl<C: EmulationContext + ?Sized> Executor<'_, C> {
    /// Destination and source to destination.
    #[inline(never)]
    pub(super) fn binary(&mut self, operation: Binary) -> Result<(), EmulationFault> {
        let size = self.operand_size(0)?;
        let source = self.value_of(1)?;
        let rflags = self.cx.rflags();
        self.modify(0, size, &|value| operation(value, source, rflags, size))?;
        Ok(())
    }

    /// Only the flags of it.
    #[inline(never)]
    pub(super) fn compare(&mut self, operation: Binary) -> Result<(), EmulationFault> {
        let size = self.operand_size(0)?;
        let (first, second) = (self.value_of(0)?, self.value_of(1)?);
        let rflags = self.cx.rflags();
        self.set_flags(operation(first, second, rflags, size));
        Ok(())
    }

    /// One operand, in place.
    #[inline(never)]
    pub(super) fn unary(&mut self, operation: Unary) -> Result<(), EmulationFault> {
        let size = self.operand_size(0)?;
        self.modify(0, size, &|value| operation(value, size))?;
        Ok(())
    }
}
