//! The last exits of a vCPU: a fixed ring, written at each exit, read after a crash.

use vcpu::{Direction, Exit};

/// How many exits are kept.
pub const KEPT: usize = 16;

/// One exit, compactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The address of the instruction that exited.
    pub rip: u64,
    /// What the kind of exit has to tell: see [`detail`].
    pub detail: u64,
    /// The kind, as [`Exit::kind`] numbers it.
    pub kind: u8,
}

/// The ring.
#[derive(Clone, Debug, Default)]
pub struct History {
    records: [Record; KEPT],
    /// How many were ever written.
    written: u64,
}

impl History {
    /// Keeps a record; pushes out the oldest.
    #[inline]
    pub fn push(&mut self, record: Record) {
        let at = (self.written % KEPT as u64) as usize;
        if let Some(slot) = self.records.get_mut(at) {
            *slot = record;
        }
        self.written = self.written.wrapping_add(1);
    }

    /// How many exits there were.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// The records, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        let split = (self.written % KEPT as u64) as usize;
        let (newer, older) = self.records.split_at(split);
        let never_written = KEPT.saturating_sub(usize::try_from(self.written).unwrap_or(KEPT));
        older.iter().chain(newer).skip(never_written)
    }
}

/// What an exit has to tell in 64 bits. `rcx` is the guest's RCX, the number of an MSR, `rax` its RAX.
#[inline]
pub fn detail(exit: &Exit, rax: u64, rcx: u64) -> u64 {
    match exit {
        Exit::Cpuid | Exit::Hypercall => rax & 0xffff_ffff,
        Exit::ReadMsr | Exit::WriteMsr => rcx & 0xffff_ffff,
        // Port, then size, then 1 for OUT.
        Exit::Io(io) => {
            let out = u64::from(io.direction == Direction::Out);
            u64::from(io.port.0) | u64::from(io.size_bytes) << 16 | out << 24
        }
        Exit::NestedFault(fault) => fault.gpa.as_u64(),
        Exit::Exception(exception) => exception.vector.0.into(),
        Exit::EndOfInterrupt(vector) => vector.0.into(),
        Exit::ApicWrite(register) => (*register).into(),
        Exit::EntryFailure(failure) => failure.code,
        Exit::Unexpected(code) => *code,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn rips(history: &History) -> Vec<u64> {
        history.iter().map(|record| record.rip).collect()
    }

    #[test]
    fn the_last_sixteen_exits_are_kept_oldest_first() {
        let mut history = History::default();
        assert!(rips(&history).is_empty());
        (0..3).for_each(|rip| history.push(Record { rip, ..Record::default() }));
        assert_eq!(rips(&history), [0, 1, 2]);
        (3..40).for_each(|rip| history.push(Record { rip, ..Record::default() }));
        assert_eq!(rips(&history), (24..40).collect::<Vec<_>>());
    }
}
