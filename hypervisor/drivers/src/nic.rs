//! What every network card's driver is to those above: whole Ethernet frames, copied once each way.

use crate::Readiness;
use crate::error::DeviceError;
use base::{Instant, MacAddress};

/// The longest frame that a driver takes or gives, in bytes: 1,500 of payload, header and one VLAN tag, no checksum.
pub const MAX_FRAME_BYTES: usize = 1518;
/// The shortest frame that there is: destination, source and type.
pub const MIN_FRAME_BYTES: usize = 14;

/// Whether the cable leads anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Frames pass.
    Up,
    /// None does.
    Down,
}

/// What became of a frame that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The card has it.
    Accepted,
    /// The ring is full: worth another try after [`Nic::poll`].
    Full,
    /// Too long or too short for Ethernet, or the card has failed: dropped.
    Dropped,
}

/// What a driver has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NicCounters {
    /// Frames that the card took.
    pub sent: u64,
    /// Frames that were given to those above.
    pub received: u64,
    /// Frames that came damaged, cut or too long, and were dropped.
    pub receive_errors: u64,
    /// Frames that could not be sent.
    pub send_errors: u64,
}

/// A card's driver. It has no offloads: what it takes and gives are frames with all their checksums.
pub trait Nic {
    /// Its address.
    fn mac(&self) -> MacAddress;

    /// Whether the cable leads anywhere.
    fn link(&self) -> Link;

    /// Takes back what the card has sent, and notes what it says of itself. Call it when an interrupt has come, and
    /// before another try after [`Sent::Full`].
    fn poll(&mut self, now: Instant);

    /// Whether the card can be used. Poll as long as it is pending.
    fn readiness(&self) -> Readiness;

    /// What has gone wrong with the card since the last call, for the log.
    fn take_trouble(&mut self) -> Option<DeviceError>;

    /// Whether so many frames can be sent one after the other, or, of more than the ring can have, whether it is empty. A card
    /// that has failed always has room: it drops them.
    fn has_room(&self, frames: usize) -> bool;

    /// Sends a frame of `len_bytes`, which `fill` writes to where the card reads it. `fill` is called at most once.
    fn transmit_with(&mut self, len_bytes: usize, fill: impl FnOnce(&mut [u8])) -> Sent;

    /// Sends `frame`.
    fn transmit(&mut self, frame: &[u8]) -> Sent {
        self.transmit_with(frame.len(), |bytes| {
            bytes.iter_mut().zip(frame).for_each(|(byte, new)| *byte = *new);
        })
    }

    /// The next frame that has come in, until [`Nic::consume`]. A damaged one in its place is dropped.
    fn peek(&mut self) -> Option<&[u8]>;

    /// Gives the place of the frame that [`Nic::peek`] gave back to the card.
    fn consume(&mut self);

    /// What has passed.
    fn counters(&self) -> NicCounters;
}
