//! The network device: one queue in each direction, and frames whose offloads stay as they are (VIRTIO 5.1).
//!
//! ```text
//!   sender                            whoever moves frames                        receiver
//!   next_frame  ── Frame ──────>      looks at its first bytes, chooses
//!                                     acceptance  <───────────────────────────   its features
//!                                     receive(header, length, copy)  ────────>   buffers, one copy
//!   sent        <──────────────
//! ```
//! Nothing is copied but by `copy`, from the sender's buffers into the receiver's, and that only when the receiver has room
//! for the whole frame. What stands behind the device knows nothing of queues, and the device nothing of addresses.

mod frame;
mod header;
mod receive;
mod state;
#[cfg(test)]
mod tests;

pub use frame::{Fetched, Frame, FrameReader, HEAD_BYTES};
pub use header::{Checksum, CongestionMark, NetHeader, Segmentation, SegmentedProtocol};
pub use receive::Received;
pub use state::NetState;

use super::{VirtioDevice, read_config_bytes};
use base::MacAddress;

/// The queue of buffers for frames that the guest receives.
pub const RECEIVE_QUEUE: u16 = 0;
/// The queue of frames that the guest transmits.
pub const TRANSMIT_QUEUE: u16 = 1;

/// The shortest frame: an Ethernet header.
pub const FRAME_BYTES_MIN: u32 = 14;
/// The longest frame, with segmentation left to others (5.1.6.3.1: 65,562 bytes with the header).
pub const FRAME_BYTES_MAX: u32 = 65_550;

/// The smallest MTU that IPv4 allows, and the largest that a frame holds (5.1.4.1).
const MTU_RANGE: core::ops::RangeInclusive<u16> = 68..=65_535;

/// Feature bits (5.1.3).
mod feature {
    /// Frames may come from the driver with a partial checksum.
    pub(super) const CSUM: u64 = 1 << 0;
    /// The driver takes frames with a partial checksum.
    pub(super) const GUEST_CSUM: u64 = 1 << 1;
    pub(super) const MTU: u64 = 1 << 3;
    pub(super) const MAC: u64 = 1 << 5;
    pub(super) const GUEST_TSO4: u64 = 1 << 7;
    pub(super) const GUEST_TSO6: u64 = 1 << 8;
    pub(super) const GUEST_ECN: u64 = 1 << 9;
    pub(super) const HOST_TSO4: u64 = 1 << 11;
    pub(super) const HOST_TSO6: u64 = 1 << 12;
    pub(super) const HOST_ECN: u64 = 1 << 13;
    /// A frame may lie in several of the driver's buffers.
    pub(super) const MRG_RXBUF: u64 = 1 << 15;
    pub(super) const STATUS: u64 = 1 << 16;
}

/// What every device offers.
const OFFERED: u64 = feature::CSUM
    | feature::GUEST_CSUM
    | feature::MAC
    | feature::GUEST_TSO4
    | feature::GUEST_TSO6
    | feature::GUEST_ECN
    | feature::HOST_TSO4
    | feature::HOST_TSO6
    | feature::HOST_ECN
    | feature::MRG_RXBUF
    | feature::STATUS;

/// What needs what (5.1.3.1): a feature, and those of which it needs one.
const DEPENDENCIES: [(u64, u64); 6] = [
    (feature::GUEST_TSO4, feature::GUEST_CSUM),
    (feature::GUEST_TSO6, feature::GUEST_CSUM),
    (feature::GUEST_ECN, feature::GUEST_TSO4 | feature::GUEST_TSO6),
    (feature::HOST_TSO4, feature::CSUM),
    (feature::HOST_TSO6, feature::CSUM),
    (feature::HOST_ECN, feature::HOST_TSO4 | feature::HOST_TSO6),
];

/// The configuration's `status`: the link is up (5.1.4).
const STATUS_LINK_UP: u16 = 1;
/// The configuration up to `mtu`.
const CONFIG_BYTES: u32 = 12;

/// Whether the cable is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It is.
    Up,
    /// It is not.
    Down,
}

/// Whether the driver is to be told of a change of the configuration, by an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the driver learns of the change by an interrupt only"]
pub enum ConfigChange {
    /// It is.
    Changed,
    /// All is as before.
    Same,
}

/// How a receiver takes a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// As it is.
    AsItIs,
    /// With its checksum filled in.
    Checksummed,
    /// In pieces of its segment size, each with its checksums filled in.
    Segmented,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    mac: MacAddress,
    mtu: Option<u16>,
    state: NetState,
}

impl Net {
    /// A device with the address `mac`, whose link is up. Its driver is told of `mtu`, the longest payload that passes
    /// unsegmented, if there is one from 68 bytes on.
    pub fn new(mac: MacAddress, mtu: Option<u16>) -> Self {
        Self { mac, mtu: mtu.filter(|mtu| MTU_RANGE.contains(mtu)), state: NetState::new() }
    }

    /// Its address.
    pub const fn mac(&self) -> MacAddress {
        self.mac
    }

    /// Whether its link is up.
    pub const fn link(&self) -> Link {
        if self.state.is_link_up { Link::Up } else { Link::Down }
    }

    /// Plugs the cable in or out.
    pub fn set_link(&mut self, link: Link) -> ConfigChange {
        let before = self.link();
        self.state.is_link_up = link == Link::Up;
        if before != link && self.has(feature::STATUS) { ConfigChange::Changed } else { ConfigChange::Same }
    }

    /// How many frames the guest wanted to send that were none, since power-on.
    pub const fn malformed_frames(&self) -> u64 {
        self.state.malformed_frames
    }

    /// How this guest takes a frame with `header` (5.1.6.4.1).
    pub const fn acceptance(&self, header: &NetHeader) -> Acceptance {
        if let Some(segmentation) = &header.segmentation
            && !self.has_all(segmentation.needs(header::Side::Receiver))
        {
            return Acceptance::Segmented;
        }
        match header.checksum {
            Checksum::Partial { .. } if !self.has(feature::GUEST_CSUM) => Acceptance::Checksummed,
            _ => Acceptance::AsItIs,
        }
    }

    const fn has(&self, feature: u64) -> bool {
        self.state.features & feature != 0
    }

    const fn has_all(&self, features: u64) -> bool {
        self.state.features & features == features
    }

    fn config(&self) -> [u8; CONFIG_BYTES as usize] {
        let [a, b, c, d, e, f] = self.mac.0;
        let status = if self.state.is_link_up { STATUS_LINK_UP } else { 0 };
        let [status_low, status_high] = status.to_le_bytes();
        // Without VIRTIO_NET_F_MQ there is one pair of queues, and the field is not there to be read (5.1.4).
        let [mtu_low, mtu_high] = self.mtu.unwrap_or(0).to_le_bytes();
        [a, b, c, d, e, f, status_low, status_high, 0, 0, mtu_low, mtu_high]
    }
}

impl VirtioDevice for Net {
    fn device_id(&self) -> u16 {
        1
    }

    /// Network controller, Ethernet.
    fn class(&self) -> u32 {
        0x02_0000
    }

    fn dependencies(&self) -> &'static [(u64, u64)] {
        &DEPENDENCIES
    }

    fn queue_count(&self) -> u16 {
        2
    }

    fn features(&self) -> u64 {
        OFFERED | self.mtu.map_or(0, |_| feature::MTU)
    }

    fn config_len(&self) -> u32 {
        CONFIG_BYTES
    }

    fn read_config(&self, offset: u32, bytes: &mut [u8]) {
        read_config_bytes(&self.config(), offset, bytes);
    }

    fn features_accepted(&mut self, features: u64) {
        self.state.features = features & self.features();
    }

    fn reset(&mut self) {
        self.state.features = 0;
    }
}
