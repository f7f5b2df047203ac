//! What a crash leaves: the vCPU's registers and its last exits, line by line.

use crate::vm::history::{History, Record};
use base::VmName;
use core::fmt;
use vcpu::{Exit, Gpr, Segment, VcpuState};

/// Registers and last exits of a VM that crashed.
#[derive(Clone, Debug)]
pub struct CrashReport {
    pub(super) name: VmName,
    pub(super) state: VcpuState,
    pub(super) history: History,
}

impl CrashReport {
    /// The lines, each of which prints with the VM's name in front.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let registers = REGISTER_LINES.iter().map(|print| Content::Registers(&self.state, *print));
        let exits = self.history.iter().map(Content::Exit);
        registers.chain(exits).map(|content| Line { name: self.name, content })
    }
}

/// One line of a [`CrashReport`].
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    name: VmName,
    content: Content<'a>,
}

type Print = fn(&VcpuState, &mut fmt::Formatter<'_>) -> fmt::Result;

#[derive(Clone, Copy, Debug)]
enum Content<'a> {
    Registers(&'a VcpuState, Print),
    Exit(&'a Record),
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vm {}: ", self.name)?;
        match self.content {
            Content::Registers(state, print) => print(state, f),
            Content::Exit(Record { rip, detail, kind }) => {
                let kind = Exit::kind_name(usize::from(*kind));
                write!(f, "exit: {kind:<18} rip {rip:016x} detail {detail:#x}")
            }
        }
    }
}

const REGISTER_LINES: [Print; 11] = [
    |s, f| write!(f, "rip {:016x} rflags {:08x}", s.rip, s.rflags),
    |s, f| gprs(s, f, [("rax", Gpr::Rax), ("rbx", Gpr::Rbx), ("rcx", Gpr::Rcx), ("rdx", Gpr::Rdx)]),
    |s, f| gprs(s, f, [("rsi", Gpr::Rsi), ("rdi", Gpr::Rdi), ("rbp", Gpr::Rbp), ("rsp", Gpr::Rsp)]),
    |s, f| gprs(s, f, [("r8 ", Gpr::R8), ("r9 ", Gpr::R9), ("r10", Gpr::R10), ("r11", Gpr::R11)]),
    |s, f| gprs(s, f, [("r12", Gpr::R12), ("r13", Gpr::R13), ("r14", Gpr::R14), ("r15", Gpr::R15)]),
    |s, f| {
        write!(f, "cr0 {:08x} cr2 {:016x} cr3 {:016x} cr4 {:08x} cr8 {:x}", s.cr0, s.cr2, s.cr3, s.cr4, s.cr8)
    },
    |s, f| write!(f, "efer {:x} dr6 {:x} dr7 {:x} xcr0 {:x}", s.efer, s.dr6, s.dr7, s.xcr0),
    |s, f| segments(f, [("cs", &s.cs), ("ss", &s.ss)]),
    |s, f| segments(f, [("ds", &s.ds), ("es", &s.es)]),
    |s, f| segments(f, [("fs", &s.fs), ("gs", &s.gs)]),
    |s, f| {
        let (gdt, idt) = (&s.gdtr, &s.idtr);
        write!(f, "gdt {:016x}+{:x} idt {:016x}+{:x} ", gdt.base, gdt.limit, idt.base, idt.limit)?;
        segments(f, [("tr", &s.tr)])
    },
];

fn gprs(state: &VcpuState, f: &mut fmt::Formatter<'_>, registers: [(&str, Gpr); 4]) -> fmt::Result {
    let mut gap = "";
    for (name, register) in registers {
        write!(f, "{gap}{name} {:016x}", state.gprs.get(register))?;
        gap = " ";
    }
    Ok(())
}

fn segments<const N: usize>(f: &mut fmt::Formatter<'_>, segments: [(&str, &Segment); N]) -> fmt::Result {
    let mut gap = "";
    for (name, s) in segments {
        write!(
            f,
            "{gap}{name} {:04x} base {:016x} limit {:08x} attr {:03x}",
            s.selector, s.base, s.limit, s.attributes
        )?;
        gap = ", ";
    }
    Ok(())
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
    fn a_report_names_the_vm_on_each_line_and_ends_with_the_newest_exit() {
        let mut history = History::default();
        history.push(Record { rip: 0x1000, detail: 0x3f8, kind: Exit::Hlt.kind() as u8 });
        history.push(Record { rip: 0x2000, detail: 0, kind: Exit::TripleFault.kind() as u8 });
        let name = VmName::new("demo").unwrap();
        let report = CrashReport { name, state: VcpuState::reset(), history };
        let lines: Vec<String> = report.lines().map(|line| line.to_string()).collect();
        assert!(lines.iter().all(|line| line.starts_with("vm demo: ")));
        assert_eq!(lines[0], "vm demo: rip 000000000000fff0 rflags 00000002");
        assert_eq!(
            lines.last().unwrap(),
            "vm demo: exit: triple fault       rip 0000000000002000 detail 0x0"
        );
    }
}
