//! Block devices (section 5.2).
//!
//! ```text
//! request   header 16 bytes: type u32, 0 u32, sector u64 │ data, or a range: sector u64, sectors u32, flags u32 │ status u8
//! ```
//! Each slot has three descriptors of its own, and 64 bytes for header, range and status.

use super::RESET_TIME;
use super::place::Place;
use super::queue::{Chain, Direction, Queue};
use super::transport::{Health, Transport};
use crate::disk::{
    Abilities, Action, Command, Completion, Disk, DiskError, DiskGeometry, Refusal, Refused, Unit,
};
use crate::error::DeviceError;
use crate::flight::{DEPTH, Flight, MAX_RESETS};
use crate::{Readiness, STATUS_INTERVAL, Signal};
use base::Instant;
use seams::{BusAddress, DmaBuffer, DmaMemory, DmaRing, Registers, SECTOR_BYTES};

/// Features (section 5.2.3).
mod feature {
    pub const SIZE_MAX: u64 = 1 << 1;
    pub const READ_ONLY: u64 = 1 << 5;
    pub const BLOCK_SIZE: u64 = 1 << 6;
    pub const FLUSH: u64 = 1 << 9;
    pub const DISCARD: u64 = 1 << 13;
    pub const WRITE_ZEROES: u64 = 1 << 14;
    pub const ALL: u64 = SIZE_MAX | READ_ONLY | BLOCK_SIZE | FLUSH | DISCARD | WRITE_ZEROES;
}

/// Offsets of the configuration (section 5.2.4).
mod config {
    pub const CAPACITY: usize = 0;
    pub const SIZE_MAX: usize = 8;
    pub const BLOCK_SIZE: usize = 20;
    pub const MAX_DISCARD_SECTORS: usize = 36;
    pub const MAX_WRITE_ZEROES_SECTORS: usize = 48;
}

const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

const STATUS_OK: u8 = 0;
const STATUS_UNSUPPORTED: u8 = 2;
/// What no device writes: the request has no status yet.
const STATUS_NONE: u8 = 0xff;

const DESCRIPTORS: u16 = 3;
/// What a slot has for its header, range and status.
const SLOT_BYTES: usize = 64;
const RANGE: usize = 16;
const STATUS: usize = 32;
/// The largest queue that is used: three descriptors for each slot.
const MAX_ENTRIES: u16 = 128;
const MAX_TRANSFER_BYTES: u32 = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resetting { until: Instant },
    Running { status_due: Instant },
    ShuttingDown { until: Instant },
    Off,
    Failed,
}

/// A block device and its driver's state. It is one disk: [`Unit`] 0.
pub struct VirtioBlk<R, M: DmaMemory> {
    transport: Transport<R>,
    memory: M,
    /// Made at the first start, when the queue's size is known.
    rings: Option<Rings<M::Ring>>,
    slots: Flight<M::Buffer>,
    state: State,
    geometry: Option<DiskGeometry>,
    resets: u8,
    trouble: Option<DeviceError>,
}

struct Rings<Ring> {
    queue: Queue<Ring>,
    /// Headers, ranges and status.
    headers: Ring,
}

impl<R: Registers, M: DmaMemory> VirtioBlk<R, M> {
    /// Takes over the device whose structures are at `place` in `registers`. Poll until it is ready.
    #[cold]
    pub fn take_over(registers: R, place: Place, memory: M, signal: Signal, now: Instant) -> Self {
        let mut device = Self {
            transport: Transport::new(registers, place, signal),
            memory,
            rings: None,
            slots: Flight::new(DEPTH),
            state: State::Failed,
            geometry: None,
            resets: 0,
            trouble: None,
        };
        device.begin_reset(now);
        device
    }

    #[cold]
    fn begin_reset(&mut self, now: Instant) {
        self.transport.reset();
        self.state = State::Resetting { until: now.after(RESET_TIME) };
    }

    /// Begins anew because of `trouble`, unless that has been tried too often.
    #[cold]
    fn reset(&mut self, trouble: DeviceError, now: Instant) {
        self.trouble = Some(trouble);
        self.resets = self.resets.saturating_add(1);
        if self.resets > MAX_RESETS {
            return self.fail(DeviceError::Hopeless);
        }
        self.begin_reset(now);
    }

    #[cold]
    fn fail(&mut self, trouble: DeviceError) {
        self.transport.reset();
        self.trouble = Some(trouble);
        self.state = State::Failed;
        self.slots.fail_all();
    }

    fn step(&mut self, now: Instant) {
        match self.state {
            State::Resetting { .. } if self.transport.has_reset() => {
                self.slots.take_back();
                match self.start() {
                    Ok(()) => self.run(now),
                    Err(error) => self.fail(error),
                }
            }
            State::Resetting { until } if now >= until => self.fail(DeviceError::TooSlow("resetting")),
            State::Running { status_due } => self.look_after(status_due, now),
            State::ShuttingDown { .. } if self.transport.has_reset() => self.state = State::Off,
            State::ShuttingDown { until } if now >= until => self.fail(DeviceError::TooSlow("shutting down")),
            State::Resetting { .. } | State::ShuttingDown { .. } | State::Off | State::Failed => {}
        }
    }

    /// Sets up the device, which has been reset.
    #[cold]
    fn start(&mut self) -> Result<(), DeviceError> {
        let features = self.transport.negotiate(feature::ALL)?;
        let geometry = self.read_geometry(features)?;
        if self.geometry.is_some_and(|before| before != geometry) {
            return Err(DeviceError::Nonsense("its being another after a reset"));
        }
        let size = self.transport.queue_size(0).min(MAX_ENTRIES);
        if size < DESCRIPTORS || !size.is_power_of_two() {
            return Err(DeviceError::Nonsense("the size of its queue"));
        }
        let mut rings = match self.rings.take() {
            Some(rings) if rings.queue.size() == size => rings,
            Some(_) => return Err(DeviceError::Nonsense("its being another after a reset")),
            None => self.make_rings(size).ok_or(DeviceError::OutOfMemory)?,
        };
        let enabled = self.transport.enable(&mut rings.queue);
        self.rings = Some(rings);
        enabled?;
        self.transport.start();
        self.geometry = Some(geometry);
        Ok(())
    }

    fn make_rings(&mut self, size: u16) -> Option<Rings<M::Ring>> {
        let depth = usize::from(size / DESCRIPTORS).min(DEPTH);
        self.slots = Flight::new(depth);
        let queue = Queue::new(&mut self.memory, 0, size)?;
        Some(Rings { queue, headers: self.memory.ring(DEPTH * SLOT_BYTES)? })
    }

    #[cold]
    fn read_geometry(&self, features: u64) -> Result<DiskGeometry, DeviceError> {
        let has = |feature: u64| features & feature != 0;
        let config = |offset: usize| self.transport.config32(offset);
        let block_bytes = if has(feature::BLOCK_SIZE) { config(config::BLOCK_SIZE) } else { 512 };
        if !block_bytes.is_power_of_two() || !(512..=4096).contains(&block_bytes) {
            return Err(DeviceError::Unsupported("a block size other than 512 to 4096"));
        }
        let limit = if has(feature::SIZE_MAX) { config(config::SIZE_MAX) } else { u32::MAX };
        let max_transfer_bytes = limit.min(MAX_TRANSFER_BYTES) & !4095;
        if max_transfer_bytes == 0 {
            return Err(DeviceError::Unsupported("segments shorter than 4 KiB"));
        }
        let able =
            |feature: u64, offset: usize| has(feature).then(|| config(offset)).filter(|most| *most > 0);
        let discard = able(feature::DISCARD, config::MAX_DISCARD_SECTORS);
        let write_zeroes = able(feature::WRITE_ZEROES, config::MAX_WRITE_ZEROES_SECTORS);
        let most = [discard, write_zeroes].into_iter().flatten().min().unwrap_or(0);
        let block_sectors = block_bytes / SECTOR_BYTES as u32;
        Ok(DiskGeometry {
            sectors: u64::from(config(config::CAPACITY)) | u64::from(config(config::CAPACITY + 4)) << 32,
            block_bytes,
            max_transfer_sectors: max_transfer_bytes / SECTOR_BYTES as u32,
            max_clear_sectors: most - most % block_sectors,
            abilities: Abilities {
                write: !has(feature::READ_ONLY),
                discard: discard.is_some(),
                write_zeroes: write_zeroes.is_some(),
                volatile_cache: has(feature::FLUSH),
            },
            shared_as: None,
        })
    }

    #[cold]
    fn run(&mut self, now: Instant) {
        self.state = State::Running { status_due: now.after(STATUS_INTERVAL) };
        while let Some(id) = self.slots.waiting() {
            self.send(id, now);
        }
    }

    /// Hands the command in slot `id` to the device.
    fn send(&mut self, id: u16, now: Instant) {
        let (Some(command), Some(rings)) = (self.slots.command(id), self.rings.as_mut()) else {
            return self.slots.end(id, Err(DiskError::Gone));
        };
        let has_cache = self.geometry.is_some_and(|geometry| geometry.abilities.volatile_cache);
        if matches!(command.action, Action::Flush) && !has_cache {
            // Every write that has completed is on the medium; the device does not know the request.
            return self.slots.end(id, Ok(()));
        }
        rings.prepare(id, command);
        self.slots.note_sent(id, now);
        self.transport.notify(&rings.queue);
    }

    #[cold]
    fn look_after(&mut self, status_due: Instant, now: Instant) {
        if self.slots.deadline() <= now {
            return self.reset(DeviceError::TooSlow("a command"), now);
        }
        if status_due > now || self.slots.deadline() == Instant::FAR_FUTURE {
            return;
        }
        match self.transport.health() {
            Health::Vanished => self.fail(DeviceError::Vanished),
            Health::NeedsReset => self.reset(DeviceError::Fatal, now),
            Health::Good => self.state = State::Running { status_due: now.after(STATUS_INTERVAL) },
        }
    }

    fn take_answer(&mut self, now: Instant) {
        if !matches!(self.state, State::Running { .. }) {
            return;
        }
        let Some((id, result)) = self.rings.as_mut().and_then(Rings::take) else { return };
        match self.slots.finish(id, result) {
            Ok(()) => self.resets = 0,
            Err(error) => self.reset(error, now),
        }
    }
}

impl<Ring: DmaRing> Rings<Ring> {
    /// Writes the request of `command` in slot `id`, and makes it available.
    fn prepare(&mut self, id: u16, command: &Command<impl DmaBuffer>) {
        let start = usize::from(id) * SLOT_BYTES;
        let (kind, sector) = match &command.action {
            Action::Read(_) => (READ, command.first_sector),
            Action::Write(_) => (WRITE, command.first_sector),
            Action::Flush => (FLUSH, 0),
            Action::Discard => (DISCARD, 0),
            Action::WriteZeroes => (WRITE_ZEROES, 0),
        };
        self.headers.store64(start, kind.into());
        self.headers.store64(start + 8, sector);
        self.headers.store32(start + STATUS, STATUS_NONE.into());
        let address =
            |offset: usize| BusAddress(self.headers.bus_address().0.wrapping_add((start + offset) as u64));
        let (header, range, status) = (address(0), address(RANGE), address(STATUS));
        let len_bytes = command.sectors.saturating_mul(SECTOR_BYTES as u32);
        let data = match &command.action {
            Action::Read(buffer) => Some((buffer.bus_address(), len_bytes, Direction::FromDevice)),
            Action::Write(buffer) => Some((buffer.bus_address(), len_bytes, Direction::ToDevice)),
            Action::Flush => None,
            Action::Discard | Action::WriteZeroes => {
                self.headers.store64(start + RANGE, command.first_sector);
                self.headers.store64(start + RANGE + 8, command.sectors.into());
                Some((range, 16, Direction::ToDevice))
            }
        };
        let head = id.wrapping_mul(DESCRIPTORS);
        self.queue.describe(head, header, 16, Direction::ToDevice, Chain::GoesOn);
        let mut last = head.wrapping_add(1);
        if let Some((address, len_bytes, direction)) = data {
            self.queue.describe(last, address, len_bytes, direction, Chain::GoesOn);
            last = last.wrapping_add(1);
        }
        self.queue.describe(last, status, 1, Direction::FromDevice, Chain::Ends);
        self.queue.offer(head);
    }

    /// The slot that the device has answered next, and what it says. What is no slot's head gets an id that none has.
    fn take(&mut self) -> Option<(u16, Result<(), DiskError>)> {
        let head = self.queue.take()?.head;
        let id = u16::try_from(head / u32::from(DESCRIPTORS)).unwrap_or(u16::MAX);
        if head % u32::from(DESCRIPTORS) != 0 {
            return Some((u16::MAX, Ok(())));
        }
        let result = match self.headers.load32(usize::from(id) * SLOT_BYTES + STATUS) as u8 {
            STATUS_OK => Ok(()),
            STATUS_UNSUPPORTED => Err(DiskError::Unsupported),
            status => Err(DiskError::Device(status.into())),
        };
        Some((id, result))
    }
}

impl<R: Registers, M: DmaMemory> Disk for VirtioBlk<R, M> {
    type Buffer = M::Buffer;

    fn geometry(&self, unit: Unit) -> Option<DiskGeometry> {
        self.geometry.filter(|_| unit == Unit(0))
    }

    fn depth(&self) -> usize {
        self.slots.depth()
    }

    fn submit(&mut self, command: Command<M::Buffer>, now: Instant) -> Result<(), Refused<M::Buffer>> {
        if matches!(self.state, State::ShuttingDown { .. } | State::Off | State::Failed) {
            return Err(Refused { command, reason: Refusal::Gone });
        }
        let geometry = self.geometry(command.unit);
        let id = self.slots.admit(command, geometry)?;
        if matches!(self.state, State::Running { .. }) {
            self.send(id, now);
        }
        Ok(())
    }

    fn poll(&mut self, now: Instant) -> Option<Completion<M::Buffer>> {
        self.take_answer(now);
        let completion = self.slots.take_over();
        if completion.is_none() {
            self.step(now);
            return self.slots.take_over();
        }
        completion
    }

    fn next_deadline(&self) -> Instant {
        match self.state {
            State::Resetting { .. } | State::ShuttingDown { .. } => Instant(0),
            State::Running { status_due } => self.slots.next_deadline(status_due),
            State::Off | State::Failed => self.slots.next_deadline(Instant::FAR_FUTURE),
        }
    }

    /// The device's cache is its host's, and outlives the device.
    fn shut_down(&mut self, now: Instant) {
        if self.state == State::Failed {
            return;
        }
        self.slots.fail_all();
        self.transport.reset();
        self.state = State::ShuttingDown { until: now.after(RESET_TIME) };
    }

    fn readiness(&self) -> Readiness {
        match self.state {
            State::Failed => Readiness::Failed,
            State::Off => Readiness::Off,
            State::ShuttingDown { .. } => Readiness::Pending,
            _ if self.geometry.is_some() => Readiness::Ready,
            _ => Readiness::Pending,
        }
    }

    fn take_trouble(&mut self) -> Option<DeviceError> {
        self.trouble.take()
    }
}
