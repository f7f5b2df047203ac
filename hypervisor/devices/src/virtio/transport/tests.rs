//! The transport as drivers see it, by VIRTIO 2.1, 3.1 and 4.1.

extern crate std;

use super::testing::{Bench, Keeper, NEEDY, PLAIN, function};
use super::*;
use crate::device::{Access, Device, WindowOffset};
use crate::pci::Place;
use crate::testing;
use base::Vector;
use base::state::StateError;
use proptest::prelude::*;
use seams::fake::FlatMemory;
use std::vec::Vec;

const VERSION_1: u64 = feature::VERSION_1;
const NOT_FOUND: u32 = 0xffff;

/// Type, BAR, offset and length of each vendor capability, by the list.
fn capabilities(bench: &mut Bench) -> Vec<(u32, u32, u32, u32)> {
    let mut found = Vec::new();
    let mut place = bench.read_config(0x34, Width::Byte);
    while place != 0 {
        assert!(place.is_multiple_of(4) && found.len() < 48, "the list is a list");
        if bench.read_config(place, Width::Byte) == 0x09 {
            let mut word = |offset| bench.read_config(place + offset, Width::Dword);
            found.push((word(0) >> 24, word(4) & 0xff, word(8), word(12)));
        }
        place = bench.read_config(place + 1, Width::Byte);
    }
    found
}

#[test]
fn the_function_is_a_modern_virtio_device() {
    let mut bench = Bench::new();
    assert_eq!(bench.read_config(0x00, Width::Dword), 0x1044_1af4);
    assert_eq!(bench.read_config(0x08, Width::Dword), 0xff00_0001);
    assert!(bench.read_config(0x2e, Width::Word) >= 0x40);
    assert_eq!(bench.read_config(0x3c, Width::Word), 0x010b, "an odd slot: line 11");
}

#[test]
fn the_capabilities_lead_to_the_registers() {
    let mut bench = Bench::new();
    let expected =
        [(1, 0, 0, 0x3c), (2, 0, 0x3000, 0x1000), (3, 0, 0x1000, 1), (4, 0, 0x2000, 6), (5, 0, 0, 0)];
    assert_eq!(capabilities(&mut bench), expected);
    assert_eq!(bench.read_config(0x5c + 16, Width::Dword), 4, "the multiplier");
}

#[test]
fn a_reset_reads_0_and_forgets_everything_of_the_driver() {
    let mut bench = Bench::new();
    bench.start(VERSION_1);
    bench.use_messages();
    bench.write(0x3000, Width::Word, 0);
    bench.set_status(0);
    assert_eq!(bench.status(), 0);
    assert_eq!(bench.read(0x10, Width::Word), NOT_FOUND);
    bench.write(0x16, Width::Word, 1);
    assert_eq!((bench.read(0x1c, Width::Word), bench.read(0x18, Width::Word)), (0, 256));
    assert_eq!((bench.read(0x1a, Width::Word), bench.read(0x20, Width::Dword)), (NOT_FOUND, 0));
    assert_eq!((bench.transport().kicked(), bench.transport().is_running()), (0, false));
    assert!(bench.transport().function().uses_messages(), "MSI-X is PCI's");
    let (_, device) = bench.function.parts_mut();
    assert_eq!((device.0.accepted, device.0.resets), (None, 1));
    bench.start(VERSION_1);
    assert_eq!(bench.status(), 15);
}

#[test]
fn features_are_offered_and_accepted_by_halves() {
    let mut bench = Bench::new();
    let all = VERSION_1 | feature::RING_INDIRECT_DESC | feature::RING_EVENT_IDX | PLAIN | NEEDY;
    assert_eq!(bench.offered(), all);
    bench.write(0x00, Width::Dword, 2);
    assert_eq!(bench.read(0x04, Width::Dword), 0);
    assert!(bench.negotiate(all));
    assert_eq!(bench.function.parts_mut().1.0.accepted, Some(all));
    bench.write(0x08, Width::Dword, 0);
    bench.write(0x0c, Width::Dword, 0);
    assert_eq!(bench.read(0x0c, Width::Dword), all as u32, "settled");
}

#[test]
fn features_that_were_not_offered_or_lack_another_are_refused_until_chosen_better() {
    for wrong in [0, PLAIN, VERSION_1 | 1, VERSION_1 | 1 << 50, VERSION_1 | NEEDY] {
        let mut bench = Bench::new();
        assert!(!bench.negotiate(wrong), "{wrong:#x}");
        assert_eq!((bench.status(), bench.function.parts_mut().1.0.accepted), (3, None));
        assert!(bench.negotiate(VERSION_1 | NEEDY | PLAIN));
    }
    let mut bench = Bench::new();
    bench.write(0x08, Width::Dword, 2);
    bench.write(0x0c, Width::Dword, 1);
    assert!(!bench.negotiate(VERSION_1), "a feature past bit 63");
}

#[test]
fn a_queue_is_configured_until_it_is_enabled() {
    let mut bench = Bench::new();
    assert_eq!(bench.read(0x12, Width::Word), 2);
    bench.enable_queue(0, 0x1000);
    assert_eq!(bench.read(0x1c, Width::Word), 0, "not before the features are settled");
    assert!(bench.negotiate(VERSION_1));
    bench.enable_queue(1, 0x12_3456_7000);
    assert_eq!(bench.read(0x1c, Width::Dword), 1 | 1 << 16, "enabled, and where to kick it");
    bench.write(0x20, Width::Dword, 0);
    bench.write(0x18, Width::Word, 2);
    assert_eq!((bench.read(0x20, Width::Dword), bench.read(0x24, Width::Dword)), (0x3456_7000, 0x12));
    assert_eq!((bench.read(0x28, Width::Dword), bench.read(0x30, Width::Dword)), (0x3456_8000, 0x3456_9000));
    assert_eq!(bench.read(0x18, Width::Word), 8);
    bench.write(0x1c, Width::Word, 0);
    assert_eq!(bench.read(0x1c, Width::Word), 1, "only a reset disables it");
    bench.write(0x16, Width::Word, 2);
    assert_eq!(bench.read(0x18, Width::Dword), 0, "there is no queue 2");
}

#[test]
fn registers_take_writes_of_their_own_width_only() {
    let mut bench = Bench::new();
    bench.write(0x14, Width::Dword, 0x0001_0001);
    bench.write(0x00, Width::Word, 1);
    bench.write(0x16, Width::Byte, 1);
    assert_eq!((bench.read(0x14, Width::Dword), bench.read(0x00, Width::Dword)), (0, 0));
}

#[test]
fn a_kick_is_seen_once_the_device_works() {
    let mut bench = Bench::new();
    bench.write(0x3004, Width::Word, 1);
    assert_eq!(bench.transport().kicked(), 0);
    bench.start(VERSION_1);
    assert_eq!(bench.transport().take_kicked(), 0b11, "what was made available before is found");
    bench.write(0x3004, Width::Word, 0xabcd);
    bench.write(0x3008, Width::Word, 2);
    assert_eq!(bench.transport().take_kicked(), 0b10);
    assert_eq!(bench.transport().take_kicked(), 0);
}

#[test]
fn every_queue_is_run_once_the_device_may_reach_memory_again() {
    let mut bench = Bench::new();
    bench.write_config(0x04, Width::Word, 0x6);
    assert_eq!(bench.transport().kicked, 0, "no driver is there");
    bench.start(VERSION_1);
    bench.transport().take_kicked();
    bench.write_config(0x04, Width::Word, 0x406);
    assert_eq!(bench.transport().kicked(), 0, "it might all the time");
    bench.write_config(0x04, Width::Word, 0x2);
    bench.write(0x3000, Width::Dword, 0);
    assert_eq!((bench.transport().take_kicked(), bench.transport().is_running()), (0, false));
    bench.write_config(0x04, Width::Word, 0x6);
    assert_eq!(bench.transport().take_kicked(), 0b11);
    let Bench { function, cx } = &mut bench;
    function.parts_mut().0.fail(cx, Broken::Loop);
    bench.write_config(0x04, Width::Word, 0x2);
    bench.write_config(0x04, Width::Word, 0x6);
    assert_eq!(bench.transport().kicked, 0, "its driver broke the rules");
}

/// Gives chain 3 back by queue `n`, whose rings are at `base`.
fn give_back(bench: &mut Bench, memory: &FlatMemory, n: u16, base: u64) {
    use crate::virtio::{Chain, Head};
    // Descriptor 3: 16 bytes to write; the available ring: index 1, head 3.
    memory.put(base + 3 * 16, &[0, 0, 1, 0, 0, 0, 0, 0, 16, 0, 0, 0, 2, 0, 0, 0]);
    memory.put(base + 0x1000, &[0, 0, 1, 0, 3, 0]);
    let Bench { function, cx } = bench;
    let (transport, _) = function.parts_mut();
    let queue = transport.queues_mut().nth(n.into()).unwrap();
    assert_eq!(queue.next_chain(memory, &mut Chain::default()), Ok(Some(Head(3))));
    queue.push_used(memory, Head(3), 16).unwrap();
    transport.settle(cx, memory);
}

#[test]
fn a_queue_interrupts_by_its_vector() {
    let (mut bench, memory) = (Bench::new(), FlatMemory::new(0x10_0000));
    bench.start(VERSION_1);
    bench.use_messages();
    give_back(&mut bench, &memory, 1, 0x4000);
    let vectors: Vec<_> = bench.cx.messages.iter().map(|message| message.vector).collect();
    assert_eq!(vectors, [Vector(0x52)]);
    assert_eq!((bench.transport().pin(), bench.read(0x1000, Width::Byte)), (Level::Deasserted, 0));
}

#[test]
fn what_a_masked_vector_was_signalled_before_a_reset_is_never_sent() {
    let (mut bench, memory) = (Bench::new(), FlatMemory::new(0x10_0000));
    for (reset, messages) in [(false, 1), (true, 0)] {
        bench.start(VERSION_1);
        bench.use_messages();
        let mask = |bench: &mut Bench, masked| bench.write_msix(16 * 2 + 12, masked);
        mask(&mut bench, 1);
        give_back(&mut bench, &memory, 1, 0x4000);
        assert_eq!(bench.read_msix(0x800), 1 << 2, "pending");
        if reset {
            bench.set_status(0);
            assert_eq!(bench.read_msix(0x800), 0);
        }
        mask(&mut bench, 0);
        assert_eq!(bench.cx.messages.drain(..).count(), messages);
        bench.set_status(0);
    }
}

#[test]
fn without_messages_a_queue_interrupts_by_the_pin_until_the_status_is_read() {
    let (mut bench, memory) = (Bench::new(), FlatMemory::new(0x10_0000));
    bench.start(VERSION_1);
    give_back(&mut bench, &memory, 0, 0x1000);
    assert_eq!(bench.transport().pin(), Level::Asserted);
    assert_eq!(bench.read_config(0x06, Width::Word) & 8, 8);
    assert_eq!(bench.read(0x1000, Width::Byte), 1);
    assert_eq!((bench.transport().pin(), bench.read(0x1000, Width::Byte)), (Level::Deasserted, 0));
    assert!(bench.cx.messages.is_empty());
}

#[test]
fn a_vector_that_the_table_does_not_have_is_none() {
    let mut bench = Bench::new();
    bench.write(0x10, Width::Word, 2);
    assert_eq!(bench.read(0x10, Width::Word), 2);
    bench.write(0x10, Width::Word, 3);
    assert_eq!(bench.read(0x10, Width::Word), NOT_FOUND);
    bench.write(0x1a, Width::Word, 0x1_0000);
    assert_eq!(bench.read(0x1a, Width::Word), 0, "a word has 16 bits");
}

#[test]
fn a_broken_driver_is_told_once_and_stops_the_device() {
    let (mut bench, memory) = (Bench::new(), FlatMemory::new(0x10_0000));
    bench.start(VERSION_1);
    bench.use_messages();
    let Bench { function, cx } = &mut bench;
    for _ in 0..2 {
        function.parts_mut().0.fail(cx, Broken::Loop);
    }
    assert_eq!(cx.messages.len(), 1, "the vector of the configuration");
    assert_eq!(bench.status(), 0x4f);
    bench.write(0x3000, Width::Word, 0);
    assert_eq!(bench.transport().take_kicked(), 0);
    assert_eq!(bench.read(0x1000, Width::Byte), 2);
    bench.set_status(0);
    assert_eq!(bench.transport().take_broken(), Some(Broken::Loop), "also when the driver was quicker");
    assert_eq!(bench.transport().take_broken(), None);
    bench.start(VERSION_1);
    give_back(&mut bench, &memory, 0, 0x1000);
    assert_eq!(bench.status(), 15);
}

#[test]
fn a_queue_that_cannot_be_is_the_drivers_fault() {
    let mut bench = Bench::new();
    assert!(bench.negotiate(VERSION_1));
    bench.enable_queue(0, 0x1008);
    assert_eq!(bench.read(0x1c, Width::Word), 0);
    assert_eq!(bench.status(), 0x4b);
    assert_eq!(bench.transport().take_broken(), Some(Broken::QueueAddress(0x1008)));
}

#[test]
fn a_changed_configuration_has_another_generation_and_interrupts() {
    let mut bench = Bench::new();
    let Bench { function, cx } = &mut bench;
    function.parts_mut().0.config_changed(cx);
    assert_eq!(
        (bench.read(0x15, Width::Byte), bench.read(0x1000, Width::Byte)),
        (1, 0),
        "nobody listens yet"
    );
    bench.start(VERSION_1);
    let Bench { function, cx } = &mut bench;
    function.parts_mut().0.config_changed(cx);
    assert_eq!(bench.transport().pin(), Level::Asserted);
    assert_eq!((bench.read(0x15, Width::Byte), bench.read(0x1000, Width::Byte)), (2, 2));
}

#[test]
fn the_devices_configuration_is_read_and_written_at_any_width() {
    let mut bench = Bench::new();
    bench.write(0x2000, Width::Dword, 0x4433_2211);
    bench.write(0x2005, Width::Byte, 0x66);
    assert_eq!(bench.read(0x2001, Width::Word), 0x3322);
    assert_eq!(bench.read(0x2004, Width::Dword), 0x6600, "zeros behind the end");
}

#[test]
fn configuration_space_leads_to_the_registers_too() {
    let mut bench = Bench::new();
    let window = |bench: &mut Bench, bar, offset, len| {
        for (register, value) in [(0x94, bar), (0x98, offset), (0x9c, len)] {
            bench.write_config(register, Width::Dword, value);
        }
    };
    window(&mut bench, 0, 0x14, 1);
    bench.write_config(0xa0, Width::Byte, 1);
    assert_eq!((bench.status(), bench.read_config(0xa0, Width::Byte)), (1, 1));
    window(&mut bench, 1, 8, 4);
    bench.write_config(0xa0, Width::Dword, 0x1234);
    assert_eq!(bench.read_config(0xa0, Width::Dword), 0x1234, "MSI-X's table");
    for (bar, offset, len) in
        [(0, 0x14, 3), (0, 0x14, 0), (2, 0x14, 1), (0, 0xffff_fff0, 4), (1, 0xffff_fff0, 4)]
    {
        window(&mut bench, bar, offset, len);
        bench.write_config(0xa0, Width::Dword, 0);
        bench.read_config(0xa0, Width::Dword);
    }
    assert_eq!(bench.status(), 1);
}

#[test]
fn power_on_undoes_what_a_driver_cannot() {
    let mut bench = Bench::new();
    bench.start(VERSION_1);
    bench.use_messages();
    bench.write_config(0x10, Width::Dword, 0xd000_0000);
    let Bench { function, cx } = &mut bench;
    function.reset(cx);
    function.parts_mut().1.0 = Default::default();
    assert_eq!(*function, self::function());
}

/// What a driver that means harm does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Read(Place, Width),
    Write(Place, Width, u32),
    Settle,
    Fail,
    Change,
}

fn act() -> impl Strategy<Value = Act> {
    let width = prop_oneof![Just(Width::Byte), Just(Width::Word), Just(Width::Dword)];
    let place = prop_oneof![
        6 => (0..0x40u32).prop_map(|offset| Place::Bar(0, WindowOffset(offset))),
        1 => (0..0x5000u32).prop_map(|offset| Place::Bar(0, WindowOffset(offset))),
        1 => (0..8u32).prop_map(|n| Place::Bar(0, WindowOffset(0x3000 + 2 * n))),
        1 => (0..0x900u32).prop_map(|offset| Place::Bar(1, WindowOffset(offset))),
        3 => (0..0x110u32).prop_map(|offset| Place::Config(WindowOffset(offset))),
    ];
    let value = prop_oneof![
        4 => 0..16u32, 1 => any::<u32>(), 1 => Just(u32::MAX), 1 => Just(0x8000), 1 => Just(0x8000_0000)
    ];
    prop_oneof![
        3 => (place.clone(), width.clone()).prop_map(|(place, width)| Act::Read(place, width)),
        9 => (place, width, value).prop_map(|(place, width, value)| Act::Write(place, width, value)),
        1 => Just(Act::Settle),
        1 => Just(Act::Fail),
        1 => Just(Act::Change),
    ]
}

/// What holds whatever a driver did.
fn check(function: &VirtioFunction<Keeper>) {
    let transport = function.transport();
    assert!(
        transport
            .queues
            .iter()
            .all(|it| { !it.queue.is_enabled() || transport.status().phase() >= Phase::FeaturesOk })
    );
    assert_eq!(transport.impossible(), None);
    assert_eq!(
        function.device.0.accepted.is_some(),
        transport.status().phase() >= Phase::FeaturesOk,
        "the device knows of its features"
    );
}

proptest! {
    #[test]
    fn a_hostile_driver_breaks_nothing(acts in proptest::collection::vec(act(), 1..200), working: bool) {
        let (mut bench, memory) = (Bench::new(), FlatMemory::new(0x10_0000));
        if working {
            bench.start(VERSION_1);
        }
        let Bench { function, cx } = &mut bench;
        for act in acts {
            match act {
                Act::Read(at, width) => _ = function.read(cx, Access { at, width }),
                Act::Write(at, width, value) => function.write(cx, Access { at, width }, value),
                Act::Settle => function.parts_mut().0.settle(cx, &memory),
                Act::Fail => function.parts_mut().0.fail(cx, Broken::Order),
                Act::Change => function.parts_mut().0.config_changed(cx),
            }
            check(function);
        }
        let mut copy = self::function();
        testing::load(&mut copy.transport, &testing::saved(&function.transport));
        testing::load(&mut copy.device, &testing::saved(&function.device));
        prop_assert_eq!(&copy, function);
    }
}

#[test]
fn a_refused_queue_is_told_by_the_section_that_it_is_in() {
    let mut bench = Bench::new();
    bench.start(VERSION_1);
    let mut bytes = testing::saved(bench.transport());
    // Queue 1's descriptors, moved to where no table can be.
    let at = bytes.windows(3).position(|window| window == [0x19, 0x40, 0x00]).unwrap();
    bytes[at + 2] = 8;
    let mut loaded = function();
    let error =
        base::state::Reader::new(&bytes).next_section().unwrap().unwrap().load_into(&mut loaded.transport);
    assert_eq!(error, Err(StateError::OutOfRange { section: "virtio-transport", field: "queues" }));
    assert_eq!(loaded, function());
}
