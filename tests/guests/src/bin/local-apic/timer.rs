//! The timer in its three modes.
//!
//! Unsafe because a deadline is a model-specific register.

use super::*;

const TSC_DEADLINE: u32 = 0x6e0;

/// Waits for the timer's request without taking it; whether it came.
fn timer_fires(apic: Apic) -> bool {
    (0..3_000_000).any(|_| apic.holds(REQUESTS, LOW))
}

pub fn timer(checks: &mut Checks, apic: Apic) {
    apic.calm();
    apic.write(DIVIDE, 0xb);
    apic.write(LVT_TIMER, LOW.into());
    apic.write(INITIAL_COUNT, 1000);
    checks.check(named!(apic, "timer-fires"), timer_fires(apic), format_args!("no request"));
    checks.equal(named!(apic, "timer-keeps-its-initial-count"), apic.read(INITIAL_COUNT), 1000);
    checks.equal(named!(apic, "timer-ends-at-zero"), apic.read(CURRENT_COUNT), 0);
    cpu::take_interrupts();
    checks.equal(named!(apic, "timer-interrupts"), interrupts::taken(), LOW.into());
    apic.write(EOI, 0);
    apic.write(LVT_TIMER, MASKED | u64::from(LOW));
    apic.write(INITIAL_COUNT, 1000);
    let counted = (0..3_000_000).any(|_| apic.read(CURRENT_COUNT) == 0);
    let requested = apic.holds(REQUESTS, LOW);
    checks.check(named!(apic, "timer-counts-masked"), counted, format_args!("it stands"));
    checks.check(named!(apic, "timer-masked-does-not-fire"), !requested, format_args!("IRR has it"));
    apic.write(LVT_TIMER, PERIODIC | u64::from(LOW));
    apic.write(INITIAL_COUNT, 100_000);
    let mut fired = 0;
    for _ in 0..3 {
        fired += u32::from(timer_fires(apic));
        cpu::take_interrupts();
        apic.write(EOI, 0);
    }
    interrupts::taken();
    checks.equal(named!(apic, "timer-fires-again-and-again"), fired.into(), 3);
    apic.write(INITIAL_COUNT, 0);
    cpu::take_interrupts();
    apic.write(EOI, 0);
    interrupts::taken();
    checks.equal(named!(apic, "timer-stopped-by-zero"), apic.read(CURRENT_COUNT), 0);
    divides(checks, apic);
    apic.calm();
}

/// The divider makes the timer slower in steps of two: counts in the same TSC ticks, one divider after the other.
fn divides(checks: &mut Checks, apic: Apic) {
    const COUNT: u64 = 1 << 31;
    const WHILE: u64 = 4_000_000;
    const TRIES: u32 = 10;
    apic.write(LVT_TIMER, MASKED | u64::from(LOW));
    let ticks = |divide: u64| {
        apic.write(DIVIDE, divide);
        apic.write(INITIAL_COUNT, COUNT);
        let (tsc, first) = (cpu::tsc(), apic.read(CURRENT_COUNT));
        while cpu::tsc() - tsc < WHILE {}
        let (passed, last) = (cpu::tsc() - tsc, apic.read(CURRENT_COUNT));
        (first - last) * WHILE / passed
    };
    // By 1, 2, 4 and so on to 128.
    let codes = [0xb, 0x0, 0x1, 0x2, 0x3, 0x8, 0x9, 0xa];
    let mut by_one = ticks(codes[0]);
    let mut odd = None;
    for (shift, code) in (0..).zip(codes) {
        // A busy host disturbs one measure, this or the undivided one, not all of these.
        let fits = (0..TRIES).any(|_| {
            let scaled = ticks(code) << shift;
            let fits = scaled > by_one / 2 && scaled < by_one * 2;
            if !fits {
                by_one = ticks(codes[0]);
            }
            fits
        });
        if !fits {
            odd = Some(code);
        }
    }
    checks.check(
        named!(apic, "timer-divides"),
        odd.is_none(),
        format_args!("not by code {odd:x?}, undivided {by_one}"),
    );
    apic.write(INITIAL_COUNT, 0);
    apic.write(DIVIDE, 0xb);
}

/// The timer's third mode, where the processor has it; the bare emulator has not.
pub fn deadline(checks: &mut Checks, apic: Apic) {
    const LACKS: &str = "QEMU's emulator has no such mode";
    const FAR: u64 = 1 << 62;
    apic.calm();
    apic.write(LVT_TIMER, LOW.into());
    if !checks.deviates("deadline-is-ignored-in-other-modes", LACKS) {
        // SAFETY: a deadline is sound.
        unsafe { cpu::wrmsr(TSC_DEADLINE, FAR) };
        checks.equal("deadline-is-ignored-in-other-modes", cpu::rdmsr(TSC_DEADLINE), 0);
    }
    if !checks.deviates("deadline-keeps", LACKS) {
        apic.write(LVT_TIMER, TSC_DEADLINE_MODE | u64::from(LOW));
        // SAFETY: as above.
        unsafe { cpu::wrmsr(TSC_DEADLINE, FAR) };
        checks.equal("deadline-keeps", cpu::rdmsr(TSC_DEADLINE), FAR);
    }
    if !checks.deviates("deadline-disarmed-by-zero", LACKS) {
        // SAFETY: as above.
        unsafe { cpu::wrmsr(TSC_DEADLINE, 0) };
        checks.equal("deadline-disarmed-by-zero", cpu::rdmsr(TSC_DEADLINE), 0);
    }
    if !checks.deviates("deadline-fires", LACKS) {
        // SAFETY: as above.
        unsafe { cpu::wrmsr(TSC_DEADLINE, cpu::tsc() + 1_000_000) };
        checks.check("deadline-fires", timer_fires(apic), format_args!("no request"));
        cpu::take_interrupts();
        apic.write(EOI, 0);
        interrupts::taken();
    }
    if !checks.deviates("deadline-is-zero-afterwards", LACKS) {
        checks.equal("deadline-is-zero-afterwards", cpu::rdmsr(TSC_DEADLINE), 0);
    }
    if !checks.deviates("deadline-in-the-past-fires-at-once", LACKS) {
        // SAFETY: as above.
        unsafe { cpu::wrmsr(TSC_DEADLINE, 1) };
        checks.check(
            "deadline-in-the-past-fires-at-once",
            apic.holds(REQUESTS, LOW),
            format_args!("no request"),
        );
        cpu::take_interrupts();
        apic.write(EOI, 0);
        interrupts::taken();
    }
    if !checks.deviates("deadline-mode-ignores-the-count", LACKS) {
        apic.write(INITIAL_COUNT, 1000);
        checks.equal("deadline-mode-ignores-the-count", apic.read(INITIAL_COUNT), 0);
    }
    apic.calm();
}
