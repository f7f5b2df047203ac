//! A pair of rings: submissions, which the driver writes, and completions, which the controller writes.
//!
//! ```text
//! submission, 64 bytes   0 opcode, id << 16   4 namespace   24 PRP 1   32 PRP 2   40..63 by command
//! completion, 16 bytes   0 result   8 submission head, queue << 16   12 id, phase << 16, status << 17
//! ```
//! A completion is new when its phase differs from that of the round before. Sources: NVMe Base 2.0, sections 3.3.3.1 and
//! 3.3.3.2.

use super::registers::Capabilities;
use seams::{BusAddress, DmaMemory, DmaRing, Registers};

const SUBMISSION_BYTES: usize = 64;
const COMPLETION_BYTES: usize = 16;

/// A command as the controller reads it, but for its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    pub opcode: u8,
    pub namespace: u32,
    pub prp: [u64; 2],
    /// The words from 10 on.
    pub words: [u32; 3],
}

/// What the controller says of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub id: u16,
    /// Status code, its type above bit 8, and flags: 0 is success.
    pub status: u16,
}

/// The rings, and how far they have been used.
pub struct QueuePair<Ring> {
    id: u16,
    entries: u16,
    submissions: Ring,
    completions: Ring,
    tail: u16,
    head: u16,
    /// What the phase bit of a new completion is: 0 or 1.
    phase: u32,
}

impl<Ring: DmaRing> QueuePair<Ring> {
    /// Rings of `entries` for queue `id`; `None` when there is no memory.
    pub fn new(memory: &mut impl DmaMemory<Ring = Ring>, id: u16, entries: u16) -> Option<Self> {
        Some(Self {
            id,
            entries,
            submissions: memory.ring(usize::from(entries) * SUBMISSION_BYTES)?,
            completions: memory.ring(usize::from(entries) * COMPLETION_BYTES)?,
            tail: 0,
            head: 0,
            phase: 1,
        })
    }

    /// Where submissions and completions are.
    pub fn addresses(&self) -> [BusAddress; 2] {
        [self.submissions.bus_address(), self.completions.bus_address()]
    }

    /// The number of entries minus 1, as commands and registers have it.
    pub fn last_entry(&self) -> u32 {
        u32::from(self.entries).saturating_sub(1)
    }

    /// Begins anew; the controller is disabled, so all that was in flight is gone.
    pub fn reset(&mut self) {
        (self.tail, self.head, self.phase) = (0, 0, 1);
        for entry in 0..usize::from(self.entries) {
            self.completions.store64(entry * COMPLETION_BYTES + 8, 0);
        }
    }

    /// Hands a command to the controller. The caller has fewer in flight than there are entries.
    pub fn submit(
        &mut self,
        entry: &Submission,
        id: u16,
        registers: &mut impl Registers,
        layout: &Capabilities,
    ) {
        let at = usize::from(self.tail) * SUBMISSION_BYTES;
        let Submission { opcode, namespace, prp: [first, second], words } = *entry;
        let ring = &mut self.submissions;
        ring.store32(at, u32::from(opcode) | u32::from(id) << 16);
        ring.store32(at + 4, namespace);
        ring.store64(at + 8, 0);
        ring.store64(at + 16, 0);
        ring.store64(at + 24, first);
        ring.store64(at + 32, second);
        for (index, word) in words.into_iter().chain([0; 3]).enumerate() {
            ring.store32(at + 40 + 4 * index, word);
        }
        self.tail = self.after(self.tail);
        registers.write32(layout.tail_doorbell(self.id), self.tail.into());
    }

    /// Takes the next completion, if there is a new one.
    pub fn take(&mut self, registers: &mut impl Registers, layout: &Capabilities) -> Option<Answer> {
        let last = self.completions.load32(usize::from(self.head) * COMPLETION_BYTES + 12);
        if last >> 16 & 1 != self.phase {
            return None;
        }
        self.head = self.after(self.head);
        if self.head == 0 {
            self.phase ^= 1;
        }
        registers.write32(layout.head_doorbell(self.id), self.head.into());
        Some(Answer { id: last as u16, status: (last >> 17) as u16 })
    }

    fn after(&self, index: u16) -> u16 {
        match index.saturating_add(1) {
            next if next >= self.entries => 0,
            next => next,
        }
    }
}
