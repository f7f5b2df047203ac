//! Segments against what they are by definition.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Stream {
    version: Version,
    is_tagged: bool,
    ip_options: usize,
    tcp_options: usize,
    flags: u8,
    sequence: u32,
    payload: Vec<u8>,
}

impl Stream {
    fn frame(&self) -> Vec<u8> {
        let tag: &[u8] = if self.is_tagged { &[0x81, 0, 0, 10] } else { &[] };
        let ip = match self.version {
            Version::V4 => {
                let mut ip = vec![0x45 + self.ip_options as u8, 0, 9, 9, 0xff, 0xfe, 0x40, 0, 64, 6, 7, 7];
                ip.extend([10, 0, 0, 1, 10, 0, 0, 2]);
                ip.extend(vec![1; self.ip_options * 4]);
                [&[8, 0][..], &ip].concat()
            }
            Version::V6 => [&[0x86, 0xdd, 0x60, 0, 0, 0, 9, 9, 6, 64][..], &[0xfd; 16], &[0xfe; 16]].concat(),
        };
        let mut tcp = vec![0, 80, 1, 2];
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend([1, 2, 3, 4, (5 + self.tcp_options as u8) << 4, self.flags, 8, 0, 5, 5, 0, 0]);
        tcp.extend(vec![1; self.tcp_options * 4]);
        [&[2; 12][..], tag, &ip, &tcp, &self.payload].concat()
    }
}

fn stream() -> impl Strategy<Value = Stream> {
    let version = prop_oneof![Just(Version::V4), Just(Version::V6)];
    let payload = prop::collection::vec(any::<u8>(), 0..4000);
    (version, any::<bool>(), 0_usize..3, 0_usize..4, any::<u8>(), any::<u32>(), payload).prop_map(
        |(version, is_tagged, ip_options, tcp_options, flags, sequence, payload)| Stream {
            version,
            is_tagged,
            ip_options,
            tcp_options,
            flags,
            sequence,
            payload,
        },
    )
}

/// The sum of 16-bit words by the definition: 0xffff when it verifies.
fn sum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    words.fold(0_u32, |sum, word| (sum + word) % 0xffff) as u16
}

fn segments(frame: &[u8], payload_bytes: u16) -> Vec<Vec<u8>> {
    let mut segments = Segments::new(frame, payload_bytes).unwrap();
    let mut out = vec![0xee; segments.len_bytes_max()];
    let mut all = Vec::new();
    while let Some(len_bytes) = segments.next_into(&mut out) {
        all.push(out[..len_bytes.unwrap()].to_vec());
    }
    all
}

proptest! {
    #[test]
    fn segments_are_whole_frames_that_carry_the_payload(stream in stream(), payload_bytes in 48_u16..2000) {
        let frame = stream.frame();
        let ip_at = if stream.is_tagged { 18 } else { 14 };
        let ip_bytes = if stream.version == Version::V4 { 20 + 4 * stream.ip_options } else { 40 };
        let tcp_at = ip_at + ip_bytes;
        let payload_at = tcp_at + 20 + 4 * stream.tcp_options;
        let all = segments(&frame, payload_bytes);
        prop_assert_eq!(all.len(), stream.payload.len().div_ceil(payload_bytes.into()).max(1));
        let mut payload: Vec<u8> = Vec::new();
        for (index, segment) in all.iter().enumerate() {
            let ip = &segment[ip_at..];
            match stream.version {
                Version::V4 => {
                    prop_assert_eq!(usize::from(u16_at(ip, 2).unwrap()), ip.len());
                    prop_assert_eq!(u16_at(ip, 4).unwrap(), 0xfffe_u16.wrapping_add(index as u16));
                    prop_assert_eq!(sum(&ip[..ip_bytes]), 0);
                }
                Version::V6 => prop_assert_eq!(usize::from(u16_at(ip, 4).unwrap()), ip.len() - 40),
            }
            let addresses = if stream.version == Version::V4 { &ip[12..20] } else { &ip[8..40] };
            let tcp = &segment[tcp_at..];
            let pseudo = [addresses, &[0, 6], &(tcp.len() as u16).to_be_bytes(), tcp].concat();
            // Zero modulo 0xffff: all ones.
            prop_assert_eq!(sum(&pseudo), 0);
            let sequence = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
            prop_assert_eq!(sequence, stream.sequence.wrapping_add(payload.len() as u32));
            let first_only = if index == 0 { 0 } else { CWR };
            let last_only = if index + 1 == all.len() { 0 } else { FIN | PSH };
            prop_assert_eq!(tcp[13], stream.flags & !first_only & !last_only);
            // All else is as it was.
            let masked = |frame: &[u8]| {
                let mut headers = frame[..payload_at].to_vec();
                headers[ip_at + 2..ip_at + 6].fill(0);
                if stream.version == Version::V4 {
                    headers[ip_at + 10..ip_at + 12].fill(0);
                }
                headers[tcp_at + 4..tcp_at + 8].fill(0);
                headers[tcp_at + 13] = 0;
                headers[tcp_at + 16..tcp_at + 18].fill(0);
                headers
            };
            prop_assert_eq!(masked(segment), masked(&frame));
            payload.extend(&segment[payload_at..]);
        }
        prop_assert_eq!(payload, stream.payload);
    }

    #[test]
    fn no_frame_makes_more_segments_than_its_payload_allows(mut frame in prop::collection::vec(any::<u8>(), 0..300), kind in prop_oneof![Just([8, 0]), Just([0x86, 0xdd])]) {
        if frame.len() > 40 {
            frame[12..14].copy_from_slice(&kind);
            frame[14] = if kind == [8, 0] { 0x45 } else { 0x60 };
            frame[20] = 6;
            frame[23] = 6;
        }
        if let Ok(mut segments) = Segments::new(&frame, 48) {
            let mut out = vec![0; segments.len_bytes_max()];
            for _ in 0..frame.len().div_ceil(48).max(1) {
                segments.next_into(&mut out);
            }
            prop_assert!(segments.next_into(&mut out).is_none());
        }
    }
}

#[test]
fn what_cannot_be_segmented_is_refused() {
    let whole = Stream {
        version: Version::V4,
        is_tagged: false,
        ip_options: 0,
        tcp_options: 0,
        flags: 0x18,
        sequence: 0,
        payload: vec![1; 200],
    };
    let with = |at: usize, byte: u8| {
        let mut frame = whole.frame();
        frame[at] = byte;
        Segments::new(&frame, 100).map(|_| ())
    };
    assert_eq!(with(0, 2), Ok(()));
    for (at, byte, error) in [
        (12, 9, OffloadError::NotTcp),
        (14, 0x44, OffloadError::NotTcp),
        (14, 0x65, OffloadError::NotTcp),
        (20, 0x20, OffloadError::NotTcp),
        (23, 17, OffloadError::NotTcp),
        (46, 0x40, OffloadError::NotTcp),
    ] {
        assert_eq!(with(at, byte), Err(error), "{at}");
    }
    let frame = whole.frame();
    assert_eq!(Segments::new(&frame[..50], 100).err(), Some(OffloadError::Short));
    assert_eq!(Segments::new(&frame, 7).err(), Some(OffloadError::SegmentsTooSmall));
}

#[test]
fn a_segment_that_had_no_room_comes_again() {
    let stream = Stream {
        version: Version::V6,
        is_tagged: true,
        ip_options: 0,
        tcp_options: 0,
        flags: 0,
        sequence: u32::MAX,
        payload: vec![1; 200],
    };
    let frame = stream.frame();
    let mut segments = Segments::new(&frame, 150).unwrap();
    let mut out = vec![0; segments.len_bytes_max()];
    assert_eq!(segments.next_into(&mut out[..200]), Some(Err(OffloadError::NoRoom)));
    assert_eq!(segments.next_into(&mut out), Some(Ok(78 + 150)));
    assert_eq!(segments.next_into(&mut out), Some(Ok(78 + 50)));
    assert_eq!(segments.next_into(&mut out), None);
}
