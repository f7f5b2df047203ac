//! IN and OUT, and the right to do so that INS and OUTS need as well.

use super::flags::VIRTUAL_8086;
use super::operand::RegisterOperand;
use super::size::Size;
use super::{EmulationContext, EmulationFault, Executor, Privilege};
use crate::control::cr0;
use crate::{Access, Exception, SegmentName};
use base::Port;

/// Where the TSS tells the offset of its I/O permission bitmap (SDM volume 3, figure 8-2 and figure 8-11).
const BITMAP_OFFSET_AT: u64 = 102;
/// RFLAGS.IOPL.
const IOPL_SHIFT: u32 = 12;
/// Type bit 3 of a system segment tells a 32- or 64-bit TSS from a 16-bit one, which has no bitmap.
const TYPE_WIDE_TSS: u16 = 1 << 3;

impl<C: EmulationContext + ?Sized> Executor<'_, C> {
    pub(super) fn port_in(&mut self) -> Result<(), EmulationFault> {
        let to = self.gpr_operand(0)?;
        let port = self.port(1)?;
        self.check_port(port, to.size)?;
        let value = self.cx.read_port(port, to.size.bytes());
        to.write(self.cx.gprs_mut(), value.into());
        Ok(())
    }

    pub(super) fn port_out(&mut self) -> Result<(), EmulationFault> {
        let from: RegisterOperand = self.gpr_operand(1)?;
        let port = self.port(0)?;
        self.check_port(port, from.size)?;
        let value = from.read(self.cx.gprs());
        self.cx.write_port(port, from.size.bytes(), value as u32);
        Ok(())
    }

    /// The port in DX or in the instruction.
    pub(super) fn port(&mut self, operand: u32) -> Result<Port, EmulationFault> {
        Ok(Port(self.value_of(operand)? as u16))
    }

    /// IOPL, or else the bitmap in the TSS (SDM volume 1, section 19.5). In virtual-8086 mode IOPL does not help.
    pub(super) fn check_port(&mut self, port: Port, size: Size) -> Result<(), EmulationFault> {
        let rflags = self.cx.rflags();
        let by_level = u64::from(self.cx.cpl()) <= rflags >> IOPL_SHIFT & 3 && rflags & VIRTUAL_8086 == 0;
        if self.cx.cr0() & cr0::PE == 0 || by_level {
            return Ok(());
        }
        let tss = self.cx.segment(SegmentName::Tr);
        if tss.attributes & TYPE_WIDE_TSS == 0 {
            return Err(Exception::GENERAL_PROTECTION.into());
        }
        let limit = tss.limit.into();
        let bitmap = self.read_table_word(tss.base, BITMAP_OFFSET_AT, limit)?;
        // Two bytes are read always: an access can reach into the next one.
        let bits = self.read_table_word(tss.base, u64::from(bitmap) + u64::from(port.0 / 8), limit)?;
        let wanted = (1_u16 << size.bytes()) - 1;
        match bits >> (port.0 % 8) & wanted {
            0 => Ok(()),
            _ => Err(Exception::GENERAL_PROTECTION.into()),
        }
    }

    fn read_table_word(&mut self, base: u64, offset: u64, limit: u64) -> Result<u16, EmulationFault> {
        if offset + 1 > limit {
            return Err(Exception::GENERAL_PROTECTION.into());
        }
        let linear = base.wrapping_add(offset);
        let refusal = Exception::GENERAL_PROTECTION;
        let span = self.span_at(linear, 2, Access::Read, Privilege::Supervisor, refusal)?;
        self.read_scalar(&span).map(|value| value as u16)
    }
}
