//! The frames by which two stations talk.
//!
//! | bytes | |
//! |---|---|
//! | 0-5, 6-11, 12-13 | destination, source, [`ETHER_TYPE`] |
//! | 14 | [`ASK`] or [`ANSWER`] |
//! | 15, 16 | the round, and the number of the ask in it, which gives the length |
//! | 17 | 0 |
//! | 18-21 | counts all that its sender has sent: what comes twice or late shows |
//! | 22 to the end | bytes that follow from round, number and place |

/// A station's address.
pub type Mac = [u8; 6];

/// To all stations.
pub const BROADCAST: Mac = [0xff; 6];
/// How often each station asks in a round.
pub const ASKS: u8 = 40;
/// Local experimental EtherType 1 (IEEE 802, clause 9.2.4).
const ETHER_TYPE: [u8; 2] = [0x88, 0xb5];
const ASK: u8 = 1;
const ANSWER: u8 = 2;
const HEADER_BYTES: usize = 22;
/// From Ethernet's shortest frame to its longest, without the checksum.
const LENS_BYTES: [usize; 4] = [60, 64, 999, 1514];

/// What a frame is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Wants an answer. The first one of a round is for all stations.
    Ask,
    /// A copy of an ask.
    Answer,
}

/// A frame.
#[derive(Clone, Copy)]
pub struct Frame {
    pub to: Mac,
    pub from: Mac,
    pub kind: Kind,
    pub round: u8,
    /// Of the ask in its round.
    pub number: u8,
    /// Of the frame among all that its sender has sent.
    pub count: u32,
}

impl Frame {
    /// How long it is.
    pub fn len_bytes(&self) -> usize {
        LENS_BYTES[usize::from(self.number) % LENS_BYTES.len()]
    }

    /// Writes it to a buffer of its length.
    pub fn write(&self, bytes: &mut [u8]) {
        let kind = if self.kind == Kind::Ask { ASK } else { ANSWER };
        bytes[..6].copy_from_slice(&self.to);
        bytes[6..12].copy_from_slice(&self.from);
        bytes[12..14].copy_from_slice(&ETHER_TYPE);
        bytes[14..18].copy_from_slice(&[kind, self.round, self.number, 0]);
        bytes[18..HEADER_BYTES].copy_from_slice(&self.count.to_le_bytes());
        for (place, byte) in bytes.iter_mut().enumerate().skip(HEADER_BYTES) {
            *byte = self.filler(place);
        }
    }

    /// Reads one whose every byte is as a station writes it.
    pub fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or("a frame that is too short")?;
        let [t0, t1, t2, t3, t4, t5, f0, f1, f2, f3, f4, f5, e0, e1, kind, round, number, 0, rest @ ..] =
            *header
        else {
            return Err("a frame with another header");
        };
        let kind = match kind {
            ASK => Kind::Ask,
            ANSWER => Kind::Answer,
            _ => return Err("a frame of no kind"),
        };
        let count = u32::from_le_bytes(rest);
        let (to, from) = ([t0, t1, t2, t3, t4, t5], [f0, f1, f2, f3, f4, f5]);
        let frame = Self { to, from, kind, round, number, count };
        if [e0, e1] != ETHER_TYPE || number >= ASKS {
            return Err("a frame that nobody sends");
        }
        let mut filler = bytes.iter().enumerate().skip(HEADER_BYTES);
        if bytes.len() != frame.len_bytes() || !filler.all(|(place, byte)| *byte == frame.filler(place)) {
            return Err("a frame with another length or other contents");
        }
        Ok(frame)
    }

    fn filler(&self, place: usize) -> u8 {
        (place * 7 + place / 256) as u8 ^ self.round.wrapping_mul(0x55) ^ self.number
    }
}
