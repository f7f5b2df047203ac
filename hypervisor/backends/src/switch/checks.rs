//! What a guest may send: as itself only.
//!
//! Where addresses are given, what cannot be checked is refused. That covers the ways to speak for an address that is
//! another's: as a source; in ARP; in neighbour discovery (RFC 4861), also from the unspecified address, also behind
//! extension headers, which are not followed: discovery has a hop limit of 255 or is ignored by who gets it (section
//! 6.1, 7.1), so extension headers and 255 together are refused, which nothing else needs.
//!
//! Reports of multicast listeners from the unspecified address, sent before there is another, count as from a foreign one:
//! nothing here listens to them, routers must not either, and they come again from the link-local address (RFC 3590).
//!
//! A checksum that is left to others is written when all this was looked at, where the sender says (VIRTIO 5.1.6.2): it must
//! not be among what was looked at.

use super::frame::{ARP, Head, IPV4, IPV6, bytes_at, u16_at};
use super::{Addresses, Dropped, VmPort};
use base::MacAddress;
use core::net::{Ipv4Addr, Ipv6Addr};

/// An Ethernet header without a tag.
const ETHERNET_BYTES: u32 = 14;
/// The least length of an IPv4 header, in words of 4 bytes (RFC 791, section 3.1).
const IPV4_WORDS_MIN: u32 = 5;
/// An IPv6 header (RFC 8200, section 3).
const IPV6_BYTES: u32 = 40;
/// Where the checksum of ICMPv6 is in a frame, behind type and code (RFC 4443, section 2.1).
const ICMPV6_CHECKSUM_AT: u32 = ETHERNET_BYTES + IPV6_BYTES + 2;

/// ARP's hardware and protocol: Ethernet with addresses of 6 bytes, IPv4 with 4 (RFC 826).
const ARP_OF_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_REQUEST: u16 = 1;

const ICMPV6: u8 = 58;
/// Headers behind which another one stands: hop-by-hop, routing, fragment, authentication, destination options, mobility,
/// host identity, shim6, and two for experiments (IANA, "IPv6 Extension Header Types").
const EXTENSION_HEADERS: [u8; 10] = [0, 43, 44, 51, 60, 135, 139, 140, 253, 254];
/// The hop limit of neighbour discovery.
const DISCOVERY_HOP_LIMIT: u8 = 255;

// ICMPv6 types (RFC 4861, section 4).
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

/// Whether the guest at `port` may send this frame to anybody, and others write a checksum at `unfinished_at`.
pub(super) fn check_guest(
    port: &VmPort,
    frame: &Head<'_>,
    unfinished_at: Option<u32>,
) -> Result<(), Dropped> {
    if frame.source != port.mac {
        return Err(Dropped::SourceMac);
    }
    if frame.is_tagged() {
        return Err(Dropped::Tagged);
    }
    let Some(addresses) = &port.addresses else {
        return Ok(());
    };
    match frame.kind {
        IPV4 => check_ipv4(addresses, frame.rest),
        ARP => check_arp(addresses, port.mac, frame.rest),
        IPV6 => check_ipv6(addresses, frame.rest),
        _ => Err(Dropped::Protocol),
    }?;
    unfinished_at.map_or(Ok(()), |place| check_unfinished(frame, place))
}

/// Whether two bytes that are written at `place` leave what was checked as it is.
fn check_unfinished(frame: &Head<'_>, place: u32) -> Result<(), Dropped> {
    match frame.kind {
        IPV4 => {
            let header_words = frame.rest.first().map_or(0, |first| u32::from(first & 0xf));
            let is_behind = header_words >= IPV4_WORDS_MIN && place >= ETHERNET_BYTES + 4 * header_words;
            if is_behind { Ok(()) } else { Err(Dropped::SourceIp) }
        }
        IPV6 if place < ETHERNET_BYTES + IPV6_BYTES => Err(Dropped::SourceIp),
        IPV6 if frame.rest.get(6) == Some(&ICMPV6) && place != ICMPV6_CHECKSUM_AT => Err(Dropped::Neighbour),
        IPV6 => Ok(()),
        // ARP has no checksum.
        _ => Err(Dropped::Neighbour),
    }
}

fn check_ipv4(addresses: &Addresses, packet: &[u8]) -> Result<(), Dropped> {
    let is_ipv4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let source = bytes_at(packet, 12).map(Ipv4Addr::from_octets);
    match source {
        Some(source) if is_ipv4 && addresses.v4.contains(&source) => Ok(()),
        _ => Err(Dropped::SourceIp),
    }
}

fn check_arp(addresses: &Addresses, mac: MacAddress, packet: &[u8]) -> Result<(), Dropped> {
    let is_own_mac = bytes_at(packet, 8).map(MacAddress) == Some(mac);
    let is_own =
        |at| bytes_at(packet, at).is_some_and(|ip| addresses.v4.contains(&Ipv4Addr::from_octets(ip)));
    // Who asks whether an address is free has none yet; whoever else asks just then leaves it to others (RFC 5227, section
    // 2.1.1).
    let is_probe = bytes_at(packet, 14) == Some([0; 4]) && u16_at(packet, 6) == Some(ARP_REQUEST);
    let is_owner = if is_probe { is_own(24) } else { is_own(14) };
    if packet.starts_with(&ARP_OF_IPV4) && is_own_mac && is_owner { Ok(()) } else { Err(Dropped::Neighbour) }
}

fn check_ipv6(addresses: &Addresses, packet: &[u8]) -> Result<(), Dropped> {
    let (Some([version, ..]), Some([next_header, hop_limit]), Some(source)) =
        (bytes_at::<4>(packet, 0), bytes_at(packet, 6), bytes_at(packet, 8).map(Ipv6Addr::from_octets))
    else {
        return Err(Dropped::SourceIp);
    };
    if version >> 4 != 6 {
        return Err(Dropped::SourceIp);
    }
    if hop_limit == DISCOVERY_HOP_LIMIT && EXTENSION_HEADERS.contains(&next_header) {
        return Err(Dropped::Neighbour);
    }
    let icmp = if next_header == ICMPV6 { packet.get(40).copied() } else { None };
    let target_is_own = || {
        let target = bytes_at(packet, 48).map(Ipv6Addr::from_octets);
        target.is_some_and(|target| addresses.v6.contains(&target))
    };
    if matches!(icmp, Some(ROUTER_ADVERTISEMENT | REDIRECT)) {
        return Err(Dropped::Neighbour);
    }
    if icmp == Some(NEIGHBOUR_ADVERTISEMENT) && !target_is_own() {
        return Err(Dropped::Neighbour);
    }
    if source.is_unspecified() {
        // Who looks for a router or asks whether an address is free has none yet (RFC 4862, section 5.4.2).
        return match icmp {
            Some(ROUTER_SOLICITATION) => Ok(()),
            Some(NEIGHBOUR_SOLICITATION) if target_is_own() => Ok(()),
            Some(NEIGHBOUR_SOLICITATION) => Err(Dropped::Neighbour),
            _ => Err(Dropped::SourceIp),
        };
    }
    if addresses.v6.contains(&source) { Ok(()) } else { Err(Dropped::SourceIp) }
}

/// The link-local address that a host makes of its MAC (RFC 4291, appendix A).
pub(super) const fn link_local(mac: MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}
