//! The last instructions decoded: guests reach devices by few instructions, again and again, and decoding is half of what
//! emulating one takes.
//!
//! A decoding is found by all that it depends on: the instruction's bytes, its address and the mode. So it is never out of
//! date, whatever the guest writes over its code.

use super::plain::PlainMove;
use crate::walk::INSTRUCTION_MAX_BYTES;
use iced_x86::Instruction;

/// How many are kept; a power of two.
const COUNT: u64 = 16;

/// What a decoding depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    rip: u64,
    /// The bytes, and above them the mode's number of bits: never zero.
    code: [u64; 2],
}

impl Key {
    /// That of the instruction that `bytes` begin with, at `rip`; `None` when they are fewer than an instruction can have.
    #[inline(always)]
    pub fn of(bytes: &[u8], rip: u64, bitness: u32) -> Option<Self> {
        let (low, _) = bytes.split_first_chunk::<8>()?;
        let (_, high) = bytes.get(..INSTRUCTION_MAX_BYTES)?.split_last_chunk::<8>()?;
        // The upper word has its lowest byte in common with the lower one.
        let high = u64::from_le_bytes(*high) >> 8 | u64::from(bitness) << 56;
        Some(Self { rip, code: [u64::from_le_bytes(*low), high] })
    }

    const fn place(&self) -> usize {
        ((self.rip ^ self.rip >> 4) & (COUNT - 1)) as usize
    }
}

/// What is known of an instruction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Decoding {
    key: Key,
    pub instruction: Instruction,
    /// The same, if it is a move that needs nothing special.
    pub plain: Option<PlainMove>,
}

/// The decodings of one VM's instructions.
#[derive(Clone, Debug)]
pub struct Decodings([Decoding; COUNT as usize]);

impl Default for Decodings {
    fn default() -> Self {
        Self([Decoding::default(); COUNT as usize])
    }
}

impl Decodings {
    #[inline(always)]
    pub(super) fn get(&self, key: &Key) -> Option<&Decoding> {
        self.0.get(key.place()).filter(|kept| kept.key == *key)
    }

    pub(super) fn put(&mut self, key: Key, instruction: &Instruction) {
        if let Some(place) = self.0.get_mut(key.place()) {
            *place = Decoding { key, instruction: *instruction, plain: PlainMove::of(instruction) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nop_with(length: usize) -> Instruction {
        let mut instruction = Instruction::default();
        instruction.set_len(length);
        instruction
    }

    proptest! {
        #[test]
        fn a_decoding_is_found_by_the_same_bytes_at_the_same_place_in_the_same_mode_only(
            bytes: [u8; 15], rip: u64, spoilt in 0_usize..15,
        ) {
            let mut kept = Decodings::default();
            let key = Key::of(&bytes, rip, 64).unwrap();
            prop_assert!(kept.get(&key).is_none());
            kept.put(key, &nop_with(3));
            prop_assert_eq!(kept.get(&key).map(|kept| kept.instruction.len()), Some(3));
            let mut other = bytes;
            other[spoilt] ^= 1;
            for key in [Key::of(&other, rip, 64), Key::of(&bytes, rip ^ 1 << 40, 64), Key::of(&bytes, rip, 32)] {
                prop_assert!(kept.get(&key.unwrap()).is_none());
            }
        }
    }

    #[test]
    fn too_few_bytes_are_not_kept() {
        assert_eq!(Key::of(&[0x90; 14], 0, 64), None);
    }
}
