//! An entropy device.

use super::guest::Guest;
use super::{Model, drive, taken_over};
use devices::virtio::rng::{Entropy, REQUEST_BYTES, Rng, STEP_CHAINS};
use devices::virtio::{Broken, VirtioDevice};

/// Counts what it gives.
struct Counted(u32);

impl Entropy for Counted {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 += bytes.len() as u32;
        bytes.fill(0x42);
    }
}

struct Dice(Rng);

/// The target.
pub fn rng(input: &[u8]) {
    drive(Dice(Rng::new()), input);
}

impl Model for Dice {
    const QUEUES: usize = 1;

    fn step(&mut self, guest: &mut Guest<'_>, _: u8) -> Result<(), Broken> {
        let mut entropy = Counted(0);
        let outcome = self.0.run(&mut guest.queues[0], &guest.memory, &mut entropy);
        assert!(entropy.0 <= REQUEST_BYTES * STEP_CHAINS);
        outcome.map(drop)
    }

    fn reset(&mut self, features: u64) {
        self.0.reset();
        self.0.features_accepted(features);
    }

    fn replace(&mut self) {
        self.0 = taken_over(&self.0, Rng::new());
    }
}
