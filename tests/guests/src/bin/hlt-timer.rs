//! HLT sleeps until a timer's interrupt, from the local APIC and from the 8254, and the TSC counts on meanwhile.
//!
//! Unsafe because it writes model-specific registers.

#![no_std]
#![no_main]

use guests::interrupts::{APIC_VECTOR, PIC_VECTOR, SPURIOUS_VECTOR, count};
use guests::{Checks, apic, cpu, guest};

guest!("hlt-timer", run);

/// Timer ticks; a millisecond or so at the usual gigahertz.
const TICKS: u64 = 1_000_000;
/// The longest count.
const LONGEST: u64 = u32::MAX as u64;
/// HLT may end for another reason: so often it is tried again.
const WAITS_MAX: u32 = 100;

const PIC_MASK: u16 = 0x21;
const PIT_CHANNEL_0: u16 = 0x40;
const PIT_COMMAND: u16 = 0x43;
/// Channel 0, both bytes, mode 0: interrupt on terminal count (Intel 8254 data sheet).
const PIT_ONE_SHOT: u8 = 0x30;
/// Channel 0, both bytes, mode 2: rate generator.
const PIT_PERIODIC: u8 = 0x34;
/// 10 ms of the 8254's 1.193182 MHz.
const PIT_COUNT: u16 = 11_932;

fn run(checks: &mut Checks) {
    checks.check(
        "x2apic-present",
        apic::has_x2apic(),
        format_args!("CPUID 1 has no x2APIC: QEMU needs -cpu max"),
    );
    if !apic::has_x2apic() {
        return;
    }
    apic::enable(SPURIOUS_VECTOR);
    checks.check("x2apic-enabled", apic::is_x2apic(), format_args!("APIC_BASE does not keep it"));
    one_shot(checks);
    periodic(checks);
    legacy_timer(checks);
}

/// Halts until `vector` has come `times` more often than `before`.
fn halt_until(vector: u8, before: u32, times: u32) -> u32 {
    for _ in 0..WAITS_MAX {
        if count(vector) - before >= times {
            break;
        }
        cpu::wait_for_interrupt();
    }
    count(vector) - before
}

fn one_shot(checks: &mut Checks) {
    let tsc = cpu::tsc();
    // SAFETY: the vector has a handler.
    unsafe {
        cpu::wrmsr(apic::LVT_TIMER, APIC_VECTOR.into());
        // As long as it can be: however busy the host is, it does not run out between two instructions.
        cpu::wrmsr(apic::INITIAL_COUNT, LONGEST);
        let left = cpu::rdmsr(apic::CURRENT_COUNT);
        let less = cpu::rdmsr(apic::CURRENT_COUNT);
        let falls = less < left && left < LONGEST;
        checks.check("apic-timer-counts-down", falls, format_args!("saw {left}, then {less}, of {LONGEST}"));
        cpu::wrmsr(apic::INITIAL_COUNT, TICKS);
    }
    let seen = halt_until(APIC_VECTOR, 0, 1);
    checks.equal("apic-timer-one-shot", seen.into(), 1);
    checks.equal("apic-timer-stops", cpu::rdmsr(apic::CURRENT_COUNT), 0);
    checks.check("tsc-advances", cpu::tsc() > tsc, format_args!("it went from {tsc} to {}", cpu::tsc()));
}

fn periodic(checks: &mut Checks) {
    let before = count(APIC_VECTOR);
    // SAFETY: the vector has a handler.
    unsafe {
        cpu::wrmsr(apic::LVT_TIMER, apic::PERIODIC | u64::from(APIC_VECTOR));
        cpu::wrmsr(apic::INITIAL_COUNT, TICKS);
    }
    let seen = halt_until(APIC_VECTOR, before, 5);
    checks.check("apic-timer-periodic", seen >= 5, format_args!("saw {seen} of 5"));
    // SAFETY: stops the timer.
    unsafe {
        cpu::wrmsr(apic::LVT_TIMER, apic::MASKED);
        cpu::wrmsr(apic::INITIAL_COUNT, 0);
    }
}

/// The 8254 through the 8259 and the local APIC's LINT0, as a PC wires it before an IOAPIC is set up.
fn legacy_timer(checks: &mut Checks) {
    // SAFETY: lets the legacy controller's vectors through, which have handlers.
    unsafe { cpu::wrmsr(apic::LVT_LINT0, apic::EXTINT) };
    let before = count(PIC_VECTOR);
    program_pit(PIT_ONE_SHOT);
    cpu::outb(PIC_MASK, !1);
    let seen = halt_until(PIC_VECTOR, before, 1);
    checks.check("pit-one-shot", seen >= 1, format_args!("saw no interrupt"));
    let before = count(PIC_VECTOR);
    program_pit(PIT_PERIODIC);
    let seen = halt_until(PIC_VECTOR, before, 3);
    checks.check("pit-periodic", seen >= 3, format_args!("saw {seen} of 3"));
    cpu::outb(PIC_MASK, 0xff);
}

fn program_pit(mode: u8) {
    let [low, high] = PIT_COUNT.to_le_bytes();
    cpu::outb(PIT_COMMAND, mode);
    cpu::outb(PIT_CHANNEL_0, low);
    cpu::outb(PIT_CHANNEL_0, high);
}
