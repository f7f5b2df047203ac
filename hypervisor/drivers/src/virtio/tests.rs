//! The drivers against models of devices, which keep to the specification or do not.

use super::model::{Fault, Kind, MAC, Model, PLACE, SECTORS, SIZE};
use super::{VirtioBlk, VirtioNet};
use crate::disk::{Action, Command, Completion, Disk, DiskError, Refusal, Unit};
use crate::error::DeviceError;
use crate::nic::{Link, Nic, Sent};
use crate::{Readiness, Signal};
use base::{Instant, Nanoseconds};
use iommu::fake::{FakeDma, FakePiece};
use proptest::prelude::*;
use seams::{DmaBuffer, DmaMemory, Ticket};
use std::vec::Vec;

const SECOND: u64 = 1_000_000_000;

fn disk() -> (VirtioBlk<Model, FakeDma>, Model, FakeDma) {
    let bus = FakeDma::new();
    let model = Model::new(&bus, Kind::Block);
    let mut disk = VirtioBlk::take_over(model.clone(), PLACE, bus.clone(), Signal::Polled, Instant(0));
    assert!(disk.poll(Instant(0)).is_none());
    assert_eq!(disk.readiness(), Readiness::Ready);
    (disk, model, bus)
}

fn card() -> (VirtioNet<Model, FakeDma>, Model) {
    let bus = FakeDma::new();
    let model = Model::new(&bus, Kind::Network);
    let mut card = VirtioNet::take_over(model.clone(), PLACE, bus, Signal::Polled, Instant(0));
    card.poll(Instant(0));
    assert_eq!(card.readiness(), Readiness::Ready);
    (card, model)
}

fn settle(disk: &mut impl Disk<Buffer = FakePiece>, now: Instant) -> Vec<Completion<FakePiece>> {
    (0..100).filter_map(|_| disk.poll(now)).collect()
}

fn command(ticket: u16, first_sector: u64, sectors: u32, action: Action<FakePiece>) -> Command<FakePiece> {
    Command { ticket: Ticket(ticket), unit: Unit(0), first_sector, sectors, action }
}

fn filled(bus: &FakeDma, value: u8) -> FakePiece {
    let mut buffer = bus.clone().buffer(65536).unwrap();
    buffer.bytes_mut().fill(value);
    buffer
}

#[test]
fn a_disk_says_what_it_is() {
    let (disk, model, _) = disk();
    let geometry = disk.geometry(Unit(0)).unwrap();
    assert_eq!((geometry.sectors, geometry.block_bytes), (SECTORS, 512));
    assert_eq!((geometry.max_transfer_sectors, geometry.max_clear_sectors), (128, 90));
    assert!(geometry.abilities.write && geometry.abilities.volatile_cache);
    assert_eq!(disk.depth(), usize::from(SIZE / 3));
    assert_eq!(disk.geometry(Unit(1)), None);
    assert_eq!(model.0.borrow().accepted & (1 << 28 | 1 << 15), 0, "nothing else was accepted");
}

#[test]
fn sectors_are_written_read_cleared_and_flushed() {
    let (mut disk, model, bus) = disk();
    let write = command(1, 8, 128, Action::Write(filled(&bus, 7)));
    disk.submit(write, Instant(0)).unwrap();
    assert_eq!(settle(&mut disk, Instant(0))[0].result, Ok(()));
    for (action, first, sectors) in
        [(Action::Flush, 0, 0), (Action::Discard, 8, 1), (Action::WriteZeroes, 10, 2)]
    {
        disk.submit(command(2, first, sectors, action), Instant(0)).unwrap();
        assert_eq!(settle(&mut disk, Instant(0))[0].result, Ok(()));
    }
    assert_eq!(model.0.borrow().requests, [1, 4, 11, 13]);
    disk.submit(command(3, 7, 6, Action::Read(filled(&bus, 1))), Instant(0)).unwrap();
    let read = settle(&mut disk, Instant(0)).remove(0).buffer.unwrap();
    let firsts: Vec<_> = (0..7).map(|sector| read.bytes()[sector * 512]).collect();
    assert_eq!(firsts, [0, 0, 7, 0, 0, 7, 1], "the last was not asked for");
}

#[test]
fn a_disk_without_a_cache_is_not_told_to_flush() {
    let bus = FakeDma::new();
    let model = Model::new(&bus, Kind::Block);
    model.0.borrow_mut().features &= !(1 << 9);
    let mut disk = VirtioBlk::take_over(model.clone(), PLACE, bus, Signal::Polled, Instant(0));
    settle(&mut disk, Instant(0));
    disk.submit(command(1, 0, 0, Action::Flush), Instant(0)).unwrap();
    assert_eq!(disk.next_deadline(), Instant(0), "no interrupt tells its end");
    assert_eq!(settle(&mut disk, Instant(0))[0].result, Ok(()));
    assert_eq!(disk.next_deadline(), Instant::FAR_FUTURE);
    assert!(model.0.borrow().requests.is_empty());
}

#[test]
fn errors_of_requests_are_told_apart() {
    let (mut disk, model, bus) = disk();
    for (status, error) in
        [(1, DiskError::Device(1)), (2, DiskError::Unsupported), (77, DiskError::Device(77))]
    {
        model.misbehave(Fault::Status(status));
        disk.submit(command(1, 0, 1, Action::Read(filled(&bus, 0))), Instant(0)).unwrap();
        assert_eq!(settle(&mut disk, Instant(0))[0].result, Err(error));
    }
}

#[test]
fn a_disk_that_wants_a_reset_gets_one_and_the_request_again() {
    let (mut disk, model, bus) = disk();
    model.misbehave(Fault::Mute);
    disk.submit(command(1, 0, 8, Action::Write(filled(&bus, 9))), Instant(0)).unwrap();
    model.misbehave(Fault::NeedsReset);
    let over = settle(&mut disk, Instant(SECOND));
    assert_eq!(over[0].result, Ok(()));
    assert_eq!(disk.take_trouble(), Some(DeviceError::Fatal));
    assert_eq!((model.0.borrow().resets, model.0.borrow().medium[0]), (2, 9));
}

#[test]
fn a_disk_that_answers_nothing_fails_the_request_after_a_second_try() {
    let (mut disk, model, bus) = disk();
    model.misbehave(Fault::Mute);
    disk.submit(command(1, 0, 8, Action::Read(filled(&bus, 9))), Instant(0)).unwrap();
    assert!(settle(&mut disk, Instant(10 * SECOND)).is_empty());
    let over = settle(&mut disk, Instant(20 * SECOND));
    assert_eq!(over[0].result, Err(DiskError::TimedOut));
    assert!(over[0].buffer.is_some());
}

#[test]
fn a_disk_that_does_not_reset_keeps_the_buffers() {
    let (mut disk, model, bus) = disk();
    model.misbehave(Fault::Mute);
    disk.submit(command(1, 0, 8, Action::Read(filled(&bus, 9))), Instant(0)).unwrap();
    model.misbehave(Fault::StuckStatus);
    assert!(settle(&mut disk, Instant(10 * SECOND)).is_empty());
    let over = settle(&mut disk, Instant(15 * SECOND));
    assert!(over[0].result == Err(DiskError::Gone) && over[0].buffer.is_none());
    assert_eq!(disk.submit(command(2, 0, 8, Action::Flush), Instant(0)).unwrap_err().reason, Refusal::Gone);
}

#[test]
fn completions_that_wait_are_due_at_once_though_the_disk_has_failed() {
    let (mut disk, model, bus) = disk();
    model.misbehave(Fault::Mute);
    for ticket in [1, 2] {
        disk.submit(command(ticket, 0, 8, Action::Read(filled(&bus, 9))), Instant(0)).unwrap();
    }
    assert_eq!(disk.next_deadline(), Instant(SECOND));
    model.misbehave(Fault::Vanished);
    assert_eq!(disk.poll(Instant(SECOND)).unwrap().ticket, Ticket(1));
    assert_eq!((disk.readiness(), disk.next_deadline()), (Readiness::Failed, Instant(0)));
    assert_eq!(disk.poll(Instant(SECOND)).unwrap().ticket, Ticket(2));
    assert_eq!(disk.next_deadline(), Instant::FAR_FUTURE);
}

#[test]
fn an_unplugged_device_is_told_of() {
    let (mut disk, model, bus) = disk();
    model.misbehave(Fault::Mute);
    disk.submit(command(1, 0, 8, Action::Read(filled(&bus, 9))), Instant(0)).unwrap();
    model.misbehave(Fault::Vanished);
    assert_eq!(settle(&mut disk, Instant(SECOND))[0].result, Err(DiskError::Gone));
    assert_eq!(disk.take_trouble(), Some(DeviceError::Vanished));
}

#[test]
fn a_disk_is_reset_before_the_power_goes() {
    let (mut disk, model, _) = disk();
    disk.shut_down(Instant(0));
    settle(&mut disk, Instant(0));
    assert_eq!((disk.readiness(), model.0.borrow().resets), (Readiness::Off, 2));
    assert_eq!(disk.submit(command(1, 0, 0, Action::Flush), Instant(0)).unwrap_err().reason, Refusal::Gone);
}

#[test]
fn the_link_is_what_the_card_says_whenever_it_is_asked() {
    let (card, model) = card();
    model.misbehave(Fault::NoCable);
    assert_eq!(card.link(), Link::Down);
    model.0.borrow_mut().fault = None;
    assert_eq!(card.link(), Link::Up);
}

#[test]
fn frames_go_out_and_come_in_whole() {
    let (mut card, model) = card();
    assert_eq!((card.mac().0, card.link()), (MAC, Link::Up));
    let frame: Vec<u8> = (0..1518).map(|index| index as u8).collect();
    assert_eq!(card.transmit(&frame), Sent::Accepted);
    assert_eq!(model.0.borrow().sent[..], std::slice::from_ref(&frame)[..]);
    assert_eq!(card.peek(), None);
    model.deliver(&frame);
    model.deliver(&frame[..60]);
    assert_eq!(card.peek(), Some(&frame[..]));
    assert_eq!(card.peek(), Some(&frame[..]), "until it is consumed");
    card.consume();
    assert_eq!(card.peek(), Some(&frame[..60]));
    card.consume();
    assert_eq!(card.peek(), None);
    assert_eq!((card.counters().received, card.counters().sent), (2, 1));
}

#[test]
fn places_are_used_again_for_as_long_as_frames_come() {
    let (mut card, model) = card();
    for count in 0..1000_u32 {
        let frame = [count.to_le_bytes(); 16].concat();
        model.deliver(&frame);
        assert_eq!(card.peek(), Some(&frame[..]));
        card.consume();
        card.poll(Instant(0));
        assert_eq!(card.transmit(&frame), Sent::Accepted);
    }
    assert_eq!(model.0.borrow().sent.len(), 1000);
}

#[test]
fn a_full_ring_is_told_and_what_is_no_frame_dropped() {
    let (mut card, model) = card();
    model.misbehave(Fault::Mute);
    assert!(card.has_room(SIZE.into()) && card.has_room(usize::MAX));
    for _ in 0..SIZE {
        assert!(card.has_room(1));
        assert_eq!(card.transmit(&[0; 60]), Sent::Accepted);
        assert!(!card.has_room(SIZE.into()));
    }
    assert_eq!((card.has_room(1), card.transmit(&[0; 60])), (false, Sent::Full));
    assert_eq!((card.transmit(&[0; 1519]), card.transmit(&[0; 13])), (Sent::Dropped, Sent::Dropped));
    assert_eq!(card.counters().send_errors, 2);
}

#[test]
fn a_frame_of_an_absurd_length_is_dropped_and_its_place_used_again() {
    let (mut card, model) = card();
    for length in [0, 11, 25, 1531, u32::MAX] {
        model.misbehave(Fault::Length(length));
        model.deliver(&[1; 60]);
        assert_eq!(card.peek(), None);
    }
    assert_eq!(card.counters().receive_errors, 5);
    model.0.borrow_mut().fault = None;
    for _ in 0..3 * SIZE {
        model.deliver(&[2; 60]);
        assert_eq!(card.peek(), Some(&[2; 60][..]));
        card.consume();
    }
}

#[test]
fn a_card_that_gives_back_what_it_does_not_have_has_failed() {
    for head in [200, u32::MAX] {
        let (mut card, model) = card();
        model.misbehave(Fault::WrongHead(head));
        model.deliver(&[1; 60]);
        assert_eq!(card.peek(), None);
        assert_eq!((card.readiness(), card.link()), (Readiness::Failed, Link::Down));
        assert!(matches!(card.take_trouble(), Some(DeviceError::Nonsense(_))));
        assert_eq!(card.transmit(&[0; 60]), Sent::Dropped);
    }
}

#[test]
fn a_card_that_wants_a_reset_or_is_unplugged_has_failed() {
    for (fault, error) in [(Fault::NeedsReset, DeviceError::Fatal), (Fault::Vanished, DeviceError::Vanished)]
    {
        let (mut card, model) = card();
        model.misbehave(fault);
        card.poll(Instant(SECOND));
        assert_eq!((card.readiness(), card.take_trouble()), (Readiness::Failed, Some(error)));
    }
}

#[test]
fn a_device_of_the_time_before_version_1_is_refused() {
    let bus = FakeDma::new();
    let model = Model::new(&bus, Kind::Network);
    model.0.borrow_mut().features &= !(1 << 32);
    let mut card = VirtioNet::take_over(model, PLACE, bus, Signal::Polled, Instant(0));
    card.poll(Instant(0));
    assert_eq!(card.take_trouble(), Some(DeviceError::Unsupported("a virtio device before version 1")));
}

const FAULTS: [Fault; 6] = [
    Fault::Mute,
    Fault::StuckStatus,
    Fault::NeedsReset,
    Fault::Vanished,
    Fault::WrongHead(4),
    Fault::Status(1),
];

proptest! {
    /// As for NVMe: each request that was begun ends once, and none of them twice.
    #[test]
    fn every_request_ends_exactly_once(
        moves in proptest::collection::vec((0_u8..4, 0_usize..9, 0..SECTORS, 1_u32..120, 0..12 * SECOND), 1..60),
    ) {
        let (mut disk, model, bus) = disk();
        let (mut now, mut open) = (Instant(0), Vec::new());
        let end = |open: &mut Vec<Ticket>, over: Vec<Completion<FakePiece>>| {
            for completion in over {
                let place = open.iter().position(|ticket| *ticket == completion.ticket);
                prop_assert!(place.is_some(), "{:?} was not in flight", completion.ticket);
                open.swap_remove(place.unwrap());
            }
            Ok(())
        };
        for (ticket, (what, fault, first, sectors, span)) in (0..).zip(moves) {
            match what {
                0 => model.0.borrow_mut().fault = FAULTS.get(fault).copied(),
                1 => {
                    now = now.after(Nanoseconds(span));
                    end(&mut open, settle(&mut disk, now))?;
                }
                _ => {
                    let buffer = filled(&bus, 3);
                    let action = if what == 2 { Action::Read(buffer) } else { Action::Write(buffer) };
                    if disk.submit(command(ticket, first, sectors, action), now).is_ok() {
                        open.push(Ticket(ticket));
                    }
                }
            }
        }
        for _ in 0..20 {
            now = now.after(Nanoseconds(31 * SECOND));
            end(&mut open, settle(&mut disk, now))?;
        }
        prop_assert!(open.is_empty(), "{open:?} have not ended");
    }
}
