//! How wide a scalar operand is.

use iced_x86::{Instruction, MemorySize};

/// The width of a scalar operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Byte,
    Word,
    Dword,
    Qword,
}

impl Size {
    pub(super) const fn bytes(self) -> u8 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
            Self::Qword => 8,
        }
    }

    pub(super) const fn bits(self) -> u32 {
        self.bytes() as u32 * 8
    }

    /// A mask of the bits that belong to the operand.
    pub(super) const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    pub(super) const fn sign_bit(self) -> u64 {
        1 << (self.bits() - 1)
    }

    pub(super) const fn sign_extend(self, value: u64) -> u64 {
        let unused = 64 - self.bits();
        ((value << unused) as i64 >> unused) as u64
    }

    /// The width of the instruction's memory operand, when that is a scalar.
    #[inline]
    pub(super) fn of_memory(instruction: &Instruction) -> Option<Self> {
        match instruction.memory_size() {
            MemorySize::UInt8 | MemorySize::Int8 => Some(Self::Byte),
            MemorySize::UInt16 | MemorySize::Int16 => Some(Self::Word),
            MemorySize::UInt32 | MemorySize::Int32 => Some(Self::Dword),
            MemorySize::UInt64 | MemorySize::Int64 => Some(Self::Qword),
            _ => None,
        }
    }
}
