//! A disk's commands in flight, each in a slot whose number is the command's id: the same for every kind of disk.
//!
//! ```text
//!   put ──► Waiting ─note_sent─► Sent ──finish──────────────► Over ──take_over──► completion with its buffer
//!              ▲                   │ the device stopped        ▲
//!              └── first attempt ──┴──── second attempt ───────┘
//!                                  └─ the device failed ──► Lost ──────────► completion without it
//! ```

use crate::disk::{Action, Command, Completion, DiskError, Refusal, Refused};
use crate::error::DeviceError;
use base::{Instant, Nanoseconds};

/// How many commands can be in flight.
pub const DEPTH: usize = 32;
/// How often a command is sent.
const MAX_ATTEMPTS: u8 = 2;
/// How long a read or a write may take.
const TRANSFER_TIME: Nanoseconds = Nanoseconds::from_secs(10);
/// How long a command may take that a device may have much to do for.
const LONG_TIME: Nanoseconds = Nanoseconds::from_secs(30);

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

/// All slots.
pub struct Flight<B> {
    slots: [Option<Slot<B>>; DEPTH],
    depth: usize,
}

impl<B> Flight<B> {
    /// `depth` slots, at most [`DEPTH`].
    pub const fn new(depth: usize) -> Self {
        Self { slots: [const { None }; DEPTH], depth }
    }

    /// How many commands can be in flight.
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// Puts `command` into a free slot, and names that.
    pub fn put(&mut self, command: Command<B>) -> Result<u16, Refused<B>> {
        let mut free = self.slots.iter_mut().take(self.depth).enumerate().filter(|(_, slot)| slot.is_none());
        let Some((index, slot)) = free.next() else {
            return Err(Refused { command, reason: Refusal::Full });
        };
        *slot = Some(Slot { command, stage: Stage::Waiting, attempts: 0 });
        Ok(index as u16)
    }

    /// A slot whose command waits to be sent.
    pub fn waiting(&self) -> Option<u16> {
        let waits = |slot: &Option<Slot<B>>| slot.as_ref().is_some_and(|slot| slot.stage == Stage::Waiting);
        self.slots.iter().position(waits).map(|index| index as u16)
    }

    /// Slot `id`'s command.
    pub fn command(&self, id: u16) -> Option<&Command<B>> {
        self.slots.get(usize::from(id))?.as_ref().map(|slot| &slot.command)
    }

    /// Slot `id`'s command is sent now.
    pub fn note_sent(&mut self, id: u16, now: Instant) {
        let Some(slot) = self.slot_mut(id) else { return };
        let time = match slot.command.action {
            Action::Read(_) | Action::Write(_) => TRANSFER_TIME,
            Action::Flush | Action::Discard | Action::WriteZeroes => LONG_TIME,
        };
        slot.stage = Stage::Sent { deadline: now.after(time) };
        slot.attempts = slot.attempts.saturating_add(1);
    }

    /// The device says that slot `id`'s command is over.
    ///
    /// # Errors
    /// When it has no such command.
    pub fn finish(&mut self, id: u16, result: Result<(), DiskError>) -> Result<(), DeviceError> {
        match self.slot_mut(id) {
            Some(slot) if matches!(slot.stage, Stage::Sent { .. }) => {
                slot.stage = Stage::Over(result);
                Ok(())
            }
            _ => Err(DeviceError::Nonsense("the completion of a command that it does not have")),
        }
    }

    /// The command in slot `id` is over without having been sent.
    pub fn end(&mut self, id: u16, result: Result<(), DiskError>) {
        if let Some(slot) = self.slot_mut(id) {
            slot.stage = Stage::Over(result);
        }
    }

    /// The device has stopped: it has no command any more.
    pub fn take_back(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            if let Stage::Sent { .. } = slot.stage {
                let is_last = slot.attempts >= MAX_ATTEMPTS;
                slot.stage = if is_last { Stage::Over(Err(DiskError::TimedOut)) } else { Stage::Waiting };
            }
        }
    }

    /// The device has failed, and may still have what was sent to it.
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
    pub fn take_over(&mut self) -> Option<Completion<B>> {
        let is_over = |slot: &Slot<B>| matches!(slot.stage, Stage::Over(_) | Stage::Lost);
        let place = self.slots.iter_mut().find(|place| place.as_ref().is_some_and(is_over))?;
        let Slot { command, stage, .. } = place.take()?;
        let ticket = command.ticket;
        Some(match stage {
            Stage::Over(result) => Completion { ticket, buffer: command.action.into_buffer(), result },
            // Dropped, the buffer stays pinned for ever: the device may still write to it.
            _ => Completion { ticket, buffer: None, result: Err(DiskError::Gone) },
        })
    }

    fn slot_mut(&mut self, id: u16) -> Option<&mut Slot<B>> {
        self.slots.get_mut(usize::from(id)).and_then(Option::as_mut)
    }
}
