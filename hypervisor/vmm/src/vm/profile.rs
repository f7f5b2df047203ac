//! Which exits a VM takes most often: ports, registers and leaves told apart. Kept only for VMs that ask for it.
//!
//! It is fed from the history of exits where the VM looks for events anyway, and keeps that look from being skipped: a VM
//! without a profile pays nothing for it.

use crate::vm::history::{History, Record};
use alloc::vec::Vec;
use base::VmName;
use core::cmp::Reverse;
use core::fmt;
use vcpu::Exit;

/// Whether a VM keeps a profile of its exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitProfile {
    /// It does.
    Kept,
    /// It does not.
    NotKept,
}

/// How many different exits are told apart; what comes after these counts as others.
const DIFFERENT: usize = 1024;

/// How many of them are told; the rest is one sum.
const TOLD: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    kind: u8,
    detail: u64,
    count: u64,
}

/// The counts.
#[derive(Clone, Debug)]
pub struct Profile {
    /// In the order in which they came first. Its memory is there from the start.
    entries: Vec<Entry>,
    others: u64,
    /// How many exits the history had when it was last looked at.
    seen: u64,
}

impl Profile {
    /// Without any exit. `None` when there is no memory for it.
    pub fn new() -> Option<Self> {
        let mut entries = Vec::new();
        entries.try_reserve_exact(DIFFERENT).ok()?;
        Some(Self { entries, others: 0, seen: 0 })
    }

    /// Counts the newest exit of `history`, if it has not been counted.
    #[inline(never)]
    pub fn follow(&mut self, history: &History) {
        if history.written() == self.seen {
            return;
        }
        self.seen = history.written();
        let Some(&Record { kind, detail, .. }) = history.iter().last() else { return };
        let same = |entry: &&mut Entry| entry.kind == kind && entry.detail == detail;
        let has_room = self.entries.len() < DIFFERENT;
        match self.entries.iter_mut().find(same) {
            Some(entry) => entry.count = entry.count.wrapping_add(1),
            None if has_room => self.entries.push(Entry { kind, detail, count: 1 }),
            None => self.others = self.others.wrapping_add(1),
        }
    }

    /// The exits of the VM `name`, the most frequent first.
    pub fn lines(&self, name: VmName) -> impl Iterator<Item = Line> {
        let mut entries = self.entries.clone();
        entries.sort_by_key(|entry| Reverse(entry.count));
        let rest = entries.iter().skip(TOLD).fold(self.others, |sum, entry| sum.wrapping_add(entry.count));
        let others = (rest != 0).then_some(Line { name, content: Content::Others(rest) });
        entries
            .into_iter()
            .take(TOLD)
            .map(move |entry| Line { name, content: Content::Exit(entry) })
            .chain(others)
    }
}

/// One line: `vm demo: profile: port I/O 0x3f8 out 1 byte 12`.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    name: VmName,
    content: Content,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    Exit(Entry),
    Others(u64),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vm {}: profile: ", self.name)?;
        let Entry { kind, detail, count } = match self.content {
            Content::Others(count) => return write!(f, "others {count}"),
            Content::Exit(entry) => entry,
        };
        f.write_str(Exit::kind_name(kind.into()))?;
        match usize::from(kind) {
            Exit::KIND_IO => {
                let direction = if detail >> 24 & 1 == 1 { "out" } else { "in" };
                write!(f, " {:#x} {direction} {} byte", detail & 0xffff, detail >> 16 & 0xff)?;
            }
            Exit::KIND_CPUID | Exit::KIND_RDMSR | Exit::KIND_WRMSR | Exit::KIND_NESTED_FAULT => {
                write!(f, " {detail:#x}")?;
            }
            _ => {}
        }
        write!(f, " {count}")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::vm::history::detail;
    use base::Port;
    use std::{
        string::{String, ToString},
        vec::Vec,
    };
    use vcpu::{Direction, IoExit};

    fn lines(profile: &Profile) -> Vec<String> {
        profile.lines(VmName::new("demo").unwrap()).map(|line| line.to_string()).collect()
    }

    fn push(history: &mut History, exit: &Exit, rcx: u64) {
        history.push(Record { rip: 0, detail: detail(exit, 0, rcx), kind: exit.kind() as u8 });
    }

    #[test]
    fn each_exit_counts_once_and_the_most_frequent_comes_first() {
        let (mut profile, mut history) = (Profile::new().unwrap(), History::default());
        profile.follow(&history);
        let io = IoExit {
            port: Port(0x3f8),
            size_bytes: 1,
            direction: Direction::Out,
            operand: vcpu::IoOperand::Accumulator,
            next_rip: 0,
        };
        for exit in [Exit::Hlt, Exit::Io(io), Exit::Io(io), Exit::WriteMsr] {
            push(&mut history, &exit, 0x6e0);
            profile.follow(&history);
            profile.follow(&history);
        }
        let expected = [
            "vm demo: profile: port I/O 0x3f8 out 1 byte 2",
            "vm demo: profile: HLT 1",
            "vm demo: profile: WRMSR 0x6e0 1",
        ];
        assert_eq!(lines(&profile), expected);
    }

    #[test]
    fn what_has_no_room_counts_as_others() {
        let (mut profile, mut history) = (Profile::new().unwrap(), History::default());
        for index in 0..TOLD as u64 + 3 {
            push(&mut history, &Exit::ReadMsr, index);
            profile.follow(&history);
        }
        assert_eq!(lines(&profile).last().unwrap(), "vm demo: profile: others 3");
    }
}
