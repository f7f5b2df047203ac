//! The driver against a model of a controller, which keeps to the specification or does not.

use super::model::{BLOCKS, Fault, Inside, Model};
use super::*;
use crate::disk::{Action, DiskError};
use iommu::fake::{FakeDma, FakePiece};
use proptest::prelude::*;
use seams::{DmaBuffer, Ticket};
use std::vec::Vec;

type Driver = Nvme<Model, FakeDma>;

const SECOND: u64 = 1_000_000_000;

fn started() -> (Driver, Model, FakeDma) {
    started_with(|_| {})
}

/// A driver of a controller that has been changed.
fn started_with(change: impl FnOnce(&mut Inside)) -> (Driver, Model, FakeDma) {
    let bus = FakeDma::new();
    let model = Model::new(&bus);
    change(&mut model.0.borrow_mut());
    let mut driver = Nvme::take_over(model.clone(), bus.clone(), Signal::Polled, Instant(0)).unwrap();
    assert_eq!(settle(&mut driver, Instant(0)).len(), 0);
    assert_eq!(driver.readiness(), Readiness::Ready);
    (driver, model, bus)
}

/// Polls until nothing more happens at `now`.
fn settle(driver: &mut Driver, now: Instant) -> Vec<Completion<FakePiece>> {
    (0..400).filter_map(|_| driver.poll(now)).collect()
}

fn command(ticket: u16, first_sector: u64, sectors: u32, action: Action<FakePiece>) -> Command<FakePiece> {
    Command { ticket: Ticket(ticket), unit: Unit(0), first_sector, sectors, action }
}

fn pattern(bus: &FakeDma, len_bytes: usize, seed: u8) -> FakePiece {
    let mut buffer = bus.clone().buffer(len_bytes).unwrap();
    buffer.bytes_mut().iter_mut().enumerate().for_each(|(index, byte)| *byte = (index / 7) as u8 ^ seed);
    buffer
}

#[test]
fn namespaces_are_found_and_those_with_metadata_left_out() {
    let (driver, _, _) = started();
    assert_eq!(driver.namespaces().iter().map(|namespace| namespace.id).collect::<Vec<_>>(), [1, 2]);
    let [first, second] = [0, 1].map(|unit| driver.geometry(Unit(unit)).unwrap());
    assert_eq!((first.sectors, first.block_bytes, first.max_transfer_sectors), (BLOCKS, 512, 128));
    assert_eq!((second.sectors, second.block_bytes), (8 * BLOCKS, 4096));
    let abilities = first.abilities;
    assert!(abilities.write && abilities.discard && abilities.write_zeroes && abilities.volatile_cache);
    let controller = driver.controller().unwrap();
    assert_eq!((controller.model.as_str(), controller.serial.as_str()), ("A model", "SN? 1"));
    assert_eq!((first.shared_as, second.shared_as), (None, Some(0x0202_0202_0202_0202)));
    assert_eq!(driver.geometry(Unit(2)), None);
}

#[test]
fn a_namespace_that_the_controller_does_not_describe_is_left_out() {
    let (mut driver, _, _) = started_with(|controller| controller.refused_namespace = 1);
    assert_eq!(driver.namespaces().iter().map(|namespace| namespace.id).collect::<Vec<_>>(), [2]);
    let refused = DeviceError::Refused { what: "Identify Namespace", code: 0x0b };
    assert_eq!(driver.take_trouble(), Some(refused));
}

/// The most sectors that are cleared at once in namespaces 1 and 2.
fn clear_sectors(version: u32, limits: Option<[u8; 16]>) -> [u32; 2] {
    let (driver, _, _) = started_with(|controller| {
        (controller.version, controller.limits) = (version, limits);
    });
    [0, 1].map(|unit| driver.geometry(Unit(unit)).unwrap().max_clear_sectors)
}

#[test]
fn no_more_is_cleared_at_once_than_the_controller_takes() {
    const ALL: [u32; 2] = [65536, 8 * 65536];
    let limits = |zeroes: u8, range: u8, all: u8| [0, zeroes, 0, 0, range, 0, 0, 0, all, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(clear_sectors(0x10400, Some(limits(1, 1, 1))), ALL, "it is not asked");
    assert_eq!(clear_sectors(0x20000, None), ALL, "it does not say");
    assert_eq!(clear_sectors(0x20000, Some(limits(0, 0, 0))), ALL);
    assert_eq!(clear_sectors(0x20000, Some(limits(5, 0, 0))), [256, 256]);
    assert_eq!(clear_sectors(0x20000, Some(limits(5, 20, 0))), [20, 160]);
    assert_eq!(clear_sectors(0x20000, Some(limits(0, 20, 10))), [10, 80]);
    assert_eq!(clear_sectors(0x20100, Some(limits(255, 0, 0))), ALL);
}

#[test]
fn what_was_written_is_read_back_in_one_page_two_and_many() {
    let (mut driver, _, bus) = started();
    for (ticket, sectors) in [(1, 1_u32), (2, 8), (3, 9), (4, 16), (5, 17), (6, 128)] {
        let len_bytes = sectors as usize * 512;
        let wanted = pattern(&bus, len_bytes, ticket as u8).bytes().to_vec();
        let first = u64::from(ticket) * 300;
        driver
            .submit(
                command(ticket, first, sectors, Action::Write(pattern(&bus, len_bytes, ticket as u8))),
                Instant(0),
            )
            .unwrap();
        let written = settle(&mut driver, Instant(0));
        assert_eq!((written.len(), written[0].ticket, written[0].result), (1, Ticket(ticket), Ok(())));
        driver
            .submit(command(9, first, sectors, Action::Read(pattern(&bus, len_bytes, 0x55))), Instant(0))
            .unwrap();
        let read = settle(&mut driver, Instant(0));
        assert_eq!(
            read[0].buffer.as_ref().unwrap().bytes()[..len_bytes],
            wanted[..len_bytes],
            "{sectors} sectors"
        );
    }
}

#[test]
fn blocks_of_4_kib_are_counted_in_sectors_outside() {
    let (mut driver, model, bus) = started();
    let write = Command { unit: Unit(1), ..command(1, 16, 8, Action::Write(pattern(&bus, 4096, 3))) };
    driver.submit(write, Instant(0)).unwrap();
    settle(&mut driver, Instant(0));
    let keys: Vec<_> = model.0.borrow().blocks.keys().copied().collect();
    assert_eq!(keys, (16..24).map(|sector| (2, sector)).collect::<Vec<_>>());
    let odd = Command { unit: Unit(1), ..command(1, 4, 8, Action::Flush) };
    assert!(driver.submit(odd, Instant(0)).is_ok(), "a flush names no sectors");
    let odd = Command { unit: Unit(1), ..command(1, 4, 8, Action::Discard) };
    assert_eq!(driver.submit(odd, Instant(0)).unwrap_err().reason, Refusal::Misaligned);
}

#[test]
fn blocks_are_cleared_and_writes_flushed() {
    let (mut driver, model, bus) = started();
    let actions =
        [Action::Write(pattern(&bus, 512 * 16, 1)), Action::Flush, Action::Discard, Action::WriteZeroes];
    for (action, sectors) in actions.into_iter().zip([16, 0, 4, 8]) {
        driver.submit(command(1, 40, sectors, action), Instant(0)).unwrap();
        assert_eq!(settle(&mut driver, Instant(0))[0].result, Ok(()));
    }
    let left: Vec<_> = model.0.borrow().blocks.keys().map(|(_, block)| *block).collect();
    assert_eq!(left, (48..56).collect::<Vec<_>>());
    assert_eq!(model.0.borrow().commands, [1, 0, 9, 8]);
}

#[test]
fn as_many_commands_are_in_flight_as_there_are_slots() {
    let (mut driver, model, bus) = started();
    model.misbehave(Fault::Mute(u32::MAX));
    for ticket in 0..DEPTH as u16 {
        driver.submit(command(ticket, 0, 1, Action::Read(pattern(&bus, 512, 0))), Instant(0)).unwrap();
    }
    let refused =
        driver.submit(command(99, 0, 1, Action::Read(pattern(&bus, 512, 7))), Instant(0)).unwrap_err();
    assert_eq!((refused.reason, refused.command.ticket), (Refusal::Full, Ticket(99)));
    assert_eq!(refused.command.action.into_buffer().unwrap().bytes()[0], 7, "the buffer comes back");
}

#[test]
fn a_command_without_an_answer_is_sent_again_after_a_reset() {
    let (mut driver, model, bus) = started();
    model.misbehave(Fault::Mute(1));
    driver.submit(command(1, 5, 8, Action::Write(pattern(&bus, 4096, 9))), Instant(0)).unwrap();
    assert_eq!(settle(&mut driver, Instant(9 * SECOND)).len(), 0);
    assert!(driver.next_deadline() <= Instant(10 * SECOND));
    let over = settle(&mut driver, Instant(10 * SECOND));
    assert_eq!((over.len(), over[0].result), (1, Ok(())));
    assert!(over[0].buffer.is_some());
    assert_eq!(model.0.borrow().starts, 2);
    assert_eq!(driver.take_trouble(), Some(DeviceError::TooSlow("a command")));
    assert_eq!(model.0.borrow().blocks.len(), 8);
}

#[test]
fn a_command_that_has_no_answer_twice_fails_and_the_buffer_comes_back() {
    let (mut driver, model, bus) = started();
    model.misbehave(Fault::Mute(2));
    driver.submit(command(1, 5, 8, Action::Read(pattern(&bus, 4096, 9))), Instant(0)).unwrap();
    assert_eq!(settle(&mut driver, Instant(10 * SECOND)).len(), 0);
    let over = settle(&mut driver, Instant(20 * SECOND));
    assert_eq!(over[0].result, Err(DiskError::TimedOut));
    assert!(over[0].buffer.is_some());
    driver.submit(command(2, 5, 8, Action::Read(pattern(&bus, 4096, 9))), Instant(20 * SECOND)).unwrap();
    assert_eq!(settle(&mut driver, Instant(20 * SECOND))[0].result, Ok(()), "the disk works again");
}

#[test]
fn a_controller_that_does_not_stop_keeps_its_buffers() {
    let (mut driver, model, bus) = started();
    model.misbehave(Fault::Mute(1));
    driver.submit(command(1, 5, 8, Action::Read(pattern(&bus, 4096, 9))), Instant(0)).unwrap();
    model.misbehave(Fault::StuckReady);
    assert_eq!(settle(&mut driver, Instant(10 * SECOND)).len(), 0);
    let over = settle(&mut driver, Instant(11 * SECOND));
    assert_eq!(over[0].result, Err(DiskError::Gone));
    assert!(over[0].buffer.is_none(), "it may be written to for ever");
    assert_eq!(driver.take_trouble(), Some(DeviceError::TooSlow("stopping")));
}

#[test]
fn a_fatal_status_is_found_without_a_deadline_and_reset_away() {
    let (mut driver, model, bus) = started();
    model.misbehave(Fault::Fatal);
    driver.submit(command(1, 5, 8, Action::Read(pattern(&bus, 4096, 9))), Instant(SECOND / 2)).unwrap();
    let over = settle(&mut driver, Instant(2 * SECOND));
    assert_eq!(over[0].result, Ok(()));
    assert_eq!(driver.take_trouble(), Some(DeviceError::Fatal));
}

#[test]
fn an_unplugged_controller_fails_what_it_has_and_keeps_the_buffers() {
    let (mut driver, model, bus) = started();
    model.misbehave(Fault::Mute(1));
    driver.submit(command(1, 5, 8, Action::Read(pattern(&bus, 4096, 9))), Instant(0)).unwrap();
    model.misbehave(Fault::Vanished);
    let over = settle(&mut driver, Instant(2 * SECOND));
    assert_eq!(over[0].result, Err(DiskError::Gone));
    assert!(over[0].buffer.is_none(), "the controller may write to it yet");
    assert_eq!(driver.take_trouble(), Some(DeviceError::Vanished));
    let refused = driver.submit(command(2, 5, 8, Action::Flush), Instant(2 * SECOND)).unwrap_err();
    assert_eq!((refused.reason, driver.readiness()), (Refusal::Gone, Readiness::Failed));
}

#[test]
fn a_wrong_id_resets_the_controller_and_in_the_end_condemns_it() {
    let (mut driver, model, bus) = started();
    model.misbehave(Fault::WrongId(7));
    driver.submit(command(1, 5, 8, Action::Read(pattern(&bus, 4096, 9))), Instant(0)).unwrap();
    let over = settle(&mut driver, Instant(0));
    assert_eq!(over[0].result, Err(DiskError::TimedOut));
    assert_eq!(
        driver.take_trouble(),
        Some(DeviceError::Nonsense("the completion of a command that it does not have"))
    );
    driver.submit(command(2, 5, 8, Action::Flush), Instant(0)).unwrap();
    settle(&mut driver, Instant(0));
    driver.submit(command(3, 5, 8, Action::Flush), Instant(0)).unwrap();
    settle(&mut driver, Instant(0));
    assert_eq!((driver.readiness(), driver.take_trouble()), (Readiness::Failed, Some(DeviceError::Hopeless)));
}

#[test]
fn an_error_of_the_medium_is_that_commands_alone() {
    let (mut driver, model, bus) = started();
    // Type 2 (media), code 0x81: unrecovered read error.
    model.misbehave(Fault::Status(0x281));
    driver.submit(command(1, 5, 8, Action::Read(pattern(&bus, 4096, 9))), Instant(0)).unwrap();
    assert_eq!(settle(&mut driver, Instant(0))[0].result, Err(DiskError::Device(0x281)));
    model.misbehave(Fault::Status(1));
    driver.submit(command(1, 5, 8, Action::Discard), Instant(0)).unwrap();
    assert_eq!(settle(&mut driver, Instant(0))[0].result, Err(DiskError::Unsupported));
    assert_eq!(model.0.borrow().starts, 1);
}

#[test]
fn a_command_is_sent_again_when_the_controller_does_not_forbid_it() {
    let (mut driver, model, bus) = started();
    model.misbehave(Fault::NotReady(5));
    driver.submit(command(1, 5, 8, Action::Write(pattern(&bus, 4096, 9))), Instant(0)).unwrap();
    assert_eq!(settle(&mut driver, Instant(0))[0].result, Ok(()));
    assert_eq!(model.0.borrow().commands, [1; 6]);
    model.misbehave(Fault::NotReady(u32::MAX));
    driver.submit(command(2, 5, 8, Action::Flush), Instant(0)).unwrap();
    assert_eq!(settle(&mut driver, Instant(0))[0].result, Err(DiskError::Device(0x82)));
    assert_eq!(model.0.borrow().commands.len(), 12);
    // With Do Not Retry.
    model.misbehave(Fault::Status(0x4082));
    driver.submit(command(3, 5, 8, Action::Flush), Instant(0)).unwrap();
    assert_eq!(settle(&mut driver, Instant(0))[0].result, Err(DiskError::Device(0x82)));
    assert_eq!(model.0.borrow().commands.len(), 13);
}

#[test]
fn a_controller_that_is_another_after_a_reset_has_failed() {
    let (mut driver, model, bus) = started();
    model.misbehave(Fault::Mute(1));
    driver.submit(command(1, 5, 8, Action::Write(pattern(&bus, 4096, 9))), Instant(0)).unwrap();
    model.misbehave(Fault::Shrunk);
    let over = settle(&mut driver, Instant(10 * SECOND));
    assert_eq!(over[0].result, Err(DiskError::Gone));
    assert!(over[0].buffer.is_some(), "it had stopped");
    assert!(model.0.borrow().blocks.is_empty());
}

#[test]
fn a_controller_that_does_not_start_or_stop_is_told_of_in_time() {
    for (fault, what) in [(Fault::NeverReady, "starting"), (Fault::StuckReady, "stopping")] {
        let bus = FakeDma::new();
        let model = Model::new(&bus);
        model.misbehave(fault);
        let mut driver = Nvme::take_over(model, bus, Signal::Polled, Instant(0)).unwrap();
        settle(&mut driver, Instant(SECOND / 2));
        assert_eq!(driver.readiness(), Readiness::Pending);
        settle(&mut driver, Instant(2 * SECOND));
        assert_eq!(
            (driver.readiness(), driver.take_trouble()),
            (Readiness::Failed, Some(DeviceError::TooSlow(what)))
        );
    }
}

#[test]
fn a_controller_is_shut_down_before_the_power_goes() {
    let (mut driver, model, _) = started();
    driver.shut_down(Instant(0));
    assert_eq!(driver.readiness(), Readiness::Pending);
    settle(&mut driver, Instant(0));
    assert_eq!(driver.readiness(), Readiness::Off);
    assert_eq!(driver.submit(command(1, 0, 0, Action::Flush), Instant(0)).unwrap_err().reason, Refusal::Gone);
    assert!(model.0.borrow().commands.is_empty());
}

#[test]
fn a_controller_has_the_time_for_its_shutdown_that_it_asks_for_within_reason_and_is_not_reset_then() {
    for (microseconds, seconds) in [(0, 10), (3_000_000, 10), (25_000_000, 25), (u32::MAX, 60)] {
        let (mut driver, model, _) =
            started_with(|controller| controller.shutdown_microseconds = microseconds);
        model.misbehave(Fault::Mute(1));
        driver.shut_down(Instant(0));
        settle(&mut driver, Instant(seconds * SECOND - 1));
        assert_eq!(driver.readiness(), Readiness::Pending);
        settle(&mut driver, Instant(seconds * SECOND));
        assert_eq!(driver.readiness(), Readiness::Failed);
        assert_eq!(driver.take_trouble(), Some(DeviceError::TooSlow("shutting down")));
        assert_eq!(model.0.borrow().configuration & (ENABLE | SHUTDOWN), ENABLE | SHUTDOWN_NORMAL);
    }
}

#[test]
fn what_cannot_be_driven_is_refused_at_once() {
    let refusal = |capabilities: u64, limit: usize| {
        let bus = FakeDma::new();
        bus.limit(limit);
        let model = Model::new(&bus);
        model.0.borrow_mut().capabilities = capabilities;
        Nvme::take_over(model, bus, Signal::Polled, Instant(0)).err()
    };
    let usual = 63 | 1 << 37;
    assert_eq!(refusal(usual, 1 << 20), None);
    assert_eq!(refusal(usual, 4096), Some(DeviceError::OutOfMemory));
    assert!(matches!(refusal(usual | 1 << 48, 1 << 20), Some(DeviceError::Unsupported(_))));
    assert!(matches!(refusal(63, 1 << 20), Some(DeviceError::Unsupported(_))));
    assert!(matches!(refusal(1 << 37, 1 << 20), Some(DeviceError::Nonsense(_))));
}

#[derive(Clone, Debug)]
enum Move {
    Read(u64, u32),
    Write(u64, u32),
    Flush,
    Misbehave(Option<u8>),
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (0..BLOCKS + 50, 0_u32..140).prop_map(|(first, sectors)| Move::Read(first, sectors)),
        4 => (0..BLOCKS + 50, 0_u32..140).prop_map(|(first, sectors)| Move::Write(first, sectors)),
        1 => Just(Move::Flush),
        2 => proptest::option::of(0_u8..9).prop_map(Move::Misbehave),
        3 => (0..12 * SECOND).prop_map(Move::Wait),
    ]
}

const FAULTS: [Fault; 9] = [
    Fault::Mute(2),
    Fault::StuckReady,
    Fault::NeverReady,
    Fault::Fatal,
    Fault::Vanished,
    Fault::WrongId(3),
    Fault::Status(0x2),
    Fault::NotReady(3),
    Fault::Shrunk,
];

proptest! {
    /// Each command that was begun ends once, and none of them twice, however the controller behaves.
    #[test]
    fn every_command_ends_exactly_once(moves in proptest::collection::vec(moves(), 1..60)) {
        let (mut driver, model, bus) = started();
        let (mut now, mut open, mut next) = (Instant(0), Vec::new(), 0_u16);
        let end = |open: &mut Vec<Ticket>, over: Vec<Completion<FakePiece>>| {
            for completion in over {
                let place = open.iter().position(|ticket| *ticket == completion.ticket);
                prop_assert!(place.is_some(), "{:?} was not in flight", completion.ticket);
                open.swap_remove(place.unwrap());
            }
            Ok(())
        };
        for one in moves {
            let (first, sectors, action) = match one {
                Move::Read(first, sectors) => (first, sectors, Action::Read(bus.clone().buffer(65536).unwrap())),
                Move::Write(first, sectors) => (first, sectors, Action::Write(bus.clone().buffer(65536).unwrap())),
                Move::Flush => (0, 0, Action::Flush),
                Move::Misbehave(fault) => {
                    model.0.borrow_mut().fault = fault.map(|index| FAULTS[usize::from(index)]);
                    continue;
                }
                Move::Wait(span) => {
                    now = now.after(Nanoseconds(span));
                    end(&mut open, settle(&mut driver, now))?;
                    continue;
                }
            };
            if driver.submit(command(next, first, sectors, action), now).is_ok() {
                open.push(Ticket(next));
            }
            next += 1;
        }
        for _ in 0..20 {
            now = now.after(Nanoseconds(31 * SECOND));
            end(&mut open, settle(&mut driver, now))?;
        }
        prop_assert!(open.is_empty(), "{open:?} have not ended");
    }
}
