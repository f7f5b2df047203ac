//! How often a VM left its guest, and why.

use base::VmName;
use core::fmt;
use vcpu::Exit;

/// Counters of one VM since it was created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    exits: [u64; Exit::KINDS],
    /// Accesses to ports where no device answers.
    pub unclaimed_ports: u64,
    /// Accesses to memory where neither RAM nor a device answers.
    pub unclaimed_memory: u64,
    /// Accesses to MSRs that were refused with `#GP`.
    pub refused_msrs: u64,
}

impl Stats {
    /// Counts `exit`.
    #[inline]
    pub fn count(&mut self, exit: &Exit) {
        if let Some(counter) = self.exits.get_mut(exit.kind()) {
            *counter = counter.wrapping_add(1);
        }
    }

    /// The number of exits of kind `kind`.
    pub fn exits_of(&self, kind: usize) -> u64 {
        self.exits.get(kind).copied().unwrap_or_default()
    }

    /// The number of all exits.
    #[inline]
    pub fn total_exits(&self) -> u64 {
        self.exits.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// The counters that are not zero, as lines of the VM `name`.
    pub fn lines(&self, name: VmName) -> impl Iterator<Item = Line> + '_ {
        let exits = (0..).zip(&self.exits).map(|(kind, count)| ("exits", Exit::kind_name(kind), *count));
        let others = [
            ("exits", "total", self.total_exits()),
            ("unclaimed", "ports", self.unclaimed_ports),
            ("unclaimed", "memory", self.unclaimed_memory),
            ("refused", "MSRs", self.refused_msrs),
        ];
        exits.chain(others).filter(|&(_, _, count)| count != 0).map(move |(group, what, count)| Line {
            name,
            group,
            what,
            count,
        })
    }
}

/// One counter: `vm demo: exits: CPUID 12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    name: VmName,
    group: &'static str,
    what: &'static str,
    count: u64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vm {}: {}: {} {}", self.name, self.group, self.what, self.count)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{
        string::{String, ToString},
        vec::Vec,
    };

    #[test]
    fn only_what_happened_is_listed() {
        let mut stats = Stats::default();
        stats.count(&Exit::Cpuid);
        stats.count(&Exit::Cpuid);
        stats.count(&Exit::Hlt);
        stats.refused_msrs = 1;
        let lines: Vec<String> = stats.lines(VmName::new("demo").unwrap()).map(|l| l.to_string()).collect();
        let expected = [
            "vm demo: exits: CPUID 2",
            "vm demo: exits: HLT 1",
            "vm demo: exits: total 3",
            "vm demo: refused: MSRs 1",
        ];
        assert_eq!(lines, expected);
    }
}
