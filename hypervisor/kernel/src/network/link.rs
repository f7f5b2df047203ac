//! Tells guests whether the way to the outside is there: those whose NICs have no other way.
//!
//! The card is asked from time to time and not by its interrupts: each card tells of its link in its own way, and some not at
//! all. No other NIC is unplugged: guests on a network reach each other without its uplink.

use super::{HostNetwork, Uplink};
use crate::devices::HostDevices;
use crate::guests::Guests;
use base::{Instant, Nanoseconds};
use config::Reach;
use devices::virtio::net;
use drivers::nic::{Link, Nic};

/// How often the card is asked: a register's read, and a CPU that wakes for it.
const LINK_INTERVAL: Nanoseconds = Nanoseconds::from_secs(1);

impl HostNetwork {
    /// Gives NICs that lead to the uplink alone the link of its card.
    #[cold]
    pub(super) fn follow_link(&mut self, guests: &mut Guests, devices: &HostDevices, now: Instant) {
        self.link_due = Instant::FAR_FUTURE;
        let Uplink::Card { card, .. } = self.uplink else { return };
        let Some(card) = devices.cards.get(card) else { return };
        let link = match card.driver.link() {
            Link::Up => net::Link::Up,
            Link::Down => net::Link::Down,
        };
        for nic in self.nics.iter().filter(|nic| nic.reach == Reach::Uplink) {
            self.link_due = now.after(LINK_INTERVAL);
            if let Some(present) = guests.get_mut(nic.vm).and_then(|guest| guest.present()) {
                present.vm.set_link(nic.slot, now, link);
            }
        }
    }
}
