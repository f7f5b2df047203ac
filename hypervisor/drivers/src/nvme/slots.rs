//! The commands in flight, each in a slot whose number is the command's id.
//!
//! ```text
//!   put ──► Waiting ──prepare──► Sent ──finish──────────────► Over ──take_over──► completion with its buffer
//!              ▲                   │ the controller stopped    ▲
//!              └── first attempt ──┴──── second attempt ───────┘
//!                                  └─ the controller failed ──► Lost ──────────► completion without it
//! ```

use super::command::{self, PAGE_BYTES};
use super::identify::{MAX_TRANSFER_BYTES, Namespace};
use super::queue::Submission;
use crate::disk::{Action, Command, Completion, DiskError, Refusal, Refused, Unit};
use crate::error::DeviceError;
use base::{Instant, Nanoseconds};
use seams::{DmaBuffer, DmaMemory, DmaRing, SECTOR_BYTES};

/// How many commands can be in flight.
pub const DEPTH: usize = 32;
/// How often a command is sent.
const MAX_ATTEMPTS: u8 = 2;
/// How long a read or a write may take.
const TRANSFER_TIME: Nanoseconds = Nanoseconds::from_secs(10);
/// How long a command may take that a controller may have much to do for.
const LONG_TIME: Nanoseconds = Nanoseconds::from_secs(30);
/// What a slot has for its PRP list or its range: 8 bytes for every page of a transfer. It divides a page, which a list
/// must not cross.
const LIST_BYTES: usize = (MAX_TRANSFER_BYTES / PAGE_BYTES) as usize * 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Sent { deadline: Instant },
    Over(Result<(), DiskError>),
    Lost,
}

struct Slot<B> {
    command: Command<B>,
    stage: Stage,
    attempts: u8,
}

/// All slots, and the lists that go with them.
pub struct Slots<M: DmaMemory> {
    slots: [Option<Slot<M::Buffer>>; DEPTH],
    depth: usize,
    lists: M::Ring,
}

impl<M: DmaMemory> Slots<M> {
    /// `depth` slots, at most [`DEPTH`]; `None` when there is no memory.
    pub fn new(memory: &mut M, depth: usize) -> Option<Self> {
        Some(Self { slots: [const { None }; DEPTH], depth, lists: memory.ring(DEPTH * LIST_BYTES)? })
    }

    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// Puts `command` into a free slot, and names that.
    pub fn put(&mut self, command: Command<M::Buffer>) -> Result<u16, Refused<M::Buffer>> {
        let mut free = self.slots.iter_mut().take(self.depth).enumerate().filter(|(_, slot)| slot.is_none());
        let Some((index, slot)) = free.next() else {
            return Err(Refused { command, reason: Refusal::Full });
        };
        *slot = Some(Slot { command, stage: Stage::Waiting, attempts: 0 });
        Ok(index as u16)
    }

    /// A slot whose command waits to be sent.
    pub fn waiting(&self) -> Option<u16> {
        let waits =
            |slot: &Option<Slot<M::Buffer>>| slot.as_ref().is_some_and(|slot| slot.stage == Stage::Waiting);
        self.slots.iter().position(waits).map(|index| index as u16)
    }

    /// Which disk slot `id`'s command is for.
    pub fn unit(&self, id: u16) -> Option<Unit> {
        self.slots.get(usize::from(id))?.as_ref().map(|slot| slot.command.unit)
    }

    /// What to send for slot `id`, which counts as sent from now on.
    pub fn prepare(&mut self, id: u16, namespace: &Namespace, now: Instant) -> Option<Submission> {
        let slot = self.slots.get_mut(usize::from(id))?.as_mut()?;
        let Command { first_sector, sectors, .. } = slot.command;
        let first = first_sector >> namespace.block_shift;
        let count = sectors >> namespace.block_shift;
        let len_bytes = u64::from(sectors) * SECTOR_BYTES;
        let list_offset = usize::from(id) * LIST_BYTES;
        let (entry, time) = match &slot.command.action {
            Action::Read(buffer) => {
                let prp = describe(&mut self.lists, list_offset, buffer, len_bytes);
                (command::on_blocks(command::READ, namespace.id, first, count, prp), TRANSFER_TIME)
            }
            Action::Write(buffer) => {
                let prp = describe(&mut self.lists, list_offset, buffer, len_bytes);
                (command::on_blocks(command::WRITE, namespace.id, first, count, prp), TRANSFER_TIME)
            }
            Action::WriteZeroes => {
                (command::on_blocks(command::WRITE_ZEROES, namespace.id, first, count, [0; 2]), LONG_TIME)
            }
            Action::Flush => (command::flush(namespace.id), LONG_TIME),
            Action::Discard => {
                // A range: attributes, number of blocks, the first.
                self.lists.store64(list_offset, u64::from(count) << 32);
                self.lists.store64(list_offset + 8, first);
                let mut range = self.lists.bus_address();
                range.0 = range.0.wrapping_add(list_offset as u64);
                (command::discard(namespace.id, range), LONG_TIME)
            }
        };
        slot.stage = Stage::Sent { deadline: now.after(time) };
        slot.attempts = slot.attempts.saturating_add(1);
        Some(entry)
    }

    /// The controller says that slot `id`'s command is over.
    ///
    /// # Errors
    /// When it has no such command.
    pub fn finish(&mut self, id: u16, result: Result<(), DiskError>) -> Result<(), DeviceError> {
        match self.slots.get_mut(usize::from(id)).and_then(Option::as_mut) {
            Some(slot) if matches!(slot.stage, Stage::Sent { .. }) => {
                slot.stage = Stage::Over(result);
                Ok(())
            }
            _ => Err(DeviceError::Nonsense("the completion of a command that it does not have")),
        }
    }

    /// The command in slot `id` cannot be sent: it is over.
    pub fn fail(&mut self, id: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(id)).and_then(Option::as_mut) {
            slot.stage = Stage::Over(Err(DiskError::Gone));
        }
    }

    /// The controller has stopped: it has no command any more.
    pub fn take_back(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            if let Stage::Sent { .. } = slot.stage {
                let is_last = slot.attempts >= MAX_ATTEMPTS;
                slot.stage = if is_last { Stage::Over(Err(DiskError::TimedOut)) } else { Stage::Waiting };
            }
        }
    }

    /// The controller has failed, and may still have what was sent to it.
    pub fn fail_all(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            slot.stage = match slot.stage {
                Stage::Waiting => Stage::Over(Err(DiskError::Gone)),
                Stage::Sent { .. } => Stage::Lost,
                over => over,
            };
        }
    }

    /// When the first command that was sent is due.
    pub fn deadline(&self) -> Instant {
        let deadlines = self.slots.iter().flatten().filter_map(|slot| match slot.stage {
            Stage::Sent { deadline } => Some(deadline),
            _ => None,
        });
        deadlines.min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// Takes a command that is over out of its slot.
    pub fn take_over(&mut self) -> Option<Completion<M::Buffer>> {
        let is_over = |slot: &Slot<M::Buffer>| matches!(slot.stage, Stage::Over(_) | Stage::Lost);
        let place = self.slots.iter_mut().find(|place| place.as_ref().is_some_and(is_over))?;
        let Slot { command, stage, .. } = place.take()?;
        let ticket = command.ticket;
        Some(match stage {
            Stage::Over(result) => Completion { ticket, buffer: command.action.into_buffer(), result },
            // Dropped, the buffer stays pinned for ever: the device may still write to it.
            _ => Completion { ticket, buffer: None, result: Err(DiskError::Gone) },
        })
    }
}

/// The two words that describe the first `len_bytes` of `buffer`: its first page, and its second or the list of all from
/// the second on (NVMe Base 2.0, section 4.1.1).
fn describe(
    lists: &mut impl DmaRing,
    list_offset: usize,
    buffer: &impl DmaBuffer,
    len_bytes: u64,
) -> [u64; 2] {
    let start = buffer.bus_address().0;
    let page = |index: u64| start.wrapping_add(index * PAGE_BYTES);
    let pages = len_bytes.div_ceil(PAGE_BYTES);
    let second = match pages {
        0 | 1 => 0,
        2 => page(1),
        _ => {
            for index in 1..pages {
                lists.store64(list_offset + (index as usize - 1) * 8, page(index));
            }
            lists.bus_address().0.wrapping_add(list_offset as u64)
        }
    };
    [start, second]
}
