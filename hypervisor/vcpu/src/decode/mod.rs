//! Decoding of the few instructions that the hypervisor must understand.

use crate::{CpuMode, Gpr, Gprs};

/// Why bytes were not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The instruction goes on past the bytes given.
    Truncated,
    /// No instruction: the processor raises `#UD` (or `#GP` when it is longer than 15 bytes).
    Invalid,
    /// An instruction, but none that can be carried out here.
    Unsupported,
}

/// The length in bytes of the instruction at the start of `bytes`.
///
/// # Errors
/// As [`DecodeError`] says; never [`DecodeError::Unsupported`].
pub fn length(_bytes: &[u8], _mode: CpuMode) -> Result<u8, DecodeError> {
    todo!()
}

/// An instruction whose exit has told already what it is: only its length is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the mnemonics
pub enum Known {
    Cpuid,
    Rdmsr,
    Wrmsr,
    Hlt,
    Pause,
    /// VMMCALL or VMCALL.
    Hypercall,
    Xsetbv,
    /// IN, OUT, INS or OUTS.
    Io,
    Invd,
    Wbinvd,
    Rdpmc,
}

/// The length of `known` at the start of `bytes`, by a prefix scan alone; `None` when something else stands there.
pub fn known_length(_bytes: &[u8], _mode: CpuMode, _known: Known) -> Option<u8> {
    todo!()
}

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
    pub fn value_to_store(&self, _gprs: &Gprs) -> Option<u64> {
        todo!()
    }

    /// Puts the value loaded into its register.
    pub fn complete_load(&self, _gprs: &mut Gprs, _value: u64) {
        todo!()
    }
}

/// The memory access at the start of `bytes`.
///
/// # Errors
/// As [`DecodeError`] says.
pub fn mmio(_bytes: &[u8], _mode: CpuMode) -> Result<MmioInstruction, DecodeError> {
    todo!()
}

/// What an instruction does with a control or debug register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlOperation {
    /// MOV to CRn.
    ToControl {
        /// n.
        control: u8,
        /// The source.
        from: Gpr,
    },
    /// MOV from CRn.
    FromControl {
        /// n.
        control: u8,
        /// The destination.
        to: Gpr,
    },
    /// MOV to DRn.
    ToDebug {
        /// n.
        debug: u8,
        /// The source.
        from: Gpr,
    },
    /// MOV from DRn.
    FromDebug {
        /// n.
        debug: u8,
        /// The destination.
        to: Gpr,
    },
    /// LMSW from a register.
    LoadMachineStatus(Gpr),
    /// CLTS.
    ClearTaskSwitched,
}

/// An access to a control or debug register, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlInstruction {
    /// What is done.
    pub operation: ControlOperation,
    /// The instruction's length in bytes.
    pub length: u8,
}

/// The access to a control or debug register at the start of `bytes`.
///
/// # Errors
/// As [`DecodeError`] says.
pub fn control(_bytes: &[u8], _mode: CpuMode) -> Result<ControlInstruction, DecodeError> {
    todo!()
}
