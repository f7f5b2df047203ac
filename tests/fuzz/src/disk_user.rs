//! Who uses the driver of a disk that means harm.
//!
//! The input: acts of three bytes each, the last filled up with zeros. A command is what to do, its first sector and its
//! number of sectors; otherwise time passes, or the disk is told that the power will go.

use base::{Instant, Nanoseconds};
use drivers::Readiness;
use drivers::disk::{Action, Command, Completion, Disk, DiskError, Unit};
use iommu::fake::{FakeDma, FakePiece};
use seams::{DmaMemory, SECTOR_BYTES, Ticket};

/// How often a driver is polled at one moment: more than it can have to say.
const POLLS: usize = 64;
/// A buffer's bytes at most: some commands need more, and must be refused.
const BUFFER_BYTES_MAX: usize = 1 << 16;
/// What passes at a time, and how often, until all must have ended: together longer than a command, its second try and
/// all waits for the device take.
const PAUSE: Nanoseconds = Nanoseconds::from_secs(10);
const PAUSES: usize = 40;

/// The commands in flight, as their giver knows them: whether each has a buffer.
#[derive(Default)]
struct InFlight(Vec<(Ticket, bool)>);

impl InFlight {
    fn end(&mut self, completion: &Completion<FakePiece>) {
        let place = self.0.iter().position(|(ticket, _)| *ticket == completion.ticket);
        let (_, has_buffer) =
            self.0.swap_remove(place.expect("a command ends once, and only if it was begun"));
        let is_lost = completion.result == Err(DiskError::Gone);
        assert!(
            completion.buffer.is_some() == has_buffer || is_lost,
            "a buffer is lost with its device alone"
        );
    }
}

/// Does `acts` to the driver of a device of so many `units`, and checks that each command that was begun ends once, in
/// the end.
///
/// # Panics
/// When that is not so, or the driver neither works nor has failed then.
pub fn use_disk(driver: &mut impl Disk<Buffer = FakePiece>, bus: &FakeDma, units: u8, acts: &[u8]) {
    let (mut now, mut in_flight) = (Instant(0), InFlight::default());
    for (number, act) in (0..).zip(acts.chunks(3)) {
        let [what, first, sectors] = [0, 1, 2].map(|index| act.get(index).copied().unwrap_or(0));
        let buffer = || {
            let len_bytes = usize::from(sectors) * SECTOR_BYTES as usize;
            bus.clone().buffer(len_bytes.min(BUFFER_BYTES_MAX)).expect("memory without end")
        };
        let action = match (what % 8, what & 8 != 0) {
            (0 | 1, _) => Action::Read(buffer()),
            (2 | 3, _) => Action::Write(buffer()),
            (4, _) => Action::Flush,
            (5, false) => Action::Discard,
            (5, true) => Action::WriteZeroes,
            (6, _) | (_, false) => {
                now = now.after(Nanoseconds::from_millis(u64::from(first) * 40));
                poll(driver, now, &mut in_flight);
                continue;
            }
            _ => {
                driver.shut_down(now);
                continue;
            }
        };
        let has_buffer = matches!(action, Action::Read(_) | Action::Write(_));
        let ticket = Ticket(number);
        let (unit, first_sector) = (Unit((what >> 6) % units), first.into());
        let command = Command { ticket, unit, first_sector, sectors: sectors.into(), action };
        if driver.submit(command, now).is_ok() {
            in_flight.0.push((ticket, has_buffer));
        }
    }
    let is_over = |driver: &_, in_flight: &InFlight| {
        in_flight.0.is_empty() && Disk::readiness(driver) != Readiness::Pending
    };
    for _ in 0..PAUSES {
        if is_over(driver, &in_flight) {
            return;
        }
        now = now.after(PAUSE);
        poll(driver, now, &mut in_flight);
    }
    assert!(
        is_over(driver, &in_flight),
        "{:?} is {:?}, in flight: {:?}",
        now,
        driver.readiness(),
        in_flight.0
    );
}

/// Until it gives none and waits for an interrupt or for time to pass.
fn poll(driver: &mut impl Disk<Buffer = FakePiece>, now: Instant, in_flight: &mut InFlight) {
    for _ in 0..POLLS {
        match driver.poll(now) {
            Some(completion) => in_flight.end(&completion),
            None if driver.next_deadline() > now => break,
            None => {}
        }
    }
    let _ = driver.take_trouble();
}
