//! Networks, and the NICs by which VMs are on them.

use crate::position::{Located, Position};
use alloc::{string::String, vec::Vec};
use base::{BitRate, InvalidVmName, MacAddress, VlanId, VmName};
use core::fmt;
use core::net::IpAddr;

/// A network's name: written like a VM's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkName(VmName);

impl NetworkName {
    /// The name `text`.
    pub(crate) fn new(text: &str) -> Result<Self, InvalidVmName> {
        VmName::new(text).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What VMs, and a NIC of the host, exchange frames on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its name, unique.
    pub name: NetworkName,
    /// Where its table begins.
    pub position: Position,
    /// The host's NIC through which the outside is reached, by name.
    pub uplink: Option<Located<String>>,
}

/// One NIC of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Where its table begins.
    pub position: Position,
    /// Its network, counted from 0 in the order of the text.
    pub network: usize,
    /// Its address, unique on its network.
    pub mac: MacAddress,
    /// The addresses that the guest may send from, at most [`crate::MAX_ADDRESSES`]; any, when it is empty.
    pub ip: Vec<IpAddr>,
    /// The VLAN that it is in; `None` is the one without tags.
    pub vlan: Option<VlanId>,
    /// How fast the guest may send.
    pub rate: Option<BitRate>,
    /// Whom the guest may talk to.
    pub reach: Reach,
}

/// Whom a NIC may talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All on the network.
    Network,
    /// The uplink only.
    Uplink,
}

/// The address of a NIC for which none is written: always the same for NIC number `index` (from 0) of the VM called `vm`.
///
/// FNV-1a (64 bits) of the name's bytes, a zero, and the index as one byte; mixed by the last steps of MurmurHash3, because
/// the upper bits of a short FNV differ little; of that the low 48 bits, with the first byte's two lowest bits made "local,
/// one station" (IEEE 802, section 8.4). The names of all VMs are known, so that two which come out the same are refused.
pub fn generated_mac(vm: &VmName, index: u8) -> MacAddress {
    let bytes = vm.as_str().bytes().chain([0, index]);
    let fnv = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mixed = (fnv ^ fnv >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    let [_, _, first, b, c, d, e, f] = (mixed ^ mixed >> 33).to_be_bytes();
    MacAddress([first & !1 | 2, b, c, d, e, f])
}

/// The least rate: below it, one full frame takes a quarter of a second.
const MIN_RATE: BitRate = BitRate(64_000);

/// The greatest rate.
const MAX_RATE: BitRate = BitRate(1_000_000_000_000);

/// The rate that `text` says, such as `100Mbit`; `None` when it is none, or out of range.
pub(crate) fn parse_rate(text: &str) -> Option<BitRate> {
    const UNITS: [(&str, u64); 3] = [("Kbit", 1_000), ("Mbit", 1_000_000), ("Gbit", 1_000_000_000)];
    let (digits, unit) =
        UNITS.iter().find_map(|(unit, bits)| text.strip_suffix(unit).map(|digits| (digits, *bits)))?;
    // `parse` would take a sign.
    let digits = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)?;
    let rate = digits.parse::<u64>().ok()?.checked_mul(unit).map(BitRate)?;
    (MIN_RATE..=MAX_RATE).contains(&rate).then_some(rate)
}

/// Whether one station can have `address`.
pub(crate) fn is_station(address: &IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || is_broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_decimal_and_within_bounds() {
        assert_eq!(parse_rate("1Gbit"), Some(BitRate(1_000_000_000)));
        assert_eq!(parse_rate("64Kbit"), Some(MIN_RATE));
        for text in
            ["", "1", "Gbit", "1gbit", "1.5Gbit", "+1Gbit", "63Kbit", "1001Gbit", "99999999999999999999Gbit"]
        {
            assert_eq!(parse_rate(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_generated_address_is_local_stable_and_differs_by_name_and_index() {
        let mac = |name: &str, index| generated_mac(&VmName::new(name).unwrap(), index);
        // What an operator has seen once must never change: leases and firewalls hang on it.
        assert_eq!(alloc::format!("{}", mac("demo", 0)), "b2:f7:95:46:49:26");
        assert!(mac("demo", 0).is_station());
        assert_eq!(mac("demo", 0).0[0] & 3, 2);
        let all: alloc::collections::BTreeSet<_> =
            (0..8).flat_map(|index| ["a", "b", "web-0", "web-1"].map(|name| mac(name, index))).collect();
        assert_eq!(all.len(), 32);
    }
}
