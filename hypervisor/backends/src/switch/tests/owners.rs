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
    unfinished(kind, rest, None)
}

/// With a checksum that others write at `place`.
fn unfinished(kind: u16, rest: &[u8], place: Option<u32>) -> Option<Dropped> {
    let (mut bridge, one) = guarded();
    send_unfinished(&mut bridge, one, &frame(mac(2), mac(1), kind, rest), place).err()
}

fn ipv4(source: &str) -> Option<Dropped> {
    let source: Ipv4Addr = source.parse().unwrap();
    verdict(0x800, &[&[0x45; 12][..], &source.octets(), &[10, 0, 0, 9], &[0; 20]].concat())
}

fn arp(operation: u8, sender_mac: MacAddress, sender: [u8; 4], target: [u8; 4]) -> Option<Dropped> {
    let start = [0, 1, 8, 0, 6, 4, 0, operation];
    verdict(0x806, &[&start[..], &sender_mac.0, &sender, &[0; 6], &target].concat())
}

fn ipv6(source: &str, next_header: u8, hop_limit: u8, kind: u8, target: &str) -> Option<Dropped> {
    let (source, target): (Ipv6Addr, Ipv6Addr) = (source.parse().unwrap(), target.parse().unwrap());
    verdict(0x86dd, &ipv6_packet(source, next_header, hop_limit, kind, target))
}

fn ipv6_packet(source: Ipv6Addr, next_header: u8, hop_limit: u8, kind: u8, target: Ipv6Addr) -> Vec<u8> {
    let header =
        [&[0x60, 0, 0, 0, 0, 24, next_header, hop_limit][..], &source.octets(), &[0xff; 16]].concat();
    [&header[..], &[kind, 0, 0, 0, 0, 0, 0, 0], &target.octets()].concat()
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
    let (own, other) = ([10, 0, 0, 2], [10, 0, 0, 3]);
    assert_eq!(arp(1, mac(1), own, other), None);
    assert_eq!(arp(1, mac(1), own, own), None);
    assert_eq!(arp(2, mac(1), own, other), None);
    assert_eq!(arp(2, mac(1), other, own), Some(Dropped::Neighbour));
    assert_eq!(arp(2, mac(2), own, other), Some(Dropped::Neighbour));
    assert_eq!(verdict(0x806, &[0, 1, 8, 0, 6, 4, 0, 1]), Some(Dropped::Neighbour));
}

#[test]
fn arp_probes_for_the_address_of_the_port_only() {
    let (own, other) = ([10, 0, 0, 2], [10, 0, 0, 3]);
    assert_eq!(arp(1, mac(1), [0; 4], own), None);
    // Whose address it is could not take it.
    assert_eq!(arp(1, mac(1), [0; 4], other), Some(Dropped::Neighbour));
    assert_eq!(arp(1, mac(1), [0; 4], [0; 4]), Some(Dropped::Neighbour));
    // An answer is no question.
    assert_eq!(arp(2, mac(1), [0; 4], own), Some(Dropped::Neighbour));
    // The target cannot be seen.
    let cut = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &mac(1).0, &[0; 4 + 6 + 3]].concat();
    assert_eq!(verdict(0x806, &cut), Some(Dropped::Neighbour));
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
    assert_eq!(ipv6(NONE, 0, 1, 0, OTHER), Some(Dropped::SourceIp));
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

/// What becomes of `packet` with a checksum left to others at each of `places`.
fn at_places<const N: usize>(kind: u16, packet: &[u8], places: [u32; N]) -> [Option<Dropped>; N] {
    places.map(|place| unfinished(kind, packet, Some(place)))
}

#[test]
fn a_checksum_left_to_others_is_behind_the_ipv4_header() {
    let packet = |start| [&[start; 12][..], &[10, 0, 0, 2, 10, 0, 0, 9], &[0; 80]].concat();
    let refused = Some(Dropped::SourceIp);
    assert_eq!(
        at_places(0x800, &packet(0x45), [14, 25, 28, 33, 34, 50]),
        [refused, refused, refused, refused, None, None]
    );
    // With options; with a header that ends before its addresses.
    assert_eq!(at_places(0x800, &packet(0x4f), [34, 73, 74]), [refused, refused, None]);
    assert_eq!(at_places(0x800, &packet(0x44), [30, 34, 100]), [refused; 3]);
    // Who has no addresses given writes what it wants.
    let (mut bridge, _) = guarded();
    let sent = frame(mac(1), mac(2), 0x800, &packet(0x45));
    assert!(send_unfinished(&mut bridge, PortId::new(1), &sent, Some(26)).is_ok());
}

#[test]
fn arp_leaves_no_checksum_to_others() {
    let packet = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &mac(1).0, &[10, 0, 0, 2], &[0; 10]].concat();
    assert_eq!(at_places(0x806, &packet, [14, 28, 30, 60]), [Some(Dropped::Neighbour); 4]);
}

#[test]
fn a_checksum_left_to_others_is_behind_the_ipv6_header_and_that_of_icmpv6_at_its_place() {
    let packet =
        |next_header, kind| ipv6_packet(OWN.parse().unwrap(), next_header, 64, kind, OTHER.parse().unwrap());
    let (source, neighbour) = (Some(Dropped::SourceIp), Some(Dropped::Neighbour));
    assert_eq!(at_places(0x86dd, &packet(17, 0), [20, 22, 53, 54, 60]), [source, source, source, None, None]);
    // An echo must not become an advertisement.
    assert_eq!(
        at_places(0x86dd, &packet(58, 128), [53, 54, 55, 56, 57, 62]),
        [source, neighbour, neighbour, None, neighbour, neighbour]
    );
}

/// Packets that a guest with given addresses may send, but for a few bytes.
fn nearly_allowed() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let [own, other, none] = [OWN, OTHER, NONE].map(|address| address.parse::<Ipv6Addr>().unwrap());
    let ipv4 = (0x40_u8..=0x4f)
        .prop_map(|start| (0x800, [&[start; 12][..], &[10, 0, 0, 2, 10, 0, 0, 9], &[0; 60]].concat()));
    let arp = Just((0x806, [&[0, 1, 8, 0, 6, 4, 0, 1][..], &mac(1).0, &[10, 0, 0, 2], &[0; 10]].concat()));
    let next_header = prop_oneof![Just(58_u8), Just(17), Just(0), any::<u8>()];
    let kind = prop_oneof![Just(128_u8), 133_u8..=137];
    let target = prop_oneof![Just(own), Just(other)];
    let source = prop_oneof![Just(own), Just(none)];
    let ipv6 = (source, next_header, prop_oneof![Just(255_u8), Just(64)], kind, target).prop_map(
        |(source, next, hops, kind, target)| (0x86dd, ipv6_packet(source, next, hops, kind, target)),
    );
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2);
    (prop_oneof![ipv4, arp, ipv6], damage).prop_map(|((kind, mut packet), damage)| {
        for (at, byte) in damage {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        (kind, packet)
    })
}

proptest! {
    #[test]
    fn whatever_others_write_as_its_checksum_a_frame_that_may_be_sent_still_may(
        (kind, packet) in nearly_allowed(),
        place in 14_u32..110,
        written in prop_oneof![any::<[u8; 2]>(), Just([10, 0]), Just([0, 3]), Just([136, 0]), Just([0, 136])],
    ) {
        let (mut bridge, one) = guarded();
        let mut sent = frame(mac(2), mac(1), kind, &packet);
        if let Ok(forward) = send_unfinished(&mut bridge, one, &sent, Some(place)) {
            if let Some(field) = sent.get_mut(place as usize..place as usize + 2) {
                field.copy_from_slice(&written);
            }
            prop_assert_eq!(send(&mut bridge, one, &sent), Ok(forward));
        }
    }
}
