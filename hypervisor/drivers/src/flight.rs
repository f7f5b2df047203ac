//! A disk's commands in flight, each in a slot whose number is the command's id: the same for every kind of disk.
//!
//! ```text
//!   put ──► Waiting ─note_sent─► Sent ──finish──────────────► Over ──take_over──► completion with its buffer
//!              ▲                   │ the device stopped        ▲
//!              ├── first attempt ──┼──── second attempt ───────┘
//!              └─ refused for now ─┤
//!                                  └─ the device failed ──► Lost ──────────► completion without it
//! ```

use crate::disk::{Action, Command, Completion, DiskError, DiskGeometry, Refusal, Refused};
use crate::error::DeviceError;
use base::{Instant, Nanoseconds};
use seams::DmaBuffer;

/// How many commands can be in flight.
pub const DEPTH: usize = 32;
/// How many resets in a row may fail to bring a command to a good end, until the device counts as failed.
pub const MAX_RESETS: u8 = 4;
/// How often a command is sent whose first attempt has ended with the device being reset.
const MAX_ATTEMPTS: u8 = 2;
/// How often a command is sent that the device refuses for the moment: as often as Linux sends it.
const MAX_ATTEMPTS_IF_REFUSED: u8 = 6;
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
    /// The slots with a command, a bit each; of these the ones that wait, and the ones that are over or lost.
    used: u32,
    waiting: u32,
    over: u32,
    /// The slots that there are.
    all: u32,
}

const _: () = assert!(DEPTH == u32::BITS as usize);

impl<B> Flight<B> {
    /// `depth` slots, at most [`DEPTH`].
    pub const fn new(depth: usize) -> Self {
        let all = if depth < DEPTH { (1 << depth) - 1 } else { u32::MAX };
        Self { slots: [const { None }; DEPTH], used: 0, waiting: 0, over: 0, all }
    }

    /// How many commands can be in flight.
    pub const fn depth(&self) -> usize {
        self.all.count_ones() as usize
    }

    /// Puts `command`, which is for a disk of `geometry` if there is such a disk, into a free slot, and names that.
    ///
    /// # Errors
    /// The command, when it is none for that disk, or when no slot is free.
    pub fn admit(&mut self, command: Command<B>, geometry: Option<DiskGeometry>) -> Result<u16, Refused<B>>
    where
        B: DmaBuffer,
    {
        let checked = geometry.ok_or(Refusal::NoSuchUnit).and_then(|geometry| geometry.check(&command));
        match checked {
            Ok(()) => self.put(command),
            Err(reason) => Err(Refused { command, reason }),
        }
    }

    fn put(&mut self, command: Command<B>) -> Result<u16, Refused<B>> {
        let free = first(self.all & !self.used);
        let Some((id, place)) = free.and_then(|id| Some((id, self.slots.get_mut(usize::from(id))?))) else {
            return Err(Refused { command, reason: Refusal::Full });
        };
        *place = Some(Slot { command, stage: Stage::Waiting, attempts: 0 });
        self.used |= 1 << id;
        self.waiting |= 1 << id;
        Ok(id)
    }

    /// A slot whose command waits to be sent.
    pub const fn waiting(&self) -> Option<u16> {
        first(self.waiting)
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
        slot.attempts = slot.attempts.saturating_add(1);
        self.set(id, Stage::Sent { deadline: now.after(time) });
    }

    /// The device says that slot `id`'s command is over.
    ///
    /// # Errors
    /// When it has no such command.
    pub fn finish(&mut self, id: u16, result: Result<(), DiskError>) -> Result<(), DeviceError> {
        match self.slot_mut(id) {
            Some(slot) if matches!(slot.stage, Stage::Sent { .. }) => {
                self.end(id, result);
                Ok(())
            }
            _ => Err(DeviceError::Nonsense("the completion of a command that it does not have")),
        }
    }

    /// The device says that slot `id`'s command failed and may succeed another time. Whether it waits to be sent again: not when
    /// it was sent often enough, or the device has no such command.
    pub fn wait_again(&mut self, id: u16) -> bool {
        let is_worth_it = self.slot_mut(id).is_some_and(|slot| {
            matches!(slot.stage, Stage::Sent { .. }) && slot.attempts < MAX_ATTEMPTS_IF_REFUSED
        });
        if is_worth_it {
            self.set(id, Stage::Waiting);
        }
        is_worth_it
    }

    /// The command in slot `id` is over, whether it was sent or not.
    pub fn end(&mut self, id: u16, result: Result<(), DiskError>) {
        self.set(id, Stage::Over(result));
    }

    /// The device has stopped: it has no command any more.
    pub fn take_back(&mut self) {
        for id in bits(self.sent()) {
            let is_last = self.slot_mut(id).is_none_or(|slot| slot.attempts >= MAX_ATTEMPTS);
            self.set(id, if is_last { Stage::Over(Err(DiskError::TimedOut)) } else { Stage::Waiting });
        }
    }

    /// The device has failed, and may still have what was sent to it.
    pub fn fail_all(&mut self) {
        bits(self.sent()).for_each(|id| self.set(id, Stage::Lost));
        bits(self.waiting).for_each(|id| self.end(id, Err(DiskError::Gone)));
    }

    /// When the first command that was sent is due.
    pub fn deadline(&self) -> Instant {
        let stages = bits(self.sent()).filter_map(|id| self.slots.get(usize::from(id))?.as_ref());
        let deadlines = stages.filter_map(|slot| match slot.stage {
            Stage::Sent { deadline } => Some(deadline),
            _ => None,
        });
        deadlines.min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// When the driver must be polled though no interrupt came, if its device's status has to be looked at by `status_due`
    /// while a command is in flight: at once, when a command is over that nobody has taken yet.
    pub fn next_deadline(&self, status_due: Instant) -> Instant {
        if self.over != 0 {
            return Instant(0);
        }
        match self.deadline() {
            Instant::FAR_FUTURE => Instant::FAR_FUTURE,
            deadline => deadline.min(status_due),
        }
    }

    /// Takes a command that is over out of its slot.
    pub fn take_over(&mut self) -> Option<Completion<B>> {
        let id = first(self.over)?;
        (self.used, self.over) = (self.used & !(1 << id), self.over & !(1 << id));
        let Slot { command, stage, .. } = self.slots.get_mut(usize::from(id))?.take()?;
        let ticket = command.ticket;
        Some(match stage {
            Stage::Over(result) => Completion { ticket, buffer: command.action.into_buffer(), result },
            // Dropped, the buffer stays pinned for ever: the device may still write to it.
            _ => Completion { ticket, buffer: None, result: Err(DiskError::Gone) },
        })
    }

    /// The slots whose commands the device has.
    const fn sent(&self) -> u32 {
        self.used & !self.waiting & !self.over
    }

    /// Slot `id`, if it is used, is in `stage` now.
    fn set(&mut self, id: u16, stage: Stage) {
        let Some(slot) = self.slot_mut(id) else { return };
        slot.stage = stage;
        let bit = 1 << id;
        (self.waiting, self.over) = match stage {
            Stage::Waiting => (self.waiting | bit, self.over & !bit),
            Stage::Sent { .. } => (self.waiting & !bit, self.over & !bit),
            Stage::Over(_) | Stage::Lost => (self.waiting & !bit, self.over | bit),
        };
    }

    fn slot_mut(&mut self, id: u16) -> Option<&mut Slot<B>> {
        self.slots.get_mut(usize::from(id)).and_then(Option::as_mut)
    }
}

/// The lowest bit of `mask`.
const fn first(mask: u32) -> Option<u16> {
    if mask == 0 { None } else { Some(mask.trailing_zeros() as u16) }
}

/// All bits of `mask`.
fn bits(mut mask: u32) -> impl Iterator<Item = u16> {
    core::iter::from_fn(move || {
        let bit = first(mask)?;
        mask &= mask.wrapping_sub(1);
        Some(bit)
    })
}
