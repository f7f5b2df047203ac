//! The switch: no frame panics, whatever its guest or the outside made of it, and what is carried on keeps the rules:
//! - it goes to somebody, never back to where it came from, and from one uplink to no other;
//! - a guest sends from its own MAC, without a tag, and where addresses are given, from those;
//! - it still does so when others have written what they want where it has left its checksum to them;
//! - it stays in its VLAN, and does not pass between two guests of which one is isolated.
//!
//! What an offload is finished for is bounded too: segments hold the payload and no more.
//!
//! The input: frames, each with the number of its port u8, its length u8, time that has passed in milliseconds u8, the place of
//! a checksum that is left to others u8 (before 14: none is), what they write there 2 bytes, and its bytes.

#![no_main]

use backends::switch::offload::{Segments, finish_checksum};
use backends::switch::{Bridge, Dropped, FRAME_BYTES_MAX, HEAD_BYTES, PortId, PortKind, Reach, VmPort};
use base::{BitRate, Instant, MacAddress, Nanoseconds, VlanId};
use fuzz::Bytes;
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

/// An Ethernet header.
const ETHERNET_BYTES: u8 = 14;

/// The most frames of an input.
const FRAMES_MAX: usize = 200;

const GUESTS: usize = 5;
/// The VLAN of each guest, 0 for none; of uplinks each frame tells it.
const VLANS: [u16; GUESTS] = [0, 0, 10, 10, 0];
/// The guest that talks to uplinks only.
const ISOLATED: usize = 4;
/// The guests with addresses.
const GUARDED: [usize; 2] = [1, 3];
const OWN_V4: [u8; 4] = [10, 0, 0, 2];

fn mac(guest: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, guest as u8])
}

fn network() -> (Bridge, Vec<PortId>) {
    let own: [IpAddr; 2] = [OWN_V4.into(), [0xfd00, 0, 0, 0, 0, 0, 0, 2].into()];
    let mut bridge = Bridge::new().expect("there is memory");
    let mut ports = Vec::new();
    for (guest, vlan) in VLANS.into_iter().enumerate() {
        let ip = if GUARDED.contains(&guest) { &own[..] } else { &[] };
        let reach = if guest == ISOLATED { Reach::Uplink } else { Reach::Network };
        let kind = PortKind::Vm(VmPort::new(mac(guest), ip, VlanId::new(vlan), reach));
        let rate = (guest == 0).then_some(BitRate(1_000_000));
        ports.push(bridge.attach(kind, rate).expect("there is room"));
    }
    ports.extend((0..2).map(|_| bridge.attach(PortKind::Uplink, None).expect("there is room")));
    (bridge, ports)
}

/// What holds for a frame that `forward` lets a guest send.
fn check_guest(guest: usize, frame: &[u8]) {
    assert_eq!(frame[6..12], mac(guest).0);
    let kind = u16::from_be_bytes([frame[12], frame[13]]);
    assert!(![0x8100, 0x88a8].contains(&kind));
    if GUARDED.contains(&guest) {
        match kind {
            0x800 => assert_eq!(frame[26..30], OWN_V4),
            0x806 => assert!(frame[28..32] == OWN_V4 || (frame[28..32] == [0; 4] && frame[38..42] == OWN_V4)),
            0x86dd => {
                let source = &frame[22..38];
                assert!(matches!(source[0], 0xfd | 0xfe) || (source == [0; 16] && frame[20] == 58));
            }
            _ => panic!("protocol {kind:#x}"),
        }
    }
}

fn check_offloads(frame: &[u8]) {
    let mut copy = frame.to_vec();
    let place = frame.first_chunk().map_or([0; 4], |chunk: &[u8; 4]| *chunk);
    let _ = finish_checksum(&mut copy, u16::from(place[0]), u16::from(place[1]));
    let size = u16::from_le_bytes([place[2], place[3]]);
    let Ok(mut segments) = Segments::new(frame, size) else { return };
    let mut out = vec![0; segments.len_bytes_max()];
    let (mut made, mut total) = (0, 0);
    while let Some(len_bytes) = segments.next_into(&mut out) {
        made += 1;
        total += len_bytes.expect("the buffer is long enough");
    }
    assert!(made <= frame.len().div_ceil(usize::from(size)).max(1));
    assert!(total <= frame.len() * (made + 1));
}

fuzz_target!(|data: &[u8]| {
    let (mut bridge, ports) = network();
    let mut input = Bytes::new(data);
    let mut now = Instant(1_000_000_000);
    for _ in 0..FRAMES_MAX {
        if input.is_empty() {
            break;
        }
        let from = usize::from(input.u8()) % ports.len();
        let (len, waited) = (input.u8(), input.u8());
        let (place, written) = (input.u8(), input.u16().to_le_bytes());
        let unfinished_at = (place >= ETHERNET_BYTES && from < GUESTS).then_some(u32::from(place));
        now = now.after(Nanoseconds::from_millis(waited.into()));
        let frame = input.take(len.into());
        check_offloads(frame);
        // Some are longer than what is seen of them, and some than any may be.
        let len_bytes =
            if waited == 255 { FRAME_BYTES_MAX + 1 } else { frame.len() as u32 + u32::from(waited) * 300 };
        let mut forward = |frame: &[u8], unfinished_at| {
            let head = &frame[..frame.len().min(HEAD_BYTES)];
            bridge.forward(ports[from], head, len_bytes.min(FRAME_BYTES_MAX + 1), unfinished_at, now)
        };
        let Ok(forwarded) = forward(frame, unfinished_at) else { continue };
        assert!(len_bytes <= FRAME_BYTES_MAX);
        let is_guest = from < GUESTS;
        let vlan = match (is_guest, &frame[12..14]) {
            (true, _) => VLANS[from],
            (false, [0x81, 0]) => u16::from_be_bytes([frame[14], frame[15]]) & 0xfff,
            (false, _) => 0,
        };
        if is_guest {
            check_guest(from, frame);
        }
        if unfinished_at.is_some() {
            let mut finished = frame.to_vec();
            if let Some(field) = finished.get_mut(usize::from(place)..usize::from(place) + written.len()) {
                field.copy_from_slice(&written);
            }
            check_guest(from, &finished);
            let again = forward(&finished, None);
            assert!(again == Ok(forwarded) || again == Err(Dropped::Rate), "{again:?}");
        }
        assert!(forwarded.receivers().next().is_some());
        for (to, _) in forwarded.receivers() {
            let to = ports.iter().position(|port| *port == to).expect("a port that is there");
            assert_ne!(to, from);
            assert!(is_guest || to < GUESTS);
            if to < GUESTS {
                assert_eq!(VLANS[to], vlan);
                assert!(!is_guest || (to != ISOLATED && from != ISOLATED));
            }
        }
    }
    assert!(bridge.learned() <= 1024);
});
