//! The driver against a model of a card.

use super::model::{Fault, MAC, Model};
use super::*;
use iommu::fake::FakeDma;
use proptest::prelude::*;
use std::vec::Vec;

/// When it has been left alone before its reset, and after.
const QUIET: Instant = Instant(DRAIN_TIME.0);
const LATER: Instant = Instant(DRAIN_TIME.0 + QUIET_TIME.0);

fn taken_over(family: Family) -> (E1000e<Model, FakeDma>, Model) {
    let bus = FakeDma::new();
    let model = Model::new(&bus);
    (E1000e::take_over(model.clone(), family, bus, Signal::Interrupt, Instant(0)).unwrap(), model)
}

/// A card that is being reset.
fn resetting() -> (E1000e<Model, FakeDma>, Model) {
    let (mut card, model) = taken_over(Family::Express);
    card.poll(Instant(QUIET.0 - 1));
    assert_eq!((card.readiness(), model.0.borrow().resets), (Readiness::Pending, 0));
    card.poll(QUIET);
    assert_eq!(model.0.borrow().resets, 1);
    (card, model)
}

fn started() -> (E1000e<Model, FakeDma>, Model) {
    let (mut card, model) = resetting();
    card.poll(Instant(LATER.0 - 1));
    assert_eq!(card.readiness(), Readiness::Pending, "it is left alone after the reset");
    card.poll(LATER);
    assert_eq!(card.readiness(), Readiness::Ready);
    (card, model)
}

#[test]
fn a_card_that_has_something_on_the_bus_is_reset_when_that_has_ended_or_lasts_too_long() {
    let (mut card, model) = taken_over(Family::Express);
    model.misbehave(Fault::BusyBus);
    card.poll(Instant(DRAIN_TIME_MOST.0 - 1));
    assert_eq!((card.readiness(), model.0.borrow().resets), (Readiness::Pending, 0));
    card.poll(Instant(DRAIN_TIME_MOST.0));
    assert_eq!(model.0.borrow().resets, 1);
    card.poll(Instant(DRAIN_TIME_MOST.0 + QUIET_TIME.0));
    assert_eq!((card.readiness(), card.take_trouble()), (Readiness::Ready, None));
    assert_eq!(model.0.borrow().registers[&CONTROL] & BUS_DISABLE, 0, "the bus is used again");
}

#[test]
fn a_card_on_conventional_pci_has_its_time_and_is_not_asked() {
    let (mut card, model) = taken_over(Family::Conventional);
    assert!(!model.0.borrow().registers.contains_key(&CONTROL), "the bit means something else there");
    card.poll(QUIET);
    assert_eq!(model.0.borrow().resets, 1);
    card.poll(LATER);
    assert_eq!(card.readiness(), Readiness::Ready);
}

#[test]
fn the_link_is_what_the_card_says_whenever_it_is_asked() {
    let (card, model) = started();
    for (status, link) in [(0, Link::Down), (LINK_IS_UP, Link::Up)] {
        model.0.borrow_mut().registers.insert(STATUS, status);
        assert_eq!(card.link(), link);
    }
}

#[test]
fn frames_go_out_and_come_in_whole() {
    let (mut card, model) = started();
    assert_eq!((card.mac().0, card.link()), (MAC, Link::Up));
    let frame: Vec<u8> = (0..1518).map(|index| index as u8).collect();
    assert_eq!(card.transmit(&frame), Sent::Accepted);
    assert_eq!(model.0.borrow().sent[..], std::slice::from_ref(&frame)[..]);
    assert!(model.deliver(&frame) && model.deliver(&frame[..60]));
    assert_eq!(card.peek(), Some(&frame[..]));
    card.consume();
    assert_eq!(card.peek(), Some(&frame[..60]));
    card.consume();
    assert_eq!(card.peek(), None);
}

#[test]
fn a_short_frame_is_filled_up_with_zeros_and_not_with_what_was_there() {
    let (mut card, model) = started();
    for _ in 0..ENTRIES {
        assert_eq!(card.transmit(&[0xee; 1000]), Sent::Accepted);
        card.poll(LATER);
    }
    assert_eq!(card.transmit(&[1; 14]), Sent::Accepted);
    let sent = model.0.borrow().sent.last().unwrap().clone();
    assert_eq!((sent.len(), &sent[..14], &sent[14..]), (60, &[1; 14][..], &[0; 46][..]));
}

#[test]
fn places_are_used_again_for_as_long_as_frames_come() {
    let (mut card, model) = started();
    for count in 0..500_u32 {
        let frame = [count.to_le_bytes(); 16].concat();
        assert!(model.deliver(&frame));
        assert_eq!(card.peek(), Some(&frame[..]));
        card.consume();
        card.poll(LATER);
        assert_eq!(card.transmit(&frame), Sent::Accepted);
    }
    assert_eq!((model.0.borrow().sent.len(), card.counters().received), (500, 500));
}

#[test]
fn full_rings_are_told() {
    let (mut card, model) = started();
    let fitting = (0..ENTRIES).take_while(|_| model.deliver(&[1; 60])).count();
    assert_eq!(fitting, ENTRIES - 1);
    model.misbehave(Fault::Mute);
    assert!(card.has_room(ENTRIES - 1) && card.has_room(usize::MAX));
    let accepted = (0..ENTRIES)
        .take_while(|sent| {
            assert_eq!(card.has_room(1), *sent < ENTRIES - 1);
            assert_eq!(card.has_room(ENTRIES - 1), *sent == 0);
            card.transmit(&[0; 60]) == Sent::Accepted
        })
        .count();
    assert_eq!((accepted, card.transmit(&[0; 60])), (ENTRIES - 1, Sent::Full));
    assert_eq!((card.transmit(&[0; 1519]), card.transmit(&[0; 13])), (Sent::Dropped, Sent::Dropped));
}

#[test]
fn a_card_that_does_not_reset_or_is_unplugged_is_told_of() {
    let (mut card, model) = resetting();
    model.misbehave(Fault::StuckReset);
    card.poll(LATER);
    assert_eq!(card.readiness(), Readiness::Pending);
    card.poll(Instant(QUIET.0 + RESET_TIME.0));
    assert_eq!(card.take_trouble(), Some(DeviceError::TooSlow("resetting")));

    let (mut card, model) = started();
    model.misbehave(Fault::Vanished);
    card.poll(LATER);
    assert_eq!((card.take_trouble(), card.link()), (Some(DeviceError::Vanished), Link::Down));
    assert_eq!((card.has_room(1), card.transmit(&[0; 60])), (true, Sent::Dropped));
    let registers = &model.0.borrow().registers;
    assert_eq!(
        (registers[&RECEIVE_CONTROL], registers[&TRANSMIT_CONTROL]),
        (0, TRANSMIT_OFF),
        "told to stop in any case"
    );
}

#[test]
fn a_card_without_an_address_of_its_own_is_refused() {
    let (mut card, model) = resetting();
    model.0.borrow_mut().registers.insert(ADDRESS_LOW, 0xffff_ffff);
    card.poll(LATER);
    assert_eq!(card.take_trouble(), Some(DeviceError::Nonsense("its address")));
}

proptest! {
    #[test]
    fn whatever_a_descriptor_says_a_frame_is_whole_or_dropped(
        descriptors in proptest::collection::vec((any::<u32>(), any::<u32>()), 1..200),
    ) {
        let (mut card, model) = started();
        for (length, status) in descriptors {
            model.misbehave(Fault::Descriptor(length, status));
            model.deliver(&[7; 100]);
            if let Some(frame) = card.peek() {
                prop_assert!((MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&frame.len()));
                card.consume();
            }
        }
    }
}
