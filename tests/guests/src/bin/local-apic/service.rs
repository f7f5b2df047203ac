//! Requests, service and its end, priorities, errors, NMIs.
//!
//! Unsafe because interrupts are taken in the middle of a check.

use super::*;
use guests::control::set_cr8;
use guests::interrupts::count;

const ERROR_SEND_ILLEGAL: u64 = 1 << 5;

const MIDDLE: u8 = 0x4a;
const HIGH: u8 = 0x83;

pub fn requests(checks: &mut Checks, apic: Apic) {
    apic.calm();
    apic.send_to_self(LOW);
    checks.check(named!(apic, "request"), apic.holds(REQUESTS, LOW), format_args!("IRR lacks it"));
    checks.check(named!(apic, "edge-triggered"), !apic.holds(TRIGGER_MODE, LOW), format_args!("TMR has it"));
    cpu::take_interrupts();
    checks.equal(named!(apic, "delivered"), interrupts::taken(), LOW.into());
    let service = (apic.holds(REQUESTS, LOW), apic.holds(IN_SERVICE, LOW));
    checks.check(named!(apic, "in-service"), service == (false, true), format_args!("IRR, ISR: {service:?}"));
    apic.send_to_self(LOW);
    cpu::take_interrupts();
    checks.equal(named!(apic, "the-same-waits-for-the-end"), interrupts::taken(), 0);
    apic.write(EOI, 0);
    checks.check(named!(apic, "end"), !apic.holds(IN_SERVICE, LOW), format_args!("ISR has it"));
    cpu::take_interrupts();
    checks.equal(named!(apic, "the-same-comes-after-the-end"), interrupts::taken(), LOW.into());
    apic.write(EOI, 0);
    apic.send_to_self(LOW);
    apic.send_to_self(LOW);
    cpu::take_interrupts();
    apic.write(EOI, 0);
    cpu::take_interrupts();
    apic.write(EOI, 0);
    checks.equal(named!(apic, "two-requests-are-one"), interrupts::taken(), LOW.into());
}

pub fn priorities(checks: &mut Checks, apic: Apic) {
    apic.calm();
    apic.send_to_self(LOW);
    apic.send_to_self(HIGH);
    apic.send_to_self(MIDDLE);
    cpu::take_interrupts();
    checks.equal(named!(apic, "highest-first"), interrupts::taken(), HIGH.into());
    checks.equal(named!(apic, "processor-priority-of-service"), apic.read(PROCESSOR_PRIORITY), 0x80);
    apic.write(EOI, 0);
    cpu::take_interrupts();
    checks.equal(named!(apic, "then-the-next"), interrupts::taken(), MIDDLE.into());
    apic.write(EOI, 0);
    cpu::take_interrupts();
    checks.equal(named!(apic, "then-the-last"), interrupts::taken(), LOW.into());
    apic.send_to_self(MIDDLE);
    cpu::take_interrupts();
    checks.equal(named!(apic, "same-class-does-not-interrupt"), interrupts::taken(), 0);
    apic.send_to_self(HIGH);
    cpu::take_interrupts();
    checks.equal(named!(apic, "higher-class-interrupts"), interrupts::taken(), HIGH.into());
    apic.write(EOI, 0);
    let left = (apic.holds(IN_SERVICE, HIGH), apic.holds(IN_SERVICE, LOW));
    checks.check(named!(apic, "end-is-of-the-highest"), left == (false, true), format_args!("ISR: {left:?}"));
    apic.write(TASK_PRIORITY, 0x20);
    checks.equal(named!(apic, "processor-priority-above-the-task's"), apic.read(PROCESSOR_PRIORITY), 0x40);
    apic.write(TASK_PRIORITY, 0x57);
    checks.equal(named!(apic, "processor-priority-is-the-task's"), apic.read(PROCESSOR_PRIORITY), 0x57);
    apic.calm();
    apic.write(TASK_PRIORITY, 0x40);
    apic.send_to_self(LOW);
    cpu::take_interrupts();
    checks.equal(named!(apic, "task-priority-holds-its-class-back"), interrupts::taken(), 0);
    apic.write(TASK_PRIORITY, 0x3f);
    cpu::take_interrupts();
    checks.equal(named!(apic, "task-priority-lets-the-next-class-through"), interrupts::taken(), LOW.into());
    apic.write(EOI, 0);
    set_cr8(8);
    apic.send_to_self(HIGH);
    cpu::take_interrupts();
    let held = interrupts::taken();
    // SAFETY: interrupts have handlers; the one that waits comes when CR8 falls.
    unsafe { core::arch::asm!("sti", "nop", "mov cr8, {}", "nop", "cli", in(reg) 0_u64) };
    checks.equal(named!(apic, "cr8-holds-back"), held, 0);
    checks.equal(named!(apic, "cr8-lowered-lets-through"), interrupts::taken(), HIGH.into());
    apic.write(EOI, 0);
}

pub fn errors(checks: &mut Checks, apic: Apic) {
    const SENDS: &str = "QEMU's emulator notes no errors and delivers any vector";
    apic.calm();
    if !checks.deviates(named!(apic, "illegal-vector-sent"), SENDS) {
        apic.write(COMMAND, TO_SELF | 5);
        apic.write(ERRORS, 0);
        let seen = apic.read(ERRORS);
        checks.equal(named!(apic, "illegal-vector-sent"), seen & ERROR_SEND_ILLEGAL, ERROR_SEND_ILLEGAL);
    }
    apic.write(ERRORS, 0);
    if !checks.deviates(named!(apic, "errors-are-gone-when-shown"), SENDS) {
        checks.equal(named!(apic, "errors-are-gone-when-shown"), apic.read(ERRORS), 0);
    }
    cpu::take_interrupts();
    checks.equal(named!(apic, "illegal-vector-is-not-delivered"), interrupts::taken(), 0);
    if !checks.deviates(named!(apic, "error-interrupt"), SENDS) {
        apic.write(LVT_ERROR, MIDDLE.into());
        apic.write(COMMAND, TO_SELF | 5);
        cpu::take_interrupts();
        checks.equal(named!(apic, "error-interrupt"), interrupts::taken(), MIDDLE.into());
        apic.write(EOI, 0);
    }
    apic.write(LVT_ERROR, MASKED);
}

pub fn non_maskable(checks: &mut Checks, apic: Apic) {
    apic.calm();
    let before = count(2);
    let id = u64::from(cpu::cpuid(1, 0).ebx >> 24);
    if let Mode::XApic = apic.0 {
        apic.write(COMMAND_HIGH, id << 24);
    }
    let high = if let Mode::X2Apic = apic.0 { id << 32 } else { 0 };
    apic.write(COMMAND, high | NMI);
    // It comes although interrupts are masked.
    checks.equal(named!(apic, "nmi-by-command"), (count(2) - before).into(), 1);
    apic.write(COMMAND, high | u64::from(LOW));
    cpu::take_interrupts();
    checks.equal(named!(apic, "command-to-its-own-id"), interrupts::taken(), LOW.into());
    apic.write(EOI, 0);
}

pub fn software_disabled(checks: &mut Checks, apic: Apic) {
    apic.calm();
    apic.write(LVT_TIMER, LOW.into());
    apic.write(SPURIOUS, SPURIOUS_VECTOR.into());
    let name = named!(apic, "disabled-masks-local-vectors");
    if !checks.deviates(name, "QEMU's emulator leaves them open") {
        checks.equal(name, apic.read(LVT_TIMER) & MASKED, MASKED);
    }
    apic.write(LVT_TIMER, LOW.into());
    let name = named!(apic, "disabled-keeps-them-masked");
    if !checks.deviates(name, "QEMU's emulator lets them be opened") {
        checks.equal(name, apic.read(LVT_TIMER) & MASKED, MASKED);
    }
    apic.send_to_self(LOW);
    cpu::take_interrupts();
    let name = named!(apic, "disabled-takes-no-interrupt");
    if !checks.deviates(name, "QEMU's emulator takes them") {
        checks.equal(name, interrupts::taken(), 0);
    }
    apic.calm();
}
