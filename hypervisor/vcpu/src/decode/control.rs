//! Accesses to control and debug registers, where an exit does not tell the operand.

use super::{DecodeError, Decoded, decode, gpr, place_in};
use crate::{CpuMode, Gpr};
use iced_x86::{Mnemonic, OpKind, Register};

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
    /// LMSW from a register; from memory it is [`DecodeError::Unsupported`].
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
pub fn control(bytes: &[u8], mode: CpuMode) -> Result<ControlInstruction, DecodeError> {
    let Decoded { instruction, length } = decode(bytes, mode)?;
    let operation = match instruction.mnemonic() {
        Mnemonic::Clts => Some(ControlOperation::ClearTaskSwitched),
        Mnemonic::Lmsw if instruction.op0_kind() == OpKind::Register => {
            general(instruction.op0_register()).map(ControlOperation::LoadMachineStatus)
        }
        Mnemonic::Mov => mov(instruction.op0_register(), instruction.op1_register()),
        _ => None,
    };
    let operation = operation.ok_or(DecodeError::Unsupported)?;
    Ok(ControlInstruction { operation, length })
}

/// MOV between `destination` and `source`, one of which is a control or debug register.
fn mov(destination: Register, source: Register) -> Option<ControlOperation> {
    if let Some(from) = general(source) {
        return match (numbered(destination, Register::CR0), numbered(destination, Register::DR0)) {
            (Some(control), _) => Some(ControlOperation::ToControl { control, from }),
            (_, Some(debug)) => Some(ControlOperation::ToDebug { debug, from }),
            _ => None,
        };
    }
    let to = general(destination)?;
    match (numbered(source, Register::CR0), numbered(source, Register::DR0)) {
        (Some(control), _) => Some(ControlOperation::FromControl { control, to }),
        (_, Some(debug)) => Some(ControlOperation::FromDebug { debug, to }),
        _ => None,
    }
}

/// The number of `register` among the sixteen that begin with `first`.
fn numbered(register: Register, first: Register) -> Option<u8> {
    place_in(register, first, 16).and_then(|place| u8::try_from(place).ok())
}

/// The general-purpose register of which `register` is the low 16, 32 or all 64 bits.
fn general(register: Register) -> Option<Gpr> {
    let runs = [Register::AX, Register::EAX, Register::RAX];
    runs.into_iter().find_map(|first| place_in(register, first, 16)).and_then(gpr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(bytes: &[u8]) -> ControlOperation {
        let decoded = control(bytes, CpuMode::Long64).unwrap();
        assert_eq!(usize::from(decoded.length), bytes.len());
        decoded.operation
    }

    #[test]
    fn moves_name_both_registers() {
        let rax = Gpr::Rax;
        assert_eq!(long(&[0x0f, 0x22, 0xc0]), ControlOperation::ToControl { control: 0, from: rax });
        assert_eq!(long(&[0x0f, 0x22, 0xe7]), ControlOperation::ToControl { control: 4, from: Gpr::Rdi });
        assert_eq!(
            long(&[0x41, 0x0f, 0x22, 0xdf]),
            ControlOperation::ToControl { control: 3, from: Gpr::R15 }
        );
        assert_eq!(long(&[0x0f, 0x20, 0xd1]), ControlOperation::FromControl { control: 2, to: Gpr::Rcx });
        assert_eq!(long(&[0x44, 0x0f, 0x22, 0xc0]), ControlOperation::ToControl { control: 8, from: rax });
        assert_eq!(long(&[0x0f, 0x23, 0xf8]), ControlOperation::ToDebug { debug: 7, from: rax });
        assert_eq!(long(&[0x0f, 0x21, 0xf3]), ControlOperation::FromDebug { debug: 6, to: Gpr::Rbx });
    }

    #[test]
    fn real_mode_code_moves_32_bits() {
        let decoded = control(&[0x0f, 0x22, 0xc0], CpuMode::Real).unwrap();
        assert_eq!(decoded.operation, ControlOperation::ToControl { control: 0, from: Gpr::Rax });
    }

    #[test]
    fn lmsw_and_clts_are_writes_of_cr0() {
        assert_eq!(long(&[0x0f, 0x01, 0xf3]), ControlOperation::LoadMachineStatus(Gpr::Rbx));
        assert_eq!(long(&[0x0f, 0x06]), ControlOperation::ClearTaskSwitched);
    }

    #[test]
    fn what_touches_no_control_register_is_unsupported() {
        for bytes in [&[0x89, 0xd8][..], &[0x8b, 0x18], &[0x0f, 0x01, 0x30], &[0x90]] {
            assert_eq!(control(bytes, CpuMode::Long64), Err(DecodeError::Unsupported), "{bytes:x?}");
        }
    }
}
