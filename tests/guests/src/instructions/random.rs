//! Random instructions on memory that the hypervisor emulates, compared with the processor on plain memory.
//!
//! Unsafe because of buffers too large for the stack.

use crate::sandbox::{Backing, Entry, Sandbox, exits_of};
use crate::{Checks, cpu, println};
use core::cell::UnsafeCell;
use instruction_cases::{Case, Difference, Ending, Outcome, equal};

/// How many differences are told.
const SHOWN: u32 = 10;

struct Buffers {
    case: Case,
    plain: Outcome,
    emulated: Outcome,
}

struct Shared(UnsafeCell<Buffers>);

// SAFETY: used by one function, which is called once.
unsafe impl Sync for Shared {}

static BUFFERS: Shared =
    Shared(UnsafeCell::new(Buffers { case: Case::new(), plain: Outcome::new(), emulated: Outcome::new() }));

/// The same, but where nothing is present, a write's page fault is as a load's: what is read and written faults at its
/// load in QEMU's translator, and as a write in processors.
fn without_write(ending: Ending) -> Ending {
    const PRESENT: u32 = 1;
    const WRITE: u32 = 2;
    match ending {
        Ending::Fault(14, code, address) if code & PRESENT == 0 => Ending::Fault(14, code & !WRITE, address),
        other => other,
    }
}

/// Compares the cases of the seeds below `cases`.
pub fn compare(checks: &mut Checks, cases: u64) {
    // SAFETY: the only reference; this is called once.
    let Buffers { case, plain, emulated } = unsafe { &mut *BUFFERS.0.get() };
    let mut sandbox = Sandbox::new();
    let place = sandbox.place();
    let (mut differing, mut faults) = (0, 0_u64);
    let exits = exits_of(|| {
        for seed in 0..cases {
            case.generate(seed, &place);
            let its = sandbox.run(case, Entry::USER, Backing::Plain, plain);
            let ours = sandbox.run(case, Entry::USER, Backing::Emulated, emulated);
            faults += u64::from(plain.ending != Ending::Completed);
            (plain.ending, emulated.ending) = (without_write(plain.ending), without_write(emulated.ending));
            if its == ours && equal(case, plain, emulated) {
                continue;
            }
            differing += 1;
            if differing <= SHOWN {
                println!("guest: difference: {its:x?}, emulator {ours:x?}");
                println!("{}", Difference { seed, case, processor: plain, emulator: Some(emulated) });
            }
        }
    });
    println!("guest: {cases} cases, {faults} faults, {exits} exits");
    checks.equal("instructions-do-what-the-processor-does", differing.into(), 0);
    // A fault before any access, and an instruction between registers, exit not even once.
    let enough = cpu::is_bare_emulator() || exits > cases / 2;
    checks.check("memory-is-emulated", enough, format_args!("{exits} exits"));
}
