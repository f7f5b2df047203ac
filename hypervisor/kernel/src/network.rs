//! Networks: who is on them, and the task that moves frames.
//!
//! ```text
//!   VM's NIC ── port ──┐                    ┌── port ── VM's NIC
//!                      ├── bridge: policy ──┤
//!   VM's NIC ── port ──┘                    └── uplink ── card of the host
//! ```
//! A [`Bridge`] decides who gets a frame; [`exchange`] copies it there.

mod exchange;
mod link;
mod outgoing;

use crate::devices::HostDevices;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use backends::switch::{Bridge, Dropped, FRAME_BYTES_MAX, Patience, PortId, PortKind, Trust, VmPort};
use base::{Instant, VmId};
use config::{Config, Network, Nic, Reach};
use devices::pci::Slot;
use devices::virtio::net::Frame;
use drivers::nic::{Link, MAX_FRAME_BYTES, Nic as _};

/// One network.
struct HostNetwork {
    name: String,
    bridge: Bridge,
    uplink: Uplink,
    /// Whether the uplink is waited for.
    uplink_trust: Trust,
    /// When NICs that lead to the uplink alone are next told of its link; never if there are none.
    link_due: Instant,
    /// The NICs of VMs.
    nics: Vec<VmNic>,
    /// Whose turn it was last to send first.
    went_first: Option<PortId>,
}

/// The way to the outside.
enum Uplink {
    /// There is none.
    None,
    /// A card, by its place in [`HostDevices::cards`], and its name.
    Card { card: usize, port: PortId, name: String },
    /// The configuration names one that the host does not have.
    Missing(String),
}

/// A VM's NIC on a network.
struct VmNic {
    vm: VmId,
    slot: Slot,
    port: PortId,
    /// Whom it is to reach.
    reach: Reach,
    /// What its next frame waits for, though nobody kicks; `None` when for nothing.
    wait: Option<Wait>,
    /// Whether it is waited for.
    trust: Trust,
}

/// What a frame waits for, and until when: then it is tried again.
#[derive(Clone, Copy)]
enum Wait {
    /// Its sender's rate.
    Rate(Instant),
    /// Its receiver's room: on a card, where so many frames' room is kept for it.
    Room { until: Instant, kept_frames: u8 },
}

impl Wait {
    const fn until(self) -> Instant {
        match self {
            Self::Rate(until) | Self::Room { until, .. } => until,
        }
    }
}

/// All networks of the host.
pub struct Networks {
    networks: Vec<HostNetwork>,
    room: Room,
    /// When the first frame that waits is to be tried again, or a card is asked for its link.
    next_try: Instant,
}

/// Memory for a frame that cannot be copied as it is.
struct Room {
    /// The frame as its sender describes it.
    frame: Box<Frame>,
    /// All of it.
    whole: Vec<u8>,
    /// A part of it, cut for a receiver that takes no larger one.
    piece: Vec<u8>,
}

impl Networks {
    /// The networks of `config`, whose cards are among `devices`.
    pub fn new(config: &Config, devices: &HostDevices) -> Self {
        let networks = config.networks.iter().filter_map(|network| HostNetwork::new(network, devices));
        let room = Room {
            frame: Box::new(Frame::new()),
            whole: vec![0; FRAME_BYTES_MAX as usize],
            piece: vec![0; MAX_FRAME_BYTES],
        };
        Self { networks: networks.collect(), room, next_try: Instant::FAR_FUTURE }
    }

    /// Puts a VM's NIC, which is in `slot`, on its network.
    ///
    /// # Errors
    /// Why it cannot be there.
    pub fn attach(&mut self, vm: VmId, slot: Slot, nic: &Nic) -> Result<(), String> {
        let network = self.networks.get_mut(nic.network).ok_or("its network could not be made")?;
        if let Uplink::Missing(reason) = &network.uplink {
            return Err(format!("network {}: {reason}", network.name));
        }
        let kind = PortKind::Vm(VmPort::new(nic.mac, &nic.ip, nic.vlan, nic.reach));
        let port = network.bridge.attach(kind, nic.rate);
        let port = port.map_err(|error| format!("network {}: {error}", network.name))?;
        let nic = VmNic { vm, slot, port, reach: nic.reach, wait: None, trust: Trust::GUEST };
        network.nics.push(nic);
        // Before its guest runs.
        network.link_due = Instant(0);
        Ok(())
    }

    /// Takes a VM's NICs off their networks.
    pub fn detach(&mut self, vm: VmId) {
        for network in &mut self.networks {
            for nic in network.nics.iter().filter(|nic| nic.vm == vm) {
                network.bridge.detach(nic.port);
            }
            network.nics.retain(|nic| nic.vm != vm);
        }
    }

    /// Whether any network leads to the outside.
    pub fn has_uplink(&self) -> bool {
        self.networks.iter().any(|network| matches!(network.uplink, Uplink::Card { .. }))
    }

    /// When the task must run next though nobody kicks.
    #[inline]
    pub const fn next_deadline(&self) -> Instant {
        self.next_try
    }

    /// Whether a card that has no interrupt may have got a frame.
    pub fn needs_polling(&self, devices: &HostDevices) -> bool {
        let mut cards = self.networks.iter().filter_map(|network| match network.uplink {
            Uplink::Card { card, .. } => devices.cards.get(card),
            _ => None,
        });
        cards.any(|card| card.vector.is_none() && card.driver.link() == Link::Up)
    }

    /// Whether a card has frames left over from the last step: no interrupt tells of them again.
    pub fn has_frames(&self, devices: &mut HostDevices) -> bool {
        self.networks.iter().any(|network| match network.uplink {
            Uplink::Card { card, .. } => {
                devices.cards.get_mut(card).is_some_and(|card| card.driver.peek().is_some())
            }
            _ => false,
        })
    }

    /// A line for each network and each port: what went through, and what did not and why.
    pub fn lines(&self, name_of: impl Fn(VmId) -> String) -> Vec<String> {
        let mut lines = Vec::new();
        for network in &self.networks {
            let uplink = match &network.uplink {
                Uplink::None => String::from("no uplink"),
                Uplink::Card { name, .. } => format!("uplink {name}"),
                Uplink::Missing(reason) => reason.clone(),
            };
            lines.push(format!("network {}: {uplink}", network.name));
            for nic in &network.nics {
                lines.push(network.port_line(&name_of(nic.vm), nic.port));
            }
            if let Uplink::Card { port, .. } = network.uplink {
                lines.push(network.port_line("uplink", port));
            }
        }
        lines
    }
}

impl HostNetwork {
    fn new(network: &Network, devices: &HostDevices) -> Option<Self> {
        let mut bridge = Bridge::new()?;
        let uplink = match &network.uplink {
            None => Uplink::None,
            Some(name) => match devices.cards.iter().position(|card| card.name == name.value) {
                None => Uplink::Missing(missing(&name.value, devices)),
                Some(card) => {
                    let port = bridge.attach(PortKind::Uplink, None).ok()?;
                    Uplink::Card { card, port, name: name.value.clone() }
                }
            },
        };
        let name = String::from(network.name.as_str());
        Some(Self {
            name,
            bridge,
            uplink,
            uplink_trust: Trust::CARD,
            link_due: Instant::FAR_FUTURE,
            nics: Vec::new(),
            went_first: None,
        })
    }

    fn port_line(&self, who: &str, port: PortId) -> String {
        let Some(counters) = self.bridge.counters(port) else { return String::new() };
        let (from, to) = (counters.from, counters.to);
        let mut line = format!(
            "  {who}: sent {} frames, {} bytes; got {} frames, {} bytes",
            from.frames, from.bytes, to.frames, to.bytes
        );
        for (why, count) in counters.drops().filter(|(_, count)| *count != 0) {
            let direction = if why == Dropped::ReceiverFull { "lost on the way to it" } else { "dropped" };
            line += &format!("; {direction}: {why} {count}");
        }
        line
    }

    /// Whether whoever is at a port is waited for; `None` if nobody is there.
    fn trust_at(&mut self, port: PortId) -> Option<&mut Trust> {
        match self.uplink {
            Uplink::Card { port: uplink, .. } if uplink == port => Some(&mut self.uplink_trust),
            _ => self.nic_at(port).map(|nic| &mut nic.trust),
        }
    }

    /// How many frames on the card others wait for who were there before one with `patience`.
    fn frames_ahead(&self, patience: Patience) -> usize {
        let waits = self.nics.iter().filter_map(|nic| nic.wait);
        let ahead = waits.map(|wait| match wait {
            Wait::Room { until, kept_frames } if patience.comes_behind(until) => usize::from(kept_frames),
            _ => 0,
        });
        ahead.fold(0, usize::saturating_add)
    }

    /// The NIC at a port.
    fn nic_at(&mut self, port: PortId) -> Option<&mut VmNic> {
        self.nics.iter_mut().find(|nic| nic.port == port)
    }
}

fn missing(name: &str, devices: &HostDevices) -> String {
    let names: Vec<&str> = devices.cards.iter().map(|card| card.name.as_str()).collect();
    let names = if names.is_empty() { String::from("none at all") } else { names.join(", ") };
    format!("the host has no NIC {name}, but {names}")
}
