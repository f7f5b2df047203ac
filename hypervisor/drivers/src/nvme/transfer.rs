//! What a disk's command is in the controller's words, and the lists that describe its memory.

use super::command::{self, PAGE_BYTES};
use super::identify::{MAX_TRANSFER_BYTES, Namespace};
use super::queue::Submission;
use crate::disk::{Action, Command};
use crate::flight::DEPTH;
use seams::{BusAddress, DmaBuffer, DmaMemory, DmaRing, SECTOR_BYTES};

/// What a slot has for its PRP list or its range: 8 bytes for every page of a transfer. It divides a page, which a list
/// must not cross.
const LIST_BYTES: usize = (MAX_TRANSFER_BYTES / PAGE_BYTES) as usize * 8;

/// A list for every slot.
pub struct Lists<Ring>(Ring);

impl<Ring: DmaRing> Lists<Ring> {
    /// The lists; `None` when there is no memory.
    pub fn new(memory: &mut impl DmaMemory<Ring = Ring>) -> Option<Self> {
        memory.ring(DEPTH * LIST_BYTES).map(Self)
    }

    /// What to send for `command` in slot `id`.
    pub fn entry(&mut self, id: u16, command: &Command<impl DmaBuffer>, namespace: &Namespace) -> Submission {
        let first = command.first_sector >> namespace.block_shift;
        let count = command.sectors >> namespace.block_shift;
        let len_bytes = u64::from(command.sectors) * SECTOR_BYTES;
        match &command.action {
            Action::Read(buffer) => command::on_blocks(
                command::READ,
                namespace.id,
                first,
                count,
                self.describe(id, buffer, len_bytes),
            ),
            Action::Write(buffer) => command::on_blocks(
                command::WRITE,
                namespace.id,
                first,
                count,
                self.describe(id, buffer, len_bytes),
            ),
            Action::WriteZeroes => {
                command::on_blocks(command::WRITE_ZEROES, namespace.id, first, count, [0; 2])
            }
            Action::Flush => command::flush(namespace.id),
            Action::Discard => {
                // A range: attributes, number of blocks, the first.
                let offset = offset(id);
                self.0.store64(offset, u64::from(count) << 32);
                self.0.store64(offset + 8, first);
                command::discard(namespace.id, self.address(id))
            }
        }
    }

    /// The two words that describe the first `len_bytes` of `buffer`: its first page, and its second or the list of all
    /// from the second on (NVMe Base 2.0, section 4.1.1).
    fn describe(&mut self, id: u16, buffer: &impl DmaBuffer, len_bytes: u64) -> [u64; 2] {
        let start = buffer.bus_address().0;
        let page = |index: u64| start.wrapping_add(index * PAGE_BYTES);
        let second = match len_bytes.div_ceil(PAGE_BYTES) {
            0 | 1 => 0,
            2 => page(1),
            pages => {
                for index in 1..pages {
                    self.0.store64(offset(id) + (index as usize - 1) * 8, page(index));
                }
                self.address(id).0
            }
        };
        [start, second]
    }

    fn address(&self, id: u16) -> BusAddress {
        BusAddress(self.0.bus_address().0.wrapping_add(offset(id) as u64))
    }
}

fn offset(id: u16) -> usize {
    usize::from(id) * LIST_BYTES
}
