//! Loads and stores that name a device's register: the forms of MOV that drivers use.
//!
//! Read-modify-write and string instructions are [`DecodeError::Unsupported`]; they become further operations.

use super::{DecodeError, Decoded, decode, gpr, place_in};
use crate::{CpuMode, Gpr, Gprs};
use iced_x86::{Instruction, MemorySize, Mnemonic, OpKind, Register};

/// A general-purpose register as an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterOperand {
    /// Which.
    pub gpr: Gpr,
    /// 1, 2, 4 or 8.
    pub size_bytes: u8,
    /// Whether it is AH, CH, DH or BH: bits 15:8.
    pub high_byte: bool,
}

impl RegisterOperand {
    /// The operand `register`, if it is a general-purpose one.
    fn of(register: Register) -> Option<Self> {
        let operand = |gpr, size_bytes| Some(Self { gpr, size_bytes, high_byte: false });
        if let Some(place) = place_in(register, Register::AL, 20) {
            // AL to BL, AH to BH, then SPL to R15L.
            return match place {
                0..4 => operand(gpr(place)?, 1),
                4..8 => Some(Self { gpr: gpr(place - 4)?, size_bytes: 1, high_byte: true }),
                _ => operand(gpr(place - 4)?, 1),
            };
        }
        let wider = [(Register::AX, 2), (Register::EAX, 4), (Register::RAX, 8)];
        let found = wider.into_iter().find_map(|(first, size)| Some((place_in(register, first, 16)?, size)));
        let (place, size_bytes) = found?;
        operand(gpr(place)?, size_bytes)
    }

    /// The operand's value.
    #[inline]
    pub fn read(&self, gprs: &Gprs) -> u64 {
        let whole = gprs.get(self.gpr);
        let value = if self.high_byte { whole >> 8 } else { whole };
        value & low_bytes(self.size_bytes)
    }

    /// Replaces the operand: 4 bytes clear the upper half, 1 and 2 leave the rest as it is (SDM volume 1, 3.4.1.1).
    #[inline]
    pub fn write(&self, gprs: &mut Gprs, value: u64) {
        let old = gprs.get(self.gpr);
        let (mask, shift) = match self.size_bytes {
            4 | 8 => (u64::MAX, 0),
            size => (low_bytes(size), if self.high_byte { 8 } else { 0 }),
        };
        let value = value & low_bytes(self.size_bytes);
        gprs.set(self.gpr, old & !(mask << shift) | value << shift);
    }
}

/// How a loaded value fills a register that is wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// By zeros (or both have the same width).
    Zero,
    /// By copies of the sign.
    Sign,
}

/// What an instruction does with the memory that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmioOperation {
    /// Memory to register.
    Load {
        /// The register.
        to: RegisterOperand,
        /// How the value becomes as wide as the register.
        extension: Extension,
    },
    /// Register to memory.
    Store(RegisterOperand),
    /// A constant to memory.
    StoreImmediate(u64),
}

/// A memory access, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioInstruction {
    /// What is done.
    pub operation: MmioOperation,
    /// How much memory is accessed: 1, 2, 4 or 8 bytes.
    pub size_bytes: u8,
    /// The instruction's length in bytes.
    pub length: u8,
}

impl MmioInstruction {
    /// The value to store, or `None` when this is a load.
    #[inline]
    pub fn value_to_store(&self, gprs: &Gprs) -> Option<u64> {
        match self.operation {
            MmioOperation::Load { .. } => None,
            MmioOperation::Store(from) => Some(from.read(gprs)),
            MmioOperation::StoreImmediate(value) => Some(value & low_bytes(self.size_bytes)),
        }
    }

    /// Puts the value loaded into its register; does nothing for a store.
    #[inline]
    pub fn complete_load(&self, gprs: &mut Gprs, value: u64) {
        let MmioOperation::Load { to, extension } = self.operation else { return };
        let value = value & low_bytes(self.size_bytes);
        let extended = match extension {
            Extension::Zero => value,
            Extension::Sign => sign_extend(value, self.size_bytes),
        };
        to.write(gprs, extended);
    }
}

/// A mask of the low `size_bytes` bytes.
#[inline]
const fn low_bytes(size_bytes: u8) -> u64 {
    match size_bytes {
        1 => 0xff,
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}

const fn sign_extend(value: u64, size_bytes: u8) -> u64 {
    match size_bytes {
        1 => value as i8 as u64,
        2 => value as i16 as u64,
        4 => value as i32 as u64,
        _ => value,
    }
}

/// The memory access at the start of `bytes`.
///
/// # Errors
/// As [`DecodeError`] says.
pub fn mmio(bytes: &[u8], mode: CpuMode) -> Result<MmioInstruction, DecodeError> {
    let Decoded { instruction, length } = decode(bytes, mode)?;
    let size_bytes = memory_bytes(&instruction).ok_or(DecodeError::Unsupported)?;
    let operation = operation(&instruction).ok_or(DecodeError::Unsupported)?;
    Ok(MmioInstruction { operation, size_bytes, length })
}

fn operation(instruction: &Instruction) -> Option<MmioOperation> {
    let extension = match instruction.mnemonic() {
        Mnemonic::Mov | Mnemonic::Movnti | Mnemonic::Movzx => Extension::Zero,
        Mnemonic::Movsx | Mnemonic::Movsxd => Extension::Sign,
        _ => return None,
    };
    match (instruction.op0_kind(), instruction.op1_kind()) {
        (OpKind::Register, OpKind::Memory) => {
            let to = RegisterOperand::of(instruction.op0_register())?;
            Some(MmioOperation::Load { to, extension })
        }
        (OpKind::Memory, OpKind::Register) => {
            RegisterOperand::of(instruction.op1_register()).map(MmioOperation::Store)
        }
        (OpKind::Memory, _) => instruction.try_immediate(1).ok().map(MmioOperation::StoreImmediate),
        _ => None,
    }
}

/// How much memory the instruction accesses, when that is a plain number.
fn memory_bytes(instruction: &Instruction) -> Option<u8> {
    match instruction.memory_size() {
        MemorySize::UInt8 | MemorySize::Int8 => Some(1),
        MemorySize::UInt16 | MemorySize::Int16 => Some(2),
        MemorySize::UInt32 | MemorySize::Int32 => Some(4),
        MemorySize::UInt64 | MemorySize::Int64 => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RBX_PATTERN: u64 = 0x1122_3344_5566_7788;

    fn long(bytes: &[u8]) -> MmioInstruction {
        mmio(bytes, CpuMode::Long64).unwrap()
    }

    /// RBX after `bytes` loaded `value`.
    fn loaded(bytes: &[u8], value: u64) -> u64 {
        let mut gprs = Gprs::default();
        gprs.set(Gpr::Rbx, RBX_PATTERN);
        let instruction = long(bytes);
        assert_eq!(instruction.value_to_store(&gprs), None);
        instruction.complete_load(&mut gprs, value);
        gprs.get(Gpr::Rbx)
    }

    /// What `bytes` store, and how wide.
    fn stored(bytes: &[u8]) -> (u64, u8) {
        let mut gprs = Gprs::default();
        gprs.set(Gpr::Rbx, RBX_PATTERN);
        let instruction = long(bytes);
        (instruction.value_to_store(&gprs).unwrap(), instruction.size_bytes)
    }

    #[test]
    fn loads_fill_the_register_as_its_width_says() {
        let value = 0x8899_aabb_ccdd_eeff;
        assert_eq!(loaded(&[0x48, 0x8b, 0x18], value), value, "mov rbx, [rax]");
        assert_eq!(loaded(&[0x8b, 0x18], value), 0xccdd_eeff, "mov ebx, [rax]");
        assert_eq!(loaded(&[0x66, 0x8b, 0x18], value), 0x1122_3344_5566_eeff, "mov bx, [rax]");
        assert_eq!(loaded(&[0x8a, 0x18], value), 0x1122_3344_5566_77ff, "mov bl, [rax]");
        assert_eq!(loaded(&[0x8a, 0x38], value), 0x1122_3344_5566_ff88, "mov bh, [rax]");
    }

    #[test]
    fn extending_loads_fill_with_zeros_or_the_sign() {
        assert_eq!(loaded(&[0x0f, 0xb6, 0x18], 0x80), 0x80, "movzx ebx, byte [rax]");
        assert_eq!(loaded(&[0x48, 0x0f, 0xb7, 0x18], 0x8000), 0x8000, "movzx rbx, word [rax]");
        assert_eq!(loaded(&[0x0f, 0xbe, 0x18], 0x80), 0xffff_ff80, "movsx ebx, byte [rax]");
        assert_eq!(loaded(&[0x48, 0x0f, 0xbf, 0x18], 0x8000), 0xffff_ffff_ffff_8000, "movsx rbx, word [rax]");
        assert_eq!(
            loaded(&[0x48, 0x63, 0x18], 0x8000_0000),
            0xffff_ffff_8000_0000,
            "movsxd rbx, dword [rax]"
        );
        assert_eq!(loaded(&[0x66, 0x0f, 0xbe, 0x18], 0x80), 0x1122_3344_5566_ff80, "movsx bx, byte [rax]");
    }

    #[test]
    fn stores_take_the_low_part_of_the_register() {
        assert_eq!(stored(&[0x48, 0x89, 0x18]), (RBX_PATTERN, 8));
        assert_eq!(stored(&[0x89, 0x18]), (0x5566_7788, 4));
        assert_eq!(stored(&[0x66, 0x89, 0x18]), (0x7788, 2));
        assert_eq!(stored(&[0x88, 0x18]), (0x88, 1));
        assert_eq!(stored(&[0x88, 0x38]), (0x77, 1), "bh");
        assert_eq!(stored(&[0x40, 0x88, 0x38]), (0, 1), "dil");
        assert_eq!(stored(&[0x0f, 0xc3, 0x18]), (0x5566_7788, 4), "movnti");
    }

    #[test]
    fn constants_are_as_wide_as_the_memory() {
        assert_eq!(stored(&[0xc7, 0x00, 1, 2, 3, 0xff]), (0xff03_0201, 4));
        assert_eq!(stored(&[0x48, 0xc7, 0x00, 1, 2, 3, 0xff]), (0xffff_ffff_ff03_0201, 8));
        assert_eq!(stored(&[0x66, 0xc7, 0x00, 1, 0xff]), (0xff01, 2));
        assert_eq!(stored(&[0xc6, 0x00, 0xff]), (0xff, 1));
    }

    #[test]
    fn forms_with_an_absolute_address_use_the_accumulator() {
        let load = mmio(&[0xa1, 0, 0, 0xe0, 0xfe], CpuMode::Protected32).unwrap();
        let to = RegisterOperand { gpr: Gpr::Rax, size_bytes: 4, high_byte: false };
        let operation = MmioOperation::Load { to, extension: Extension::Zero };
        assert_eq!(load, MmioInstruction { operation, size_bytes: 4, length: 5 });
        let store = mmio(&[0xa2, 0, 0, 0xe0, 0xfe], CpuMode::Protected32).unwrap();
        assert_eq!(store.size_bytes, 1);
    }

    #[test]
    fn linux_reads_and_writes_its_apic_with_plain_moves() {
        // mov eax, [0xffffffffff5fc020] and mov [rdi - 0xa03000], esi
        let read = long(&[0x8b, 0x04, 0x25, 0x20, 0xc0, 0x5f, 0xff]);
        assert_eq!((read.length, read.size_bytes), (7, 4));
        let write = long(&[0x89, 0xb7, 0x00, 0xd0, 0x5f, 0xff]);
        let from = RegisterOperand { gpr: Gpr::Rsi, size_bytes: 4, high_byte: false };
        assert_eq!(
            write,
            MmioInstruction { operation: MmioOperation::Store(from), size_bytes: 4, length: 6 }
        );
    }

    #[test]
    fn what_is_no_plain_move_is_unsupported() {
        for bytes in [
            &[0x01, 0x18][..],         // add [rax], ebx
            &[0xf3, 0xaa],             // rep stosb
            &[0xa5],                   // movsd
            &[0x0f, 0x28, 0x00],       // movaps xmm0, [rax]
            &[0x8c, 0x18],             // mov [rax], ds
            &[0x89, 0xd8],             // mov eax, ebx
            &[0xf0, 0x0f, 0xb1, 0x18], // lock cmpxchg [rax], ebx
        ] {
            assert_eq!(mmio(bytes, CpuMode::Long64), Err(DecodeError::Unsupported), "{bytes:x?}");
        }
    }
}
