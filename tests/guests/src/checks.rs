//! Checks, their lines, and how a guest ends.

use crate::interrupts::{self, Trap};
use crate::{cpu, println};
use core::fmt;

/// The debug-exit port: writing N ends the VM with status 2N+1.
const DEBUG_EXIT: u16 = 0xf4;

/// The exit value after a panic.
pub const PANICKED: u8 = 0x7e;
/// The exit value after an exception that no check asked for.
pub const UNEXPECTED_EXCEPTION: u8 = 0x7d;
/// The most failures that the exit value tells.
const FAILURES_MAX: u8 = 0x70;

/// How long the end of the VM is awaited.
const GRACE_PAUSES: u32 = 50_000_000;

/// The address of a probed instruction, and what it raised.
pub type Probe = (u64, Option<Trap>);

/// Counts what failed.
#[derive(Default)]
pub struct Checks {
    failed: u8,
}

impl Checks {
    /// Prints whether `passed`, and `seen` when it did not.
    pub fn check(&mut self, name: &str, passed: bool, seen: fmt::Arguments<'_>) {
        if passed {
            println!("guest: check {name}: ok");
        } else {
            println!("guest: check {name}: FAILED {seen}");
            self.failed = self.failed.saturating_add(1).min(FAILURES_MAX);
        }
    }

    /// Checks that `result` has a value, and returns that.
    pub fn good<T>(&mut self, name: &str, result: Result<T, impl fmt::Debug>) -> Option<T> {
        match result {
            Ok(value) => {
                self.check(name, true, format_args!(""));
                Some(value)
            }
            Err(error) => {
                self.check(name, false, format_args!("{error:?}"));
                None
            }
        }
    }

    /// Checks that `seen` is `expected`.
    pub fn equal(&mut self, name: &str, seen: u64, expected: u64) {
        self.check(name, seen == expected, format_args!("saw {seen:#x}, expected {expected:#x}"));
    }

    /// Checks that `probe` raised `vector` with `error_code` at its instruction.
    pub fn raised(&mut self, name: &str, probe: Probe, vector: u64, error_code: u64) {
        let (at, trap) = probe;
        let as_expected = trap.is_some_and(|t| (t.vector, t.error_code, t.rip) == (vector, error_code, at));
        self.check(name, as_expected, format_args!("at {at:#x} saw {trap:x?}"));
    }

    /// Checks that `probe` raised `#GP(0)` at its instruction.
    pub fn refused(&mut self, name: &str, probe: Probe) {
        const GENERAL_PROTECTION: u64 = 13;
        self.raised(name, probe, GENERAL_PROTECTION, 0);
    }

    /// Checks that `probe` raised nothing.
    pub fn passed(&mut self, name: &str, (at, trap): Probe) {
        self.check(name, trap.is_none(), format_args!("at {at:#x} saw {trap:x?}"));
    }

    /// Whether this runs on the bare emulator, which does `what` there instead of what processors do: then the check is
    /// skipped.
    pub fn deviates(&mut self, name: &str, what: &str) -> bool {
        let deviates = cpu::is_bare_emulator();
        if deviates {
            self.skip(name, what);
        }
        deviates
    }

    /// Says that a check cannot be made here, and why.
    pub fn skip(&mut self, name: &str, why: &str) {
        println!("guest: check {name}: skipped ({why})");
    }
}

/// Runs a guest.
pub fn run(name: &str, body: fn(&mut Checks)) -> ! {
    interrupts::init();
    println!("guest: {name}: begin");
    let mut checks = Checks::default();
    body(&mut checks);
    println!("guest: {name}: end, {} failed", checks.failed);
    exit(checks.failed)
}

/// Ends the VM with `value`, and stops if nothing listens at the debug-exit port.
pub fn exit(value: u8) -> ! {
    cpu::outb(DEBUG_EXIT, value);
    // An emulator may stop a little later.
    (0..GRACE_PAUSES).for_each(|_| core::hint::spin_loop());
    println!("guest: nothing ended this VM at port {DEBUG_EXIT:#x}");
    loop {
        cpu::halt_masked();
    }
}
