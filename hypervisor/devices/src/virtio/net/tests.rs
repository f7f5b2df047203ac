extern crate std;

use super::header::HEADER_BYTES;
use super::*;
use crate::testing::{load, saved};
use crate::virtio::queue::testing::{BUFFERS, Buffer, Driver, Layout, Used};
use crate::virtio::{Broken, Queue, Signal, feature as ring};
use base::Gpa;
use proptest::prelude::*;
use seams::MemoryError;
use std::{vec, vec::Vec};

const RING: u64 = ring::RING_INDIRECT_DESC | ring::RING_EVENT_IDX;
const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 1, 2, 3]);
/// A frame that is not full of zeros.
const FRAME: [u8; 1514] = {
    let mut bytes = [0; 1514];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = (i % 251) as u8;
        i += 1;
    }
    bytes
};

fn net(features: u64) -> Net {
    let mut net = Net::new(MAC, None);
    net.features_accepted(features);
    net
}

/// A header as a driver writes it.
fn header(flags: u8, gso_type: u8, gso_size: u16, csum: (u16, u16)) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    (bytes[0], bytes[1]) = (flags, gso_type);
    bytes[4..6].copy_from_slice(&gso_size.to_le_bytes());
    bytes[6..8].copy_from_slice(&csum.0.to_le_bytes());
    bytes[8..10].copy_from_slice(&csum.1.to_le_bytes());
    bytes
}

/// Offers `header` and `frame` for transmission, the frame cut at `cut`.
fn transmit(driver: &mut Driver, header: &[u8], frame: &[u8], cut: usize) -> u16 {
    driver.memory.put(BUFFERS, header);
    driver.memory.put(BUFFERS + 0x100, frame);
    let buffers = [
        Buffer::Readable(BUFFERS, header.len() as u32),
        Buffer::Readable(BUFFERS + 0x100, cut as u32),
        Buffer::Readable(BUFFERS + 0x100 + cut as u64, (frame.len() - cut) as u32),
    ];
    driver.add(Layout::Indirect, &buffers).unwrap()
}

fn offer_buffers(driver: &mut Driver, lens: &[u32]) -> Vec<u16> {
    let places = (0..).map(|i| BUFFERS + 0x1_0000 * i);
    lens.iter()
        .zip(places)
        .map(|(len, at)| driver.add(Layout::Direct, &[Buffer::Writable(at, *len)]).unwrap())
        .collect()
}

/// Gives `driver` a frame out of host memory.
fn receive(net: &mut Net, driver: &Driver, queue: &mut Queue, frame: &[u8]) -> Result<Received, Broken> {
    net.receive(queue, &driver.memory, &NetHeader::PLAIN, frame.len() as u32, |mut room| {
        assert_eq!(room.write(&driver.memory, frame), Ok(frame.len()));
        Ok(())
    })
}

#[test]
fn a_frame_goes_from_one_guest_to_the_other_with_its_header() {
    let (mut sender, mut transmitq) = Driver::new(8, RING);
    let (mut receiver, mut receiveq) = Driver::new(8, RING);
    let (mut from, mut to) = (net(OFFERED), net(OFFERED));
    let head = transmit(&mut sender, &header(1, 1, 500, (34, 16)), &FRAME, 200);
    let heads = offer_buffers(&mut receiver, &[600, 600, 600]);

    let mut frame = Frame::new();
    assert_eq!(from.next_frame(&mut transmitq, &sender.memory, &mut frame), Ok(Fetched::Frame));
    assert_eq!(frame.first_bytes(), &FRAME[..HEAD_BYTES]);
    assert_eq!(to.acceptance(frame.header()), Acceptance::AsItIs);
    let reader = frame.reader(&sender.memory);
    let received = to.receive(&mut receiveq, &receiver.memory, frame.header(), frame.len_bytes(), |room| {
        reader.copy_to(&receiver.memory, room)
    });
    assert_eq!(received, Ok(Received::Delivered));
    from.sent(&mut transmitq, &sender.memory, &frame).unwrap();

    assert_eq!(transmitq.settle(&sender.memory), Ok(Signal::Needed));
    assert_eq!(sender.take_used(), [Used { head, written_bytes: 0 }]);
    assert_eq!(receiver.take_used(), [], "all buffers of a frame are shown at once");
    assert_eq!(receiveq.settle(&receiver.memory), Ok(Signal::Needed));
    let written = [600, 600, 12 + 1514 - 1200];
    let used: Vec<_> =
        heads.into_iter().zip(written).map(|(head, written_bytes)| Used { head, written_bytes }).collect();
    assert_eq!(receiver.take_used(), used);
    let mut seen = Vec::new();
    for (i, len) in written.into_iter().enumerate() {
        seen.extend(receiver.memory.bytes(BUFFERS + 0x1_0000 * i as u64, len as usize));
    }
    assert_eq!(seen[HEADER_BYTES..], FRAME);
    assert_eq!(seen[..HEADER_BYTES], [1, 1, 0, 0, 0xf4, 1, 34, 0, 16, 0, 3, 0]);
}

#[test]
fn what_was_checked_is_what_arrives() {
    let (mut sender, mut transmitq) = Driver::new(8, RING);
    let mut device = net(OFFERED);
    transmit(&mut sender, &[0; HEADER_BYTES], &FRAME, 14);
    let mut frame = Frame::new();
    assert_eq!(device.next_frame(&mut transmitq, &sender.memory, &mut frame), Ok(Fetched::Frame));
    sender.memory.put(BUFFERS + 0x100, &[0xff; 1514]);
    let mut bytes = [0; 1514];
    let mut reader = frame.reader(&sender.memory);
    assert_eq!(reader.read(&mut bytes[..100]), Ok(100));
    assert_eq!(reader.read(&mut bytes[100..]), Ok(1414));
    assert_eq!(reader.read(&mut [0]), Ok(0));
    assert_eq!(bytes[..HEAD_BYTES], FRAME[..HEAD_BYTES]);
    assert_eq!(bytes[HEAD_BYTES..], [0xff; 1514 - HEAD_BYTES]);
}

#[test]
fn nothing_of_what_was_in_its_place_before_goes_out_with_a_frame() {
    let (mut sender, mut transmitq) = Driver::new(8, RING);
    let mut device = net(OFFERED);
    sender.memory.put(BUFFERS, &[0; HEADER_BYTES]);
    sender.memory.put(BUFFERS + 0x100, &FRAME[..200]);
    let nowhere = 0xc000_0000;
    let buffers = [
        Buffer::Readable(BUFFERS, HEADER_BYTES as u32),
        Buffer::Readable(BUFFERS + 0x100, 200),
        Buffer::Readable(nowhere, 1314),
    ];
    sender.add(Layout::Direct, &buffers).unwrap();
    let mut frame = Frame::new();
    assert_eq!(device.next_frame(&mut transmitq, &sender.memory, &mut frame), Ok(Fetched::Frame));
    let mut bytes = [0xee; 1514];
    frame.reader(&sender.memory).fill(&mut bytes);
    assert_eq!(bytes[..HEAD_BYTES], FRAME[..HEAD_BYTES]);
    assert!(bytes[HEAD_BYTES..].iter().all(|byte| *byte == 0));
    let mut short = [0xee; 100];
    frame.reader(&sender.memory).fill(&mut short);
    assert_eq!(short, FRAME[..100]);
}

#[test]
fn what_is_no_frame_is_counted_and_given_back() {
    let fetched = |features, header: &[u8], len: usize| {
        let (mut driver, mut queue) = Driver::new(8, RING);
        let mut device = net(features);
        transmit(&mut driver, header, &vec![0; len], 1);
        let fetched = device.next_frame(&mut queue, &driver.memory, &mut Frame::new()).unwrap();
        let _ = queue.settle(&driver.memory).unwrap();
        assert_eq!(driver.take_used().len(), usize::from(fetched == Fetched::Malformed));
        assert_eq!(device.malformed_frames() == 1, fetched == Fetched::Malformed);
        fetched
    };
    let (plain, partial) = (header(0, 0, 0, (0, 0)), header(1, 0, 0, (34, 16)));
    let tso = |kind, size, offset| header(1, kind, size, (34, offset));
    let tests: [(u64, &[u8], usize, Fetched); 20] = [
        (0, &plain, 14, Fetched::Frame),
        (0, &plain, 13, Fetched::Malformed),
        (0, &plain, 65_550, Fetched::Frame),
        (0, &plain, 65_551, Fetched::Malformed),
        (0, &plain[..3], 4, Fetched::Malformed),
        (OFFERED, &partial, 52, Fetched::Frame),
        (OFFERED, &partial, 51, Fetched::Malformed),
        (0, &partial, 100, Fetched::Malformed),
        (OFFERED, &header(1, 0, 0, (13, 16)), 100, Fetched::Malformed),
        (OFFERED, &header(1, 0, 0, (u16::MAX, u16::MAX)), 65_550, Fetched::Malformed),
        (OFFERED, &tso(1, 1448, 16), 3000, Fetched::Frame),
        (OFFERED, &tso(4 | 0x80, 1448, 16), 3000, Fetched::Frame),
        (OFFERED & !feature::HOST_ECN, &tso(4 | 0x80, 1448, 16), 3000, Fetched::Malformed),
        (OFFERED & !feature::HOST_TSO4, &tso(1, 1448, 16), 3000, Fetched::Malformed),
        (OFFERED, &tso(3, 1448, 16), 3000, Fetched::Malformed),
        (OFFERED, &tso(1, 0, 16), 3000, Fetched::Malformed),
        (OFFERED, &tso(1, 7, 16), 3000, Fetched::Malformed),
        (OFFERED, &tso(1, 1448, 6), 3000, Fetched::Malformed),
        (OFFERED, &tso(1, 1448, 16), 53, Fetched::Malformed),
        (OFFERED, &header(0, 1, 1448, (34, 16)), 3000, Fetched::Malformed),
    ];
    for (i, (features, header, len, expected)) in tests.into_iter().enumerate() {
        assert_eq!(fetched(features, header, len), expected, "test {i}");
    }
}

#[test]
fn a_receiver_says_what_others_have_to_do_for_it() {
    let partial = Checksum::Partial { start: 34, offset: 16 };
    let segmented = |protocol, mark| NetHeader {
        checksum: partial,
        segmentation: Some(Segmentation { protocol, mark, segment_bytes: 1448, headers_bytes_hint: 66 }),
    };
    let checksum = NetHeader { checksum: partial, segmentation: None };
    let v4 = segmented(SegmentedProtocol::TcpV4, CongestionMark::Clear);
    let v6 = segmented(SegmentedProtocol::TcpV6, CongestionMark::Set);
    let with = |features| {
        let net = net(features);
        [NetHeader::PLAIN, checksum, v4, v6].map(|header| net.acceptance(&header))
    };
    use Acceptance::*;
    assert_eq!(with(OFFERED), [AsItIs; 4]);
    assert_eq!(with(0), [AsItIs, Checksummed, Segmented, Segmented]);
    assert_eq!(with(feature::GUEST_CSUM), [AsItIs, AsItIs, Segmented, Segmented]);
    assert_eq!(with(OFFERED & !feature::GUEST_ECN), [AsItIs, AsItIs, AsItIs, Segmented]);
    // Without its prerequisite a feature means nothing (5.1.3.1).
    assert_eq!(with(feature::GUEST_TSO4), [AsItIs, Checksummed, Segmented, Segmented]);
}

#[test]
fn only_a_driver_that_knows_of_checksums_is_told_that_one_is_valid() {
    for (features, flags) in [(OFFERED, 2), (0, 0)] {
        let (mut driver, mut queue) = Driver::new(8, RING);
        offer_buffers(&mut driver, &[100]);
        let header = NetHeader { checksum: Checksum::Valid, segmentation: None };
        let received = net(features).receive(&mut queue, &driver.memory, &header, 14, |_| Ok(()));
        assert_eq!(received, Ok(Received::Delivered));
        assert_eq!(driver.memory.bytes(BUFFERS, 1), [flags]);
    }
}

#[test]
fn without_room_for_all_of_a_frame_the_queue_stays_as_it_was() {
    let (mut driver, mut queue) = Driver::new(8, RING);
    let mut device = net(OFFERED);
    assert_eq!(receive(&mut device, &driver, &mut queue, &FRAME), Ok(Received::NoRoom));
    offer_buffers(&mut driver, &[700, 700]);
    let before = driver.available();
    assert_eq!(receive(&mut device, &driver, &mut queue, &FRAME), Ok(Received::NoRoom));
    assert_eq!(driver.memory.bytes(BUFFERS, 700), [0; 700], "nothing is copied in vain");
    offer_buffers(&mut driver, &[700]);
    assert!(driver.wants_kick(before));
    assert_eq!(receive(&mut device, &driver, &mut queue, &FRAME), Ok(Received::Delivered));
    assert_eq!(queue.settle(&driver.memory), Ok(Signal::Needed));
    assert_eq!(driver.take_used().len(), 3);
}

#[test]
fn without_mergeable_buffers_one_has_to_do() {
    let (mut driver, mut queue) = Driver::new(8, RING);
    let mut device = net(0);
    offer_buffers(&mut driver, &[1525, 1526]);
    assert_eq!(receive(&mut device, &driver, &mut queue, &FRAME), Ok(Received::TooLong));
    assert_eq!(receive(&mut device, &driver, &mut queue, &FRAME[..1513]), Ok(Received::Delivered));
    assert_eq!(receive(&mut device, &driver, &mut queue, &FRAME), Ok(Received::Delivered));
    assert_eq!(driver.memory.bytes(BUFFERS + 10, 2), [1, 0], "one buffer, and the header says so");
}

#[test]
fn frames_and_buffers_out_of_all_proportion_do_no_harm() {
    let (mut driver, mut queue) = Driver::new(128, RING);
    let mut device = net(OFFERED);
    assert_eq!(receive(&mut device, &driver, &mut queue, &[0; 65_551]), Ok(Received::TooLong));
    for _ in 0..100 {
        driver.add(Layout::Direct, &[Buffer::Writable(BUFFERS, 12)]).unwrap();
    }
    assert_eq!(receive(&mut device, &driver, &mut queue, &FRAME), Ok(Received::TooLong));
    assert_eq!(receive(&mut device, &driver, &mut queue, &FRAME[..100]), Ok(Received::Delivered));
    let (mut driver, mut queue) = Driver::new(8, RING);
    offer_buffers(&mut driver, &[11]);
    assert!(matches!(receive(&mut device, &driver, &mut queue, &FRAME), Err(Broken::Request(_))));
}

#[test]
fn a_copy_that_fails_leaves_the_buffers_to_the_next_frame() {
    let (mut driver, mut queue) = Driver::new(8, RING);
    let mut device = net(OFFERED);
    let heads = offer_buffers(&mut driver, &[2000]);
    let error = MemoryError::Unmapped(Gpa::ZERO);
    let failed = device.receive(&mut queue, &driver.memory, &NetHeader::PLAIN, 60, |_| Err(error));
    assert_eq!(failed, Ok(Received::NotCopied(error)));
    assert_eq!(receive(&mut device, &driver, &mut queue, &FRAME), Ok(Received::Delivered));
    assert_eq!(queue.settle(&driver.memory), Ok(Signal::Needed));
    assert_eq!(driver.take_used(), [Used { head: heads[0], written_bytes: 1526 }]);
}

#[test]
fn the_configuration_has_address_link_and_mtu() {
    let mut device = Net::new(MAC, Some(9000));
    let read = |device: &Net| {
        let mut bytes = [0xff; 14];
        device.read_config(0, &mut bytes);
        bytes
    };
    assert_eq!(read(&device), [0x52, 0x54, 0, 1, 2, 3, 1, 0, 0, 0, 0x28, 0x23, 0, 0]);
    assert_eq!(device.set_link(Link::Down), ConfigChange::Same, "nobody to tell");
    device.features_accepted(feature::STATUS);
    assert_eq!(device.set_link(Link::Up), ConfigChange::Changed);
    assert_eq!(device.set_link(Link::Up), ConfigChange::Same);
    assert_eq!(device.set_link(Link::Down), ConfigChange::Changed);
    assert_eq!(read(&device)[6], 0);
    assert_ne!(device.features() & feature::MTU, 0);
    for none in [None, Some(67)] {
        assert_eq!(Net::new(MAC, none).features() & feature::MTU, 0);
    }
}

#[test]
fn a_reset_forgets_the_driver_but_not_the_cable() {
    let mut device = net(OFFERED);
    let _ = device.set_link(Link::Down);
    device.reset();
    assert_eq!((device.state.features, device.link()), (0, Link::Down));
}

proptest! {
    #[test]
    fn a_header_that_is_taken_is_passed_on_as_it_was(
        mut bytes: [u8; HEADER_BYTES], len in FRAME_BYTES_MIN..FRAME_BYTES_MAX, kind in 0..2usize, flags in 0..2u8,
    ) {
        (bytes[0], bytes[1]) = (flags, [0, 1, 4, 0x81][kind + usize::from(flags)]);
        bytes[8..10].copy_from_slice(&[16, 0]);
        if let Some(header) = NetHeader::parse(bytes, len, OFFERED) {
            let [buffers @ .., _, _] = bytes;
            let passed_on = header.to_bytes(1);
            prop_assert_eq!(&passed_on[..2], &buffers[..2]);
            if header.segmentation.is_some() {
                prop_assert_eq!(&passed_on[4..6], &buffers[4..6]);
            }
            prop_assert_eq!(NetHeader::parse(passed_on, len, OFFERED), Some(header));
        }
    }

    #[test]
    fn what_others_write_into_a_frame_is_in_it_and_behind_its_ethernet_header(
        start in 0_u16..200, offset in prop_oneof![0_u16..200, any::<u16>()], len in FRAME_BYTES_MIN..400,
    ) {
        let bytes = header(1, 0, 0, (start, offset));
        let place = NetHeader::parse(bytes, len, OFFERED).map(|header| header.checksum.unfinished_at().unwrap());
        let named = u32::from(start) + u32::from(offset);
        let is_possible = u32::from(start) >= FRAME_BYTES_MIN && named + 2 <= len;
        prop_assert_eq!(place, is_possible.then_some(named));
        prop_assert_eq!(NetHeader::PLAIN.checksum.unfinished_at(), None);
    }

    #[test]
    fn a_state_is_taken_over(features: u64, is_link_up: bool, malformed_frames: u64) {
        let mut device = Net::new(MAC, None);
        device.state = NetState { features: features & OFFERED, is_link_up, malformed_frames };
        let mut copy = Net::new(MAC, None);
        load(&mut copy, &saved(&device));
        prop_assert_eq!(copy, device);
    }
}

#[test]
fn every_feature_that_needs_another_and_what_it_needs_is_offered() {
    let net = Net::new(MacAddress([2, 0, 0, 0, 0, 1]), None);
    let (features, dependencies) = (net.features(), net.dependencies());
    assert!(dependencies.iter().all(|&(feature, one_of)| (feature | one_of) & !features == 0));
    // Segmentation to the guest needs a checksum that may be partial.
    assert!(dependencies.contains(&(1 << 7, 1 << 1)));
}
