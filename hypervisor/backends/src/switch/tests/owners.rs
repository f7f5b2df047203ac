//! What a guest with given addresses may send.

use super::*;
use core::net::{Ipv4Addr, Ipv6Addr};

const OWN: &str = "fd00::2";
const OTHER: &str = "fd00::9";
const NONE: &str = "::";

fn guarded() -> (Bridge, PortId) {
    let mut bridge = Bridge::new().unwrap();
    let one = attach(&mut bridge, 1, &["10.0.0.2", OWN], 0, Reach::Network);
    attach(&mut bridge, 2, &[], 0, Reach::Network);
    (bridge, one)
}

fn verdict(kind: u16, rest: &[u8]) -> Option<Dropped> {
    let (mut bridge, one) = guarded();
    send(&mut bridge, one, &frame(mac(2), mac(1), kind, rest)).err()
}

fn ipv4(source: &str) -> Option<Dropped> {
    let source: Ipv4Addr = source.parse().unwrap();
    verdict(0x800, &[&[0x45; 12][..], &source.octets(), &[10, 0, 0, 9], &[0; 20]].concat())
}

fn arp(operation: u8, sender_mac: MacAddress, sender: [u8; 4]) -> Option<Dropped> {
    verdict(0x806, &[&[0, 1, 8, 0, 6, 4, 0, operation][..], &sender_mac.0, &sender, &[0; 10]].concat())
}

fn ipv6(source: &str, next_header: u8, hop_limit: u8, kind: u8, target: &str) -> Option<Dropped> {
    let (source, target): (Ipv6Addr, Ipv6Addr) = (source.parse().unwrap(), target.parse().unwrap());
    let header =
        [&[0x60, 0, 0, 0, 0, 24, next_header, hop_limit][..], &source.octets(), &[0xff; 16]].concat();
    verdict(0x86dd, &[&header[..], &[kind, 0, 0, 0, 0, 0, 0, 0], &target.octets()].concat())
}

#[test]
fn ipv4_comes_from_the_address_of_the_port() {
    assert_eq!(ipv4("10.0.0.2"), None);
    assert_eq!(ipv4("10.0.0.3"), Some(Dropped::SourceIp));
    assert_eq!(ipv4("0.0.0.0"), Some(Dropped::SourceIp));
    // Too short to tell, and another version under this EtherType.
    assert_eq!(verdict(0x800, &[0x45; 15]), Some(Dropped::SourceIp));
    assert_eq!(verdict(0x800, &[&[0x65; 12][..], &[10, 0, 0, 2]].concat()), Some(Dropped::SourceIp));
}

#[test]
fn arp_speaks_for_the_address_of_the_port() {
    assert_eq!(arp(1, mac(1), [10, 0, 0, 2]), None);
    assert_eq!(arp(2, mac(1), [10, 0, 0, 2]), None);
    assert_eq!(arp(2, mac(1), [10, 0, 0, 3]), Some(Dropped::Neighbour));
    assert_eq!(arp(2, mac(2), [10, 0, 0, 2]), Some(Dropped::Neighbour));
    // A question without an address of one's own is one, an answer is not.
    assert_eq!(arp(1, mac(1), [0; 4]), None);
    assert_eq!(arp(2, mac(1), [0; 4]), Some(Dropped::Neighbour));
    assert_eq!(verdict(0x806, &[0, 1, 8, 0, 6, 4, 0, 1]), Some(Dropped::Neighbour));
}

#[test]
fn ipv6_comes_from_the_addresses_of_the_port() {
    assert_eq!(ipv6(OWN, 6, 64, 0, OTHER), None);
    assert_eq!(ipv6("fe80::ff:fe00:1", 17, 64, 0, OTHER), None, "made of the MAC");
    assert_eq!(ipv6(OTHER, 6, 64, 0, OTHER), Some(Dropped::SourceIp));
    assert_eq!(ipv6("fe80::1", 6, 64, 0, OTHER), Some(Dropped::SourceIp));
    assert_eq!(ipv6(NONE, 17, 64, 0, OTHER), Some(Dropped::SourceIp));
    assert_eq!(verdict(0x86dd, &[0x60; 20]), Some(Dropped::SourceIp));
}

#[test]
fn neighbour_discovery_speaks_for_the_addresses_of_the_port() {
    // Who is OTHER? I am OWN.
    assert_eq!(ipv6(OWN, 58, 255, 135, OTHER), None);
    assert_eq!(ipv6(OWN, 58, 255, 136, OWN), None);
    assert_eq!(ipv6(OWN, 58, 255, 136, OTHER), Some(Dropped::Neighbour));
    // Is an address free?
    assert_eq!(ipv6(NONE, 58, 255, 135, OWN), None);
    assert_eq!(ipv6(NONE, 58, 255, 135, OTHER), Some(Dropped::Neighbour));
    // Where are routers? I am one.
    assert_eq!(ipv6(NONE, 58, 255, 133, NONE), None);
    assert_eq!(ipv6(OWN, 58, 255, 134, NONE), Some(Dropped::Neighbour));
    assert_eq!(ipv6(OWN, 58, 255, 137, NONE), Some(Dropped::Neighbour));
}

#[test]
fn discovery_does_not_hide_behind_other_headers() {
    for next_header in [0, 43, 44, 51, 60] {
        assert_eq!(ipv6(OWN, next_header, 255, 0, OTHER), Some(Dropped::Neighbour));
    }
    // Multicast listeners report behind one, with another hop limit.
    assert_eq!(ipv6(OWN, 0, 1, 0, OTHER), None);
    assert_eq!(ipv6(OWN, 6, 255, 0, OTHER), None);
}

#[test]
fn other_protocols_are_for_ports_without_addresses() {
    assert_eq!(verdict(0x88b5, &[0; 46]), Some(Dropped::Protocol));
    assert_eq!(verdict(46, &[0; 46]), Some(Dropped::Protocol));
    let (mut bridge, _) = guarded();
    let two = PortId::new(1);
    assert!(send(&mut bridge, two, &plain(mac(1), mac(2))).is_ok());
}
