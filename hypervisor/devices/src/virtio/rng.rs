//! The entropy device (VIRTIO 5.4): random bytes in whatever buffers the driver offers.

use super::queue::{Chain, Queue};
use super::{Broken, Cursor, Progress, VirtioDevice, read_config_bytes};
use base::state::{SavedState, StateError};
use minicbor::{Decode, Encode};
use seams::GuestMemory;

/// The most bytes that one request gets: a device need not fill a buffer (5.4.6.2).
pub const REQUEST_BYTES: u32 = 1024;
/// The most requests that a step serves.
pub const STEP_CHAINS: u32 = 8;

/// How many bytes are copied at once.
const PIECE_BYTES: u32 = 64;

/// Where random bytes come from: an input, so that a run can be recorded.
pub trait Entropy {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// An entropy device. It remembers nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rng;

/// An entropy device as saved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RngState {}

impl Rng {
    /// A device after power-on.
    pub const fn new() -> Self {
        Self
    }

    /// Serves some requests: call it after a kick.
    ///
    /// # Errors
    /// How the driver broke the rules.
    pub fn run(
        &mut self,
        queue: &mut Queue,
        memory: &impl GuestMemory,
        entropy: &mut impl Entropy,
    ) -> Result<Progress, Broken> {
        let mut chain = Chain::new();
        for _ in 0..STEP_CHAINS {
            let Some(head) = queue.next_chain(memory, &mut chain)? else { return Ok(Progress::Idle) };
            if chain.writable_bytes() == 0 {
                return Err(Broken::Request("a request for random bytes has no room for any"));
            }
            let wanted = chain.writable_bytes().min(REQUEST_BYTES);
            fill(memory, &chain, wanted, entropy)?;
            queue.push_used(memory, head, wanted)?;
        }
        Ok(Progress::More)
    }
}

/// Fills the first `wanted` bytes of the buffers in `chain`.
fn fill(
    memory: &impl GuestMemory,
    chain: &Chain,
    wanted: u32,
    entropy: &mut impl Entropy,
) -> Result<(), Broken> {
    let mut cursor = Cursor::new(chain.writable());
    let mut bytes = [0; PIECE_BYTES as usize];
    let mut left = wanted;
    while left != 0 {
        let len = left.min(PIECE_BYTES);
        let Some(piece) = bytes.get_mut(..len as usize) else { break };
        entropy.fill(piece);
        cursor.write(memory, piece)?;
        left -= len;
    }
    Ok(())
}

impl VirtioDevice for Rng {
    fn device_id(&self) -> u16 {
        4
    }

    /// A device that fits no class.
    fn class(&self) -> u32 {
        0xff_0000
    }

    fn queue_count(&self) -> u16 {
        1
    }

    fn features(&self) -> u64 {
        0
    }

    fn config_len(&self) -> u32 {
        0
    }

    fn read_config(&self, offset: u32, bytes: &mut [u8]) {
        read_config_bytes(&[], offset, bytes);
    }

    fn features_accepted(&mut self, _features: u64) {}

    fn reset(&mut self) {}
}

impl SavedState for Rng {
    const SECTION: &'static str = "virtio-rng";
    const VERSION: u16 = 1;
    type Image = RngState;

    fn save(&self) -> RngState {
        RngState {}
    }

    fn load(&mut self, _image: RngState) -> Result<(), StateError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::testing::{load, saved};
    use crate::virtio::feature;
    use crate::virtio::queue::testing::{BUFFERS, Buffer, Driver, Layout, Used};
    use std::vec::Vec;

    /// Counts up, so that bytes can be told apart.
    struct Counter(u8);

    impl Entropy for Counter {
        fn fill(&mut self, bytes: &mut [u8]) {
            for byte in bytes {
                *byte = self.0;
                self.0 = self.0.wrapping_add(1);
            }
        }
    }

    fn bench() -> (Driver, Queue) {
        Driver::new(16, feature::RING_INDIRECT_DESC)
    }

    #[test]
    fn buffers_are_filled_and_no_byte_is_given_twice() {
        let (mut driver, mut queue) = bench();
        let buffers = [Buffer::Writable(BUFFERS, 60), Buffer::Writable(BUFFERS + 60, 40)];
        let heads = [&buffers[..], &[Buffer::Writable(BUFFERS + 100, 3)]]
            .map(|buffers| driver.add(Layout::Indirect, buffers).unwrap());
        let outcome = Rng::new().run(&mut queue, &driver.memory, &mut Counter(0));
        assert_eq!(outcome, Ok(Progress::Idle));
        let _ = queue.settle(&driver.memory).unwrap();
        let used = [Used { head: heads[0], written_bytes: 100 }, Used { head: heads[1], written_bytes: 3 }];
        assert_eq!(driver.take_used(), used);
        assert_eq!(driver.memory.bytes(BUFFERS, 103), (0..103).collect::<Vec<u8>>());
    }

    #[test]
    fn requests_and_steps_are_bounded() {
        let (mut driver, mut queue) = bench();
        for _ in 0..=STEP_CHAINS {
            driver.add(Layout::Direct, &[Buffer::Writable(BUFFERS, 1 << 20)]).unwrap();
        }
        let mut rng = Rng::new();
        assert_eq!(rng.run(&mut queue, &driver.memory, &mut Counter(0)), Ok(Progress::More));
        let _ = queue.settle(&driver.memory).unwrap();
        let used = driver.take_used();
        assert_eq!(used.len(), STEP_CHAINS as usize);
        assert!(used.iter().all(|used| used.written_bytes == REQUEST_BYTES));
        assert_eq!(rng.run(&mut queue, &driver.memory, &mut Counter(0)), Ok(Progress::Idle));
    }

    #[test]
    fn a_request_without_room_is_a_breach() {
        let (mut driver, mut queue) = bench();
        driver.add(Layout::Direct, &[Buffer::Readable(BUFFERS, 1)]).unwrap();
        let outcome = Rng::new().run(&mut queue, &driver.memory, &mut Counter(0));
        assert!(matches!(outcome, Err(Broken::Request(_))), "{outcome:?}");
    }

    #[test]
    fn a_state_is_taken_over() {
        load(&mut Rng::new(), &saved(&Rng::new()));
    }
}
