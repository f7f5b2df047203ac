//! Randomness for the kernel and for the image's place, mixed from whatever sources there are.

use handoff::EntropySource;
use sha2::{Digest, Sha256};

/// A pool that all sources are mixed into: no source can make it worse.
#[derive(Debug)]
pub struct Pool {
    hash: Sha256,
    best: EntropySource,
}

impl Default for Pool {
    fn default() -> Self {
        Self { hash: Sha256::new(), best: EntropySource::Timing }
    }
}

impl Pool {
    /// Mixes in `bytes` from `source`.
    pub fn add(&mut self, source: EntropySource, bytes: &[u8]) {
        self.hash.update([source as u8]);
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
        self.best = self.best.min(source);
    }

    /// What the pool holds.
    pub fn finish(self) -> Entropy {
        Entropy { key: self.hash.finalize().into(), source: self.best }
    }
}

/// A key from which independent random values are derived.
#[derive(Debug)]
pub struct Entropy {
    key: [u8; 32],
    source: EntropySource,
}

impl Entropy {
    /// The best source that was mixed in.
    pub const fn source(&self) -> EntropySource {
        self.source
    }

    /// The kernel's share.
    pub fn for_kernel(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let (low, high) = bytes.split_at_mut(32);
        low.copy_from_slice(&self.derive(b"kernel 0"));
        high.copy_from_slice(&self.derive(b"kernel 1"));
        bytes
    }

    /// The choice of the image's place; it tells nothing about the kernel's share.
    pub fn for_image_start(&self) -> u64 {
        let bytes = self.derive(b"image place");
        bytes.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
    }

    fn derive(&self, purpose: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(self.key).chain_update(purpose).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(parts: &[(EntropySource, &[u8])]) -> Entropy {
        let mut pool = Pool::default();
        parts.iter().for_each(|(source, bytes)| pool.add(*source, bytes));
        pool.finish()
    }

    #[test]
    fn the_best_source_is_named() {
        assert_eq!(with(&[]).source(), EntropySource::Timing);
        let both = with(&[(EntropySource::Firmware, &[1]), (EntropySource::Timing, &[2])]);
        assert_eq!(both.source(), EntropySource::Firmware);
    }

    #[test]
    fn every_byte_of_every_source_matters() {
        let one = with(&[(EntropySource::Timing, &[1, 2])]);
        let split = with(&[(EntropySource::Timing, &[1]), (EntropySource::Timing, &[2])]);
        let other = with(&[(EntropySource::Timing, &[1, 3])]);
        assert_ne!(one.for_kernel(), split.for_kernel());
        assert_ne!(one.for_kernel(), other.for_kernel());
        assert_ne!(one.for_kernel()[..32], one.for_kernel()[32..]);
        assert_ne!(one.for_image_start().to_le_bytes(), one.for_kernel()[..8]);
    }
}
