//! Which addresses were seen at which uplink.
//!
//! A table of fixed size: 256 buckets of four. An address that was not seen for [`AGEING`] is forgotten, and a port has
//! half of the table at most. Where a bucket is full, the port with the most entries there gives up its oldest, so that
//! one who sends from ever new addresses forgets its own and not another's.

use super::PortId;
use alloc::vec::Vec;
use base::{Instant, MacAddress, Nanoseconds, VlanId};

/// How long an address is remembered (IEEE 802.1Q, section 8.8.3).
const AGEING: Nanoseconds = Nanoseconds::from_secs(300);

const BUCKET_BITS: u32 = 8;
const WAYS: usize = 4;
/// How many addresses are known at most, and at most of one port.
const ENTRIES: usize = (1 << BUCKET_BITS) * WAYS;
const ENTRIES_OF_PORT: usize = ENTRIES / 2;

#[derive(Debug)]
pub(super) struct MacTable {
    buckets: Vec<[Option<Entry>; WAYS]>,
    /// How many entries each port has.
    held: [u16; super::PORTS_MAX],
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    port: PortId,
    seen: Instant,
}

/// An address in a VLAN: stations of two VLANs have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key(u64);

impl Key {
    fn new(mac: MacAddress, vlan: Option<VlanId>) -> Self {
        Self(mac.as_u64() | u64::from(vlan.map_or(0, VlanId::number)) << 48)
    }

    /// By multiplication with the golden ratio, of which the upper bits depend on all of the key.
    const fn bucket(self) -> usize {
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - BUCKET_BITS)) as usize
    }
}

impl Entry {
    fn is_fresh(&self, now: Instant) -> bool {
        now.since(self.seen) < AGEING
    }
}

impl MacTable {
    /// A table without entries; `None` when there is no memory.
    pub fn new() -> Option<Self> {
        let mut buckets = Vec::new();
        buckets.try_reserve_exact(1 << BUCKET_BITS).ok()?;
        buckets.resize(1 << BUCKET_BITS, [None; WAYS]);
        Some(Self { buckets, held: [0; super::PORTS_MAX] })
    }

    /// Notes that `mac` is at `port` now.
    pub fn learn(&mut self, mac: MacAddress, vlan: Option<VlanId>, port: PortId, now: Instant) {
        let key = Key::new(mac, vlan);
        let is_at_limit =
            self.held.get(port.index()).is_none_or(|held| usize::from(*held) >= ENTRIES_OF_PORT);
        let Some(bucket) = self.buckets.get_mut(key.bucket()) else { return };
        let Some(place) = place_for(bucket, key, port, is_at_limit, now) else { return };
        let before = place.replace(Entry { key, port, seen: now });
        if let Some(held) = before.and_then(|entry| self.held.get_mut(entry.port.index())) {
            *held = held.saturating_sub(1);
        }
        if let Some(held) = self.held.get_mut(port.index()) {
            *held = held.saturating_add(1);
        }
    }

    /// Where `mac` was seen last, if that is not too long ago.
    pub fn find(&self, mac: MacAddress, vlan: Option<VlanId>, now: Instant) -> Option<PortId> {
        let key = Key::new(mac, vlan);
        let bucket = self.buckets.get(key.bucket())?;
        let entry = bucket.iter().flatten().find(|entry| entry.key == key)?;
        entry.is_fresh(now).then_some(entry.port)
    }

    /// Forgets all of a port.
    pub fn forget(&mut self, port: PortId) {
        for place in self.buckets.iter_mut().flatten() {
            if place.is_some_and(|entry| entry.port == port) {
                *place = None;
            }
        }
        if let Some(held) = self.held.get_mut(port.index()) {
            *held = 0;
        }
    }

    pub fn len(&self) -> usize {
        self.held.iter().map(|held| usize::from(*held)).sum()
    }
}

/// The place in `bucket` for `key` at `port`; `None` when the port must not have another.
fn place_for(
    bucket: &mut [Option<Entry>; WAYS],
    key: Key,
    port: PortId,
    is_at_limit: bool,
    now: Instant,
) -> Option<&mut Option<Entry>> {
    let known = bucket.iter().position(|place| place.is_some_and(|entry| entry.key == key));
    // A port at its limit may only change what it has.
    let of_port = |place: &Option<Entry>| place.is_some_and(|entry| entry.port == port);
    let free = bucket.iter().position(|place| place.is_none_or(|entry| !entry.is_fresh(now)));
    let index = match (known, free) {
        (Some(known), _) if !is_at_limit || bucket.get(known).is_some_and(of_port) => known,
        (Some(_), _) => return None,
        (None, Some(free)) if !is_at_limit || bucket.get(free).is_some_and(of_port) => free,
        _ => {
            let giver = if is_at_limit { port } else { crowding(bucket)? };
            let entries =
                bucket.iter().enumerate().filter_map(|(index, place)| Some((index, place.as_ref()?)));
            entries.filter(|(_, entry)| entry.port == giver).min_by_key(|(_, entry)| entry.seen)?.0
        }
    };
    bucket.get_mut(index)
}

/// The port with the most entries in a bucket.
fn crowding(bucket: &[Option<Entry>; WAYS]) -> Option<PortId> {
    let ports = || bucket.iter().flatten().map(|entry| entry.port);
    ports().max_by_key(|port| ports().filter(|other| other == port).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: PortId = PortId::new(0);
    const OTHER: PortId = PortId::new(1);

    fn mac(number: u32) -> MacAddress {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddress([2, 0, a, b, c, d])
    }

    #[test]
    fn an_address_is_known_until_it_is_too_old_and_moves_with_its_station() {
        let mut table = MacTable::new().unwrap();
        table.learn(mac(1), None, ONE, Instant(5));
        assert_eq!(table.find(mac(1), None, Instant(6)), Some(ONE));
        assert_eq!(table.find(mac(1), VlanId::new(7), Instant(6)), None);
        assert_eq!(table.find(mac(1), None, Instant(5).after(AGEING)), None);
        table.learn(mac(1), None, OTHER, Instant(7));
        assert_eq!((table.find(mac(1), None, Instant(8)), table.len()), (Some(OTHER), 1));
        table.forget(OTHER);
        assert_eq!((table.find(mac(1), None, Instant(8)), table.len()), (None, 0));
    }

    #[test]
    fn ever_new_addresses_at_one_port_leave_the_other_ports_known() {
        let mut table = MacTable::new().unwrap();
        // One in each bucket at most, so that they do not crowd each other.
        let mut taken = [false; 1 << BUCKET_BITS];
        let known: Vec<_> = (0..2000)
            .filter(|n| !core::mem::replace(&mut taken[Key::new(mac(*n), None).bucket()], true))
            .collect();
        assert!(known.len() > 200);
        known.iter().for_each(|n| table.learn(mac(*n), None, ONE, Instant(1)));
        (10_000..200_000).for_each(|n| table.learn(mac(n), None, OTHER, Instant(u64::from(n))));
        assert!(known.iter().all(|n| table.find(mac(*n), None, Instant(200_000)) == Some(ONE)));
        assert!(table.len() <= known.len() + ENTRIES_OF_PORT);
    }

    proptest! {
        #[test]
        fn the_counts_are_those_of_the_entries(seen in prop::collection::vec((0_u32..3000, 0_u8..3, 0_u64..400), 1..3000)) {
            let mut table = MacTable::new().unwrap();
            let mut now = Instant(0);
            for (number, port, seconds) in seen {
                now = now.after(Nanoseconds::from_secs(seconds / 40));
                table.learn(mac(number), None, PortId::new(port), now);
            }
            for port in 0..3 {
                let entries = table.buckets.iter().flatten().flatten().filter(|entry| entry.port == PortId::new(port)).count();
                prop_assert_eq!(entries, usize::from(table.held[usize::from(port)]));
                prop_assert!(entries <= ENTRIES_OF_PORT);
            }
        }
    }
}
