extern crate std;

use super::*;
use crate::testing::{load, saved};
use crate::virtio::queue::testing::{BUFFERS, Buffer, Driver, Layout, Used};
use crate::virtio::{Signal, feature as ring};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::{vec, vec::Vec};

const RING: u64 = ring::RING_INDIRECT_DESC | ring::RING_EVENT_IDX;

#[derive(Default)]
struct Bytes(VecDeque<u8>);

impl ByteSource for Bytes {
    fn take(&mut self) -> Option<u8> {
        self.0.pop_front()
    }
}

struct Sink {
    bytes: Vec<u8>,
    room: usize,
}

impl ByteSink for Sink {
    fn offer(&mut self, byte: u8) -> Result<(), u8> {
        if self.room == 0 {
            return Err(byte);
        }
        self.room -= 1;
        self.bytes.push(byte);
        Ok(())
    }
}

struct Bench {
    /// Each queue has a memory of its own.
    receiver: Driver,
    receive: Queue,
    transmitter: Driver,
    transmit: Queue,
    console: Console,
    source: Bytes,
    sink: Sink,
}

fn bench() -> Bench {
    let (receiver, receive) = Driver::new(8, RING);
    let (transmitter, transmit) = Driver::new(128, RING);
    let (console, source) = (Console::new(), Bytes::default());
    let sink = Sink { bytes: Vec::new(), room: usize::MAX };
    Bench { receiver, receive, transmitter, transmit, console, source, sink }
}

impl Bench {
    fn run(&mut self) -> Progress {
        let mut idle = Queue::new(8);
        let mut nothing = Bytes::default();
        let transmitted = self.console.run(
            &mut idle,
            &mut self.transmit,
            &self.transmitter.memory,
            &mut nothing,
            &mut self.sink,
        );
        let memory = &self.receiver.memory;
        let received =
            self.console.run(&mut self.receive, &mut idle, memory, &mut self.source, &mut self.sink);
        let _ = self.transmit.settle(&self.transmitter.memory).unwrap();
        let _ = self.receive.settle(memory).unwrap();
        if transmitted.unwrap() == Progress::More { Progress::More } else { received.unwrap() }
    }

    fn move_to_new_console(&mut self) {
        let mut copy = Console::new();
        load(&mut copy, &saved(&self.console));
        assert_eq!(copy, self.console);
        self.console = copy;
    }
}

#[test]
fn what_the_guest_transmits_comes_out() {
    let mut bench = bench();
    bench.transmitter.memory.put(BUFFERS, b"login: ");
    let buffers = [Buffer::Readable(BUFFERS, 5), Buffer::Readable(BUFFERS + 5, 2)];
    let head = bench.transmitter.add(Layout::Direct, &buffers).unwrap();
    assert_eq!(bench.run(), Progress::Idle);
    assert_eq!(bench.sink.bytes, b"login: ");
    assert_eq!(bench.transmitter.take_used(), [Used { head, written_bytes: 0 }]);
}

#[test]
fn what_comes_in_fills_the_guests_buffers_one_after_the_other() {
    let mut bench = bench();
    bench.source.0.extend(*b"root\nls\n");
    assert_eq!(bench.run(), Progress::Idle);
    let heads: Vec<_> = [(0, 5), (0x10, 5)]
        .map(|(at, len)| bench.receiver.add(Layout::Direct, &[Buffer::Writable(BUFFERS + at, len)]).unwrap())
        .into();
    assert_eq!(bench.run(), Progress::Idle);
    let used = [Used { head: heads[0], written_bytes: 5 }, Used { head: heads[1], written_bytes: 3 }];
    assert_eq!(bench.receiver.take_used(), used);
    assert_eq!(bench.receiver.memory.bytes(BUFFERS, 5), b"root\n");
    assert_eq!(bench.receiver.memory.bytes(BUFFERS + 0x10, 3), b"ls\n");
}

#[test]
fn a_step_is_bounded_in_bytes_and_chains() {
    let mut bench = bench();
    bench.transmitter.add(Layout::Direct, &[Buffer::Readable(BUFFERS, 10_000)]).unwrap();
    for sent in [4096, 8192] {
        assert_eq!((bench.run(), bench.sink.bytes.len()), (Progress::More, sent));
    }
    assert_eq!((bench.run(), bench.sink.bytes.len()), (Progress::Idle, 10_000));
    for _ in 0..65 {
        bench.transmitter.add(Layout::Direct, &[Buffer::Writable(BUFFERS, 1)]).unwrap();
    }
    assert_eq!((bench.run(), bench.run()), (Progress::More, Progress::Idle));
    bench.source.0.extend([7; 5000]);
    bench.receiver.add(Layout::Direct, &[Buffer::Writable(BUFFERS, 10_000)]).unwrap();
    assert_eq!((bench.run(), bench.source.0.len()), (Progress::More, 5000 - 4096 - 1));
}

#[test]
fn a_buffer_without_room_is_a_breach() {
    let mut bench = bench();
    bench.source.0.push_back(1);
    bench.receiver.add(Layout::Direct, &[Buffer::Readable(BUFFERS, 1)]).unwrap();
    let mut idle = Queue::new(8);
    let Bench { receiver, receive, console, source, sink, .. } = &mut bench;
    let outcome = console.run(receive, &mut idle, &receiver.memory, source, sink);
    assert!(matches!(outcome, Err(Broken::Request(_))), "{outcome:?}");
}

#[test]
fn a_reset_forgets_what_was_half_sent() {
    let mut bench = bench();
    bench.sink.room = 3;
    bench.transmitter.add(Layout::Direct, &[Buffer::Readable(BUFFERS, 7)]).unwrap();
    bench.run();
    assert_ne!(bench.console, Console::new());
    bench.console.reset();
    assert_eq!(bench.console, Console::new());
}

proptest! {
    #[test]
    fn every_byte_passes_once_and_in_order(
        chunks in proptest::collection::vec((1..300usize, 0..200usize, any::<bool>()), 1..30),
    ) {
        let mut bench = bench();
        let mut sent = Vec::new();
        let mut received = Vec::new();
        let mut places = [0; 8];
        for (number, (len, room, moves)) in chunks.into_iter().enumerate() {
            let place = BUFFERS + 0x200 * number as u64;
            let bytes: Vec<u8> = (sent.len()..sent.len() + len).map(|i| (i % 251) as u8).collect();
            bench.transmitter.memory.put(place, &bytes);
            let cut = len as u32 / 2 + 1;
            let mut buffers = vec![Buffer::Readable(place, cut)];
            if len as u32 > cut {
                buffers.push(Buffer::Readable(place + u64::from(cut), len as u32 - cut));
            }
            bench.transmitter.add(Layout::Indirect, &buffers).unwrap();
            bench.source.0.extend(&bytes);
            sent.extend(bytes);
            if let Some(head) = bench.receiver.add(Layout::Direct, &[Buffer::Writable(place, 100)]) {
                places[usize::from(head)] = place;
            }
            bench.sink.room = room;
            bench.run();
            if moves {
                bench.move_to_new_console();
            }
            for used in bench.receiver.take_used() {
                let place = places[usize::from(used.head)];
                received.extend(bench.receiver.memory.bytes(place, used.written_bytes as usize));
            }
        }
        bench.sink.room = usize::MAX;
        while bench.run() == Progress::More {}
        prop_assert_eq!(&bench.sink.bytes, &sent);
        prop_assert_eq!(&received[..], &sent[..received.len()]);
        let held = usize::from(bench.console.state.held.is_some());
        prop_assert_eq!(received.len() + held + bench.source.0.len(), sent.len());
        prop_assert_eq!(bench.transmit.settle(&bench.transmitter.memory), Ok(Signal::NotNeeded));
    }
}
