//! Instructions by name: each is run on plain and on emulated memory, which must come to the same end, and to the one that
//! is expected of a processor. Each must exit, but for the few that say why not: what the processor itself refuses is no
//! proof.
//!
//! Unsafe because machine code is read where it stands in the program, and because of a buffer too large for the stack.

use crate::sandbox::{Backing, Entry, Left, Level, MEMORY, Sandbox, USER_DATA, exits_of};
use crate::{Checks, cpu};
use core::cell::UnsafeCell;
use instruction_cases::{Case, Code, Difference, Ending, MEMORY_BYTES, Outcome, PAGE, Registers, equal};

/// Where most snippets have their operand: RBX, RSI and RDI + 256 point at it.
pub const OPERAND: u64 = MEMORY + PAGE as u64 + 0x100;
/// Where the stack is.
pub const STACK: u64 = MEMORY + 2 * PAGE as u64 + 0x800;
/// The last byte before the page that is not there.
pub const LAST: u64 = MEMORY + MEMORY_BYTES as u64 - 1;
/// A page that can be read only.
pub const READ_ONLY: u64 = MEMORY + 0x100;

/// Bit 1 is always set, and interrupts are enabled.
const ALWAYS: u64 = 0x202;
const INTERRUPTS: u64 = 1 << 9;

/// Where registers are in a case.
pub const RAX: usize = 0;
pub const RCX: usize = 1;
pub const RDX: usize = 2;
pub const RBX: usize = 3;
pub const RSP: usize = 4;
pub const RSI: usize = 6;
pub const RDI: usize = 7;

/// The machine code of `$instruction`.
#[macro_export]
macro_rules! code {
    ($instruction:literal) => {{
        let (start, end): (*const u8, *const u8);
        // SAFETY: the code is jumped over.
        unsafe {
            core::arch::asm!(
                "lea {start}, [rip + 2f]",
                "lea {end}, [rip + 3f]",
                "jmp 3f",
                "2:",
                $instruction,
                "3:",
                start = out(reg) start,
                end = out(reg) end,
            );
            // SAFETY: both are in this program's code.
            core::slice::from_raw_parts(start, end.offset_from_unsigned(start))
        }
    }};
}

/// Which runs are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Both, and they are compared.
    Both,
    /// The emulated one: QEMU's processors lack the check that makes the instruction fault.
    Emulated,
}

/// Whether a snippet on emulated memory must exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exits {
    /// It must.
    Must,
    /// It need not on Intel's: processors judge alignment, segments and the guest's own tables before they reach memory. On
    /// QEMU's, which judge some of it later or never, it must.
    MayFaultFirst,
}

/// What a snippet begins with and must end in.
pub struct Snippet {
    pub name: &'static str,
    pub code: fn() -> &'static [u8],
    pub level: Level,
    /// For DS and ES.
    pub data: u64,
    /// Changes what it begins with.
    pub before: fn(&mut Case),
    pub ending: Ending,
    /// The flags that the manual leaves undefined.
    pub undefined: u64,
    pub judged: Judged,
    pub exits: Exits,
    /// Whether the outcome is a processor's.
    pub holds: fn(&Outcome) -> bool,
}

impl Snippet {
    /// A snippet of a 64-bit user that completes.
    pub const fn new(name: &'static str, code: fn() -> &'static [u8], holds: fn(&Outcome) -> bool) -> Self {
        Self {
            name,
            code,
            level: Level::User64,
            data: USER_DATA,
            before: |_| {},
            ending: Ending::Completed,
            undefined: 0,
            judged: Judged::Both,
            exits: Exits::Must,
            holds,
        }
    }

    /// A snippet of a 64-bit user that faults and changes nothing.
    pub const fn faulting(name: &'static str, code: fn() -> &'static [u8], ending: Ending) -> Self {
        Self { ending, ..Self::new(name, code, |outcome| outcome.memory == pattern()) }
    }

    pub const fn at(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// As [`Judged::Emulated`].
    pub const fn unlike_qemu(self) -> Self {
        Self { judged: Judged::Emulated, ..self }
    }

    /// As [`Exits::MayFaultFirst`].
    pub const fn faults_first(self) -> Self {
        Self { exits: Exits::MayFaultFirst, ..self }
    }

    pub const fn data(self, data: u64) -> Self {
        Self { data, ..self }
    }

    pub const fn undefined(self, undefined: u64) -> Self {
        Self { undefined, ..self }
    }

    pub const fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }

    pub const fn with(self, before: fn(&mut Case)) -> Self {
        Self { before, ..self }
    }
}

/// The memory that snippets begin with: no two neighbouring bytes are alike.
fn pattern() -> [u8; MEMORY_BYTES] {
    core::array::from_fn(|n| (n as u8).wrapping_mul(7) ^ (n >> 8) as u8)
}

/// The value in the `LEN` bytes at `address` of the memory that snippets begin with.
pub fn began(address: u64, len: usize) -> u64 {
    value(&pattern(), address, len)
}

/// The value in the `len` bytes at `address` afterwards.
pub fn ended(outcome: &Outcome, address: u64, len: usize) -> u64 {
    value(&outcome.memory, address, len)
}

fn value(memory: &[u8; MEMORY_BYTES], address: u64, len: usize) -> u64 {
    let at = (address - MEMORY) as usize;
    memory[at..at + len].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Puts `value` into the eight bytes at `address`.
pub fn put(case: &mut Case, address: u64, value: u64) {
    let at = (address - MEMORY) as usize;
    case.memory[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

struct Buffers {
    case: Case,
    plain: Outcome,
    emulated: Outcome,
}

struct Shared(UnsafeCell<Buffers>);

// SAFETY: used on the only CPU by one function, which does not call itself.
unsafe impl Sync for Shared {}

static BUFFERS: Shared =
    Shared(UnsafeCell::new(Buffers { case: Case::new(), plain: Outcome::new(), emulated: Outcome::new() }));

/// Makes a check of each snippet.
pub fn check(checks: &mut Checks, sandbox: &mut Sandbox, snippets: &[Snippet]) {
    // SAFETY: the only reference: nothing that is called here comes back.
    let Buffers { case, plain, emulated } = unsafe { &mut *BUFFERS.0.get() };
    for snippet in snippets {
        let runs_both = snippet.judged == Judged::Both;
        if !runs_both && cpu::is_bare_emulator() {
            checks.skip(snippet.name, "QEMU does not check this");
            continue;
        }
        begin(case, snippet);
        let entry = Entry { level: snippet.level, data: snippet.data };
        let its = sandbox.run(case, entry, Backing::Plain, plain);
        let mut ours = Left::default();
        let exits = exits_of(|| ours = sandbox.run(case, entry, Backing::Emulated, emulated));
        let is_excused = cpu::is_intel() && snippet.exits == Exits::MayFaultFirst;
        let exited = exits != 0 || is_excused || cpu::is_bare_emulator();
        let judged: &Outcome = if runs_both { plain } else { emulated };
        let as_expected = judged.ending == snippet.ending && (snippet.holds)(judged);
        let same = !runs_both || its == ours && equal(case, plain, emulated);
        checks.check(
            snippet.name,
            as_expected && same && exited,
            format_args!(
                "{:x?} {its:x?}, as expected: {as_expected}; emulated {:x?} {ours:x?}, the same: {same}, exited: {exited}\n{}",
                plain.ending,
                emulated.ending,
                Difference { seed: 0, case, processor: plain, emulator: Some(emulated) }
            ),
        );
    }
}

fn begin(case: &mut Case, snippet: &Snippet) {
    case.name = snippet.name;
    case.code = Code::of((snippet.code)());
    case.memory = pattern();
    case.undefined = snippet.undefined;
    case.registers = Registers::ZERO;
    case.registers.rflags = ALWAYS;
    for (n, register) in (0..).zip(&mut case.registers.gprs) {
        *register = 0x0123_4567_89ab_cdef_u64.rotate_left(n * 4);
    }
    for (n, vector) in (1..).zip(&mut case.registers.vectors) {
        *vector = core::array::from_fn(|byte| byte as u8 ^ n << 4);
    }
    let gprs = &mut case.registers.gprs;
    // Without paging, addresses count from where the memory begins.
    let base = match snippet.level {
        Level::Legacy(_) => MEMORY,
        _ => 0,
    };
    if base != 0 {
        case.registers.rflags &= !INTERRUPTS;
        gprs.iter_mut().for_each(|register| *register &= 0xffff_ffff);
    }
    (gprs[RCX], gprs[RBX], gprs[RSP]) = (3, OPERAND - base, STACK - base);
    (gprs[RSI], gprs[RDI]) = (OPERAND - base, OPERAND + 0x100 - base);
    (snippet.before)(case);
}
