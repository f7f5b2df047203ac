//! What stands before each frame: which of its checksums and which cutting are left to others (VIRTIO 5.1.6).
//!
//! ```text
//!   0 flags u8 | 1 gso_type u8 | 2 hdr_len u16 | 4 gso_size u16 | 6 csum_start u16 | 8 csum_offset u16 | 10 num_buffers u16
//! ```

use super::{FRAME_BYTES_MIN, feature};

/// Its length; `num_buffers` is always there (5.1.6.1: without it only for a legacy driver).
pub(super) const HEADER_BYTES: usize = 12;

const FLAG_NEEDS_CSUM: u8 = 1 << 0;
const FLAG_DATA_VALID: u8 = 1 << 1;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;

/// A TCP header without options (RFC 9293, 3.1).
const TCP_HEADER_BYTES: u32 = 20;
/// Where TCP's checksum is in it.
const TCP_CHECKSUM_OFFSET: u16 = 16;
/// The least that a segment carries. No TCP sends less at once when it has more, and each segment costs whoever has to cut.
const SEGMENT_BYTES_MIN: u16 = 8;

/// What is known of the checksum of the innermost protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It is in the frame, and nobody has looked at it.
    Complete,
    /// It was found right, or there was no need to look.
    Valid,
    /// The field has the sum of the pseudo header only: it is to be replaced by the sum from `start` to the frame's end.
    Partial {
        /// Where summing starts, in bytes from the frame's start.
        start: u16,
        /// Where the sum is put, in bytes from `start`; both its bytes are in the frame.
        offset: u16,
    },
}

impl Checksum {
    /// Where two bytes of the frame will be others than its sender wrote, from the frame's start: not before
    /// [`FRAME_BYTES_MIN`]. None when the checksum is left to nobody.
    #[inline]
    pub const fn unfinished_at(&self) -> Option<u32> {
        match *self {
            Self::Complete | Self::Valid => None,
            Self::Partial { start, offset } => Some(start as u32 + offset as u32),
        }
    }
}

/// The protocol of a frame that is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentedProtocol {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
}

/// Whether TCP says that it has lowered its rate, which the first segment only must say (RFC 3168, 6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CongestionMark {
    /// It does.
    Set,
    /// It does not.
    Clear,
}

/// How a frame is to be cut into segments. Its checksum is partial then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Its protocol.
    pub protocol: SegmentedProtocol,
    /// The flag CWR of its TCP header.
    pub mark: CongestionMark,
    /// How much of the payload each segment has, but for the last.
    pub segment_bytes: u16,
    /// The sender's word for the length of all headers, which nobody may rely on (5.1.6.2.1); not past the frame's end.
    pub headers_bytes_hint: u16,
}

/// Who has to have agreed to a segmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Sender,
    Receiver,
}

impl Segmentation {
    /// The features without which the driver on `side` does not segment like this.
    pub(super) const fn needs(&self, side: Side) -> u64 {
        let (checksum, v4, v6, mark) = match side {
            Side::Sender => (feature::CSUM, feature::HOST_TSO4, feature::HOST_TSO6, feature::HOST_ECN),
            Side::Receiver => {
                (feature::GUEST_CSUM, feature::GUEST_TSO4, feature::GUEST_TSO6, feature::GUEST_ECN)
            }
        };
        let protocol = match self.protocol {
            SegmentedProtocol::TcpV4 => v4,
            SegmentedProtocol::TcpV6 => v6,
        };
        checksum | protocol | if matches!(self.mark, CongestionMark::Set) { mark } else { 0 }
    }
}

/// What a frame's header says, checked against the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetHeader {
    /// Its checksum.
    pub checksum: Checksum,
    /// How it is to be cut, if it is.
    pub segmentation: Option<Segmentation>,
}

impl NetHeader {
    /// A frame that is complete.
    pub const PLAIN: Self = Self { checksum: Checksum::Complete, segmentation: None };

    /// The header of a frame of `frame_bytes`, by a driver that has accepted `features`; `None` when what it says is not
    /// true of such a frame, or was not agreed to.
    pub(super) fn parse(bytes: [u8; HEADER_BYTES], frame_bytes: u32, features: u64) -> Option<Self> {
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1, _, _] = bytes;
        let word = |low, high| u16::from_le_bytes([low, high]);
        // Only a device says that it found a checksum valid (5.1.6.2.1).
        let checksum = if flags & FLAG_NEEDS_CSUM == 0 {
            Checksum::Complete
        } else {
            Self::partial(word(s0, s1), word(o0, o1), frame_bytes)
                .filter(|_| features & feature::CSUM != 0)?
        };
        if gso_type == GSO_NONE {
            return Some(Self { checksum, segmentation: None });
        }
        let segmentation = Segmentation {
            protocol: match gso_type & !GSO_ECN {
                GSO_TCPV4 => SegmentedProtocol::TcpV4,
                GSO_TCPV6 => SegmentedProtocol::TcpV6,
                _ => return None,
            },
            mark: if gso_type & GSO_ECN == 0 { CongestionMark::Clear } else { CongestionMark::Set },
            segment_bytes: word(g0, g1),
            headers_bytes_hint: word(h0, h1).min(u16::try_from(frame_bytes).unwrap_or(u16::MAX)),
        };
        let needs = segmentation.needs(Side::Sender);
        let is_sound = features & needs == needs && segmentation.is_sound(checksum, frame_bytes);
        is_sound.then_some(Self { checksum, segmentation: Some(segmentation) })
    }

    fn partial(start: u16, offset: u16, frame_bytes: u32) -> Option<Checksum> {
        let end = u32::from(start) + u32::from(offset) + 2;
        let fits = u32::from(start) >= FRAME_BYTES_MIN && end <= frame_bytes;
        fits.then_some(Checksum::Partial { start, offset })
    }

    /// The header as a driver reads it before a frame that lies in `buffers` buffers.
    pub(super) fn to_bytes(self, buffers: u16) -> [u8; HEADER_BYTES] {
        let (flags, start, offset) = match self.checksum {
            Checksum::Complete => (0, 0, 0),
            Checksum::Valid => (FLAG_DATA_VALID, 0, 0),
            Checksum::Partial { start, offset } => (FLAG_NEEDS_CSUM, start, offset),
        };
        let (gso_type, headers_bytes, segment_bytes) = match self.segmentation {
            None => (GSO_NONE, 0, 0),
            Some(segmentation) => {
                (segmentation.gso_type(), segmentation.headers_bytes_hint, segmentation.segment_bytes)
            }
        };
        let [h0, h1] = headers_bytes.to_le_bytes();
        let [g0, g1] = segment_bytes.to_le_bytes();
        let [s0, s1] = start.to_le_bytes();
        let [o0, o1] = offset.to_le_bytes();
        let [n0, n1] = buffers.to_le_bytes();
        [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1, n0, n1]
    }
}

impl Segmentation {
    const fn gso_type(&self) -> u8 {
        let protocol = match self.protocol {
            SegmentedProtocol::TcpV4 => GSO_TCPV4,
            SegmentedProtocol::TcpV6 => GSO_TCPV6,
        };
        protocol | if matches!(self.mark, CongestionMark::Set) { GSO_ECN } else { 0 }
    }

    /// How many segments a frame of `frame_bytes` gives at most.
    pub const fn segments_max(&self, frame_bytes: u32) -> usize {
        // At least 1, as `is_sound` has it.
        let each = if self.segment_bytes == 0 { 1 } else { self.segment_bytes as u32 };
        frame_bytes.div_ceil(each) as usize
    }

    /// Whether a TCP header can be where the checksum says (5.1.6.2.1).
    const fn is_sound(&self, checksum: Checksum, frame_bytes: u32) -> bool {
        let Checksum::Partial { start, offset } = checksum else { return false };
        offset == TCP_CHECKSUM_OFFSET
            && start as u32 + TCP_HEADER_BYTES <= frame_bytes
            && self.segment_bytes >= SEGMENT_BYTES_MIN
    }
}
