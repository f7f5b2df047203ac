//! Both sides of many cases, and where they differ.

use std::collections::BTreeMap;
use std::fmt;

use crate::case::{Case, Ending, Result};
use crate::native::Arena;
use crate::random::Random;
use crate::{emulated, generate};

/// The status flags and the direction flag: what an instruction of the table can change.
const COMPARED_FLAGS: u64 = 0xcd5;

/// A case in which the emulator is not the processor.
#[derive(Clone, Debug)]
pub struct Difference {
    seed: u64,
    case: Case,
    native: Result,
    emulated: Option<Result>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, case, native, emulated } = self;
        writeln!(f, "seed {seed}: {} {:02x?}, flags {:#x}", case.name, case.code, case.registers.rflags)?;
        let Some(emulated) = emulated else {
            return writeln!(f, "  not emulated; the processor: {:x?}", native.ending);
        };
        if native.ending != emulated.ending {
            writeln!(f, "  ending: processor {:x?}, emulator {:x?}", native.ending, emulated.ending)?;
        }
        let (ours, theirs) = (&emulated.registers, &native.registers);
        for n in (0..16).filter(|n| ours.gprs[*n] != theirs.gprs[*n]) {
            let before = case.registers.gprs[n];
            writeln!(f, "  register {n}: {before:#x}; {:#x}, emulator {:#x}", theirs.gprs[n], ours.gprs[n])?;
        }
        for n in (0..16).filter(|n| ours.vectors[*n] != theirs.vectors[*n]) {
            writeln!(f, "  vector {n}: {:02x?}, emulator {:02x?}", theirs.vectors[n], ours.vectors[n])?;
        }
        if ours.rflags != theirs.rflags {
            writeln!(f, "  flags: {:#x}, emulator {:#x}", theirs.rflags, ours.rflags)?;
        }
        let differs = |n: &usize| native.memory[*n] != emulated.memory[*n];
        for n in (0..native.memory.len()).filter(differs).take(8) {
            let before = case.memory[n];
            writeln!(
                f,
                "  byte {n:#x}: {before:#x}; {:#x}, emulator {:#x}",
                native.memory[n], emulated.memory[n]
            )?;
        }
        Ok(())
    }
}

/// How many cases of each instruction were run, and how many of those faulted.
#[derive(Clone, Debug, Default)]
pub struct Tally(BTreeMap<&'static str, (u64, u64)>);

impl Tally {
    /// All cases.
    pub fn cases(&self) -> u64 {
        self.0.values().map(|(cases, _)| cases).sum()
    }

    /// Cases that ended in a fault.
    pub fn faults(&self) -> u64 {
        self.0.values().map(|(_, faults)| faults).sum()
    }

    /// How many different instructions they were of.
    pub fn instructions(&self) -> usize {
        self.0.len()
    }
}

/// Runs the case of `seed` on both sides.
///
/// # Errors
/// The difference, when there is one.
pub fn compare(arena: &mut Arena, seed: u64, tally: &mut Tally) -> std::result::Result<(), Box<Difference>> {
    let case = generate::case(&mut Random::new(seed), arena);
    let mut native = arena.run(&case);
    let mut emulated = emulated::run(&case, arena.code_address(), arena.memory_address());
    let compared = COMPARED_FLAGS & !case.undefined;
    native.registers.rflags &= compared;
    if let Some(emulated) = &mut emulated {
        emulated.registers.rflags &= compared;
    }
    let (cases, faults) = tally.0.entry(case.name).or_default();
    *cases += 1;
    *faults += u64::from(native.ending != Ending::Completed);
    if emulated.as_ref() == Some(&native) {
        return Ok(());
    }
    Err(Box::new(Difference { seed, case, native, emulated }))
}
