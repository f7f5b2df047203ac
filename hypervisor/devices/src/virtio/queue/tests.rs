extern crate std;

use super::testing::{BUFFERS, Buffer, Driver, Layout, MEMORY_BYTES, Used};
use super::*;
use crate::testing::{load, saved};
use base::Gpa;
use base::state::SavedState;
use proptest::prelude::*;
use seams::MemoryError;
use std::collections::VecDeque;
use std::{vec, vec::Vec};

const INDIRECT: u64 = feature::RING_INDIRECT_DESC;
const EVENTS: u64 = feature::RING_EVENT_IDX;
const BOTH: u64 = INDIRECT | EVENTS;

// Flags of a descriptor.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const TABLE: u16 = 4;

fn gpa(at: u64) -> Gpa {
    Gpa::from_low_bits(at)
}

fn take(driver: &Driver, queue: &mut Queue) -> Result<Option<(Head, Chain)>, Broken> {
    let mut chain = Chain::new();
    Ok(queue.next_chain(&driver.memory, &mut chain)?.map(|head| (head, chain)))
}

/// Why the chain at descriptor 0 is refused.
fn refusal(driver: &mut Driver, queue: &mut Queue) -> Broken {
    let before = queue.clone();
    driver.offer(0);
    let error = take(driver, queue).unwrap_err();
    let progress = |queue: &Queue| (queue.state.next_available, queue.state.next_used);
    assert_eq!(progress(queue), progress(&before));
    error
}

#[test]
fn a_chain_comes_as_its_readable_and_then_its_writable_buffers() {
    for layout in [Layout::Direct, Layout::Indirect] {
        let (mut driver, mut queue) = Driver::new(8, BOTH);
        let buffers =
            [Buffer::Readable(BUFFERS, 16), Buffer::Writable(0x5000, 0x200), Buffer::Writable(0x7000, 1)];
        let head = driver.add(layout, &buffers).unwrap();
        let (taken, chain) = take(&driver, &mut queue).unwrap().unwrap();
        assert_eq!(taken, Head(head));
        assert_eq!(chain.readable(), [Segment { gpa: gpa(BUFFERS), len_bytes: 16 }]);
        assert_eq!(chain.writable().len(), 2);
        assert_eq!((chain.readable_bytes(), chain.writable_bytes()), (16, 0x201));
        queue.push_used(&driver.memory, taken, 5).unwrap();
        assert_eq!(driver.take_used(), [], "not shown before it is settled");
        assert_eq!(queue.settle(&driver.memory), Ok(Signal::Needed));
        assert_eq!(driver.take_used(), [Used { head, written_bytes: 5 }]);
        assert!(take(&driver, &mut queue).unwrap().is_none());
    }
}

#[test]
fn direct_descriptors_may_lead_to_an_indirect_table_at_the_end() {
    let (mut driver, mut queue) = Driver::new(8, INDIRECT);
    driver.describe_raw(0, BUFFERS, 1, NEXT, 5);
    let table = driver.describe_raw_indirect(0, 0, (BUFFERS, 2, NEXT, 1));
    driver.describe_raw_indirect(0, 1, (BUFFERS, 3, WRITE, 0));
    driver.describe_raw(5, table, 32, TABLE | WRITE, 0);
    driver.offer(0);
    let (_, chain) = take(&driver, &mut queue).unwrap().unwrap();
    assert_eq!((chain.readable().len(), chain.readable_bytes(), chain.writable_bytes()), (2, 3, 3));
}

#[test]
fn a_queue_is_enabled_with_a_sound_size_and_sound_addresses_only() {
    let enable = |size, descriptors, available, used| {
        let mut queue = Queue::new(256);
        queue.set_size(size);
        queue.set_address(Area::Descriptors, descriptors);
        queue.set_address(Area::Driver, available);
        queue.set_address(Area::Device, used);
        queue.enable(BOTH).map(|()| queue.is_enabled())
    };
    for size in [0, 1, 3, 100, 512, 0x8000] {
        assert_eq!(enable(size, 0, 0, 0), Err(Broken::QueueSize(size)));
    }
    assert_eq!(enable(2, 16, 2, 4), Ok(true));
    assert_eq!(enable(2, 8, 2, 4), Err(Broken::QueueAddress(8)));
    assert_eq!(enable(2, 16, 1, 4), Err(Broken::QueueAddress(1)));
    assert_eq!(enable(2, 16, 2, 2), Err(Broken::QueueAddress(2)));
    let end = 1 << 52;
    assert_eq!(enable(256, end - 0x1000, 0, 0), Ok(true));
    assert_eq!(enable(256, end - 0xff0, 0, 0), Err(Broken::QueueAddress(end - 0xff0)));
    assert_eq!(enable(256, !15, 0, 0), Err(Broken::QueueAddress(!15)));
}

#[test]
fn the_registers_of_a_queue_in_use_do_not_change() {
    let (_, mut queue) = Driver::new(8, BOTH);
    let before = queue.clone();
    queue.set_size(4);
    queue.set_address(Area::Device, 0);
    queue.enable(0).unwrap();
    assert_eq!(queue, before);
    queue.reset();
    assert_eq!((queue.is_enabled(), queue.size(), queue.address(Area::Device)), (false, 256, 0));
}

#[test]
fn a_queue_that_is_not_enabled_has_nothing() {
    let (driver, _) = Driver::new(8, BOTH);
    let mut queue = Queue::new(256);
    assert!(take(&driver, &mut queue).unwrap().is_none());
    queue.push_used(&driver.memory, Head(0), 0).unwrap();
    assert_eq!(queue.settle(&driver.memory), Ok(Signal::NotNeeded));
}

#[test]
fn a_head_or_a_next_past_the_table_is_refused() {
    let (mut driver, mut queue) = Driver::new(8, BOTH);
    driver.offer(8);
    assert_eq!(take(&driver, &mut queue), Err(Broken::Head(8)));
    let (mut driver, mut queue) = Driver::new(8, BOTH);
    driver.describe_raw(0, BUFFERS, 1, NEXT, 8);
    assert_eq!(refusal(&mut driver, &mut queue), Broken::Next(8));
    let table = driver.describe_raw_indirect(0, 0, (BUFFERS, 1, NEXT, 2));
    driver.describe_raw(0, table, 32, TABLE, 0);
    let (mut driver, mut queue) = Driver::over(driver.memory, 8, BOTH);
    assert_eq!(refusal(&mut driver, &mut queue), Broken::Next(2));
}

#[test]
fn a_chain_that_leads_back_is_refused() {
    let (mut driver, mut queue) = Driver::new(8, BOTH);
    driver.describe_raw(0, BUFFERS, 1, NEXT, 1);
    driver.describe_raw(1, BUFFERS, 1, NEXT, 0);
    assert_eq!(refusal(&mut driver, &mut queue), Broken::Loop);
    let (mut driver, mut queue) = Driver::new(256, BOTH);
    driver.describe_raw(0, BUFFERS, 1, NEXT, 0);
    assert_eq!(refusal(&mut driver, &mut queue), Broken::TooLong);
}

#[test]
fn indirect_tables_are_refused_where_the_rules_forbid_them() {
    let refused = |features, len_bytes, flags, inner| {
        let (mut driver, mut queue) = Driver::new(8, features);
        let table = driver.describe_raw_indirect(0, 0, (BUFFERS, 16, inner, 0));
        driver.describe_raw(0, table, len_bytes, flags, 1);
        refusal(&mut driver, &mut queue)
    };
    assert_eq!(refused(EVENTS, 16, TABLE, 0), Broken::IndirectNotNegotiated);
    assert_eq!(refused(BOTH, 16, TABLE | NEXT, 0), Broken::IndirectWithNext);
    assert_eq!(refused(BOTH, 16, TABLE, TABLE), Broken::NestedIndirect);
    assert_eq!(refused(BOTH, 24, TABLE, 0), Broken::IndirectLength(24));
    assert_eq!(refused(BOTH, 0, TABLE, 0), Broken::Buffer(0x10_0000, 0));
}

#[test]
fn bad_buffers_are_refused() {
    let refused = |descriptors: &[(u64, u32, u16)]| {
        let (mut driver, mut queue) = Driver::new(8, BOTH);
        for (i, (at, len_bytes, flags)) in (0..).zip(descriptors) {
            driver.describe_raw(i, *at, *len_bytes, *flags, i + 1);
        }
        refusal(&mut driver, &mut queue)
    };
    let end = 1 << 52;
    assert_eq!(refused(&[(BUFFERS, 0, 0)]), Broken::Buffer(BUFFERS, 0));
    assert_eq!(refused(&[(end, 1, 0)]), Broken::Buffer(end, 1));
    assert_eq!(refused(&[(end - 1, 2, 0)]), Broken::Buffer(end - 1, 2));
    assert_eq!(refused(&[(BUFFERS, 1, WRITE | NEXT), (BUFFERS, 1, 0)]), Broken::Order);
    assert_eq!(refused(&[(0, u32::MAX, NEXT), (0, 1, 0)]), Broken::TooManyBytes);
}

#[test]
fn an_available_index_that_jumps_or_goes_back_is_refused() {
    let (mut driver, mut queue) = Driver::new(8, BOTH);
    driver.lie_about_index(9);
    assert_eq!(take(&driver, &mut queue), Err(Broken::AvailableIndex(9, 0)));
    driver.add(Layout::Direct, &[Buffer::Readable(BUFFERS, 1)]);
    assert!(take(&driver, &mut queue).unwrap().is_some());
    driver.lie_about_index(0);
    assert_eq!(take(&driver, &mut queue), Err(Broken::AvailableIndex(0, 0)));
    driver.lie_about_index(9);
    assert_eq!(take(&driver, &mut queue), Err(Broken::AvailableIndex(9, 0)), "one is still in flight");
}

#[test]
fn rings_outside_of_memory_are_refused() {
    let (driver, _) = Driver::new(8, BOTH);
    let mut queue = Queue::new(8);
    queue.set_address(Area::Driver, MEMORY_BYTES);
    queue.enable(BOTH).unwrap();
    let unmapped = Broken::Memory(MemoryError::Unmapped(gpa(MEMORY_BYTES + 2)));
    assert_eq!(take(&driver, &mut queue), Err(unmapped));
}

#[test]
fn chains_are_given_back_all_at_once() {
    let (mut driver, mut queue) = Driver::new(2, BOTH);
    for turn in 0..3 {
        let heads = [0, 1].map(|_| driver.add(Layout::Direct, &[Buffer::Writable(BUFFERS, 9)]).unwrap());
        let chains = [1, 0].map(|i| (take(&driver, &mut queue).unwrap().unwrap().0, turn + i));
        queue.push_all_used(&driver.memory, &chains).unwrap();
        assert_eq!(driver.take_used(), [], "not shown before it is settled");
        assert_eq!(queue.settle(&driver.memory), Ok(Signal::Needed));
        let used = |i: usize| Used { head: heads[i], written_bytes: chains[i].1 };
        assert_eq!(driver.take_used(), [used(0), used(1)]);
    }
    let mut outside = Queue::new(8);
    outside.set_address(Area::Device, MEMORY_BYTES - 16);
    outside.set_size(4);
    outside.enable(BOTH).unwrap();
    let before = outside.clone();
    // The second entry is not in memory any more: the first does not count either.
    assert!(outside.push_all_used(&driver.memory, &[(Head(0), 1), (Head(1), 1)]).is_err());
    assert_eq!(outside, before);
}

#[test]
fn what_is_put_back_is_the_next_again() {
    let (mut driver, mut queue) = Driver::new(8, BOTH);
    let heads: Vec<_> =
        (1..4).map(|len| driver.add(Layout::Direct, &[Buffer::Writable(BUFFERS, len)]).unwrap()).collect();
    for _ in 0..3 {
        take(&driver, &mut queue).unwrap().unwrap();
    }
    queue.put_back(2);
    let (head, chain) = take(&driver, &mut queue).unwrap().unwrap();
    assert_eq!((head, chain.writable_bytes()), (Head(heads[1]), 2));
    queue.put_back(100);
    assert_eq!(take(&driver, &mut queue).unwrap().unwrap().0, Head(heads[0]), "no more than was taken");
}

#[test]
fn a_driver_without_event_index_is_not_asked_to_kick_while_the_device_is_busy() {
    let (mut driver, mut queue) = Driver::new(8, 0);
    let buffer = [Buffer::Readable(BUFFERS, 1)];
    assert!(take(&driver, &mut queue).unwrap().is_none());
    driver.add(Layout::Direct, &buffer);
    assert!(driver.wants_kick(0));
    take(&driver, &mut queue).unwrap().unwrap();
    driver.add(Layout::Direct, &buffer);
    assert!(!driver.wants_kick(1));
    take(&driver, &mut queue).unwrap().unwrap();
    assert!(take(&driver, &mut queue).unwrap().is_none());
    driver.add(Layout::Direct, &buffer);
    assert!(driver.wants_kick(2));
}

#[test]
fn a_driver_that_sets_the_flag_gets_no_interrupt() {
    let (mut driver, mut queue) = Driver::new(8, 0);
    for (flags, signal) in [(1, Signal::NotNeeded), (0, Signal::Needed)] {
        driver.set_flags(flags);
        driver.add(Layout::Direct, &[Buffer::Readable(BUFFERS, 1)]);
        let (head, _) = take(&driver, &mut queue).unwrap().unwrap();
        queue.push_used(&driver.memory, head, 0).unwrap();
        assert_eq!(queue.settle(&driver.memory), Ok(signal));
        assert_eq!(queue.settle(&driver.memory), Ok(Signal::NotNeeded), "once is enough");
    }
}

#[test]
fn indices_wrap_around() {
    let (mut driver, mut queue) = Driver::new(2, BOTH);
    for turn in 0..70_000u32 {
        let before = driver.available();
        driver.add(Layout::Direct, &[Buffer::Readable(BUFFERS, 1)]).unwrap();
        assert!(driver.wants_kick(before), "{turn}");
        let (head, _) = take(&driver, &mut queue).unwrap().unwrap();
        queue.push_used(&driver.memory, head, turn).unwrap();
        assert_eq!(queue.settle(&driver.memory), Ok(Signal::Needed), "{turn}");
        assert!(take(&driver, &mut queue).unwrap().is_none());
        assert_eq!(driver.take_used().len(), 1);
    }
}

#[test]
fn impossible_states_are_refused() {
    let (_, queue) = Driver::new(8, BOTH);
    let refused = |change: fn(&mut QueueState)| {
        let mut image = queue.save();
        change(&mut image);
        let mut loaded = Queue::new(256);
        loaded.load(image).is_err() && loaded == Queue::new(256)
    };
    assert!(refused(|state| state.size = 7));
    assert!(refused(|state| state.size = 512));
    assert!(refused(|state| state.used = 3));
    assert!(refused(|state| state.features = 1));
    assert!(refused(|state| state.enabled = false));
    assert!(refused(|state| state.next_used = 1));
    assert!(refused(|state| state.next_available = 1));
    assert!(refused(|state| state.published_used = 1));
    assert!(refused(|state| state.available_seen = 9));
}

/// What a test does with a queue, from both sides.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// The driver adds a chain of so many readable and writable buffers, and kicks when it has to.
    Add(Layout, usize, usize),
    /// The device, if it has reason to run, takes up to so many chains.
    Take(usize),
    /// The device pushes one of those that it has, if any.
    Push(usize),
    /// The device settles.
    Settle,
    /// The driver, if interrupted, takes back what was used.
    Collect,
    /// The queue is replaced by one that takes over its state.
    Copy,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let layout = prop_oneof![Just(Layout::Direct), Just(Layout::Indirect)];
    let act = prop_oneof![
        4 => (layout, 0..3usize, 1..3usize).prop_map(|(layout, r, w)| Act::Add(layout, r, w)),
        3 => (0..5usize).prop_map(Act::Take),
        4 => any::<usize>().prop_map(Act::Push),
        2 => Just(Act::Settle),
        2 => Just(Act::Collect),
        1 => Just(Act::Copy),
    ];
    proptest::collection::vec(act, 1..300)
}

/// Both sides of a queue, and what each knows.
struct Pair {
    driver: Driver,
    queue: Queue,
    /// Chains added and not taken, with the bytes to read and to write.
    added: VecDeque<(u16, u32, u32)>,
    /// Taken, not pushed.
    taken: Vec<u16>,
    /// Pushed, not collected.
    pushed: VecDeque<Used>,
    is_kicked: bool,
    is_interrupted: bool,
    serial: u32,
}

impl Pair {
    fn act(&mut self, act: Act) {
        match act {
            Act::Add(layout, readable, writable) => self.add(layout, readable, writable),
            Act::Take(most) => self.take(most),
            Act::Push(which) => self.push(which),
            Act::Settle => self.settle(),
            Act::Collect => self.collect(),
            Act::Copy => {
                let mut copy = Queue::new(256);
                load(&mut copy, &saved(&self.queue));
                assert_eq!(copy, self.queue);
                self.queue = copy;
            }
        }
    }

    fn add(&mut self, layout: Layout, readable: usize, writable: usize) {
        self.serial += 1;
        let mut buffers = vec![Buffer::Readable(BUFFERS, self.serial); readable];
        buffers.extend(vec![Buffer::Writable(BUFFERS, self.serial); writable]);
        let before = self.driver.available();
        let Some(head) = self.driver.add(layout, &buffers) else { return };
        self.is_kicked |= self.driver.wants_kick(before);
        self.added.push_back((head, self.serial * readable as u32, self.serial * writable as u32));
    }

    fn take(&mut self, most: usize) {
        if !self.is_kicked {
            assert!(self.added.is_empty(), "a kick was lost");
            return;
        }
        for _ in 0..most {
            let Some((head, chain)) = take(&self.driver, &mut self.queue).unwrap() else {
                assert!(self.added.is_empty());
                self.is_kicked = false;
                return;
            };
            let expected = self.added.pop_front();
            assert_eq!(Some((head.0, chain.readable_bytes(), chain.writable_bytes())), expected);
            self.taken.push(head.0);
        }
    }

    fn push(&mut self, which: usize) {
        if self.taken.is_empty() {
            return;
        }
        let head = self.taken.swap_remove(which % self.taken.len());
        self.serial += 1;
        self.queue.push_used(&self.driver.memory, Head(head), self.serial).unwrap();
        self.pushed.push_back(Used { head, written_bytes: self.serial });
    }

    fn settle(&mut self) {
        self.is_interrupted |= self.queue.settle(&self.driver.memory).unwrap() == Signal::Needed;
        assert!(self.is_interrupted || self.pushed.is_empty(), "an interrupt was lost");
    }

    fn collect(&mut self) {
        if !self.is_interrupted {
            return;
        }
        self.is_interrupted = false;
        for used in self.driver.take_used() {
            assert_eq!(Some(used), self.pushed.pop_front());
        }
        // What is pushed and not settled yet is waited for by the next interrupt.
    }
}

/// Descriptors as a driver that keeps the rules seldom, but also keeps them, writes them.
fn descriptors() -> impl Strategy<Value = Vec<(u64, u32, u16, u16)>> {
    let address = prop_oneof![
        4 => BUFFERS..BUFFERS + 64,
        1 => (1_u64 << 52) - 16..(1 << 52) + 16,
        1 => any::<u64>(),
    ];
    let len_bytes = prop_oneof![4 => 0..40_u32, 1 => any::<u32>()];
    let flags = prop_oneof![4 => Just(WRITE), 2 => 0..16_u16, 1 => any::<u16>()];
    proptest::collection::vec((address, len_bytes, flags, 0..10_u16), 8)
}

proptest! {
    #[test]
    fn the_short_way_to_one_buffer_gives_what_the_general_one_gives(
        descriptors in descriptors(),
        heads in proptest::collection::vec(prop_oneof![9 => 0..8_u16, 1 => any::<u16>()], 1..9),
        seen in any::<bool>(),
        features in prop_oneof![Just(0), Just(BOTH)],
    ) {
        let (mut driver, mut queue) = Driver::new(8, features);
        for (index, (address, len_bytes, flags, next)) in (0..).zip(&descriptors) {
            driver.describe_raw(index, *address, *len_bytes, *flags, *next);
        }
        heads.iter().for_each(|head| driver.offer(*head));
        if seen {
            let rings = queue.rings.unwrap();
            queue.look(&driver.memory, &rings).unwrap();
        }
        for head in heads {
            let before = queue.clone();
            let mut general = queue.clone();
            let expected = take(&driver, &mut general);
            let Some((taken, buffer)) = queue.next_buffer(&driver.memory) else {
                prop_assert_eq!(&queue, &before);
                let is_short = descriptors.get(usize::from(head)).is_some_and(|descriptor| {
                    descriptor.2 & (NEXT | WRITE | TABLE) == WRITE && expected.is_ok()
                });
                prop_assert!(!seen || !is_short, "what goes the short way does");
                break;
            };
            let (general_head, chain) = expected.unwrap().unwrap();
            prop_assert_eq!((taken, chain.readable()), (general_head, &[][..]));
            prop_assert_eq!((chain.writable(), chain.writable_bytes()), (&[buffer][..], buffer.len_bytes));
            prop_assert_eq!(&queue, &general);
        }
    }

    #[test]
    fn every_chain_comes_back_once_and_no_kick_or_interrupt_is_lost(
        acts in acts(),
        size in (1..7u32).prop_map(|exponent| 1 << exponent),
        events in prop_oneof![Just(0), Just(EVENTS)],
    ) {
        let (driver, queue) = Driver::new(size, INDIRECT | events);
        let (added, taken, pushed) = (VecDeque::new(), Vec::new(), VecDeque::new());
        // The transport runs a queue once when it is enabled.
        let (is_kicked, is_interrupted) = (true, false);
        let mut pair = Pair { driver, queue, added, taken, pushed, is_kicked, is_interrupted, serial: 0 };
        acts.into_iter().for_each(|act| pair.act(act));
        pair.take(usize::MAX);
        while !pair.taken.is_empty() {
            pair.push(0);
        }
        pair.settle();
        pair.collect();
        prop_assert!(pair.added.is_empty() && pair.pushed.is_empty());
    }

    #[test]
    fn any_state_that_loads_is_saved_as_it_was(
        registers: (u16, u64, u64, u64),
        enabled: bool,
        indices: (u16, u8, u8, u8),
        features in prop_oneof![Just(0), Just(BOTH), any::<u64>()],
    ) {
        let (size, descriptors, available, used) = registers;
        let (published_used, a, b, c) = indices;
        let next_used = published_used.wrapping_add(a.into());
        let next_available = next_used.wrapping_add(b.into());
        let available_seen = next_available.wrapping_add(c.into());
        let image = QueueState {
            size, descriptors, available, used, enabled, features,
            next_available, available_seen, next_used, published_used, kick_at: None,
        };
        let mut queue = Queue::new(256);
        if queue.load(image.clone()).is_ok() {
            prop_assert_eq!(queue.save(), image);
            prop_assert_eq!(queue.is_enabled(), enabled);
        }
    }
}
