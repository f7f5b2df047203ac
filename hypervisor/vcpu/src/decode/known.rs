//! The length of an instruction that its exit has named: prefixes, opcode, done.
//!
//! Sources: Intel SDM, volume 2, section 2.1.1 (prefixes) and 2.2.1 (REX); AMD APM 24594, volume 3, section 1.2.

use crate::CpuMode;
use crate::walk::INSTRUCTION_MAX_BYTES;

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
    /// WBINVD or WBNOINVD.
    Wbinvd,
    Rdpmc,
}

impl Known {
    /// How many bytes of `code`, which begins behind the prefixes, are this instruction.
    #[inline(always)]
    const fn opcode_length(self, code: &[u8]) -> Option<usize> {
        match (self, code) {
            (Self::Hlt, [0xf4, ..]) => Some(1),
            // F3 is its prefix; without it this is NOP, of the same length.
            (Self::Pause, [0x90, ..]) => Some(1),
            (Self::Cpuid, [0x0f, 0xa2, ..])
            | (Self::Rdmsr, [0x0f, 0x32, ..])
            | (Self::Wrmsr, [0x0f, 0x30, ..])
            | (Self::Invd, [0x0f, 0x08, ..])
            | (Self::Wbinvd, [0x0f, 0x09, ..])
            | (Self::Rdpmc, [0x0f, 0x33, ..]) => Some(2),
            (Self::Hypercall, [0x0f, 0x01, 0xd9 | 0xc1, ..]) | (Self::Xsetbv, [0x0f, 0x01, 0xd1, ..]) => {
                Some(3)
            }
            (Self::Io, [0xe4..=0xe7, _, ..]) => Some(2),
            (Self::Io, [0xec..=0xef | 0x6c..=0x6f, ..]) => Some(1),
            _ => None,
        }
    }

    #[cfg(test)]
    pub(super) const ALL: [Self; 11] = [
        Self::Cpuid,
        Self::Rdmsr,
        Self::Wrmsr,
        Self::Hlt,
        Self::Pause,
        Self::Hypercall,
        Self::Xsetbv,
        Self::Io,
        Self::Invd,
        Self::Wbinvd,
        Self::Rdpmc,
    ];

    #[cfg(test)]
    pub(super) const fn example(self) -> &'static [u8] {
        match self {
            Self::Cpuid => &[0x0f, 0xa2],
            Self::Rdmsr => &[0x0f, 0x32],
            Self::Wrmsr => &[0x0f, 0x30],
            Self::Hlt => &[0xf4],
            Self::Pause => &[0xf3, 0x90],
            Self::Hypercall => &[0x0f, 0x01, 0xd9],
            Self::Xsetbv => &[0x0f, 0x01, 0xd1],
            Self::Io => &[0xe6, 0x80],
            Self::Invd => &[0x0f, 0x08],
            Self::Wbinvd => &[0x0f, 0x09],
            Self::Rdpmc => &[0x0f, 0x33],
        }
    }
}

/// Whether `byte` is a prefix; LOCK is none that these instructions may have.
#[inline]
const fn is_prefix(byte: u8, mode: CpuMode) -> bool {
    match byte {
        0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x66 | 0x67 | 0xf2 | 0xf3 => true,
        0x40..=0x4f => matches!(mode, CpuMode::Long64),
        _ => false,
    }
}

/// The length of `known` at the start of `bytes`, by a prefix scan alone; `None` when something else stands there.
#[inline]
pub fn known_length(bytes: &[u8], mode: CpuMode, known: Known) -> Option<u8> {
    let bytes = bytes.get(..INSTRUCTION_MAX_BYTES).unwrap_or(bytes);
    let mut code = bytes;
    while let [first, rest @ ..] = code
        && is_prefix(*first, mode)
    {
        code = rest;
    }
    let prefixes = bytes.len() - code.len();
    let opcode = known.opcode_length(code)?;
    u8::try_from(prefixes + opcode).ok()
}

/// As [`known_length`] in 64-bit mode, of the instruction whose first eight bytes are `bytes`, the first one lowest.
/// `None` also when its end is too far off to tell.
#[inline(always)]
pub fn known_length_64(bytes: u64, known: Known) -> Option<u8> {
    let mut rest = bytes;
    for prefixes in 0..size_of::<u64>() as u8 {
        // No opcode here begins like a prefix: it may be looked for first.
        if let Some(opcode) = known.opcode_length(&rest.to_le_bytes()) {
            return Some(prefixes + opcode as u8);
        }
        if !is_prefix(rest as u8, CpuMode::Long64) {
            return None;
        }
        rest >>= 8;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_instruction_is_recognized_with_and_without_prefixes() {
        for known in Known::ALL {
            let plain = known.example();
            assert_eq!(known_length(plain, CpuMode::Long64, known), Some(plain.len() as u8), "{known:?}");
            let mut prefixed = [0x66; 8];
            prefixed[2..2 + plain.len()].copy_from_slice(plain);
            let expected = Some(plain.len() as u8 + 2);
            assert_eq!(known_length(&prefixed, CpuMode::Long64, known), expected, "{known:?}");
        }
    }

    #[test]
    fn string_and_register_forms_of_port_access_are_one_byte() {
        for opcode in [0x6c, 0x6f, 0xec, 0xef] {
            assert_eq!(known_length(&[0xf3, opcode], CpuMode::Protected32, Known::Io), Some(2));
        }
    }

    #[test]
    fn rex_is_a_prefix_in_64_bit_mode_alone() {
        let bytes = [0x48, 0x0f, 0xa2];
        assert_eq!(known_length(&bytes, CpuMode::Long64, Known::Cpuid), Some(3));
        assert_eq!(known_length(&bytes, CpuMode::Protected32, Known::Cpuid), None);
    }

    #[test]
    fn another_instruction_a_cut_or_too_many_prefixes_have_no_length() {
        assert_eq!(known_length(&[0x0f, 0xa2], CpuMode::Long64, Known::Rdmsr), None);
        assert_eq!(known_length(&[0x0f], CpuMode::Long64, Known::Cpuid), None);
        assert_eq!(known_length(&[0xe4], CpuMode::Long64, Known::Io), None);
        let mut long = [0x66; 16];
        long[14..].copy_from_slice(&[0x0f, 0xa2]);
        assert_eq!(known_length(&long, CpuMode::Long64, Known::Cpuid), None);
    }
}
