//! The head of a frame, read at fixed offsets.

use super::{Dropped, TagChange};
use base::{MacAddress, VlanId};

/// EtherType of IPv4.
pub(super) const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub(super) const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub(super) const IPV6: u16 = 0x86dd;
/// EtherType of a VLAN tag (IEEE 802.1Q, table 9-1).
pub(super) const TAGGED: u16 = 0x8100;
/// EtherTypes of outer tags: the standard's, and what was used before it.
const TAGGED_OUTER: [u16; 2] = [0x88a8, 0x9100];

/// The VLAN's number in a tag.
const VLAN_BITS: u16 = 0xfff;

/// The start of the addresses that bridges keep to themselves: 01-80-C2-00-00-00 to -0F (IEEE 802.1Q, table 8-1).
const RESERVED: [u8; 5] = [0x01, 0x80, 0xc2, 0, 0];

/// What every frame begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub destination: MacAddress,
    pub source: MacAddress,
    /// EtherType, or a length below 0x600.
    pub kind: u16,
    /// What is seen of the rest.
    pub rest: &'a [u8],
}

impl<'a> Head<'a> {
    /// `None` when it is no whole header.
    pub fn parse(head: &'a [u8]) -> Option<Self> {
        let (destination, rest) = head.split_first_chunk()?;
        let (source, rest) = rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let (destination, source) = (MacAddress(*destination), MacAddress(*source));
        Some(Self { destination, source, kind: u16::from_be_bytes(*kind), rest })
    }

    pub fn is_tagged(&self) -> bool {
        is_tag(self.kind)
    }

    pub fn is_reserved(&self) -> bool {
        let MacAddress([start @ .., last]) = self.destination;
        start == RESERVED && last & 0xf0 == 0
    }

    /// The VLAN of a frame from outside, and what becomes of its tag on the way to a VM.
    pub fn outside_vlan(&self) -> Result<(Option<VlanId>, TagChange), Dropped> {
        if self.kind != TAGGED {
            return if self.is_tagged() { Err(Dropped::Tagged) } else { Ok((None, TagChange::Keep)) };
        }
        let (Some(tag), Some(inner)) = (u16_at(self.rest, 0), u16_at(self.rest, 2)) else {
            return Err(Dropped::Length);
        };
        let number = tag & VLAN_BITS;
        let vlan = VlanId::new(number);
        // Number 0 is a priority without a VLAN; a guest would take a second tag for its own.
        if is_tag(inner) || (vlan.is_none() && number != 0) {
            return Err(Dropped::Tagged);
        }
        Ok((vlan, TagChange::Remove))
    }
}

fn is_tag(kind: u16) -> bool {
    kind == TAGGED || TAGGED_OUTER.contains(&kind)
}

/// The bytes at `at`, if they are seen.
pub(super) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// A big-endian number.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes_at(bytes, at).map(u16::from_be_bytes)
}
