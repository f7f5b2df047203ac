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
mod patience;
mod rate;
mod table;
#[cfg(test)]
mod tests;
mod verdict;

pub use config::Reach;
pub use counters::{Counters, Traffic};
pub use patience::{Patience, Trust};
pub use rate::RateLimit;
pub use verdict::{Dropped, Forward, PortId, PortSet, TAG_AT, TagChange, tag_bytes};

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
    sender: Sender,
    vlan: Option<VlanId>,
    vm_tag: TagChange,
    uplink_tag: TagChange,
    /// The uplinks that it may reach.
    uplinks: PortSet,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    Guest(Reach),
    Outside,
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
        let id =
            u8::try_from(free).ok().filter(|_| free < PORTS_MAX).map(PortId::new).ok_or(AttachError::Full)?;
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
        self.uplinks = self.uplinks.without(id);
        self.learned.forget(id);
    }

    /// Who gets a frame that came in at `from`: `head` is its first [`HEAD_BYTES`], or all of it, and `len_bytes` its whole
    /// length. Counts it there. `unfinished_at` is the place, in bytes from the frame's start and behind its Ethernet header,
    /// of a checksum that others write: the two bytes there will not be those in `head`.
    ///
    /// # Errors
    /// Why nobody does.
    pub fn forward(
        &mut self,
        from: PortId,
        head: &[u8],
        len_bytes: u32,
        unfinished_at: Option<u32>,
        now: Instant,
    ) -> Result<Forward, Dropped> {
        let verdict = self.decide(from, head, len_bytes, unfinished_at, now);
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

    /// A frame that came in at `from` goes back to its sender, who will send it again: it counts as never sent.
    pub fn take_back(&mut self, from: PortId, len_bytes: u32) {
        if let Some(port) = self.port_mut(from) {
            port.counters.from.remove(len_bytes);
            if let Some(rate) = &mut port.rate {
                rate.give_back(len_bytes);
            }
        }
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
        unfinished_at: Option<u32>,
        now: Instant,
    ) -> Result<Forward, Dropped> {
        if len_bytes > FRAME_BYTES_MAX {
            return Err(Dropped::Length);
        }
        let frame = Head::parse(head).ok_or(Dropped::Length)?;
        let port = self.ports.get(from.index()).and_then(Option::as_ref).ok_or(Dropped::NoPort)?;
        let source = match &port.kind {
            PortKind::Vm(vm) => {
                checks::check_guest(vm, &frame, unfinished_at)?;
                let uplink_tag = vm.vlan.map_or(TagChange::Keep, TagChange::Insert);
                let (sender, vlan, uplinks) = (Sender::Guest(vm.reach), vm.vlan, self.uplinks);
                Source { sender, vlan, vm_tag: TagChange::Keep, uplink_tag, uplinks }
            }
            PortKind::Uplink => {
                let (vlan, vm_tag) = frame.outside_vlan()?;
                if !frame.source.is_station() || self.station(frame.source).is_some() {
                    return Err(Dropped::SourceMac);
                }
                self.learned.learn(frame.source, vlan, from, now);
                // Between two uplinks nothing is carried: it would be a loop.
                let uplinks = PortSet::default();
                Source { sender: Sender::Outside, vlan, vm_tag, uplink_tag: TagChange::Keep, uplinks }
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
            let vms = self.vms().filter(|(id, vm)| *id != from && allows(source, vm).is_ok());
            let vms = vms.fold(nobody, |set, (id, _)| set.with(id));
            return some(vms, source.uplinks);
        }
        if let Some((id, vm)) = self.station(destination) {
            if id == from {
                return Err(Dropped::NoReceiver);
            }
            allows(source, vm)?;
            return Ok((nobody.with(id), nobody));
        }
        match self.learned.find(destination, source.vlan, now) {
            Some(uplink) if source.uplinks.contains(uplink) => Ok((nobody, nobody.with(uplink))),
            Some(_) => Err(Dropped::NoReceiver),
            None => some(nobody, source.uplinks),
        }
    }

    fn vms(&self) -> impl Iterator<Item = (PortId, &VmPort)> {
        (0..).map(PortId::new).zip(&self.ports).filter_map(|(id, port)| match port {
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

/// Whether a frame from `source` may reach `vm`.
fn allows(source: &Source, vm: &VmPort) -> Result<(), Dropped> {
    if source.vlan != vm.vlan {
        return Err(Dropped::Vlan);
    }
    match (source.sender, vm.reach) {
        (Sender::Outside, _) | (Sender::Guest(Reach::Network), Reach::Network) => Ok(()),
        _ => Err(Dropped::Isolated),
    }
}

fn some(vms: PortSet, uplinks: PortSet) -> Result<(PortSet, PortSet), Dropped> {
    if vms.is_empty() && uplinks.is_empty() { Err(Dropped::NoReceiver) } else { Ok((vms, uplinks)) }
}
