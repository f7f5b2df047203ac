//! Faults on purpose: what the scenarios must notice, and what an epitaph must tell of.
//!
//! Only builds with the feature `seeded-faults` have this module; no image that is released is one of them. The boot
//! override `fault=NAME` chooses one fault, or none, and the name of one that does not exist is refused.
//!
//! Unsafe because one of the faults is a read where nothing is mapped.

mod translations;

pub use translations::remap_if_asked;

use base::{GIB, Gpa, KIB, MIB};
use core::arch::asm;
use core::fmt;
use core::hint::black_box;
use core::ops::Range;
use core::sync::atomic::{AtomicU8, Ordering};
use memory::{GuestMap, GuestMapError};
use serving::AnyVm;
use vcpu::Segment;

/// The key of the boot override.
const KEY: &str = "fault=";

/// An address in the upper half at which the host's address space has nothing (the layout is in `memory`).
const UNMAPPED: u64 = 0xffff_f000_0000_0000;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// The hypervisor panics once it is ready.
    Panic = 1,
    /// It reads an address that is not mapped.
    WildRead,
    /// It recurses until the guard page below its stack is hit.
    StackOverflow,
    /// The CPU's timer is never armed.
    DeafTimer,
    /// What guests write to their consoles is dropped.
    LostOutput,
    /// The end of one VM ends all others.
    ContagiousEnd,
    /// A VM's flush ends without one of the host's disk.
    SkippedFlushes,
    /// Translations stay when a guest changes a register that its tables depend on.
    KeptTranslations,
    /// They stay when the nested tables change; the rest is [`Fault::Remapping`].
    KeptNestedTranslations,
    /// They stay when a vCPU gets a tag that was another's; the rest is [`Fault::FewTags`].
    KeptTagTranslations,
    /// A VM begins in a state that no processor can be in.
    CorruptState,
    /// No fault, but a way to test: 64 KiB of each VM's memory are reached by the emulator alone.
    EmulatedMemory,
    /// No fault either: guests have their nested tables changed by asking for it.
    Remapping,
    /// No fault either: three VMs share two tags for their translations.
    FewTags,
}

const NAMES: [(&str, Fault); 14] = [
    ("panic", Fault::Panic),
    ("page-fault", Fault::WildRead),
    ("stack-overflow", Fault::StackOverflow),
    ("deaf-timer", Fault::DeafTimer),
    ("lost-output", Fault::LostOutput),
    ("contagious-end", Fault::ContagiousEnd),
    ("skipped-flushes", Fault::SkippedFlushes),
    ("kept-translations", Fault::KeptTranslations),
    ("kept-nested-translations", Fault::KeptNestedTranslations),
    ("kept-tag-translations", Fault::KeptTagTranslations),
    ("corrupt-state", Fault::CorruptState),
    ("emulated-memory", Fault::EmulatedMemory),
    ("remapping", Fault::Remapping),
    ("few-tags", Fault::FewTags),
];

/// The chosen fault as its number, or 0. Global, so that no type of an ordinary build has a field for it.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// A name that no fault has.
pub struct UnknownFault<'a>(&'a str);

impl fmt::Display for UnknownFault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot override {KEY}{}: there is no such fault; choose one of", self.0)?;
        NAMES.iter().try_for_each(|(name, _)| write!(f, " {name}"))
    }
}

/// Chooses the fault that the boot overrides name. Of two, the later counts, as for every override.
pub fn choose(overrides: &str) -> Result<(), UnknownFault<'_>> {
    let Some(wanted) = overrides.split(' ').filter_map(|word| word.strip_prefix(KEY)).next_back() else {
        return Ok(());
    };
    let (name, fault) = NAMES.iter().find(|(name, _)| *name == wanted).ok_or(UnknownFault(wanted))?;
    CHOSEN.store(*fault as u8, Ordering::Relaxed);
    translations::prepare(*fault);
    if *fault == Fault::DeafTimer {
        serving::deafen_timers();
    }
    log::warn!("seeded fault: {name}");
    Ok(())
}

/// Whether this fault was chosen.
pub fn is_chosen(fault: Fault) -> bool {
    CHOSEN.load(Ordering::Relaxed) == fault as u8
}

/// Withholds memory from the guest of `map`, if that was chosen: what `tests/guests/src/sandbox` expects. Returns which.
pub fn withhold_if_chosen(mut map: GuestMap) -> Result<(GuestMap, Option<Range<Gpa>>), GuestMapError> {
    const WITHHELD: Gpa = Gpa::from_low_bits(12 * MIB);
    const WITHHELD_BYTES: u64 = 64 * KIB;
    const SHOWN_AT: Gpa = Gpa::from_low_bits(4 * GIB);
    if !is_chosen(Fault::EmulatedMemory) {
        return Ok((map, None));
    }
    map.withhold(WITHHELD, WITHHELD_BYTES, SHOWN_AT)?;
    Ok((map, Some(WITHHELD..Gpa::from_low_bits(WITHHELD.as_u64() + WITHHELD_BYTES))))
}

/// Spoils the state in which a VM begins, if that was chosen: its code segment is one of 64-bit code and of 32-bit code.
pub fn corrupt_if_chosen(vm: &mut AnyVm) {
    if is_chosen(Fault::CorruptState) {
        vm.change_state(|state| state.cs.attributes |= Segment::LONG | Segment::DEFAULT_BIG);
    }
}

/// Dies of the chosen fault, if it is a deadly one. To be called when the hypervisor is ready.
pub fn die_if_chosen() {
    if [Fault::Panic, Fault::WildRead, Fault::StackOverflow].into_iter().any(is_chosen) {
        // Nobody sends it any more: that is for the epitaph to do.
        log::warn!("the last line of the log");
    }
    if is_chosen(Fault::Panic) {
        give_up();
    }
    if is_chosen(Fault::WildRead) {
        read_nowhere();
    }
    if is_chosen(Fault::StackOverflow) {
        recurse(0);
    }
}

// Not inlined, so that each has its name in a backtrace.

#[inline(never)]
#[expect(clippy::panic, reason = "this is the fault")]
fn give_up() {
    panic!("seeded fault");
}

#[inline(never)]
fn read_nowhere() {
    // SAFETY: nothing is there, so the processor faults and the hypervisor dies.
    unsafe { asm!("mov {0}, [{0}]", inout(reg) UNMAPPED => _, options(nostack, readonly, preserves_flags)) }
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "this is the fault")]
fn recurse(depth: u64) -> u64 {
    // What is done after the call keeps it from becoming a jump.
    black_box(recurse(black_box(depth.wrapping_add(1)))).wrapping_add(depth)
}
