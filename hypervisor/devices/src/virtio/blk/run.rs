//! One step of a disk: collect what has ended, begin what waits, take what is new.

use super::super::queue::{Chain, Head, Queue};
use super::super::{Broken, Progress};
use super::buffers::Buffers;
use super::flight::{Phase, Stage};
use super::request::{Asked, STATUS_BYTES, Status, Transfer, write_id, write_status};
use super::{Blk, feature};
use seams::{Begun, Block, BlockError, BlockOperation, BlockRequest, GuestMemory, SECTOR_BYTES, Ticket};

/// The most requests that a step takes.
pub const STEP_CHAINS: u32 = 64;
/// A step begins nothing more once it has moved so many bytes.
pub const STEP_BYTES: u64 = 1 << 20;
/// The most sectors that are moved at once: 512 KiB, so that a long request does not hold up a step.
pub const PART_SECTORS: u32 = 1 << 10;

/// What a step may still do.
struct Budget {
    chains: u32,
    bytes: u64,
}

impl Budget {
    const fn is_spent(&self) -> bool {
        self.chains == 0 || self.bytes == 0
    }

    const fn spend_bytes(&mut self, sectors: u32) {
        self.bytes = self.bytes.saturating_sub(sectors as u64 * SECTOR_BYTES);
    }
}

/// Whether a medium takes more requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    Ready,
    Busy,
}

/// What is left of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Another part, or the flush behind it.
    Part,
    /// Nothing: the driver has it back.
    Nothing,
}

/// What a step works with.
struct Step<'a, M, B> {
    disk: &'a mut Blk,
    queue: &'a mut Queue,
    memory: &'a M,
    block: &'a mut B,
    budget: Budget,
}

impl Blk {
    /// Does a bounded step with the disk's queue over `block`: call it after a kick, and when `block` has finished something.
    ///
    /// # Errors
    /// How the driver broke the rules.
    pub fn run<M: GuestMemory, B: Block>(
        &mut self,
        queue: &mut Queue,
        memory: &M,
        block: &mut B,
    ) -> Result<Progress, Broken> {
        let budget = Budget { chains: STEP_CHAINS, bytes: STEP_BYTES };
        let mut step = Step { disk: self, queue, memory, block, budget };
        step.collect()?;
        if step.resume()? == Medium::Ready && step.take()? == Medium::Ready && !step.budget.is_spent() {
            return Ok(Progress::Idle);
        }
        // A medium that is busy with this disk's requests will say when one has finished; one that is busy with others' not.
        let is_woken = step.disk.flight.is_begun() && !step.budget.is_spent();
        Ok(if is_woken { Progress::Idle } else { Progress::More })
    }
}

impl<M: GuestMemory, B: Block> Step<'_, M, B> {
    /// Takes the results of what has ended.
    fn collect(&mut self) -> Result<(), Broken> {
        while !self.budget.is_spent() {
            let Some(ticket) = self.block.finished() else { break };
            let Ticket(index) = ticket;
            match self.disk.flight.stage(index) {
                Some(Stage::Begun) => {
                    let result = self.collect_one(index);
                    if self.advance(index, result)? == Next::Part {
                        self.disk.flight.set_stage(index, Stage::Waiting);
                    }
                }
                _ => {
                    // Nobody waits for it. A read finds no room, and that is as well.
                    let _ = self.block.collect(ticket, &mut Buffers::none(self.memory));
                    if self.disk.flight.stage(index) == Some(Stage::Abandoned) {
                        self.disk.flight.set_stage(index, Stage::Free);
                    }
                }
            }
        }
        Ok(())
    }

    fn collect_one(&mut self, index: u16) -> Result<(), BlockError> {
        let Some(slot) = self.disk.flight.get(index) else { return Ok(()) };
        let part = part(&slot.transfer, slot.done_sectors, slot.phase);
        let behind_bytes = u64::from(slot.done_sectors) * SECTOR_BYTES;
        let len_bytes = u64::from(part.sectors) * SECTOR_BYTES;
        let mut buffers = Buffers::new(self.memory, &slot.chain, part.operation, behind_bytes, len_bytes);
        if part.operation == BlockOperation::Read {
            self.budget.spend_bytes(part.sectors);
        }
        self.block.collect(Ticket(index), &mut buffers)
    }

    /// Begins what could not be begun earlier.
    fn resume(&mut self) -> Result<Medium, Broken> {
        while let Some(index) = self.disk.flight.first_waiting() {
            if self.budget.is_spent() || self.begin(index)? == Medium::Busy {
                return Ok(Medium::Busy);
            }
        }
        Ok(Medium::Ready)
    }

    /// Takes new requests. All that are begun make the medium busy for this disk.
    fn take(&mut self) -> Result<Medium, Broken> {
        while !self.budget.is_spent() {
            let Some(index) = self.disk.flight.first_free() else { return Ok(Medium::Busy) };
            let Some(slot) = self.disk.flight.get_mut(index) else { return Ok(Medium::Busy) };
            let Some(head) = self.queue.next_chain(self.memory, &mut slot.chain)? else { break };
            self.budget.chains -= 1;
            if self.accept(index, head)? == Medium::Busy {
                return Ok(Medium::Busy);
            }
        }
        Ok(Medium::Ready)
    }

    /// Does what the request in slot `index` asks for, or begins it. The slot is taken only if the request does not end at once.
    fn accept(&mut self, index: u16, head: Head) -> Result<Medium, Broken> {
        let Some(slot) = self.disk.flight.get(index) else { return Ok(Medium::Ready) };
        match self.disk.parse(self.memory, &slot.chain)? {
            Asked::Transfer(transfer) => {
                if let Some(slot) = self.disk.flight.get_mut(index) {
                    (slot.head, slot.transfer) = (head, transfer);
                    (slot.phase, slot.done_sectors) = (Phase::Transfer, 0);
                }
                return self.begin(index);
            }
            Asked::Id => {
                let written_bytes = write_id(self.memory, &slot.chain, &self.disk.id)?;
                write_status(self.memory, &slot.chain, Status::Ok)?;
                self.queue.push_used(self.memory, head, written_bytes + STATUS_BYTES)?;
            }
            Asked::Answer(status) => {
                write_status(self.memory, &slot.chain, status)?;
                self.queue.push_used(self.memory, head, status_only(&slot.chain))?;
            }
        }
        Ok(Medium::Ready)
    }

    /// Begins the next part of the request in slot `index`, and further ones as long as each ends at once.
    fn begin(&mut self, index: u16) -> Result<Medium, Broken> {
        while self.budget.bytes != 0 {
            let Some(slot) = self.disk.flight.get(index) else { break };
            let Transfer { operation, first_sector, sectors } =
                part(&slot.transfer, slot.done_sectors, slot.phase);
            let request = BlockRequest { ticket: Ticket(index), operation, first_sector, sectors };
            let behind_bytes = u64::from(slot.done_sectors) * SECTOR_BYTES;
            let len_bytes = u64::from(sectors) * SECTOR_BYTES;
            let mut buffers = Buffers::new(self.memory, &slot.chain, operation, behind_bytes, len_bytes);
            let begun = self.block.begin(&request, &mut buffers);
            if begun == Begun::Busy {
                self.disk.flight.set_stage(index, Stage::Waiting);
                return Ok(Medium::Busy);
            }
            self.budget.spend_bytes(if operation == BlockOperation::Discard { 0 } else { sectors });
            let Begun::Done(result) = begun else {
                self.disk.flight.set_stage(index, Stage::Begun);
                return Ok(Medium::Ready);
            };
            if self.advance(index, result)? == Next::Nothing {
                return Ok(Medium::Ready);
            }
        }
        self.disk.flight.set_stage(index, Stage::Waiting);
        Ok(Medium::Ready)
    }

    /// Takes the request in slot `index` one on: what the medium did for it last ended with `result`.
    fn advance(&mut self, index: u16, result: Result<(), BlockError>) -> Result<Next, Broken> {
        let writes_through = !self.disk.has(feature::FLUSH);
        let Some(slot) = self.disk.flight.get_mut(index) else { return Ok(Next::Nothing) };
        if result.is_ok() && slot.phase == Phase::Transfer {
            slot.done_sectors += part(&slot.transfer, slot.done_sectors, slot.phase).sectors;
            if slot.done_sectors < slot.transfer.sectors {
                return Ok(Next::Part);
            }
            if slot.transfer.is_change() && writes_through {
                slot.phase = Phase::Settle;
                return Ok(Next::Part);
            }
        }
        self.finish(index, result.into())?;
        Ok(Next::Nothing)
    }

    /// Gives the request in slot `index` back to the driver.
    fn finish(&mut self, index: u16, status: Status) -> Result<(), Broken> {
        // First, so that a request whose status cannot be written is not half in flight.
        self.disk.flight.set_stage(index, Stage::Free);
        let Some(slot) = self.disk.flight.get(index) else { return Ok(()) };
        write_status(self.memory, &slot.chain, status)?;
        let written_bytes = match (status, slot.transfer.operation) {
            (Status::Ok, BlockOperation::Read) => slot.chain.writable_bytes(),
            _ => status_only(&slot.chain),
        };
        self.queue.push_used(self.memory, slot.head, written_bytes)
    }
}

/// How much counts as written when only the status is: what has no gap from the first byte on (2.7.8.2).
const fn status_only(chain: &Chain) -> u32 {
    if chain.writable_bytes() == STATUS_BYTES { STATUS_BYTES } else { 0 }
}

/// What is done next for a transfer of which `done_sectors` are done. A discard is one part: it moves nothing.
fn part(transfer: &Transfer, done_sectors: u32, phase: Phase) -> Transfer {
    if phase == Phase::Settle {
        return Transfer::NONE;
    }
    let left = transfer.sectors.saturating_sub(done_sectors);
    let sectors = if transfer.operation == BlockOperation::Discard { left } else { left.min(PART_SECTORS) };
    let first_sector = transfer.first_sector.saturating_add(done_sectors.into());
    Transfer { operation: transfer.operation, first_sector, sectors }
}
