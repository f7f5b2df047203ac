//! XCHG, XADD, CMPXCHG, CMPXCHG8B and CMPXCHG16B.

use super::address::{Alignment, Span};
use super::flags::{self, Computed, ZERO, when};
use super::operand::RegisterOperand;
use super::size::Size;
use super::{EmulationContext, EmulationFault, Executor};
use crate::{Access, Gpr};

/// What CMPXCHG8B and CMPXCHG16B pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Dword,
    Qword,
}

impl<C: EmulationContext + ?Sized> Executor<'_, C> {
    /// Either operand can be the one in memory.
    pub(super) fn xchg(&mut self) -> Result<(), EmulationFault> {
        let (first, second) = if self.is_memory(1) { (1, 0) } else { (0, 1) };
        let register = self.gpr_operand(second)?;
        let size = self.operand_size(first)?;
        let new = register.read(self.cx.gprs());
        let old = self.modify(first, size, &|_| Computed::plain(new))?;
        register.write(self.cx.gprs_mut(), old);
        Ok(())
    }

    pub(super) fn xadd(&mut self) -> Result<(), EmulationFault> {
        let size = self.operand_size(0)?;
        let register = self.gpr_operand(1)?;
        let addend = register.read(self.cx.gprs());
        let old = self.modify(0, size, &|value| flags::add(value, addend, 0, size))?;
        register.write(self.cx.gprs_mut(), old);
        // When both are the same register, the sum is what stays.
        if !self.is_memory(0) {
            self.assign(0, old.wrapping_add(addend))?;
        }
        Ok(())
    }

    /// Memory is written in either case (SDM, CMPXCHG), a register only when it is equal: 32 bits of it do not clear the
    /// upper half otherwise, on the processors that tests ran on.
    pub(super) fn cmpxchg(&mut self) -> Result<(), EmulationFault> {
        let size = self.operand_size(0)?;
        let accumulator = RegisterOperand::accumulator(size);
        let expected = accumulator.read(self.cx.gprs());
        let new = self.gpr_operand(1)?.read(self.cx.gprs());
        let current = if self.is_memory(0) { None } else { Some(self.value_of(0)?) };
        if let Some(current) = current.filter(|current| *current != expected) {
            self.set_flags(flags::subtract(expected, current, 0, size));
            accumulator.write(self.cx.gprs_mut(), current);
            return Ok(());
        }
        let old = self.modify(0, size, &|value| {
            let compared = flags::subtract(expected, value, 0, size);
            Computed { value: if compared.flags & ZERO != 0 { new } else { value }, ..compared }
        })?;
        if old & size.mask() != expected {
            accumulator.write(self.cx.gprs_mut(), old);
        }
        Ok(())
    }

    /// EDX:EAX is compared and ECX:EBX stored, or the same with 64-bit registers.
    pub(super) fn cmpxchg_pair(&mut self, half: Half) -> Result<(), EmulationFault> {
        let (size, alignment) = match half {
            Half::Dword => (Size::Dword, Alignment::Checked),
            Half::Qword => (Size::Qword, Alignment::Required),
        };
        let of = |gpr| RegisterOperand::whole(gpr, size);
        let pointer = self.pointer(0)?;
        let span = self.span(&pointer, size.bytes() * 2, Access::Write, alignment)?;
        let gprs = self.cx.gprs();
        let expected = joined(of(Gpr::Rax).read(gprs), of(Gpr::Rdx).read(gprs), size);
        let new = joined(of(Gpr::Rbx).read(gprs), of(Gpr::Rcx).read(gprs), size);
        let old = match half {
            Half::Dword => {
                let choose = |value: u64| {
                    Computed::plain(if u128::from(value) == expected { new as u64 } else { value })
                };
                self.modify_span(&span, Size::Qword, &choose)?.into()
            }
            // `GuestMemory` has no atomics of 16 bytes: this one is two.
            Half::Qword => self.exchange_wide(&span, expected, new)?,
        };
        let equal = old == expected;
        self.set_flags(Computed { value: 0, flags: when(equal, ZERO), affected: ZERO });
        if !equal {
            let gprs = self.cx.gprs_mut();
            of(Gpr::Rax).write(gprs, old as u64);
            of(Gpr::Rdx).write(gprs, (old >> size.bits()) as u64);
        }
        Ok(())
    }

    fn exchange_wide(&mut self, span: &Span, expected: u128, new: u128) -> Result<u128, EmulationFault> {
        let read = self.read_span(span)?;
        let old = read.first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes));
        let stored = if old == expected { new } else { old };
        self.write_span(span, &stored.to_le_bytes())?;
        Ok(old)
    }
}

fn joined(low: u64, high: u64, size: Size) -> u128 {
    u128::from(low) | u128::from(high) << size.bits()
}
