//! MOVS, CMPS, STOS, LODS, SCAS, INS and OUTS, alone and repeated (Intel SDM, volume 2, REP).
//!
//! Both places of an element are checked before either is accessed. Index registers move after each element, so an
//! instruction that faults or gives way in its midst goes on from there.

use super::address::{Alignment, Pointer, Span, address_mask};
use super::fault::STACK_FAULT;
use super::flags::{self, DIRECTION, TRAP, ZERO};
use super::operand::RegisterOperand;
use super::size::Size;
use super::{EmulationContext, EmulationFault, Executor, Progress};
use crate::{Access, CpuMode, Exception, Gpr, SegmentName};
use iced_x86::{Instruction, Mnemonic, OpKind};

/// How many elements are done before the guest is entered again: a host interrupt waits no longer than this.
pub const PORTION: u32 = 64;

/// What is done with each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Move,
    Compare,
    Store,
    Load,
    Scan,
    In,
    Out,
}

impl Operation {
    /// The operation of a string instruction. SSE instructions share two of the names, not the operands.
    pub(super) fn of(instruction: &Instruction) -> Option<Self> {
        use Mnemonic as M;
        address_bytes(instruction)?;
        match instruction.mnemonic() {
            M::Movsb | M::Movsw | M::Movsd | M::Movsq => Some(Self::Move),
            M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq => Some(Self::Compare),
            M::Stosb | M::Stosw | M::Stosd | M::Stosq => Some(Self::Store),
            M::Lodsb | M::Lodsw | M::Lodsd | M::Lodsq => Some(Self::Load),
            M::Scasb | M::Scasw | M::Scasd | M::Scasq => Some(Self::Scan),
            M::Insb | M::Insw | M::Insd => Some(Self::In),
            M::Outsb | M::Outsw | M::Outsd => Some(Self::Out),
            _ => None,
        }
    }

    const fn uses_source(self) -> bool {
        matches!(self, Self::Move | Self::Compare | Self::Load | Self::Out)
    }

    const fn uses_destination(self) -> bool {
        !matches!(self, Self::Load | Self::Out)
    }

    /// Whether REPE and REPNE look at ZF after each element.
    const fn compares(self) -> bool {
        matches!(self, Self::Compare | Self::Scan)
    }
}

/// The width of index and count registers.
fn address_bytes(instruction: &Instruction) -> Option<u8> {
    let kinds = [instruction.op0_kind(), instruction.op1_kind()];
    kinds.into_iter().find_map(|kind| match kind {
        OpKind::MemorySegSI | OpKind::MemoryESDI => Some(2),
        OpKind::MemorySegESI | OpKind::MemoryESEDI => Some(4),
        OpKind::MemorySegRSI | OpKind::MemoryESRDI => Some(8),
        _ => None,
    })
}

/// A string instruction's fixed facts.
#[derive(Clone, Copy)]
struct Strings {
    operation: Operation,
    size: Size,
    address_bytes: u8,
}

impl<C: EmulationContext + ?Sized> Executor<'_, C> {
    pub(super) fn string(&mut self, operation: Operation) -> Result<Progress, EmulationFault> {
        let strings = Strings {
            operation,
            size: Size::of_memory(&self.instruction).ok_or(EmulationFault::Unsupported)?,
            address_bytes: address_bytes(&self.instruction).ok_or(EmulationFault::Unsupported)?,
        };
        let (repe, repne) = (self.instruction.has_rep_prefix(), self.instruction.has_repne_prefix());
        if !repe && !repne {
            self.element(strings)?;
            return Ok(Progress::Complete);
        }
        // A guest that steps itself, or may watch what is accessed, is interrupted behind each element.
        let portion = if self.cx.rflags() & TRAP != 0 || self.cx.watches() { 1 } else { PORTION };
        for _ in 0..portion {
            let count = self.index(Gpr::Rcx, strings);
            if count == 0 {
                return Ok(Progress::Complete);
            }
            self.element(strings)?;
            self.set_index(Gpr::Rcx, strings, count.wrapping_sub(1));
            let is_zero = self.cx.rflags() & ZERO != 0;
            let met = operation.compares() && is_zero == repne;
            if count == 1 || met {
                return Ok(Progress::Complete);
            }
        }
        Ok(Progress::Partial)
    }

    fn element(&mut self, strings: Strings) -> Result<(), EmulationFault> {
        let Strings { operation, size, .. } = strings;
        let port = match operation {
            Operation::In => Some(self.port(1)?),
            Operation::Out => Some(self.port(0)?),
            _ => None,
        };
        if let Some(port) = port {
            self.check_port(port, size)?;
        }
        let source = self.place(strings, Place::Source)?;
        let destination = self.place(strings, Place::Destination)?;

        let accumulator = RegisterOperand::accumulator(size);
        let loaded = match (source, port) {
            (Some(span), _) => self.read_scalar(&span)?,
            (None, Some(port)) => self.cx.read_port(port, size.bytes()).into(),
            (None, None) => accumulator.read(self.cx.gprs()),
        };
        match (operation, destination, port) {
            (Operation::Compare | Operation::Scan, Some(span), _) => {
                let other = self.read_scalar(&span)?;
                self.set_flags(flags::subtract(loaded, other, 0, size));
            }
            (_, Some(span), _) => self.write_scalar(&span, loaded)?,
            (_, None, Some(port)) => self.cx.write_port(port, size.bytes(), loaded as u32),
            (_, None, None) => accumulator.write(self.cx.gprs_mut(), loaded),
        }
        if source.is_some() {
            self.advance(Gpr::Rsi, strings);
        }
        if destination.is_some() {
            self.advance(Gpr::Rdi, strings);
        }
        Ok(())
    }

    /// Where the element is in the source or destination string, if the operation has one.
    fn place(&mut self, strings: Strings, place: Place) -> Result<Option<Span>, EmulationFault> {
        let operation = strings.operation;
        let (register, segment, access) = match place {
            Place::Source if operation.uses_source() => (Gpr::Rsi, self.memory_segment()?, Access::Read),
            Place::Destination if operation.uses_destination() => {
                let access = if operation.compares() { Access::Read } else { Access::Write };
                (Gpr::Rdi, SegmentName::Es, access)
            }
            _ => return Ok(None),
        };
        let stack = segment == SegmentName::Ss && self.mode != CpuMode::Long64;
        let refusal = if stack { STACK_FAULT } else { Exception::GENERAL_PROTECTION };
        let pointer = Pointer { segment, offset: self.index(register, strings), refusal };
        self.span(&pointer, strings.size.bytes(), access, Alignment::Checked).map(Some)
    }

    fn advance(&mut self, register: Gpr, strings: Strings) {
        let at = self.index(register, strings);
        let step = u64::from(strings.size.bytes());
        let moved = match self.cx.rflags() & DIRECTION {
            0 => at.wrapping_add(step),
            _ => at.wrapping_sub(step),
        };
        self.set_index(register, strings, moved);
    }

    fn index(&self, register: Gpr, strings: Strings) -> u64 {
        self.cx.gprs().get(register) & address_mask(strings.address_bytes)
    }

    /// 16-bit addresses leave the rest of the register; 32-bit ones clear it (SDM volume 1, section 3.4.1.1).
    fn set_index(&mut self, register: Gpr, strings: Strings, value: u64) {
        let size = match strings.address_bytes {
            2 => Size::Word,
            4 => Size::Dword,
            _ => Size::Qword,
        };
        RegisterOperand::whole(register, size).write(self.cx.gprs_mut(), value);
    }
}

/// Which of the two strings.
#[derive(Clone, Copy)]
enum Place {
    Source,
    Destination,
}
