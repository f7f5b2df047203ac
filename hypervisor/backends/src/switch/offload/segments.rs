//! TCP segmentation: one long frame becomes several that a line takes.
//!
//! ```text
//!   Ethernet [tag] | IP | TCP | payload ...........................
//!   becomes, for each piece of the payload:
//!   the same, with IP's length, identification and sum, TCP's sequence number and sum changed; FIN and PSH in the last
//!   one only, CWR in the first one only (RFC 3168, section 6.1.2)
//! ```

use super::OffloadError;
use super::checksum::Sum;
use crate::switch::FRAME_BYTES_MAX;
use crate::switch::frame::{IPV4, IPV6, TAGGED, bytes_at, u16_at};

const ETHERNET_BYTES: usize = 14;
const TAG_BYTES: usize = 4;
const IPV4_BYTES_MIN: usize = 20;
const IPV6_BYTES: usize = 40;
const TCP_BYTES_MIN: usize = 20;
const TCP: u8 = 6;

// Flags of TCP (RFC 9293, section 3.1).
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// The segments of one frame.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    headers: &'a [u8],
    payload: &'a [u8],
    version: Version,
    /// Where the IP header begins.
    ip_at: usize,
    /// Where the TCP header begins.
    tcp_at: usize,
    payload_bytes: usize,
    /// How many were made.
    made: u16,
    is_done: Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    No,
    Yes,
}

impl<'a> Segments<'a> {
    /// The least payload of a segment, in bytes. Each costs whoever has to cut; Linux goes as low as this for a peer that takes
    /// only the shortest segments (its least MSS of 48 without TCP's options of up to 40).
    pub const PAYLOAD_BYTES_MIN: u16 = 8;

    /// The segments of `frame` with `payload_bytes` of payload each, the last with what is left.
    ///
    /// # Errors
    /// When it is no TCP frame, or one that cannot be cut so.
    pub fn new(frame: &'a [u8], payload_bytes: u16) -> Result<Self, OffloadError> {
        if payload_bytes < Self::PAYLOAD_BYTES_MIN {
            return Err(OffloadError::SegmentsTooSmall);
        }
        if frame.len() > FRAME_BYTES_MAX as usize {
            return Err(OffloadError::TooLong);
        }
        let kind = |at| u16_at(frame, at).ok_or(OffloadError::Short);
        let (kind, ip_at) = match kind(ETHERNET_BYTES - 2)? {
            TAGGED => (kind(ETHERNET_BYTES - 2 + TAG_BYTES)?, ETHERNET_BYTES + TAG_BYTES),
            kind => (kind, ETHERNET_BYTES),
        };
        let packet = frame.get(ip_at..).unwrap_or_default();
        let (version, ip_bytes) = match kind {
            IPV4 => (Version::V4, ipv4_header_bytes(packet)?),
            IPV6 => (Version::V6, ipv6_header_bytes(packet)?),
            _ => return Err(OffloadError::NotTcp),
        };
        let tcp_at = ip_at.saturating_add(ip_bytes);
        let offset = frame.get(tcp_at.saturating_add(12)).ok_or(OffloadError::Short)?;
        let tcp_bytes = usize::from(offset >> 4) * 4;
        if tcp_bytes < TCP_BYTES_MIN {
            return Err(OffloadError::NotTcp);
        }
        let (headers, payload) =
            frame.split_at_checked(tcp_at.saturating_add(tcp_bytes)).ok_or(OffloadError::Short)?;
        let payload_bytes = usize::from(payload_bytes);
        // The length in the IP header has 16 bits, and so has the one in the pseudo-header.
        if headers.len().saturating_sub(ip_at).saturating_add(payload_bytes.min(payload.len())) > 0xffff {
            return Err(OffloadError::NoRoom);
        }
        Ok(Self { headers, payload, version, ip_at, tcp_at, payload_bytes, made: 0, is_done: Done::No })
    }

    /// The length of the longest segment, in bytes.
    pub fn len_bytes_max(&self) -> usize {
        self.headers.len().saturating_add(self.payload_bytes.min(self.payload.len()))
    }

    /// Writes the next segment to the beginning of `out`, and returns its length; `None` after the last one.
    ///
    /// # Errors
    /// [`OffloadError::NoRoom`] when `out` is too short for it. The same segment comes again then.
    pub fn next_into(&mut self, out: &mut [u8]) -> Option<Result<usize, OffloadError>> {
        if self.is_done == Done::Yes {
            return None;
        }
        let written = self.write(out).ok_or(OffloadError::NoRoom);
        if written.is_ok() {
            self.made = self.made.wrapping_add(1);
            if self.start() >= self.payload.len() {
                self.is_done = Done::Yes;
            }
        }
        Some(written)
    }

    /// Where the payload of the next segment begins.
    fn start(&self) -> usize {
        usize::from(self.made).saturating_mul(self.payload_bytes)
    }

    fn payload_left(&self) -> &'a [u8] {
        self.payload.get(self.start()..).unwrap_or_default()
    }

    fn write(&self, out: &mut [u8]) -> Option<usize> {
        let left = self.payload_left();
        let piece = left.get(..self.payload_bytes).unwrap_or(left);
        let len_bytes = self.headers.len().checked_add(piece.len())?;
        let out = out.get_mut(..len_bytes)?;
        let (headers, payload) = out.split_at_mut_checked(self.headers.len())?;
        headers.copy_from_slice(self.headers);
        payload.copy_from_slice(piece);
        let is_last = piece.len() == left.len();
        self.change_ip(headers, piece.len())?;
        self.change_tcp(headers, piece, is_last)?;
        Some(len_bytes)
    }

    fn change_ip(&self, headers: &mut [u8], payload_bytes: usize) -> Option<()> {
        let after_ip = self.headers.len().checked_sub(self.tcp_at)?.checked_add(payload_bytes)?;
        let ip = headers.get_mut(self.ip_at..self.tcp_at)?;
        match self.version {
            Version::V4 => {
                let total = u16::try_from(after_ip.checked_add(ip.len())?).ok()?;
                put(ip, 2, &total.to_be_bytes())?;
                let identification = u16_at(ip, 4)?.wrapping_add(self.made);
                put(ip, 4, &identification.to_be_bytes())?;
                put(ip, 10, &[0; 2])?;
                let sum = Sum::default().with(ip).finish();
                put(ip, 10, &sum.to_be_bytes())
            }
            Version::V6 => put(ip, 4, &u16::try_from(after_ip).ok()?.to_be_bytes()),
        }
    }

    fn change_tcp(&self, headers: &mut [u8], piece: &[u8], is_last: bool) -> Option<()> {
        let pseudo = self.pseudo_header(piece.len())?;
        let tcp = headers.get_mut(self.tcp_at..)?;
        let sequence = bytes_at(tcp, 4).map(u32::from_be_bytes)?.wrapping_add(self.start() as u32);
        put(tcp, 4, &sequence.to_be_bytes())?;
        let flags = tcp.get_mut(13)?;
        if !is_last {
            *flags &= !(FIN | PSH);
        }
        if self.made != 0 {
            *flags &= !CWR;
        }
        put(tcp, 16, &[0; 2])?;
        // The header has whole words, so that the payload's words begin where they do.
        let sum = pseudo.with(tcp).with(piece).finish();
        put(tcp, 16, &sum.to_be_bytes())
    }

    /// The sum of addresses, protocol and length (RFC 9293, section 3.1; RFC 8200, section 8.1).
    fn pseudo_header(&self, payload_bytes: usize) -> Option<Sum> {
        let addresses = match self.version {
            Version::V4 => 12..20,
            Version::V6 => 8..40,
        };
        let ip = self.headers.get(self.ip_at..self.tcp_at)?;
        let tcp_bytes = self.headers.len().checked_sub(self.tcp_at)?.checked_add(payload_bytes)?;
        let len_bytes = u16::try_from(tcp_bytes).ok()?;
        Some(Sum::default().with(ip.get(addresses)?).with_word(TCP.into()).with_word(len_bytes))
    }
}

/// The length of an IPv4 header that TCP follows.
fn ipv4_header_bytes(packet: &[u8]) -> Result<usize, OffloadError> {
    let header: [u8; IPV4_BYTES_MIN] = bytes_at(packet, 0).ok_or(OffloadError::Short)?;
    let [first, _, _, _, _, _, fragment, offset, _, protocol, ..] = header;
    let len_bytes = usize::from(first & 0xf) * 4;
    // A fragment's flag "more" and its offset; "do not" may be there.
    let is_whole = fragment & 0x3f == 0 && offset == 0;
    let is_tcp = first >> 4 == 4 && len_bytes >= IPV4_BYTES_MIN && is_whole && protocol == TCP;
    is_tcp.then_some(len_bytes).ok_or(OffloadError::NotTcp)
}

/// The length of an IPv6 header that TCP follows.
fn ipv6_header_bytes(packet: &[u8]) -> Result<usize, OffloadError> {
    let header: [u8; IPV6_BYTES] = bytes_at(packet, 0).ok_or(OffloadError::Short)?;
    let [first, _, _, _, _, _, next_header, ..] = header;
    (first >> 4 == 6 && next_header == TCP).then_some(IPV6_BYTES).ok_or(OffloadError::NotTcp)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(at..)?.get_mut(..value.len())?.copy_from_slice(value);
    Some(())
}

#[cfg(test)]
mod tests;
