//! The loads and stores by which drivers reach devices: a MOV in 64-bit mode that needs nothing special.
//!
//! It is taken apart when it is decoded. What is left to do at each exit is to find that it goes where the processor
//! stopped, by the same rules as for every instruction; what any of them could refuse is left to these.

use super::operand::{RegisterOperand, wide_register};
use super::size::Size;
use super::{EmulationContext, EmulationFault, Exited};
use crate::{Access, Gpr};
use base::PAGE_BYTES;
use iced_x86::{CodeSize, Instruction, Mnemonic, OpKind, Register};

/// What moves, and which way.
#[derive(Clone, Copy, Debug)]
enum Kind {
    StoreRegister(RegisterOperand),
    StoreConstant(u64),
    /// With zeros above, where the register is wider.
    Load(RegisterOperand),
}

impl Kind {
    fn of(instruction: &Instruction) -> Option<Self> {
        let (to, from) = (instruction.op0_kind(), instruction.op1_kind());
        Some(match (instruction.mnemonic(), to, from) {
            (Mnemonic::Mov | Mnemonic::Movzx, OpKind::Register, OpKind::Memory) => {
                Self::Load(RegisterOperand::of(instruction.op0_register())?)
            }
            (Mnemonic::Mov | Mnemonic::Movnti, OpKind::Memory, OpKind::Register) => {
                Self::StoreRegister(RegisterOperand::of(instruction.op1_register())?)
            }
            (Mnemonic::Mov, OpKind::Memory, _) => Self::StoreConstant(instruction.try_immediate(1).ok()?),
            _ => return None,
        })
    }

    const fn access(self) -> Access {
        match self {
            Self::Load(_) => Access::Read,
            Self::StoreRegister(_) | Self::StoreConstant(_) => Access::Write,
        }
    }
}

/// A register's part in an address: so many times its value.
#[derive(Clone, Copy, Debug)]
struct Term {
    register: Gpr,
    factor: u8,
}

impl Term {
    /// That of an address without such a register.
    const NONE: Self = Self { register: Gpr::Rax, factor: 0 };

    /// `None` if `register` is none of 64 bits.
    fn of(register: Register, factor: u32) -> Option<Self> {
        if register == Register::None {
            return Some(Self::NONE);
        }
        let (register, _) = wide_register(register).filter(|(_, bytes)| *bytes == 8)?;
        Some(Self { register, factor: factor as u8 })
    }
}

/// A MOV from or to memory in 64-bit mode, by an address of 64 bits in a segment without a base.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlainMove {
    kind: Kind,
    size: Size,
    base: Term,
    index: Term,
    displacement: u64,
    length: u8,
}

impl PlainMove {
    /// `instruction` as one, if it is.
    pub(super) fn of(instruction: &Instruction) -> Option<Self> {
        let has_base = matches!(instruction.memory_segment(), Register::FS | Register::GS);
        if has_base || instruction.code_size() != CodeSize::Code64 {
            return None;
        }
        let kind = Kind::of(instruction)?;
        let base = match instruction.memory_base() {
            // The decoder has added RIP to the displacement already.
            Register::RIP => Term::NONE,
            Register::None if instruction.memory_displ_size() == 4 => return None,
            base => Term::of(base, 1)?,
        };
        Some(Self {
            kind,
            size: Size::of_memory(instruction)?,
            base,
            index: Term::of(instruction.memory_index(), instruction.memory_index_scale())?,
            displacement: instruction.memory_displacement64(),
            length: instruction.len() as u8,
        })
    }

    /// The instruction's length in bytes.
    pub(super) const fn length(&self) -> u8 {
        self.length
    }

    /// Makes the move if it is the one at which the processor stopped, and nothing can refuse it; `None` if not.
    #[inline(always)]
    pub(super) fn execute<C: EmulationContext>(
        &self,
        cx: &mut C,
        exited: Exited,
    ) -> Option<Result<(), EmulationFault>> {
        let gprs = cx.gprs();
        let part = |term: Term| gprs.get(term.register).wrapping_mul(term.factor.into());
        let linear = self.displacement.wrapping_add(part(self.base)).wrapping_add(part(self.index));
        let Exited { gpa, access } = exited;
        let is_it = access == self.kind.access() && (gpa.as_u64() ^ linear).is_multiple_of(PAGE_BYTES);
        // Canonical by four levels of tables is so by five; and what is aligned is in one page.
        let is_canonical = (linear << 16) as i64 >> 16 == linear as i64;
        let bytes = self.size.bytes();
        if !is_it || !is_canonical || linear & u64::from(bytes).wrapping_sub(1) != 0 {
            return None;
        }
        let done = match self.kind {
            Kind::StoreRegister(register) => cx.write(gpa, bytes, register.read(gprs)),
            Kind::StoreConstant(value) => cx.write(gpa, bytes, value),
            Kind::Load(register) => cx.read(gpa, bytes).map(|value| register.write(cx.gprs_mut(), value)),
        };
        Some(done.map_err(EmulationFault::from))
    }
}
