//! The datasheet's sections as tests.

use super::*;
use crate::message::{DeliveryMode, Destination, Trigger};
use crate::testing::{self, FakeCx};
use proptest::prelude::*;

const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;
const REMOTE_IRR: u32 = 1 << 14;

fn write(ioapic: &mut Ioapic, cx: &mut FakeCx, index: u8, value: u32) {
    for (at, value) in [(IOREGSEL, index.into()), (IOWIN, value)] {
        ioapic.write(cx, Access { at, width: Width::Dword }, value);
    }
}

fn read(ioapic: &mut Ioapic, cx: &mut FakeCx, index: u8) -> u32 {
    ioapic.write(cx, Access { at: IOREGSEL, width: Width::Dword }, index.into());
    ioapic.read(cx, Access { at: IOWIN, width: Width::Dword })
}

/// An IOAPIC whose entry 4 has `low` and destination 1.
fn with_entry_4(low: u32) -> (Ioapic, FakeCx) {
    let (mut ioapic, mut cx) = (Ioapic::new(), FakeCx::new());
    write(&mut ioapic, &mut cx, 0x19, 0x0100_0000);
    write(&mut ioapic, &mut cx, 0x18, low);
    (ioapic, cx)
}

fn raise(ioapic: &mut Ioapic) -> Option<InterruptMessage> {
    ioapic.set_line(Gsi(4), Level::Asserted)
}

fn lower(ioapic: &mut Ioapic) {
    assert_eq!(ioapic.set_line(Gsi(4), Level::Deasserted), None);
}

fn fixed(vector: u8, trigger: Trigger) -> InterruptMessage {
    let (delivery, destination) = (DeliveryMode::Fixed, Destination::Physical(1));
    InterruptMessage { vector: Vector(vector), delivery, destination, trigger }
}

#[test]
fn an_open_entry_of_that_mode_sends_nmis() {
    const NMI: u32 = 4 << 8;
    assert!(with_entry_4(NMI).0.sends_nmis());
    for low in [NMI | MASKED, 0x30, MASKED] {
        assert!(!with_entry_4(low).0.sends_nmis(), "{low:#x}");
    }
}

#[test]
fn the_version_register_tells_version_0x20_and_24_entries() {
    let (mut ioapic, mut cx) = with_entry_4(0);
    assert_eq!(read(&mut ioapic, &mut cx, 0x01), 0x0017_0020);
}

#[test]
fn the_id_is_four_bits_and_is_the_arbitration_id_too() {
    let (mut ioapic, mut cx) = with_entry_4(0);
    write(&mut ioapic, &mut cx, 0x00, u32::MAX);
    assert_eq!(read(&mut ioapic, &mut cx, 0x00), 0x0f00_0000);
    assert_eq!(read(&mut ioapic, &mut cx, 0x02), 0x0f00_0000);
}

#[test]
fn entries_are_masked_after_reset() {
    let (mut ioapic, mut cx) = (Ioapic::new(), FakeCx::new());
    for input in 0..24 {
        assert_eq!(read(&mut ioapic, &mut cx, 0x10 + 2 * input), MASKED);
        assert_eq!(read(&mut ioapic, &mut cx, 0x11 + 2 * input), 0);
    }
    assert_eq!(read(&mut ioapic, &mut cx, 0x40), 0);
}

#[test]
fn status_bits_cannot_be_written() {
    let (mut ioapic, mut cx) = with_entry_4(u32::MAX);
    assert_eq!(read(&mut ioapic, &mut cx, 0x18), 0x1_afff);
    write(&mut ioapic, &mut cx, 0x19, u32::MAX);
    assert_eq!(read(&mut ioapic, &mut cx, 0x19), 0xff00_0000);
}

#[test]
fn an_edge_is_sent_once_each_time_it_rises() {
    let (mut ioapic, _) = with_entry_4(0x31);
    for _ in 0..2 {
        assert_eq!(raise(&mut ioapic), Some(fixed(0x31, Trigger::Edge)));
        assert_eq!(raise(&mut ioapic), None);
        lower(&mut ioapic);
    }
}

#[test]
fn an_edge_on_a_masked_input_is_lost() {
    let (mut ioapic, mut cx) = with_entry_4(0x31 | MASKED);
    assert_eq!(raise(&mut ioapic), None);
    write(&mut ioapic, &mut cx, 0x18, 0x31);
    assert!(cx.messages.is_empty());
}

#[test]
fn a_level_is_sent_again_after_its_end_while_it_stays_asserted() {
    let (mut ioapic, mut cx) = with_entry_4(0x31 | LEVEL);
    let message = fixed(0x31, Trigger::Level);
    assert_eq!(raise(&mut ioapic), Some(message));
    assert_eq!(read(&mut ioapic, &mut cx, 0x18) & REMOTE_IRR, REMOTE_IRR);
    ioapic.end_of_interrupt(&mut cx, Vector(0x30));
    assert!(cx.messages.is_empty());
    ioapic.end_of_interrupt(&mut cx, Vector(0x31));
    assert_eq!(cx.messages, [message]);
    lower(&mut ioapic);
    ioapic.end_of_interrupt(&mut cx, Vector(0x31));
    assert_eq!(cx.messages, [message]);
    assert_eq!(read(&mut ioapic, &mut cx, 0x18) & REMOTE_IRR, 0);
}

#[test]
fn a_level_that_falls_and_rises_before_its_end_is_sent_after_it() {
    let (mut ioapic, mut cx) = with_entry_4(0x31 | LEVEL);
    assert!(raise(&mut ioapic).is_some());
    lower(&mut ioapic);
    assert_eq!(raise(&mut ioapic), None);
    ioapic.end_of_interrupt(&mut cx, Vector(0x31));
    assert_eq!(cx.messages.len(), 1);
}

#[test]
fn the_eoi_register_ends_an_interrupt() {
    let (mut ioapic, mut cx) = with_entry_4(0x31 | LEVEL);
    assert!(raise(&mut ioapic).is_some());
    ioapic.write(&mut cx, Access { at: EOI, width: Width::Dword }, 0x31);
    assert_eq!(cx.messages.len(), 1);
}

#[test]
fn unmasking_sends_a_level_that_waited() {
    let (mut ioapic, mut cx) = with_entry_4(0x31 | LEVEL | MASKED);
    assert_eq!(raise(&mut ioapic), None);
    write(&mut ioapic, &mut cx, 0x18, 0x31 | LEVEL);
    assert_eq!(cx.messages, [fixed(0x31, Trigger::Level)]);
}

#[test]
fn changing_to_edge_and_back_ends_an_interrupt_too() {
    let (mut ioapic, mut cx) = with_entry_4(0x31 | LEVEL);
    assert!(raise(&mut ioapic).is_some());
    write(&mut ioapic, &mut cx, 0x18, 0x31 | MASKED);
    write(&mut ioapic, &mut cx, 0x18, 0x31 | LEVEL);
    assert_eq!(cx.messages.len(), 1);
}

#[test]
fn messages_without_a_vector_of_their_own_are_edges() {
    for (bits, delivery) in [(2, DeliveryMode::Smi), (4, DeliveryMode::Nmi), (7, DeliveryMode::ExtInt)] {
        let (mut ioapic, mut cx) = with_entry_4(bits << 8 | LEVEL);
        let message = raise(&mut ioapic).unwrap();
        assert_eq!((message.delivery, message.trigger), (delivery, Trigger::Edge));
        assert_eq!(read(&mut ioapic, &mut cx, 0x18) & REMOTE_IRR, 0);
    }
}

#[test]
fn reserved_delivery_modes_send_nothing() {
    for bits in [3, 6] {
        assert_eq!(raise(&mut with_entry_4(bits << 8 | 0x31).0), None);
    }
}

#[test]
fn the_destination_mode_chooses_physical_or_logical() {
    let (mut ioapic, _) = with_entry_4(0x31 | 1 << 11 | 1 << 8);
    let message = raise(&mut ioapic).unwrap();
    assert_eq!(message.destination, Destination::Logical(1));
    assert_eq!(message.delivery, DeliveryMode::LowestPriority);
}

#[test]
fn inputs_above_23_do_not_exist() {
    assert_eq!(Ioapic::new().set_line(Gsi(24), Level::Asserted), None);
    assert_eq!(Ioapic::new().set_line(Gsi(u32::MAX), Level::Asserted), None);
}

#[test]
fn saved_remote_irr_in_an_edge_entry_is_refused() {
    let (mut ioapic, _) = with_entry_4(0x31 | LEVEL);
    assert!(raise(&mut ioapic).is_some());
    let mut image = ioapic.save();
    assert_eq!(ioapic.load(image.clone()), Ok(()));
    image.asserted = 1 << 24;
    assert_eq!(ioapic.load(image), Err(StateError::OutOfRange { section: "ioapic", field: "asserted" }));
}

proptest! {
    #[test]
    fn a_hostile_driver_breaks_nothing(
        acts in testing::acts(prop_oneof![Just(0u32), Just(0x10), Just(0x40), 0..0x1000u32]),
    ) {
        testing::survive(Ioapic::new(), Ioapic::new(), &acts, |ioapic, cx, byte| {
            let gsi = Gsi((byte & 0x1f).into());
            let _ = ioapic.set_line(gsi, if byte & 0x80 == 0 { Level::Asserted } else { Level::Deasserted });
            if byte & 0x40 != 0 {
                ioapic.end_of_interrupt(cx, Vector(byte));
            }
            assert!(ioapic.state.entries.iter().all(Entry::is_sound));
        });
    }
}
