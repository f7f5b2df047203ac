//! A disk over a medium that ends requests when the input says, or refuses them.

use super::guest::Guest;
use super::{Model, drive, taken_over};
use base::state::SavedState;
use devices::virtio::blk::{Blk, ID_BYTES, IN_FLIGHT_MAX};
use devices::virtio::{Broken, VirtioDevice};
use seams::{
    Begun, Block, BlockAccess, BlockBuffers, BlockError, BlockGeometry, BlockOperation, BlockRequest, Ticket,
};

const SECTORS: u64 = 1 << 20;
const GEOMETRY: BlockGeometry =
    BlockGeometry { sectors: SECTORS, block_bytes: 4096, access: BlockAccess::ReadWrite };

/// How a medium takes the next requests.
#[derive(Clone, Copy)]
enum Mood {
    AtOnce,
    Later,
    Busy,
    Failing,
}

/// A medium without content, which checks what it is asked.
struct Medium {
    mood: Mood,
    pending: Vec<BlockRequest>,
    ended: Vec<BlockRequest>,
    /// How many of `ended` were named.
    named: usize,
}

struct Disk {
    device: Blk,
    medium: Medium,
}

/// The target.
pub fn blk(input: &[u8]) {
    let medium = Medium { mood: Mood::AtOnce, pending: Vec::new(), ended: Vec::new(), named: 0 };
    drive(Disk { device: new_device(), medium }, input);
}

fn new_device() -> Blk {
    let device = Blk::new(GEOMETRY, [b'f'; ID_BYTES]);
    device.unwrap_or_else(|error| panic!("no room for a disk: {error}"))
}

impl Model for Disk {
    const QUEUES: usize = 1;

    fn step(&mut self, guest: &mut Guest<'_>, kind: u8) -> Result<(), Broken> {
        match kind {
            0..=3 => {
                self.medium.mood = [Mood::AtOnce, Mood::Later, Mood::Busy, Mood::Failing][usize::from(kind)];
            }
            4..=7 => self.medium.end(guest.input.u8().into()),
            _ => {}
        }
        self.device.run(&mut guest.queues[0], &guest.memory, &mut self.medium).map(drop)
    }

    fn reset(&mut self, features: u64) {
        self.device.reset();
        assert!(self.device.save() == new_device().save(), "a reset leaves nothing");
        self.device.features_accepted(features);
    }

    fn replace(&mut self) {
        self.device = taken_over(&self.device, new_device());
        (self.medium.pending, self.medium.ended, self.medium.named) = Default::default();
    }
}

impl Medium {
    fn end(&mut self, which: usize) {
        if !self.pending.is_empty() {
            let which = which % self.pending.len();
            self.ended.push(self.pending.swap_remove(which));
        }
    }

    fn outcome(&self) -> Result<(), BlockError> {
        if matches!(self.mood, Mood::Failing) { Err(BlockError::Medium) } else { Ok(()) }
    }
}

impl Block for Medium {
    fn geometry(&self) -> BlockGeometry {
        GEOMETRY
    }

    fn begin(&mut self, request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Begun {
        let end = request.first_sector.checked_add(request.sectors.into());
        assert!(end.is_some_and(|end| end <= SECTORS));
        assert_eq!(request.sectors == 0, request.operation == BlockOperation::Flush);
        let mut in_flight = self.pending.iter().chain(&self.ended);
        assert!(in_flight.all(|other| other.ticket != request.ticket), "two have the ticket of {request:?}");
        if matches!(self.mood, Mood::Busy) {
            return Begun::Busy;
        }
        if request.operation == BlockOperation::Write
            && let Err(error) = take(request, buffers)
        {
            return Begun::Done(Err(error));
        }
        if matches!(self.mood, Mood::Later) {
            self.pending.push(*request);
            assert!(self.pending.len() <= IN_FLIGHT_MAX);
            return Begun::Pending;
        }
        Begun::Done(self.outcome().and_then(|()| put(request, buffers)))
    }

    fn finished(&mut self) -> Option<Ticket> {
        let request = self.ended.get(self.named)?;
        self.named += 1;
        Some(request.ticket)
    }

    fn collect(&mut self, ticket: Ticket, buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
        let which = self.ended[..self.named].iter().position(|request| request.ticket == ticket);
        let Some(which) = which else { panic!("{ticket:?} was not named") };
        let request = self.ended.remove(which);
        self.named -= 1;
        self.outcome().and_then(|()| put(&request, buffers))
    }
}

const SECTOR: usize = 512;

fn put(request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
    if request.operation != BlockOperation::Read {
        return Ok(());
    }
    let half = request.sectors / 2;
    buffers.put_zeroes(u64::from(half) * SECTOR as u64)?;
    for _ in half..request.sectors {
        buffers.put(&[0xa5; SECTOR])?;
    }
    Ok(())
}

fn take(request: &BlockRequest, buffers: &mut impl BlockBuffers) -> Result<(), BlockError> {
    for _ in 0..request.sectors {
        buffers.take(&mut [0; SECTOR])?;
    }
    Ok(())
}
