//! Where two outcomes of one case differ.

use crate::case::{Case, Outcome};
use core::fmt;

/// The status flags and the direction flag: what an instruction of the table can change.
const COMPARED_FLAGS: u64 = 0xcd5;

/// The bytes of memory shown.
const SHOWN_BYTES: usize = 8;

/// The flags of `outcome` that the manual defines after `case`.
fn flags(case: &Case, outcome: &Outcome) -> u64 {
    outcome.registers.rflags & COMPARED_FLAGS & !case.undefined
}

/// Whether two machines have done the same in `case`.
pub fn equal(case: &Case, one: &Outcome, other: &Outcome) -> bool {
    one.ending == other.ending
        && flags(case, one) == flags(case, other)
        && one.registers.gprs == other.registers.gprs
        && one.registers.vectors == other.registers.vectors
        && one.memory == other.memory
}

/// A case in which an emulator is not the processor.
#[derive(Clone, Copy, Debug)]
pub struct Difference<'a> {
    /// What the case follows from.
    pub seed: u64,
    /// The case.
    pub case: &'a Case,
    /// What the processor did.
    pub processor: &'a Outcome,
    /// What the emulator did; `None` when the instruction is none of its.
    pub emulator: Option<&'a Outcome>,
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, case, processor, emulator } = self;
        writeln!(f, "seed {seed}: {} {:02x?}, flags {:#x}", case.name, &*case.code, case.registers.rflags)?;
        let Some(emulator) = emulator else {
            return writeln!(f, "  not emulated; the processor: {:x?}", processor.ending);
        };
        if processor.ending != emulator.ending {
            writeln!(f, "  ending: processor {:x?}, emulator {:x?}", processor.ending, emulator.ending)?;
        }
        let (theirs, ours) = (&processor.registers, &emulator.registers);
        for n in (0..16).filter(|n| ours.gprs[*n] != theirs.gprs[*n]) {
            let before = case.registers.gprs[n];
            writeln!(f, "  register {n}: {before:#x}; {:#x}, emulator {:#x}", theirs.gprs[n], ours.gprs[n])?;
        }
        for n in (0..16).filter(|n| ours.vectors[*n] != theirs.vectors[*n]) {
            writeln!(f, "  vector {n}: {:02x?}, emulator {:02x?}", theirs.vectors[n], ours.vectors[n])?;
        }
        let (its_flags, our_flags) = (flags(case, processor), flags(case, emulator));
        if our_flags != its_flags {
            writeln!(f, "  flags: {its_flags:#x}, emulator {our_flags:#x}")?;
        }
        let differs = |n: &usize| processor.memory[*n] != emulator.memory[*n];
        for n in (0..case.memory.len()).filter(differs).take(SHOWN_BYTES) {
            let (before, its, ours) = (case.memory[n], processor.memory[n], emulator.memory[n]);
            writeln!(f, "  byte {n:#x}: {before:#x}; {its:#x}, emulator {ours:#x}")?;
        }
        Ok(())
    }
}
