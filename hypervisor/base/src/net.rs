//! Names and measures of Ethernet: addresses, VLANs and rates.

use crate::time::{Instant, Nanoseconds};
use core::fmt;

/// An Ethernet address, in the order of transmission (IEEE 802, section 8.2).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it names a group of stations, or all.
    pub const fn is_multicast(self) -> bool {
        let [first, ..] = self.0;
        first & 1 != 0
    }

    /// Whether one station can have it: neither a group's address nor zero.
    pub const fn is_station(self) -> bool {
        !self.is_multicast() && self.as_u64() != 0
    }

    /// As a number, the first byte the highest.
    pub const fn as_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The address that `text` writes as six pairs of hexadecimal digits with colons between.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2)?;
            // `from_str_radix` would take a sign.
            let is_hex = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(pair, 16).ok().filter(|_| is_hex)?;
        }
        pairs.next().is_none().then_some(Self(bytes))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number of a VLAN, 1 to 4094 (IEEE 802.1Q, table 9-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(u16);

impl VlanId {
    /// The last number.
    pub const MAX: u16 = 4094;

    /// The VLAN `number`; `None` for 0, which says that there is none, and for 4095 and more.
    pub const fn new(number: u16) -> Option<Self> {
        if number == 0 || number > Self::MAX { None } else { Some(Self(number)) }
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How much a line carries, in bits per second; K, M and G are decimal, as with all lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitRate(pub u64);

impl BitRate {
    /// How long `len_bytes` take, rounded up.
    pub const fn time_for(self, len_bytes: u64) -> Nanoseconds {
        if self.0 == 0 {
            return Nanoseconds(Instant::FAR_FUTURE.0);
        }
        let span = (len_bytes as u128 * 8 * NANOSECONDS_PER_SECOND).div_ceil(self.0 as u128);
        Nanoseconds(if span > u64::MAX as u128 { u64::MAX } else { span as u64 })
    }
}

const NANOSECONDS_PER_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn an_address_is_written_and_read_as_six_pairs() {
        let address = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        assert_eq!(MacAddress::parse("52:54:00:12:34:56"), Some(address));
        assert_eq!(MacAddress::parse("52:54:00:12:34:56").unwrap().to_string(), "52:54:00:12:34:56");
        assert_eq!(address.as_u64(), 0x5254_0012_3456);
    }

    #[test]
    fn what_is_no_address_is_none() {
        for text in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "5254:00:12:34:56",
            "+1:+2:+3:+4:+5:+6",
            "52-54-00-12-34-56",
        ] {
            assert_eq!(MacAddress::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn groups_and_zero_are_no_stations() {
        assert!(MacAddress([2, 0, 0, 0, 0, 0]).is_station());
        assert!(!MacAddress([0; 6]).is_station() && !MacAddress::BROADCAST.is_station());
        assert!(MacAddress([0x33, 0x33, 0, 0, 0, 1]).is_multicast());
    }

    #[test]
    fn vlans_are_1_to_4094() {
        assert_eq!((VlanId::new(0), VlanId::new(4095)), (None, None));
        assert_eq!(VlanId::new(4094).map(VlanId::number), Some(4094));
    }

    #[test]
    fn a_rate_says_how_long_bytes_take() {
        let gigabit = BitRate(1_000_000_000);
        assert_eq!(gigabit.time_for(125_000), Nanoseconds::from_millis(1));
        assert_eq!(BitRate(1).time_for(u64::MAX), Nanoseconds(u64::MAX));
        assert_eq!(BitRate(0).time_for(1), Nanoseconds(u64::MAX));
    }
}
