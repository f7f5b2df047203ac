//! The bridge's rules by example, and by any frame.

mod owners;

use super::*;
use proptest::prelude::*;
use std::vec;

const NOW: Instant = Instant(1_000_000_000);
const ROUTER: MacAddress = MacAddress([2, 0xaa, 0, 0, 0, 1]);

fn mac(n: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, n])
}

fn frame(destination: MacAddress, source: MacAddress, kind: u16, rest: &[u8]) -> Vec<u8> {
    [&destination.0[..], &source.0, &kind.to_be_bytes(), rest].concat()
}

/// A frame of a protocol that the bridge knows nothing of.
fn plain(destination: MacAddress, source: MacAddress) -> Vec<u8> {
    frame(destination, source, 0x88b5, &[0; 46])
}

fn tagged(destination: MacAddress, source: MacAddress, vlan: u16) -> Vec<u8> {
    frame(destination, source, 0x8100, &[&vlan.to_be_bytes()[..], &[0x88, 0xb5], &[0; 46]].concat())
}

fn send(bridge: &mut Bridge, from: PortId, frame: &[u8]) -> Result<Forward, Dropped> {
    send_unfinished(bridge, from, frame, None)
}

/// Sends a frame with a checksum that others write at `place`.
fn send_unfinished(
    bridge: &mut Bridge,
    from: PortId,
    frame: &[u8],
    place: Option<u32>,
) -> Result<Forward, Dropped> {
    bridge.forward(from, &frame[..frame.len().min(HEAD_BYTES)], frame.len() as u32, place, NOW)
}

/// The ports that get a frame.
fn to(bridge: &mut Bridge, from: PortId, frame: &[u8]) -> Result<Vec<(PortId, TagChange)>, Dropped> {
    send(bridge, from, frame).map(|forward| forward.receivers().collect())
}

fn attach(bridge: &mut Bridge, n: u8, ip: &[&str], vlan: u16, reach: Reach) -> PortId {
    let ip: Vec<_> = ip.iter().map(|ip| ip.parse().unwrap()).collect();
    bridge.attach(PortKind::Vm(VmPort::new(mac(n), &ip, VlanId::new(vlan), reach)), None).unwrap()
}

/// Guests 1 and 2 without a VLAN, 3 and 4 in VLAN 10, 5 isolated without a VLAN, and the uplink.
fn network() -> (Bridge, [PortId; 5], PortId) {
    let mut bridge = Bridge::new().unwrap();
    let vms = [
        (1, 0, Reach::Network),
        (2, 0, Reach::Network),
        (3, 10, Reach::Network),
        (4, 10, Reach::Network),
        (5, 0, Reach::Uplink),
    ]
    .map(|(n, vlan, reach)| attach(&mut bridge, n, &[], vlan, reach));
    let uplink = bridge.attach(PortKind::Uplink, None).unwrap();
    (bridge, vms, uplink)
}

#[test]
fn a_guest_reaches_the_other_by_its_address_and_nobody_else_sees_it() {
    let (mut bridge, [one, two, ..], _) = network();
    assert_eq!(to(&mut bridge, one, &plain(mac(2), mac(1))), Ok(vec![(two, TagChange::Keep)]));
    assert_eq!(bridge.counters(one).unwrap().from, Traffic { frames: 1, bytes: 60 });
}

#[test]
fn broadcasts_go_to_all_in_the_vlan_and_out_with_its_tag() {
    let (mut bridge, [one, two, three, four, _], uplink) = network();
    let ten = VlanId::new(10).unwrap();
    let broadcast = |n| plain(MacAddress::BROADCAST, mac(n));
    assert_eq!(
        to(&mut bridge, one, &broadcast(1)),
        Ok(vec![(two, TagChange::Keep), (uplink, TagChange::Keep)])
    );
    assert_eq!(
        to(&mut bridge, three, &broadcast(3)),
        Ok(vec![(four, TagChange::Keep), (uplink, TagChange::Insert(ten))])
    );
    assert_eq!(tag_bytes(ten), [0x81, 0, 0, 10]);
}

#[test]
fn what_comes_from_outside_goes_to_its_vlan_without_the_tag() {
    let (mut bridge, [one, two, three, four, five], uplink) = network();
    let outside = |destination, vlan| tagged(destination, ROUTER, vlan);
    assert_eq!(to(&mut bridge, uplink, &outside(mac(3), 10)), Ok(vec![(three, TagChange::Remove)]));
    let all = outside(MacAddress::BROADCAST, 10);
    assert_eq!(
        to(&mut bridge, uplink, &all),
        Ok(vec![(three, TagChange::Remove), (four, TagChange::Remove)])
    );
    // A priority without a VLAN.
    assert_eq!(to(&mut bridge, uplink, &outside(mac(1), 0xe000)), Ok(vec![(one, TagChange::Remove)]));
    let plain_broadcast = plain(MacAddress::BROADCAST, ROUTER);
    let got: Vec<_> =
        to(&mut bridge, uplink, &plain_broadcast).unwrap().iter().map(|(port, _)| *port).collect();
    assert_eq!(got, [one, two, five]);
    assert_eq!(send(&mut bridge, uplink, &outside(mac(3), 11)), Err(Dropped::Vlan));
    assert_eq!(send(&mut bridge, uplink, &outside(MacAddress::BROADCAST, 4095)), Err(Dropped::Tagged));
    assert_eq!(send(&mut bridge, uplink, &plain(mac(99), ROUTER)), Err(Dropped::NoReceiver));
}

#[test]
fn vlans_do_not_meet_and_it_is_counted() {
    let (mut bridge, [one, _, three, ..], _) = network();
    assert_eq!(send(&mut bridge, one, &plain(mac(3), mac(1))), Err(Dropped::Vlan));
    assert_eq!(send(&mut bridge, three, &plain(mac(1), mac(3))), Err(Dropped::Vlan));
    assert_eq!(send(&mut bridge, one, &tagged(mac(3), mac(1), 10)), Err(Dropped::Tagged));
    let drops: Vec<_> = bridge.counters(one).unwrap().drops().collect();
    assert_eq!(drops, [(Dropped::Tagged, 1), (Dropped::Vlan, 1)]);
}

#[test]
fn an_isolated_guest_talks_to_the_uplink_only() {
    let (mut bridge, [one, _, _, _, five], uplink) = network();
    assert_eq!(send(&mut bridge, five, &plain(mac(1), mac(5))), Err(Dropped::Isolated));
    assert_eq!(send(&mut bridge, one, &plain(mac(5), mac(1))), Err(Dropped::Isolated));
    let broadcast = plain(MacAddress::BROADCAST, mac(5));
    assert_eq!(to(&mut bridge, five, &broadcast), Ok(vec![(uplink, TagChange::Keep)]));
    assert_eq!(to(&mut bridge, uplink, &plain(mac(5), ROUTER)), Ok(vec![(five, TagChange::Keep)]));
}

#[test]
fn nobody_sends_as_another() {
    let (mut bridge, [one, ..], uplink) = network();
    assert_eq!(send(&mut bridge, one, &plain(mac(2), mac(9))), Err(Dropped::SourceMac));
    assert_eq!(send(&mut bridge, one, &plain(mac(2), mac(2))), Err(Dropped::SourceMac));
    // Also not from outside as one of the guests, or as many.
    for source in [mac(1), MacAddress::BROADCAST, MacAddress([0; 6])] {
        assert_eq!(send(&mut bridge, uplink, &plain(mac(2), source)), Err(Dropped::SourceMac));
    }
    assert_eq!(bridge.learned(), 0);
}

#[test]
fn what_bridges_keep_to_themselves_stops_here() {
    let (mut bridge, [one, ..], uplink) = network();
    let spanning_tree = MacAddress([1, 0x80, 0xc2, 0, 0, 0]);
    assert_eq!(
        send(&mut bridge, one, &frame(spanning_tree, mac(1), 38, &[0x42; 46])),
        Err(Dropped::Reserved)
    );
    assert_eq!(send(&mut bridge, uplink, &plain(spanning_tree, ROUTER)), Err(Dropped::Reserved));
}

#[test]
fn frames_that_are_none_are_dropped() {
    let (mut bridge, [one, ..], uplink) = network();
    assert_eq!(send(&mut bridge, one, &[2; 13]), Err(Dropped::Length));
    let too_long = bridge.forward(one, &plain(mac(2), mac(1)), FRAME_BYTES_MAX + 1, None, NOW);
    assert_eq!(too_long, Err(Dropped::Length));
    assert_eq!(send(&mut bridge, uplink, &frame(mac(1), ROUTER, 0x8100, &[0])), Err(Dropped::Length));
    bridge.detach(one);
    assert_eq!(send(&mut bridge, one, &plain(mac(2), mac(1))), Err(Dropped::NoPort));
}

#[test]
fn the_unknown_is_outside_and_what_was_seen_there_at_its_uplink() {
    let (mut bridge, [one, ..], uplink) = network();
    let second = bridge.attach(PortKind::Uplink, None).unwrap();
    let to_router = plain(ROUTER, mac(1));
    let both = vec![(uplink, TagChange::Keep), (second, TagChange::Keep)];
    assert_eq!(to(&mut bridge, one, &to_router), Ok(both.clone()));
    assert_eq!(to(&mut bridge, second, &plain(mac(1), ROUTER)), Ok(vec![(one, TagChange::Keep)]));
    assert_eq!(to(&mut bridge, one, &to_router), Ok(vec![(second, TagChange::Keep)]));
    // Nothing goes from uplink to uplink.
    assert_eq!(
        send(&mut bridge, uplink, &plain(ROUTER, MacAddress([2, 0xbb, 0, 0, 0, 1]))),
        Err(Dropped::NoReceiver)
    );
    bridge.detach(second);
    assert_eq!(to(&mut bridge, one, &to_router), Ok(vec![both[0]]));
}

#[test]
fn without_an_uplink_the_unknown_is_nowhere() {
    let mut bridge = Bridge::new().unwrap();
    let one = attach(&mut bridge, 1, &[], 0, Reach::Network);
    for destination in [ROUTER, mac(1), MacAddress::BROADCAST] {
        assert_eq!(send(&mut bridge, one, &plain(destination, mac(1))), Err(Dropped::NoReceiver));
    }
}

#[test]
fn a_port_is_limited_to_its_rate_and_dropped_frames_cost_it_nothing() {
    let mut bridge = Bridge::new().unwrap();
    let kind = PortKind::Vm(VmPort::new(mac(1), &[], None, Reach::Network));
    let one = bridge.attach(kind, Some(BitRate(1_000_000_000))).unwrap();
    attach(&mut bridge, 2, &[], 0, Reach::Network);
    let large = |bridge: &mut Bridge, destination| {
        bridge.forward(one, &plain(destination, mac(1)), 60_000, None, NOW)
    };
    for _ in 0..100 {
        assert_eq!(large(&mut bridge, ROUTER), Err(Dropped::NoReceiver));
    }
    // 10 ms at 1 Gbit/s are 1,250,000 bytes.
    let passed = (0..100).filter(|_| large(&mut bridge, mac(2)).is_ok()).count();
    assert_eq!(passed, 20);
    assert_eq!(bridge.counters(one).unwrap().dropped(Dropped::Rate), 80);
    let ready = bridge.ready_at(one, 60_000, NOW);
    assert!(ready > NOW);
    assert!(bridge.forward(one, &plain(mac(2), mac(1)), 60_000, None, ready).is_ok());
}

#[test]
fn ports_are_as_many_as_there_can_be_and_addresses_differ() {
    let mut bridge = Bridge::new().unwrap();
    let ids: Vec<_> = (0..PORTS_MAX as u8).map(|n| attach(&mut bridge, n, &[], 0, Reach::Network)).collect();
    assert_eq!(bridge.attach(PortKind::Uplink, None), Err(AttachError::Full));
    bridge.detach(ids[7]);
    let twice = PortKind::Vm(VmPort::new(mac(8), &[], None, Reach::Network));
    assert_eq!(bridge.attach(twice, None), Err(AttachError::MacInUse(mac(8))));
    assert_eq!(bridge.attach(PortKind::Uplink, None), Ok(ids[7]));
}

#[test]
fn what_arrived_and_what_did_not_is_counted_at_the_receiver() {
    let (mut bridge, [one, ..], _) = network();
    bridge.delivered(one, 100);
    bridge.undelivered(one);
    let counters = bridge.counters(one).unwrap();
    assert_eq!(
        (counters.to, counters.dropped(Dropped::ReceiverFull)),
        (Traffic { frames: 1, bytes: 100 }, 1)
    );
}

proptest! {
    #[test]
    fn whatever_is_sent_stays_in_its_vlan_and_does_not_come_back(
        from in 0_usize..6,
        destination in prop_oneof![(0_u8..8).prop_map(mac), Just(ROUTER), Just(MacAddress::BROADCAST)],
        source in prop_oneof![(0_u8..8).prop_map(mac), Just(ROUTER)],
        kind in prop_oneof![Just(0x8100_u16), Just(0x800), Just(0x806), Just(0x86dd), any::<u16>()],
        rest in prop::collection::vec(any::<u8>(), 0..140),
    ) {
        let (mut bridge, vms, uplink) = network();
        let ports = [vms[0], vms[1], vms[2], vms[3], vms[4], uplink];
        let vlans = [0, 0, 10, 10, 0];
        let sent = frame(destination, source, kind, &rest);
        if let Ok(forward) = send(&mut bridge, ports[from], &sent) {
            prop_assert!(forward.receivers().next().is_some());
            let vlan = if from < 5 { vlans[from] } else if kind == 0x8100 { u16::from_be_bytes([rest[0], rest[1]]) & 0xfff } else { 0 };
            for (to, _) in forward.receivers() {
                prop_assert_ne!(to, ports[from]);
                prop_assert!(to == uplink || vlans[to.index()] == vlan);
                prop_assert!(from == 5 || to == uplink || (to != vms[4] && from != 4));
            }
            prop_assert!(from == 5 || source == mac(from as u8 + 1));
        }
    }
}
