//! Decoding of the few instructions that the hypervisor must understand, where the hardware does not tell.
//!
//! [`known_length`] is the hot path: it recognizes an instruction whose exit has named it already. The rest is decoded
//! by `iced-x86` into small types of ours, so that nothing above this module knows the decoder.
//!
//! The bytes are the guest's and may be anything: another CPU can have changed them since the exit.

mod control;
mod known;

pub use control::{ControlInstruction, ControlOperation, control};
pub use known::{Known, known_length, known_length_64};

use crate::walk::INSTRUCTION_MAX_BYTES;
use crate::{CpuMode, Gpr};
use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction, Register};

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

/// Builds the decoder's tables, which allocates: to be called once, before any guest runs.
pub fn prepare() {
    const NOP: [u8; 1] = [0x90];
    // What is decoded does not matter; that something was does.
    let _ = length(&NOP, CpuMode::Long64);
}

/// The length in bytes of the instruction at the start of `bytes`.
///
/// # Errors
/// As [`DecodeError`] says; never [`DecodeError::Unsupported`].
pub fn length(bytes: &[u8], mode: CpuMode) -> Result<u8, DecodeError> {
    decode(bytes, mode).map(|decoded| decoded.length)
}

/// An instruction and its length in bytes.
struct Decoded {
    instruction: Instruction,
    length: u8,
}

fn decode(bytes: &[u8], mode: CpuMode) -> Result<Decoded, DecodeError> {
    let bitness = match mode {
        CpuMode::Long64 => 64,
        CpuMode::Protected32 => 32,
        CpuMode::Real | CpuMode::Virtual8086 | CpuMode::Protected16 => 16,
    };
    let bytes = bytes.get(..INSTRUCTION_MAX_BYTES).unwrap_or(bytes);
    let mut decoder =
        Decoder::try_new(bitness, bytes, DecoderOptions::NONE).map_err(|_| DecodeError::Invalid)?;
    let instruction = decoder.decode();
    match decoder.last_error() {
        DecoderError::None => {}
        DecoderError::NoMoreBytes if bytes.len() < INSTRUCTION_MAX_BYTES => {
            return Err(DecodeError::Truncated);
        }
        _ => return Err(DecodeError::Invalid),
    }
    let length = u8::try_from(instruction.len()).map_err(|_| DecodeError::Invalid)?;
    Ok(Decoded { instruction, length })
}

/// The place of `register` in the run of registers that begins with `first` and has `count` members.
fn place_in(register: Register, first: Register, count: usize) -> Option<usize> {
    (register as usize).checked_sub(first as usize).filter(|place| *place < count)
}

/// The general-purpose register with encoding `number`.
fn gpr(number: usize) -> Option<Gpr> {
    Gpr::ALL.get(number).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_depend_on_the_mode() {
        let mov_eax_imm = [0xb8, 1, 2, 3, 4, 5];
        assert_eq!(length(&mov_eax_imm, CpuMode::Real), Ok(3));
        assert_eq!(length(&mov_eax_imm, CpuMode::Protected32), Ok(5));
        assert_eq!(length(&[0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0], CpuMode::Long64), Ok(10));
    }

    #[test]
    fn what_goes_on_is_told_from_what_is_nothing() {
        assert_eq!(length(&[], CpuMode::Long64), Err(DecodeError::Truncated));
        assert_eq!(length(&[0x48, 0xb8, 0], CpuMode::Long64), Err(DecodeError::Truncated));
        assert_eq!(length(&[0x06, 0], CpuMode::Long64), Err(DecodeError::Invalid), "PUSH ES");
        assert_eq!(length(&[0x66; 20], CpuMode::Long64), Err(DecodeError::Invalid), "longer than 15");
    }

    fn any_mode() -> impl Strategy<Value = CpuMode> {
        prop_oneof![
            Just(CpuMode::Real),
            Just(CpuMode::Virtual8086),
            Just(CpuMode::Protected16),
            Just(CpuMode::Protected32),
            Just(CpuMode::Long64),
        ]
    }

    fn any_known() -> impl Strategy<Value = Known> {
        proptest::sample::select(&Known::ALL[..])
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_give_an_answer_within_them(
            bytes in prop::collection::vec(any::<u8>(), 0..20), mode in any_mode(), known in any_known(),
        ) {
            let limit = bytes.len().min(INSTRUCTION_MAX_BYTES);
            let within = |length: u8| length > 0 && usize::from(length) <= limit;
            prop_assert!(length(&bytes, mode).is_err() || length(&bytes, mode).is_ok_and(within));
            prop_assert!(control(&bytes, mode).map(|i| i.length).is_ok_and(within) || control(&bytes, mode).is_err());
            prop_assert!(known_length(&bytes, mode, known).is_none_or(within));
        }

        /// Where the prefix scan and the decoder both find an instruction, they agree.
        #[test]
        fn the_prefix_scan_agrees_with_the_decoder(
            prefixes in prop::collection::vec(
                proptest::sample::select(&[0x66_u8, 0x67, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0xf3, 0x48, 0x41][..]), 0..4,
            ),
            known in any_known(), tail: [u8; 3], mode in any_mode(),
        ) {
            let mut bytes = prefixes;
            bytes.extend_from_slice(known.example());
            bytes.extend_from_slice(&tail);
            let mut first = [0; 8];
            first.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
            if let Some(short) = known_length_64(u64::from_le_bytes(first), known) {
                prop_assert_eq!(Some(short), known_length(&bytes, CpuMode::Long64, known));
            }
            if let (Some(scanned), Ok(decoded)) = (known_length(&bytes, mode, known), length(&bytes, mode)) {
                prop_assert_eq!(scanned, decoded);
            }
        }
    }
}
