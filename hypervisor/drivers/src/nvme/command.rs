//! Commands as the controller reads them, and what its status means.
//!
//! Sources: NVMe Base 2.0, chapter 5 (admin commands); NVM Command Set 1.0, chapter 3.

use super::queue::Submission;
use crate::Signal;
use crate::disk::DiskError;
use seams::BusAddress;

/// Pages of 4 KiB, as the configuration says.
pub const PAGE_BYTES: u64 = 4096;

/// The one queue pair for I/O.
const IO_QUEUE: u32 = 1;
/// The queue's memory is contiguous.
const CONTIGUOUS: u32 = 1 << 0;
const INTERRUPTS: u32 = 1 << 1;

/// Status: the opcode is unknown (type 0, generic).
const INVALID_OPCODE: u16 = 0x01;
/// Status without its flags "more" and "do not retry".
const STATUS_CODE: u16 = 0x7ff;
const DO_NOT_RETRY: u16 = 1 << 14;

/// What Identify is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One namespace.
    Namespace(u32),
    /// The controller.
    Controller,
    /// The first active namespaces.
    ActiveNamespaces,
    /// What the controller says of NVM commands alone: their limits.
    Limits,
}

/// Identify, with the answer to `page`.
pub fn identify(subject: Subject, page: BusAddress) -> Submission {
    let (namespace, structure) = match subject {
        Subject::Namespace(id) => (id, 0),
        Subject::Controller => (0, 1),
        Subject::ActiveNamespaces => (0, 2),
        // The command set is in the next word: 0, NVM.
        Subject::Limits => (0, 6),
    };
    Submission { opcode: 0x06, namespace, prp: [page.0, 0], words: [structure, 0, 0] }
}

/// Set Features, Number of Queues: one of each.
pub fn set_queue_count() -> Submission {
    Submission { opcode: 0x09, words: [0x07, 0, 0], ..Submission::default() }
}

/// Create I/O Completion Queue.
pub fn create_completions(ring: BusAddress, last_entry: u32, signal: Signal) -> Submission {
    let interrupts = if signal == Signal::Interrupt { INTERRUPTS } else { 0 };
    let words = [last_entry << 16 | IO_QUEUE, interrupts | CONTIGUOUS, 0];
    Submission { opcode: 0x05, prp: [ring.0, 0], words, ..Submission::default() }
}

/// Create I/O Submission Queue.
pub fn create_submissions(ring: BusAddress, last_entry: u32) -> Submission {
    let words = [last_entry << 16 | IO_QUEUE, IO_QUEUE << 16 | CONTIGUOUS, 0];
    Submission { opcode: 0x01, prp: [ring.0, 0], words, ..Submission::default() }
}

/// A command on blocks: `opcode` on `count` of them (1 to 65,536) from `first` on.
pub fn on_blocks(opcode: u8, namespace: u32, first: u64, count: u32, prp: [u64; 2]) -> Submission {
    let words = [first as u32, (first >> 32) as u32, count.wrapping_sub(1) & 0xffff];
    Submission { opcode, namespace, prp, words }
}

/// Opcodes of [`on_blocks`].
pub const WRITE: u8 = 0x01;
pub const READ: u8 = 0x02;
pub const WRITE_ZEROES: u8 = 0x08;

/// Flush.
pub fn flush(namespace: u32) -> Submission {
    Submission { opcode: 0x00, namespace, ..Submission::default() }
}

/// Dataset Management: the one range described at `range` is forgotten.
pub fn discard(namespace: u32, range: BusAddress) -> Submission {
    /// The attribute "deallocate"; the word before is the number of ranges minus 1.
    const DEALLOCATE: u32 = 1 << 2;
    Submission { opcode: 0x09, namespace, prp: [range.0, 0], words: [0, DEALLOCATE, 0] }
}

/// Whether the command failed, and may succeed when it is sent again.
pub const fn may_succeed_later(status: u16) -> bool {
    status & STATUS_CODE != 0 && status & DO_NOT_RETRY == 0
}

/// What a status says of a command.
pub fn result_of(status: u16) -> Result<(), DiskError> {
    match status & STATUS_CODE {
        0 => Ok(()),
        INVALID_OPCODE => Err(DiskError::Unsupported),
        code => Err(DiskError::Device(code)),
    }
}
