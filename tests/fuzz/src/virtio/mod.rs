//! virtio devices with a driver that means harm: rings, descriptors and buffers of any content in a small memory, and steps
//! of the device in between.
//!
//! ```text
//! input:   size of the queues u8 | ring features u8 | device features u32 | act ...
//! act:     op u8 | what it takes
//!            low four bits  0-3 offer a chain          [shape u8 | (address u16 | length u16) ...]
//!                           4   write bytes             [address u16 | length u8 | bytes]
//!                           5   write a descriptor      [index u8 | address scaled | length scaled u16 | flags u8 | next u8]
//!                           6   move the available index by so much  [u8]
//!                           7   say when to interrupt   [u16]
//!                           8   reset everything
//!                           9   the device is replaced by one that takes over its state
//!                           10- a step of the device     [what it takes]
//!            high four bits the queue, or what kind of step
//! ```

mod blk;
mod console;
mod guest;
mod memory;
mod net;
mod queue;
mod rng;

pub use blk::blk;
pub use console::console;
pub use net::net;
pub use queue::virtqueue;
pub use rng::rng;

use crate::Bytes;
use crate::drive::{load, saved};
use base::state::SavedState;
use core::fmt::Debug;
use devices::virtio::Broken;
use guest::Guest;

/// The most that a driver does in one input.
const ACTS_MAX: usize = 100;
/// How often a device is replaced: that costs as much as many other acts.
const COPIES_MAX: usize = 4;
/// More is copied by no input: it would only take longer.
const COPIED_BYTES_MAX: u64 = 1 << 21;
/// The most accesses to memory that a step may make: its chains, each with all descriptors and segments there can be.
const STEP_ACCESSES_MAX: u64 = 64 * 3 * 140;

/// A device, and what stands behind it.
trait Model {
    /// How many queues it has.
    const QUEUES: usize;

    /// A step of the device of one of 16 kinds.
    fn step(&mut self, guest: &mut Guest<'_>, kind: u8) -> Result<(), Broken>;

    /// Resets the device; the driver then accepts `features`.
    fn reset(&mut self, features: u64);

    /// Replaces the device by one that takes over its state.
    fn replace(&mut self);
}

/// Lets a driver do what `input` says to `model`, and checks that
/// - a step's work is bounded;
/// - a broken rule has words, and after a reset all goes on;
/// - what is saved is taken over and saved again just so.
fn drive(mut model: impl Model, input: &[u8]) {
    let mut guest = Guest::new(Bytes::new(input), queues_of(&model));
    model.reset(guest.device_features);
    let mut copies = 0;
    for _ in 0..ACTS_MAX {
        if guest.input.is_empty() || guest.memory.copied_bytes() > COPIED_BYTES_MAX {
            break;
        }
        let op = guest.input.u8();
        let (act, which) = (op & 15, op >> 4);
        match act {
            0..=3 => guest.offer_chain(which),
            4 => guest.write_bytes(),
            5 => guest.write_descriptor(which),
            6 => guest.move_index(which),
            7 => guest.set_event(which),
            8 => reset(&mut model, &mut guest),
            9 => {
                if copies < COPIES_MAX {
                    copies += 1;
                    model.replace();
                    guest.replace_queues();
                }
            }
            _ => {
                guest.memory.start_counting();
                let outcome = model.step(&mut guest, which).and_then(|()| guest.settle());
                assert!(guest.memory.accesses() <= STEP_ACCESSES_MAX, "{} accesses", guest.memory.accesses());
                if let Err(broken) = outcome {
                    assert!(!broken.to_string().is_empty());
                    reset(&mut model, &mut guest);
                }
            }
        }
    }
    model.replace();
}

const fn queues_of<M: Model>(_: &M) -> usize {
    M::QUEUES
}

fn reset(model: &mut impl Model, guest: &mut Guest<'_>) {
    model.reset(guest.device_features);
    guest.reset_queues();
}

/// `new` with the state of `device`, which is what is saved again.
fn taken_over<D: SavedState>(device: &D, mut new: D) -> D
where
    D::Image: PartialEq + Debug,
{
    load(&mut new, &saved(device));
    assert_eq!(new.save(), device.save());
    new
}
