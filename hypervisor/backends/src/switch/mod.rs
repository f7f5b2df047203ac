//! The switch: who gets a frame, and who may send it.
//!
//! ```text
//!        VM        VM        VM                 a port each; checked here, where no guest can reach
//!         |         |         |
//!   +-----+---------+---------+-----+
//!   |            Bridge             |           one for each network
//!   +---------------+---------------+
//!                   |
//!                 uplink                        a NIC of the host; its frames carry VLAN tags
//! ```
//! Policy only: the first bytes of a frame and its length go in, the ports that get it or the reason why nobody does come
//! out. Who asked then copies the frame from guest to guest, once for each receiver.
//!
//! # Principles
//! - **Fixed offsets.** Headers are read where they are without options, and what cannot be read there is not let through
//!   where it matters. Nothing is followed, put together or remembered of a connection.
//! - **Nothing is allocated, and nothing grows, for a frame.** A frame costs a bounded number of steps.
//! - **Addresses of VMs are given, not learned.** So frames to nobody known go only where somebody unknown can be: to
//!   uplinks. No guest sees what is meant for another, and none can take another's place.
//! - **Each drop has a reason and is counted** at the port that the frame came from.

mod checks;
mod counters;
mod frame;
pub mod offload;
mod rate;
mod table;
#[cfg(test)]
mod tests;

pub use counters::{Counters, Traffic};
pub use rate::RateLimit;

use alloc::vec::Vec;
use base::{BitRate, Instant, MacAddress, VlanId};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use frame::Head;
use table::MacTable;

/// How much of a frame the switch looks at, in bytes.
pub const HEAD_BYTES: usize = 128;

/// The longest frame, in bytes: what a sender that segments later hands over, with its Ethernet header and a tag.
pub const FRAME_BYTES_MAX: u32 = 65535 + 14 + 4;

/// The most ports of a bridge.
pub const PORTS_MAX: usize = 64;

/// A port's place on its bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortId(u8);

impl PortId {
    /// Its number, below [`PORTS_MAX`].
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

    /// Whether `port` is among them.
    pub const fn contains(self, port: PortId) -> bool {
        self.0 & port.bit() != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = PortId> {
        (0..PORTS_MAX as u8).map(PortId).filter(move |port| self.contains(*port))
    }

    const fn with(self, port: PortId) -> Self {
        Self(self.0 | port.bit())
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|port| port.0)).finish()
    }
}

/// What is at a port.
///
/// A VM that looks at the frames of others will be another kind: frames to and from the ports that it guards go to it first,
/// so that [`Bridge::forward`] is asked a second time for what it lets pass.
#[derive(Clone, Debug)]
pub enum PortKind {
    /// A guest, which is not believed anything.
    Vm(VmPort),
    /// The outside: frames of any sender, with tags of any VLAN.
    Uplink,
}

/// What a guest may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmPort {
    mac: MacAddress,
    /// None when any source is allowed.
    addresses: Option<Addresses>,
    vlan: Option<VlanId>,
    reach: Reach,
}

/// The addresses that a guest may send from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Addresses {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

/// Whom a guest may talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All on the network.
    Network,
    /// The uplink only.
    Uplink,
}

impl VmPort {
    /// A guest that sends from `mac`, and, unless `ip` is empty, from these IP addresses only; in a VLAN, or in the one
    /// without tags.
    pub fn new(mac: MacAddress, ip: &[IpAddr], vlan: Option<VlanId>, reach: Reach) -> Self {
        let v4 = ip.iter().filter_map(|ip| if let IpAddr::V4(v4) = ip { Some(*v4) } else { None }).collect();
        let v6: Vec<_> =
            ip.iter().filter_map(|ip| if let IpAddr::V6(v6) = ip { Some(*v6) } else { None }).collect();
        // Neighbour discovery is between link-local addresses; this one follows from the MAC, so that it is nobody else's.
        let link_local = (!v6.is_empty()).then(|| checks::link_local(mac));
        let v6 = v6.into_iter().chain(link_local).collect();
        Self { mac, addresses: (!ip.is_empty()).then_some(Addresses { v4, v6 }), vlan, reach }
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
    let [kind, more] = frame::TAGGED.to_be_bytes();
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
    pub fn receivers(&self) -> impl Iterator<Item = (PortId, TagChange)> {
        let (vm_tag, uplink_tag) = (self.vm_tag, self.uplink_tag);
        let vms = self.vms.iter().map(move |port| (port, vm_tag));
        vms.chain(self.uplinks.iter().map(move |port| (port, uplink_tag)))
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
    /// Its receiver had no room. Told by who moves frames, with [`Bridge::undelivered`].
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

/// Why a port could not be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// There are as many ports as there can be.
    Full,
    /// Another port has the address.
    MacInUse(MacAddress),
    /// The host has no memory for it.
    NoMemory,
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "the network has {PORTS_MAX} ports: use another one"),
            Self::MacInUse(mac) => write!(f, "another port of the network has {mac}: write another mac"),
            Self::NoMemory => f.write_str("no memory for the network: give VMs less memory"),
        }
    }
}

impl core::error::Error for AttachError {}

/// One network.
#[derive(Debug)]
pub struct Bridge {
    ports: Vec<Option<Port>>,
    uplinks: PortSet,
    learned: MacTable,
}

#[derive(Debug)]
struct Port {
    kind: PortKind,
    rate: Option<RateLimit>,
    counters: Counters,
}

/// What follows from where a frame came in.
struct Source {
    vlan: Option<VlanId>,
    reach: Reach,
    vm_tag: TagChange,
    uplink_tag: TagChange,
    /// The uplinks that it may reach.
    uplinks: PortSet,
}

impl Bridge {
    /// A network without ports; `None` when there is no memory.
    pub fn new() -> Option<Self> {
        let mut ports = Vec::new();
        ports.try_reserve_exact(PORTS_MAX).ok()?;
        Some(Self { ports, uplinks: PortSet::default(), learned: MacTable::new()? })
    }

    /// Adds a port, with a limit on what is sent from it.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn attach(&mut self, kind: PortKind, rate: Option<BitRate>) -> Result<PortId, AttachError> {
        if let PortKind::Vm(vm) = &kind
            && self.station(vm.mac).is_some()
        {
            return Err(AttachError::MacInUse(vm.mac));
        }
        let free = self.ports.iter().position(Option::is_none).unwrap_or(self.ports.len());
        let id = u8::try_from(free).ok().filter(|_| free < PORTS_MAX).map(PortId).ok_or(AttachError::Full)?;
        if matches!(kind, PortKind::Uplink) {
            self.uplinks = self.uplinks.with(id);
        }
        let port = Some(Port { kind, rate: rate.map(RateLimit::new), counters: Counters::default() });
        match self.ports.get_mut(free) {
            Some(place) => *place = port,
            // Room was reserved for all.
            None => self.ports.push(port),
        }
        Ok(id)
    }

    /// Takes a port away, with all that was learned there. Another may get its place.
    pub fn detach(&mut self, id: PortId) {
        if let Some(place) = self.ports.get_mut(id.index()) {
            *place = None;
        }
        self.uplinks.0 &= !id.bit();
        self.learned.forget(id);
    }

    /// Who gets a frame that came in at `from`: `head` is its first [`HEAD_BYTES`], or all of it, and `len_bytes` its whole
    /// length. Counts it there.
    ///
    /// # Errors
    /// Why nobody does.
    pub fn forward(
        &mut self,
        from: PortId,
        head: &[u8],
        len_bytes: u32,
        now: Instant,
    ) -> Result<Forward, Dropped> {
        let verdict = self.decide(from, head, len_bytes, now);
        if let Some(port) = self.port_mut(from) {
            match verdict {
                Ok(_) => port.counters.from.add(len_bytes),
                Err(why) => port.counters.count_drop(why),
            }
        }
        verdict
    }

    /// When the rate of `from` lets a frame of this length pass: not after `now` if it does already. A sender that can wait
    /// asks before it sends, and loses nothing.
    pub fn ready_at(&self, from: PortId, len_bytes: u32, now: Instant) -> Instant {
        let rate = self.ports.get(from.index()).and_then(Option::as_ref).and_then(|port| port.rate.as_ref());
        rate.map_or(now, |rate| rate.ready_at(len_bytes, now))
    }

    /// Counts a frame that `to` has got.
    pub fn delivered(&mut self, to: PortId, len_bytes: u32) {
        if let Some(port) = self.port_mut(to) {
            port.counters.to.add(len_bytes);
        }
    }

    /// Counts a frame that `to` should have got and did not.
    pub fn undelivered(&mut self, to: PortId) {
        if let Some(port) = self.port_mut(to) {
            port.counters.count_drop(Dropped::ReceiverFull);
        }
    }

    /// What went through a port, and what did not.
    pub fn counters(&self, port: PortId) -> Option<&Counters> {
        self.ports.get(port.index())?.as_ref().map(|port| &port.counters)
    }

    /// How many addresses outside are known.
    pub fn learned(&self) -> usize {
        self.learned.len()
    }

    fn decide(
        &mut self,
        from: PortId,
        head: &[u8],
        len_bytes: u32,
        now: Instant,
    ) -> Result<Forward, Dropped> {
        if len_bytes > FRAME_BYTES_MAX {
            return Err(Dropped::Length);
        }
        let frame = Head::parse(head).ok_or(Dropped::Length)?;
        let port = self.ports.get(from.index()).and_then(Option::as_ref).ok_or(Dropped::NoPort)?;
        let source = match &port.kind {
            PortKind::Vm(vm) => {
                checks::check_guest(vm, &frame)?;
                let uplink_tag = vm.vlan.map_or(TagChange::Keep, TagChange::Insert);
                let (vlan, reach, uplinks) = (vm.vlan, vm.reach, self.uplinks);
                Source { vlan, reach, vm_tag: TagChange::Keep, uplink_tag, uplinks }
            }
            PortKind::Uplink => {
                let (vlan, vm_tag) = frame.outside_vlan()?;
                if !frame.source.is_station() || self.station(frame.source).is_some() {
                    return Err(Dropped::SourceMac);
                }
                self.learned.learn(frame.source, vlan, from, now);
                // Between two uplinks nothing is carried: it would be a loop.
                let uplinks = PortSet::default();
                Source { vlan, reach: Reach::Network, vm_tag, uplink_tag: TagChange::Keep, uplinks }
            }
        };
        if frame.is_reserved() {
            return Err(Dropped::Reserved);
        }
        let (vms, uplinks) = self.receivers(from, &source, frame.destination, now)?;
        if let Some(rate) = self.port_mut(from).and_then(|port| port.rate.as_mut()) {
            rate.take(len_bytes, now).map_err(|_| Dropped::Rate)?;
        }
        let Source { vm_tag, uplink_tag, .. } = source;
        Ok(Forward { vms, vm_tag, uplinks, uplink_tag })
    }

    /// The VMs and the uplinks that a frame to `destination` is for.
    fn receivers(
        &self,
        from: PortId,
        source: &Source,
        destination: MacAddress,
        now: Instant,
    ) -> Result<(PortSet, PortSet), Dropped> {
        let nobody = PortSet::default();
        if destination.is_multicast() {
            let vms = self
                .vms()
                .filter(|(id, vm)| *id != from && allows(source, self.uplinks.contains(from), vm).is_ok());
            let vms = vms.fold(nobody, |set, (id, _)| set.with(id));
            return some(vms, source.uplinks);
        }
        if let Some((id, vm)) = self.station(destination) {
            if id == from {
                return Err(Dropped::NoReceiver);
            }
            allows(source, self.uplinks.contains(from), vm)?;
            return Ok((nobody.with(id), nobody));
        }
        match self.learned.find(destination, source.vlan, now) {
            Some(uplink) if source.uplinks.contains(uplink) => Ok((nobody, nobody.with(uplink))),
            Some(_) => Err(Dropped::NoReceiver),
            None => some(nobody, source.uplinks),
        }
    }

    fn vms(&self) -> impl Iterator<Item = (PortId, &VmPort)> {
        (0..).map(PortId).zip(&self.ports).filter_map(|(id, port)| match port {
            Some(Port { kind: PortKind::Vm(vm), .. }) => Some((id, vm)),
            _ => None,
        })
    }

    /// The VM with this address.
    fn station(&self, mac: MacAddress) -> Option<(PortId, &VmPort)> {
        self.vms().find(|(_, vm)| vm.mac == mac)
    }

    fn port_mut(&mut self, id: PortId) -> Option<&mut Port> {
        self.ports.get_mut(id.index())?.as_mut()
    }
}

/// Whether a frame from `source`, an uplink or a VM, may reach `vm`.
fn allows(source: &Source, is_from_uplink: bool, vm: &VmPort) -> Result<(), Dropped> {
    if source.vlan != vm.vlan {
        return Err(Dropped::Vlan);
    }
    if !is_from_uplink && (source.reach == Reach::Uplink || vm.reach == Reach::Uplink) {
        return Err(Dropped::Isolated);
    }
    Ok(())
}

fn some(vms: PortSet, uplinks: PortSet) -> Result<(PortSet, PortSet), Dropped> {
    if vms.is_empty() && uplinks.is_empty() { Err(Dropped::NoReceiver) } else { Ok((vms, uplinks)) }
}
