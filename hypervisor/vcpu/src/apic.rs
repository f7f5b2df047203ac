//! A local APIC that the processor runs while the guest does (Intel SDM, volume 3, chapter 30).
//!
//! Its registers lie in a page, laid out as an APIC's own page in xAPIC mode: register `n` at byte `16 * n`. The
//! processor delivers what IRR holds, carries out EOI, writes of the task priority and interrupts that the guest sends
//! to itself, and lets the guest read; every other write exits. What the page cannot say is [`ApicStatus`].

use base::Vector;

/// The bytes from one register to the next.
const STRIDE_BYTES: usize = 16;
const WORDS: usize = 1024;
const WORDS_PER_REGISTER: usize = STRIDE_BYTES / size_of::<u32>();

/// The registers.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct ApicPage([u32; WORDS]);

impl Default for ApicPage {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl ApicPage {
    /// Register `number`, 0-255.
    #[inline]
    pub fn register(&self, number: u32) -> u32 {
        self.0.get(number as usize * WORDS_PER_REGISTER).copied().unwrap_or_default()
    }

    /// Replaces register `number`.
    #[inline]
    pub fn set_register(&mut self, number: u32, value: u32) {
        if let Some(word) = self.0.get_mut(number as usize * WORDS_PER_REGISTER) {
            *word = value;
        }
    }

    /// Replaces bits 63:32 of register `number` as RDMSR reads it.
    #[inline]
    pub fn set_upper_half(&mut self, number: u32, value: u32) {
        if let Some(word) = self.0.get_mut(number as usize * WORDS_PER_REGISTER + 1) {
            *word = value;
        }
    }

    /// Adds `vectors`, 256 bits, to the set in the eight registers from `first` on.
    #[inline]
    pub fn insert_vectors(&mut self, first: u32, vectors: &[u64; 4]) {
        for (register, word) in (first..).step_by(2).zip(vectors) {
            if *word != 0 {
                self.set_register(register, self.register(register) | *word as u32);
                self.set_register(register + 1, self.register(register + 1) | (word >> 32) as u32);
            }
        }
    }

    /// Makes the set in the eight registers from `first` on `vectors`.
    pub fn set_vectors(&mut self, first: u32, vectors: &[u64; 4]) {
        for (register, word) in (first..).step_by(2).zip(vectors) {
            self.set_register(register, *word as u32);
            self.set_register(register + 1, (word >> 32) as u32);
        }
    }

    /// The set of vectors in the eight registers from `first` on, as 256 bits.
    #[inline]
    pub fn vectors(&self, first: u32) -> [u64; 4] {
        let half = |index: u32| u64::from(self.register(first + index));
        [0, 2, 4, 6].map(|low| half(low) | half(low + 1) << 32)
    }
}

/// How the guest reaches the registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApicAccess {
    /// Each access exits.
    #[default]
    Emulated,
    /// By MSRs 0x800-0x8FF, as [`crate::permission::X2APIC_MSRS`] says.
    Msrs,
    /// In memory at 0xFEE0_0000.
    Page,
}

/// What the processor has to know of a local APIC beyond its registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApicStatus {
    /// How the guest reaches it.
    pub access: ApicAccess,
    /// The highest vector in IRR.
    pub requested: Option<Vector>,
    /// The highest vector in ISR.
    pub in_service: Option<Vector>,
    /// The vectors whose end exits, as 256 bits.
    pub exiting_ends: [u64; 4],
}

/// How far a processor has come with the interrupts of an APIC that it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApicProgress {
    /// The highest vector in IRR.
    pub requested: Option<Vector>,
    /// The highest vector in ISR.
    pub in_service: Option<Vector>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_16_bytes_apart_and_sets_of_vectors_fill_eight() {
        let mut page = ApicPage::default();
        page.set_register(0x27, 1 << 31);
        page.set_register(0x20, 1 << 16);
        page.set_upper_half(0x30, 7);
        assert_eq!((page.0[0x270 / 4], page.0[0x304 / 4]), (1 << 31, 7));
        assert_eq!(page.vectors(0x20), [1 << 16, 0, 0, 1 << 63]);
        assert_eq!(page.register(0x400), 0);
    }
}
