//! What becomes of a frame: who gets it, or why nobody does.

use super::frame::TAGGED;
use base::VlanId;
use core::fmt;

/// A port's place on its bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortId(u8);

impl PortId {
    pub(super) const fn new(number: u8) -> Self {
        Self(number)
    }

    /// Its number, below [`PORTS_MAX`](super::PORTS_MAX).
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    const fn bit(self) -> u64 {
        1_u64.wrapping_shl(self.0 as u32)
    }
}

/// Ports of one bridge.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct PortSet(u64);

impl PortSet {
    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether there is more than one.
    pub const fn is_several(self) -> bool {
        self.0 & self.0.wrapping_sub(1) != 0
    }

    /// Whether `port` is among them.
    pub const fn contains(self, port: PortId) -> bool {
        self.0 & port.bit() != 0
    }

    /// Each of them.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = PortId> {
        self.iter_behind(None)
    }

    /// Each of them, those with higher numbers than `last` first.
    #[inline]
    pub fn iter_behind(self, last: Option<PortId>) -> impl Iterator<Item = PortId> {
        let begin = last.map_or(0, |last| u32::from(last.0) + 1);
        let mut left = self.0.rotate_right(begin);
        core::iter::from_fn(move || {
            let place = left.trailing_zeros();
            let is_there = left != 0;
            left &= left.wrapping_sub(1);
            is_there.then_some(PortId(((begin + place) % u64::BITS) as u8))
        })
    }

    /// These ports and `id`.
    #[must_use]
    pub const fn with(self, port: PortId) -> Self {
        Self(self.0 | port.bit())
    }

    /// The ports that are in one of the two.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn without(self, port: PortId) -> Self {
        Self(self.0 & !port.bit())
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|port| port.0)).finish()
    }
}

/// What to do with the tag of a frame on its way to one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagChange {
    /// Nothing.
    Keep,
    /// Put the four bytes of [`tag_bytes`] behind the addresses.
    Insert(VlanId),
    /// Leave out the four bytes behind the addresses.
    Remove,
}

/// Where a tag stands in a frame: behind the two addresses.
pub const TAG_AT: usize = 12;

/// A tag without priority (IEEE 802.1Q, section 9.6).
pub const fn tag_bytes(vlan: VlanId) -> [u8; 4] {
    let [kind, more] = TAGGED.to_be_bytes();
    let [high, low] = vlan.number().to_be_bytes();
    [kind, more, high, low]
}

/// Who gets a frame; somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The guests.
    pub vms: PortSet,
    /// What becomes of the tag on the way to them.
    pub vm_tag: TagChange,
    /// The uplinks.
    pub uplinks: PortSet,
    /// What becomes of the tag on the way to them.
    pub uplink_tag: TagChange,
}

impl Forward {
    /// Each receiver, with what becomes of the tag.
    #[inline]
    pub fn receivers(&self) -> impl Iterator<Item = (PortId, TagChange)> {
        let Self { uplinks, vm_tag, uplink_tag, .. } = *self;
        self.all().iter().map(move |port| (port, if uplinks.contains(port) { uplink_tag } else { vm_tag }))
    }

    /// Whether there is one receiver only.
    #[inline]
    pub const fn is_for_one(&self) -> bool {
        let PortSet(all) = self.all();
        all & all.wrapping_sub(1) == 0
    }

    const fn all(&self) -> PortSet {
        self.vms.union(self.uplinks)
    }
}

/// Why nobody gets a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It is shorter than an Ethernet header, or longer than any frame.
    Length,
    /// The port is not there.
    NoPort,
    /// It is not from the address of its port; or from outside, and from the address of a VM or of none.
    SourceMac,
    /// It is from an IP address that is not its port's, or its source cannot be seen.
    SourceIp,
    /// It speaks for an address that is not its port's: ARP, neighbour or router discovery.
    Neighbour,
    /// It is neither IP nor ARP, from a port with given addresses.
    Protocol,
    /// It has a tag where none may be, or two.
    Tagged,
    /// It is for the bridge itself, which takes part in no protocol (IEEE 802.1Q, table 8-1).
    Reserved,
    /// It is for a VM in another VLAN.
    Vlan,
    /// It is between two VMs of which one may talk to the uplink only.
    Isolated,
    /// Its sender has sent as much as it may.
    Rate,
    /// There is nobody that it could be for.
    NoReceiver,
    /// Its receiver had no room. Told by who moves frames, with [`Bridge::undelivered`](super::Bridge::undelivered).
    ReceiverFull,
}

impl Dropped {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Every reason.
    pub const ALL: [Self; 13] = [
        Self::Length,
        Self::NoPort,
        Self::SourceMac,
        Self::SourceIp,
        Self::Neighbour,
        Self::Protocol,
        Self::Tagged,
        Self::Reserved,
        Self::Vlan,
        Self::Isolated,
        Self::Rate,
        Self::NoReceiver,
        Self::ReceiverFull,
    ];
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "length",
            Self::NoPort => "port",
            Self::SourceMac => "source MAC",
            Self::SourceIp => "source IP",
            Self::Neighbour => "ARP or ND owner",
            Self::Protocol => "protocol",
            Self::Tagged => "tag",
            Self::Reserved => "reserved address",
            Self::Vlan => "VLAN",
            Self::Isolated => "isolation",
            Self::Rate => "rate",
            Self::NoReceiver => "no receiver",
            Self::ReceiverFull => "receiver full",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn each_port_of_a_set_comes_once_and_those_behind_the_last_one_first() {
        let set = [0, 1, 5, 63].map(PortId).into_iter().fold(PortSet::default(), PortSet::with);
        let order =
            |last: Option<u8>| set.iter_behind(last.map(PortId)).map(|port| port.0).collect::<Vec<_>>();
        assert_eq!(order(None), [0, 1, 5, 63]);
        assert_eq!(order(Some(0)), [1, 5, 63, 0]);
        assert_eq!(order(Some(4)), [5, 63, 0, 1]);
        assert_eq!(order(Some(62)), [63, 0, 1, 5]);
        assert_eq!(order(Some(63)), [0, 1, 5, 63]);
        assert_eq!(set.iter().count(), 4);
        assert_eq!(PortSet::default().iter_behind(Some(PortId(7))).count(), 0);
    }
}
