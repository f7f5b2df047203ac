//! What registers are after a reset, what they keep and refuse, and the modes.
//!
//! Unsafe because the base register decides whether there is an APIC.

use super::*;
use guests::apic;
use guests::control::{cr8, set_cr8};

const ERROR_ILLEGAL_REGISTER: u64 = 1 << 7;

const BASE_BOOTSTRAP: u64 = 1 << 8;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLED: u64 = 1 << 11;

const NOT_CHECKED: &str = "QEMU's emulator takes it";

fn set_base(value: u64) -> guests::checks::Probe {
    // SAFETY: the modes that this program is left in are those that it uses.
    unsafe { cpu::try_wrmsr(apic::APIC_BASE, value) }
}

pub fn base(checks: &mut Checks) {
    let before = cpu::rdmsr(apic::APIC_BASE);
    checks.equal("base-after-reset", before & 0xfff_ffff_ffff, PAGE | BASE_ENABLED | BASE_BOOTSTRAP);
    for (name, value) in [
        ("base-bit-0", before | 1),
        ("base-bit-9", before | 1 << 9),
        ("base-bit-63", before | 1 << 63),
        ("base-x2apic-without-enable", before & !BASE_ENABLED | BASE_X2APIC),
    ] {
        if !checks.deviates(name, NOT_CHECKED) {
            checks.refused(name, set_base(value));
        }
    }
    if !checks.deviates("x2apic-registers-fault-in-xapic-mode", "QEMU's emulator reads zeros") {
        checks.refused("x2apic-registers-fault-in-xapic-mode", cpu::try_rdmsr(0x802));
    }
}

pub fn identity(checks: &mut Checks, apic: Apic) {
    let id = u64::from(cpu::cpuid(1, 0).ebx >> 24);
    let seen = match apic.0 {
        Mode::XApic => apic.read(ID) >> 24,
        Mode::X2Apic => apic.read(ID),
    };
    checks.equal(named!(apic, "id-is-that-of-cpuid"), seen, id);
    let version = apic.read(VERSION);
    checks.check(
        named!(apic, "version-is-of-an-integrated-apic"),
        (0x10..=0x15).contains(&(version & 0xff)),
        format_args!("saw {version:#x}"),
    );
    let entries = (version >> 16 & 0xff) + 1;
    checks.check(
        named!(apic, "local-vectors"),
        (4..=7).contains(&entries),
        format_args!("{entries} of them"),
    );
}

pub fn values(checks: &mut Checks, apic: Apic) {
    apic.calm();
    for (name, register, value) in [
        (named!(apic, "task-priority-keeps"), TASK_PRIORITY, 0xab),
        (named!(apic, "spurious-vector-keeps"), SPURIOUS, SOFTWARE_ENABLED | 0xcf),
        (named!(apic, "timer-entry-keeps"), LVT_TIMER, MASKED | PERIODIC | 0x77),
        (named!(apic, "lint0-entry-keeps"), LVT_LINT0, MASKED | 1 << 15 | 1 << 13 | 0x55),
        (named!(apic, "lint1-entry-keeps"), LVT_LINT1, MASKED | NMI),
        (named!(apic, "error-entry-keeps"), LVT_ERROR, MASKED | 0x66),
        (named!(apic, "divide-keeps"), DIVIDE, 0xb),
        (named!(apic, "command-keeps"), COMMAND, TO_SELF | 0x41),
    ] {
        let before = apic.read(register);
        apic.write(register, value);
        checks.equal(name, apic.read(register), value);
        if register != COMMAND {
            apic.write(register, before);
        }
    }
    apic.calm();
    apic.write(TASK_PRIORITY, 0x70);
    checks.equal(named!(apic, "task-priority-is-cr8"), cr8(), 7);
    set_cr8(3);
    checks.equal(named!(apic, "cr8-is-the-task-priority"), apic.read(TASK_PRIORITY), 0x30);
    set_cr8(0);
}

pub fn page_only(checks: &mut Checks, apic: Apic) {
    apic.write(LOGICAL_DESTINATION, 0xa500_0000);
    checks.equal("xapic-logical-destination-keeps", apic.read(LOGICAL_DESTINATION), 0xa500_0000);
    apic.write(DESTINATION_FORMAT, 0x0fff_ffff);
    checks.equal("xapic-destination-format-keeps", apic.read(DESTINATION_FORMAT), 0x0fff_ffff);
    apic.write(DESTINATION_FORMAT, 0xffff_ffff);
    apic.write(COMMAND_HIGH, 0xa5 << 24);
    checks.equal("xapic-command-high-keeps", apic.read(COMMAND_HIGH), 0xa5 << 24);
    apic.calm();
    // Logical, flat: bit 2 of the destination is this APIC's.
    apic.write(COMMAND_HIGH, 0x04 << 24);
    apic.write(COMMAND, 1 << 11 | u64::from(LOW));
    cpu::take_interrupts();
    checks.equal("xapic-logical-command", interrupts::taken(), LOW.into());
    apic.write(EOI, 0);
    apic.write(COMMAND_HIGH, 0x12 << 24);
    apic.write(COMMAND, 1 << 11 | u64::from(LOW));
    cpu::take_interrupts();
    checks.equal("xapic-logical-command-to-another", interrupts::taken(), 0);
    apic.read(0x04);
    apic.write(ERRORS, 0);
    if !checks.deviates("xapic-illegal-register", "QEMU's emulator notes no errors") {
        checks.equal("xapic-illegal-register", apic.read(ERRORS), ERROR_ILLEGAL_REGISTER);
    }
    apic.write(ERRORS, 0);
}

pub fn change_modes(checks: &mut Checks) {
    let bootstrap = PAGE | BASE_BOOTSTRAP;
    checks.passed("mode-to-x2apic", set_base(bootstrap | BASE_ENABLED | BASE_X2APIC));
    checks.check("mode-is-x2apic", apic::is_x2apic(), format_args!("{:#x}", cpu::rdmsr(apic::APIC_BASE)));
    checks.refused("mode-from-x2apic-to-xapic", set_base(bootstrap | BASE_ENABLED));
    checks.passed("mode-to-disabled", set_base(bootstrap));
    checks.equal("mode-disabled-shows-in-cpuid", (cpu::cpuid(1, 0).edx >> 9 & 1).into(), 0);
    checks.refused("mode-from-disabled-to-x2apic", set_base(bootstrap | BASE_ENABLED | BASE_X2APIC));
    checks.passed("mode-from-disabled-to-xapic", set_base(bootstrap | BASE_ENABLED));
    checks.equal("mode-enabled-shows-in-cpuid", (cpu::cpuid(1, 0).edx >> 9 & 1).into(), 1);
    set_base(bootstrap | BASE_ENABLED | BASE_X2APIC);
}

pub fn msrs_only(checks: &mut Checks, apic: Apic) {
    apic.calm();
    let id = apic.read(ID);
    checks.equal(
        "x2apic-logical-destination-is-of-the-id",
        apic.read(LOGICAL_DESTINATION),
        (id >> 4) << 16 | 1 << (id & 0xf),
    );
    apic.write(SELF_IPI, LOW.into());
    cpu::take_interrupts();
    checks.equal("x2apic-self-ipi", interrupts::taken(), LOW.into());
    apic.write(EOI, 0);
    for (name, register) in [
        ("x2apic-no-destination-format", DESTINATION_FORMAT),
        ("x2apic-no-command-high", COMMAND_HIGH),
        ("x2apic-no-register-4", 0x04),
        ("x2apic-no-register-40", 0x40),
        ("x2apic-end-cannot-be-read", EOI),
        ("x2apic-self-ipi-cannot-be-read", SELF_IPI),
    ] {
        if !checks.deviates(name, NOT_CHECKED) {
            checks.refused(name, cpu::try_rdmsr(0x800 + register));
        }
    }
    for (name, register, value) in [
        ("x2apic-id-is-read-only", ID, 0),
        ("x2apic-version-is-read-only", VERSION, 0),
        ("x2apic-processor-priority-is-read-only", PROCESSOR_PRIORITY, 0),
        ("x2apic-logical-destination-is-read-only", LOGICAL_DESTINATION, 0),
        ("x2apic-service-is-read-only", IN_SERVICE, 0),
        ("x2apic-requests-are-read-only", REQUESTS, 0),
        ("x2apic-current-count-is-read-only", CURRENT_COUNT, 0),
        ("x2apic-end-takes-zero-only", EOI, 1),
        ("x2apic-errors-take-zero-only", ERRORS, 1),
        ("x2apic-task-priority-has-8-bits", TASK_PRIORITY, 0x100),
        ("x2apic-spurious-reserved-bit", SPURIOUS, 1 << 13),
        ("x2apic-timer-reserved-bit", LVT_TIMER, MASKED | 1 << 12 | 1 << 20),
        ("x2apic-lint0-reserved-bit", LVT_LINT0, MASKED | 1 << 17),
        ("x2apic-error-reserved-bit", LVT_ERROR, MASKED | 1 << 8),
        ("x2apic-initial-count-has-32-bits", INITIAL_COUNT, 1 << 32),
        ("x2apic-divide-reserved-bit", DIVIDE, 1 << 2),
        ("x2apic-command-reserved-bit", COMMAND, 1 << 20),
        ("x2apic-self-ipi-has-8-bits", SELF_IPI, 0x100),
    ] {
        if !checks.deviates(name, NOT_CHECKED) {
            // SAFETY: it faults.
            checks.refused(name, unsafe { cpu::try_wrmsr(0x800 + register, value) });
        }
    }
}
