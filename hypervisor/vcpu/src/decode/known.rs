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
    /// The length of this instruction's opcode with its operand bytes, if that is what `code` begins with: bytes behind
    /// the prefixes, the first one lowest.
    #[inline(always)]
    const fn opcode_length(self, code: u64) -> Option<u8> {
        let (one, two, three) = (code as u8, code as u16, code as u32 & 0xff_ffff);
        match self {
            Self::Hlt if one == 0xf4 => Some(1),
            // F3 is its prefix; without it this is NOP, of the same length.
            Self::Pause if one == 0x90 => Some(1),
            Self::Cpuid if two == 0xa20f => Some(2),
            Self::Rdmsr if two == 0x320f => Some(2),
            Self::Wrmsr if two == 0x300f => Some(2),
            Self::Invd if two == 0x080f => Some(2),
            Self::Wbinvd if two == 0x090f => Some(2),
            Self::Rdpmc if two == 0x330f => Some(2),
            // C1 and D9, by one comparison: C9 and D1 between them are as long, and are not what has exited.
            Self::Hypercall if three | 0x18_0000 == 0xd9_010f => Some(3),
            Self::Xsetbv if three == 0xd1_010f => Some(3),
            Self::Io if one & 0xfc == 0xe4 => Some(2),
            Self::Io if one & 0xfc == 0xec || one & 0xfc == 0x6c => Some(1),
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

/// The prefixes but REX, as a bitmap of bytes; LOCK is none that these instructions may have.
const PREFIXES: [u64; 4] = bitmap(&[0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3]);

/// REX: 40 to 4F, in 64-bit mode.
const REX: [u64; 4] = [0, 0xffff, 0, 0];

const fn bitmap(mut bytes: &[u8]) -> [u64; 4] {
    let mut words = [0; 4];
    while let [byte, rest @ ..] = bytes {
        let [w0, w1, w2, w3] = &mut words;
        let word = match *byte >> 6 {
            0 => w0,
            1 => w1,
            2 => w2,
            _ => w3,
        };
        *word |= 1 << (*byte & 63);
        bytes = rest;
    }
    words
}

#[inline(always)]
fn is_in(bitmap: &[u64; 4], byte: u8) -> bool {
    bitmap.get(usize::from(byte >> 6)).is_some_and(|word| word >> (byte & 63) & 1 != 0)
}

/// The length of `known` at the start of `bytes`, by a prefix scan alone; `None` when something else stands there.
#[inline]
pub fn known_length(bytes: &[u8], mode: CpuMode, known: Known) -> Option<u8> {
    let bytes = bytes.get(..INSTRUCTION_MAX_BYTES).unwrap_or(bytes);
    let is_prefix = |byte: &u8| is_in(&PREFIXES, *byte) || mode == CpuMode::Long64 && is_in(&REX, *byte);
    let prefixes = bytes.iter().take_while(|byte| is_prefix(byte)).count();
    let code = bytes.iter().skip(prefixes).take(size_of::<u64>());
    let word = code.zip(0_u32..).fold(0, |word, (byte, place)| word | u64::from(*byte) << (8 * place));
    let length = prefixes + usize::from(known.opcode_length(word)?);
    // Bytes that are not there read as zero, which no opcode ends with but a port's number can.
    u8::try_from(length).ok().filter(|_| length <= bytes.len())
}

/// As [`known_length`] in 64-bit mode, of the instruction whose first eight bytes are `bytes`, the first one lowest.
/// `None` also when its end is too far off to tell.
#[inline(always)]
pub fn known_length_64(bytes: u64, known: Known) -> Option<u8> {
    const PREFIXES_64: [u64; 4] = {
        let ([p0, p1, p2, p3], [_, rex, ..]) = (PREFIXES, REX);
        [p0, p1 | rex, p2, p3]
    };
    // No opcode here begins like a prefix: it may be looked for first.
    if let Some(length) = known.opcode_length(bytes) {
        return Some(length);
    }
    let (mut rest, mut prefixes) = (bytes, 0_u8);
    // Zeroes come after the eight bytes, and zero is no prefix.
    while is_in(&PREFIXES_64, rest as u8) {
        rest >>= 8;
        prefixes = prefixes.wrapping_add(1);
        // What an opcode's last byte is may be unknown only where it does not matter: a port's number.
        if let Some(opcode) = known.opcode_length(rest) {
            return Some(prefixes.wrapping_add(opcode));
        }
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

    #[test]
    fn eight_bytes_in_a_word_are_judged_as_a_slice_of_them_is() {
        for known in Known::ALL {
            for prefixes in 0..=8 {
                let mut bytes = [0x3e_u8; 16];
                bytes[prefixes..prefixes + known.example().len()].copy_from_slice(known.example());
                let word = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                let by_slice = known_length(&bytes, CpuMode::Long64, known);
                let fits = prefixes + known.example().len() <= 8 || known == Known::Io && prefixes == 7;
                let expected = by_slice.filter(|_| fits);
                assert_eq!(known_length_64(word, known), expected, "{known:?} behind {prefixes} prefixes");
            }
        }
    }
}
