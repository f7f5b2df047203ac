//! Configuration space and MSI-X as drivers use them.

extern crate std;

use super::*;
use crate::device::{Access, Device, PortAccess, Width, WindowOffset};
use crate::message::{DeliveryMode, Destination, InterruptMessage, Trigger};
use crate::testing::{self, FakeCx};
use base::state::{SavedState, StateError};
use base::{Port, Vector};
use proptest::prelude::*;
use seams::Level;
use std::vec::Vec;

const COMMAND: u32 = 0x04;
const BAR0: u32 = 0x10;
const BAR1: u32 = 0x14;
const MSIX: u32 = 0x40;

const ADDRESS: u32 = 0xc000_8000;

fn function() -> Function {
    let identity = Identity {
        vendor: 0x1af4,
        device: 0x1042,
        revision: 1,
        class: 0x01_8000,
        subsystem_vendor: 0x1af4,
        subsystem: 0x1100,
        pin: InterruptPin::A,
        capabilities: MSIX as u8,
    };
    Function::new(Layout {
        identity,
        address: ADDRESS,
        bar_len_bytes: 0x4000,
        vectors: 3,
        interrupt_line: 11,
    })
}

fn lanes(offset: u32, width: Width) -> Lanes {
    Lanes::of(Access { at: WindowOffset(offset), width }).unwrap()
}

fn read(function: &Function, offset: u32) -> u32 {
    function.read_config(offset, Cause::Absent, 0)
}

fn write(function: &mut Function, cx: &mut FakeCx, offset: u32, value: u32) {
    function.write_config(cx, lanes(offset, Width::Dword), value);
}

/// Enables MSI-X, makes the function a bus master, and lets entry `n` send vector 0x50 + n to APIC 0.
fn enable_msix(function: &mut Function, cx: &mut FakeCx) {
    write(function, cx, COMMAND, 0x6);
    write(function, cx, MSIX, 0x8000_0000);
    for n in 0..3 {
        for (offset, value) in [(0, 0xfee0_0000), (4, 0), (8, 0x50 + n), (12, 0)] {
            function.write_msix(cx, 16 * n + offset, value);
        }
    }
}

fn message(vector: u8) -> InterruptMessage {
    let (delivery, destination) = (DeliveryMode::Fixed, Destination::Physical(0));
    InterruptMessage { vector: Vector(vector), delivery, destination, trigger: Trigger::Edge }
}

#[test]
fn the_header_says_what_the_function_is() {
    let function = function();
    assert_eq!(read(&function, 0x00), 0x1042_1af4);
    assert_eq!(read(&function, 0x08), 0x0180_0001);
    assert_eq!(read(&function, 0x2c), 0x1100_1af4);
    assert_eq!(read(&function, 0x34), 0x40);
    assert_eq!(read(&function, 0x3c), 0x0000_010b);
    assert_eq!(read(&function, 0x100), ABSENT, "no extended configuration space");
}

#[test]
fn memory_is_decoded_at_the_given_addresses_from_the_first() {
    let function = function();
    assert_eq!(read(&function, COMMAND), 0x0010_0002);
    assert_eq!(function.decoded(0), Some(Bar::new(ADDRESS, 0x4000)));
    assert_eq!(function.decoded(1), Some(Bar::new(ADDRESS + 0x4000, 0x1000)));
    assert_eq!(function.decoded(2), None);
}

#[test]
fn a_bar_tells_its_length_and_takes_any_aligned_address() {
    let (mut function, mut cx) = (function(), FakeCx::new());
    write(&mut function, &mut cx, BAR0, u32::MAX);
    write(&mut function, &mut cx, BAR1, u32::MAX);
    assert_eq!((read(&function, BAR0), read(&function, BAR1)), (0xffff_c000, 0xffff_f000));
    write(&mut function, &mut cx, BAR0, 0xd123_4567);
    assert_eq!(function.decoded(0), Some(Bar::new(0xd123_4000, 0x4000)));
    write(&mut function, &mut cx, BAR1 + 4, u32::MAX);
    assert_eq!(read(&function, BAR1 + 4), 0, "there is no third");
}

#[test]
fn a_function_that_decodes_no_memory_answers_nowhere() {
    let (mut function, mut cx) = (function(), FakeCx::new());
    function.write_config(&mut cx, lanes(COMMAND, Width::Byte), 0);
    assert_eq!((function.decoded(0), function.decoded(1)), (None, None));
}

#[test]
fn the_pin_follows_the_cause_unless_disabled_or_replaced_by_messages() {
    let (mut function, mut cx) = (function(), FakeCx::new());
    let status = |function: &Function, cause| function.read_config(COMMAND, cause, 0) >> 16 & 8;
    assert_eq!(function.pin(Cause::Present), Level::Asserted);
    assert_eq!(function.pin(Cause::Absent), Level::Deasserted);
    function.write_config(&mut cx, lanes(COMMAND, Width::Word), 0x402);
    assert_eq!(function.pin(Cause::Present), Level::Deasserted);
    assert_eq!(status(&function, Cause::Present), 8, "the status does not follow the command");
    assert_eq!(status(&function, Cause::Absent), 0);
    function.write_config(&mut cx, lanes(COMMAND, Width::Word), 2);
    write(&mut function, &mut cx, MSIX, 0x8000_0000);
    assert_eq!(function.pin(Cause::Present), Level::Deasserted);
}

#[test]
fn the_capability_tells_where_table_and_pending_bits_are() {
    let function = function();
    assert_eq!(function.read_config(MSIX, Cause::Absent, 0x4c), 0x0002_4c11);
    assert_eq!(read(&function, MSIX + 4), 1);
    assert_eq!(read(&function, MSIX + 8), 0x801);
}

#[test]
fn a_signalled_vector_sends_what_its_entry_says() {
    let (mut function, mut cx) = (function(), FakeCx::new());
    enable_msix(&mut function, &mut cx);
    function.signal(&mut cx, 2);
    function.signal(&mut cx, 3);
    function.signal(&mut cx, NO_VECTOR);
    assert_eq!(cx.messages, [message(0x52)]);
    function.write_msix(&mut cx, 0, 0xfeef_f004);
    function.write_msix(&mut cx, 8, 0x8961);
    function.signal(&mut cx, 0);
    let (destination, delivery) = (Destination::Logical(0xff), DeliveryMode::LowestPriority);
    let vector = Vector(0x61);
    let expected = InterruptMessage { vector, delivery, destination, trigger: Trigger::Level };
    assert_eq!(cx.messages.last(), Some(&expected));
}

#[test]
fn a_masked_vector_waits_for_its_mask_and_the_functions() {
    let (mut function, mut cx) = (function(), FakeCx::new());
    enable_msix(&mut function, &mut cx);
    function.write_msix(&mut cx, 16 + 12, 1);
    write(&mut function, &mut cx, MSIX, 0xc000_0000);
    function.signal(&mut cx, 1);
    function.signal(&mut cx, 2);
    assert!(cx.messages.is_empty());
    assert_eq!(function.read_msix(0x800), 0b110);
    write(&mut function, &mut cx, MSIX, 0x8000_0000);
    assert_eq!(cx.messages, [message(0x52)]);
    function.write_msix(&mut cx, 16 + 12, 0);
    assert_eq!(cx.messages, [message(0x52), message(0x51)]);
    assert_eq!(function.read_msix(0x800), 0);
}

#[test]
fn no_message_leaves_before_the_function_is_a_bus_master() {
    let (mut function, mut cx) = (function(), FakeCx::new());
    enable_msix(&mut function, &mut cx);
    write(&mut function, &mut cx, COMMAND, 0x2);
    function.signal(&mut cx, 0);
    assert!(cx.messages.is_empty());
    write(&mut function, &mut cx, COMMAND, 0x6);
    assert_eq!(cx.messages, [message(0x50)]);
}

#[test]
fn disabling_msix_forgets_what_is_pending() {
    let (mut function, mut cx) = (function(), FakeCx::new());
    enable_msix(&mut function, &mut cx);
    function.write_msix(&mut cx, 12, 1);
    function.signal(&mut cx, 0);
    write(&mut function, &mut cx, MSIX, 0);
    function.signal(&mut cx, 1);
    write(&mut function, &mut cx, MSIX, 0x8000_0000);
    assert_eq!(function.read_msix(0x800), 0);
}

#[test]
fn a_message_to_elsewhere_than_the_local_apics_goes_nowhere() {
    for (offset, value) in [(0, 0xfed0_0000), (4, 1), (8, 0x350)] {
        let (mut function, mut cx) = (function(), FakeCx::new());
        enable_msix(&mut function, &mut cx);
        function.write_msix(&mut cx, offset, value);
        function.signal(&mut cx, 0);
        assert!(cx.messages.is_empty(), "{offset:#x}");
        assert_eq!(function.read_msix(0x800), 0);
    }
}

#[test]
fn the_table_ends_with_the_last_vector() {
    let (mut function, mut cx) = (function(), FakeCx::new());
    function.write_msix(&mut cx, 16 * 3, 0xfee0_0000);
    assert_eq!(function.read_msix(16 * 3), 0);
    assert_eq!((function.read_msix(16 * 2 + 12), function.read_msix(16 * 3 + 12)), (1, 0));
}

fn config_address(bridge: &mut HostBridge, value: u32) {
    bridge.write_address(PortAccess { at: Port(0xcf8), width: Width::Dword }, value);
}

#[test]
fn the_bridge_takes_its_address_as_32_bits_only() {
    let mut bridge = HostBridge::new();
    config_address(&mut bridge, 0xffff_ffff);
    for width in [Width::Byte, Width::Word] {
        bridge.write_address(PortAccess { at: Port(0xcf8), width }, 0);
        assert_eq!(bridge.read_address(PortAccess { at: Port(0xcf8), width }), ABSENT);
    }
    assert_eq!(bridge.read_address(PortAccess { at: Port(0xcf8), width: Width::Dword }), 0x80ff_fffc);
}

#[test]
fn the_bridge_is_a_host_bridge_without_registers_in_memory() {
    let (mut bridge, mut cx) = (HostBridge::new(), FakeCx::new());
    let mut read = |offset, width| bridge.read(&mut cx, Access { at: WindowOffset(offset), width });
    assert_eq!(read(0, Width::Dword), 0x0008_1b36);
    assert_eq!(read(0x0a, Width::Word), 0x0600);
    assert_eq!((read(0x10, Width::Dword), read(0x0e, Width::Byte)), (0, 0));
    assert_eq!(read(0x100, Width::Dword), ABSENT);
    assert_eq!(read(0x03, Width::Word), ABSENT, "two registers");
}

/// An act on a function: configuration and table writes, and signals.
#[derive(Clone, Copy, Debug)]
enum Act {
    Config(u32, u32),
    Table(u32, u32),
    Signal(u16),
}

fn act() -> impl Strategy<Value = Act> {
    let value =
        prop_oneof![any::<u32>(), Just(0), Just(u32::MAX), Just(0x8000_0000), Just(0xfee0_0000), Just(0x6)];
    prop_oneof![
        (0..0x44_u32, value.clone()).prop_map(|(dword, value)| Act::Config(dword * 4, value)),
        (0..0x210_u32, value).prop_map(|(dword, value)| Act::Table(dword * 4, value)),
        (0..5_u16).prop_map(Act::Signal),
    ]
}

proptest! {
    /// Whatever a driver writes: lengths and identity stay, a vector is sent or pending but never both, and saved state
    /// is taken over just so.
    #[test]
    fn a_hostile_driver_breaks_no_function(acts in proptest::collection::vec(act(), 1..200)) {
        let (mut function, mut cx) = (function(), FakeCx::new());
        for act in acts {
            let (sent, pending) = (cx.messages.len(), function.read_msix(0x800));
            match act {
                Act::Config(offset, value) => write(&mut function, &mut cx, offset, value),
                Act::Table(offset, value) => function.write_msix(&mut cx, offset, value),
                Act::Signal(vector) => function.signal(&mut cx, vector),
            }
            let at_most = (pending | if let Act::Signal(n @ 0..3) = act { 1 << n } else { 0 }).count_ones();
            let left = function.read_msix(0x800).count_ones();
            prop_assert!(left as usize + cx.messages.len() - sent <= at_most as usize);
            for n in 0..BARS {
                let bar = function.decoded(n);
                prop_assert!(bar.is_none_or(|bar| bar.address() % bar.len_bytes() == 0));
            }
        }
        prop_assert_eq!(read(&function, 0), 0x1042_1af4);
        let copy = self::function().loaded(function.save(), "test").unwrap();
        prop_assert_eq!(copy, function);
    }

    #[test]
    fn a_hostile_driver_breaks_no_bridge(acts in testing::acts(0..0x120u32)) {
        testing::survive(HostBridge::new(), HostBridge::new(), &acts, |_, _, _| {});
    }

    #[test]
    fn a_function_is_reached_by_ports_and_by_the_window_alike(slot in 0..32u32, offset in 0..256u32) {
        let mut bridge = HostBridge::new();
        config_address(&mut bridge, 1 << 31 | slot << 11 | offset);
        let port = Port(0xcfc + (offset % 4) as u16);
        let by_ports = bridge.target(PortAccess { at: port, width: Width::Byte });
        let at = WindowOffset(slot << 15 | offset);
        prop_assert_eq!(by_ports, ecam_target(Access { at, width: Width::Byte }));
        prop_assert!(by_ports.is_some());
    }
}

#[test]
fn a_state_that_no_guest_can_reach_is_refused() {
    let function = function();
    let refused = |section, field| StateError::OutOfRange { section, field };
    // A BAR that lies where its length does not let it.
    let mut bytes = Vec::new();
    minicbor::encode(function.save(), &mut bytes).unwrap();
    let at = bytes.windows(4).position(|window| window == ADDRESS.to_be_bytes()).unwrap();
    bytes[at + 3] |= 0x10;
    let image = minicbor::decode(&bytes).unwrap();
    assert_eq!(function.loaded(image, "test"), Err(refused("test", "bars")));

    let mut bridge = HostBridge::new();
    config_address(&mut bridge, 0x8000_0000);
    let mut bytes = Vec::new();
    minicbor::encode(bridge.save(), &mut bytes).unwrap();
    let at = bytes.windows(4).position(|window| window == [0x80, 0, 0, 0]).unwrap();
    bytes[at + 3] = 3;
    let image = minicbor::decode(&bytes).unwrap();
    let fresh = HostBridge::new();
    let mut loaded = fresh.clone();
    assert_eq!(loaded.load(image), Err(refused("pci-host-bridge", "address")));
    assert_eq!(loaded, fresh);
}
