//! Both sides of many cases, and where they differ.

use std::collections::BTreeMap;

use instruction_cases::{Case, Difference, Ending, Place, equal};

use crate::emulated;
use crate::native::Arena;

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

/// Where cases are compared.
pub struct Bench {
    arena: Arena,
    place: Place,
    case: Case,
    /// What was run so far.
    pub tally: Tally,
}

impl Bench {
    /// A bench that nothing was run on.
    pub fn new() -> Self {
        let arena = Arena::new();
        let place = arena.place();
        Self { arena, place, case: Case::new(), tally: Tally::default() }
    }

    /// Runs the case of `seed` on both sides.
    ///
    /// # Errors
    /// The difference, when there is one.
    pub fn compare(&mut self, seed: u64) -> Result<(), String> {
        let Self { arena, place, case, tally } = self;
        case.generate(seed, place);
        let native = arena.run(case);
        let emulated = emulated::run(case, place);
        let (cases, faults) = tally.0.entry(case.name).or_default();
        *cases += 1;
        *faults += u64::from(native.ending != Ending::Completed);
        if emulated.as_ref().is_some_and(|emulated| equal(case, emulated, &native)) {
            return Ok(());
        }
        Err(Difference { seed, case, processor: &native, emulator: emulated.as_ref() }.to_string())
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}
