//! Random bytes for guests: ChaCha20, keyed by what boot has gathered (RFC 8439).
//!
//! The key is half of boot's entropy; the other half is left for whatever needs secrets of the host's own.

use devices::virtio::rng::Entropy;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The host's generator.
pub struct HostEntropy(ChaCha20Rng);

impl HostEntropy {
    /// Keyed by the first half of boot's entropy.
    pub fn new(gathered: &[u8; 64]) -> Self {
        let mut key = [0; 32];
        key.iter_mut().zip(gathered).for_each(|(to, from)| *to = *from);
        Self(ChaCha20Rng::from_seed(key))
    }
}

impl Entropy for HostEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}
