//! The local APIC: registers, priorities, requests and service, self-IPIs, errors, timer and modes; first through its
//! page (xAPIC), then by model-specific registers (x2APIC). (Intel SDM, volume 3, chapter 11; AMD APM 24593, volume 2,
//! chapter 16.)
//!
//! Unsafe because the registers decide what interrupts this program.

#![no_std]
#![no_main]

use guests::control::{cr8, set_cr8};
use guests::interrupts::{self, Acknowledge, SPURIOUS_VECTOR, count};
use guests::{Checks, apic, cpu, guest};

guest!("local-apic", run);

const PAGE: u64 = 0xfee0_0000;

/// Registers, as x2APIC's indices less 0x800, which are the page's offsets divided by 16.
const ID: u32 = 0x02;
const VERSION: u32 = 0x03;
const TASK_PRIORITY: u32 = 0x08;
const PROCESSOR_PRIORITY: u32 = 0x0a;
const EOI: u32 = 0x0b;
const LOGICAL_DESTINATION: u32 = 0x0d;
const DESTINATION_FORMAT: u32 = 0x0e;
const SPURIOUS: u32 = 0x0f;
const IN_SERVICE: u32 = 0x10;
const TRIGGER_MODE: u32 = 0x18;
const REQUESTS: u32 = 0x20;
const ERRORS: u32 = 0x28;
const COMMAND: u32 = 0x30;
const COMMAND_HIGH: u32 = 0x31;
const LVT_TIMER: u32 = 0x32;
const LVT_LINT0: u32 = 0x35;
const LVT_LINT1: u32 = 0x36;
const LVT_ERROR: u32 = 0x37;
const INITIAL_COUNT: u32 = 0x38;
const CURRENT_COUNT: u32 = 0x39;
const DIVIDE: u32 = 0x3e;
const SELF_IPI: u32 = 0x3f;

const MASKED: u64 = 1 << 16;
const PERIODIC: u64 = 1 << 17;
const TSC_DEADLINE_MODE: u64 = 2 << 17;
const SOFTWARE_ENABLED: u64 = 1 << 8;
const TO_SELF: u64 = 1 << 18;
const NMI: u64 = 4 << 8;
const ERROR_SEND_ILLEGAL: u64 = 1 << 5;
const ERROR_ILLEGAL_REGISTER: u64 = 1 << 7;

const BASE_BOOTSTRAP: u64 = 1 << 8;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLED: u64 = 1 << 11;
const TSC_DEADLINE: u32 = 0x6e0;

const LOW: u8 = 0x45;
const MIDDLE: u8 = 0x4a;
const HIGH: u8 = 0x83;

const NOT_CHECKED: &str = "QEMU's emulator takes it";

/// How the registers are reached.
#[derive(Clone, Copy)]
enum Mode {
    XApic,
    X2Apic,
}

/// The APIC in one of its modes; the prefix of its checks' names is told apart by the caller.
#[derive(Clone, Copy)]
struct Apic(Mode);

impl Apic {
    fn read(self, register: u32) -> u64 {
        match self.0 {
            Mode::XApic => {
                // SAFETY: a register of the page, which is mapped.
                let value = unsafe { ((PAGE + u64::from(register) * 16) as *const u32).read_volatile() };
                value.into()
            }
            Mode::X2Apic => cpu::rdmsr(0x800 + register),
        }
    }

    fn write(self, register: u32, value: u64) {
        // SAFETY: what it leads to has handlers.
        unsafe {
            match self.0 {
                Mode::XApic => ((PAGE + u64::from(register) * 16) as *mut u32).write_volatile(value as u32),
                Mode::X2Apic => cpu::wrmsr(0x800 + register, value),
            }
        }
    }

    fn send_to_self(self, vector: u8) {
        self.write(COMMAND, TO_SELF | u64::from(vector));
    }

    /// Whether `vector` is in the 256-bit register that begins at `first`.
    fn holds(self, first: u32, vector: u8) -> bool {
        self.read(first + u32::from(vector) / 32) >> (vector % 32) & 1 != 0
    }

    /// Everything quiet, nothing in service, all interrupts possible.
    fn calm(self) {
        self.write(SPURIOUS, SOFTWARE_ENABLED | u64::from(SPURIOUS_VECTOR));
        self.write(TASK_PRIORITY, 0);
        self.write(LVT_TIMER, MASKED);
        self.write(INITIAL_COUNT, 0);
        for _ in 0..4 {
            cpu::take_interrupts();
            self.write(EOI, 0);
        }
        interrupts::taken();
        self.write(ERRORS, 0);
        self.write(ERRORS, 0);
    }
}

/// A check's name for each mode.
macro_rules! named {
    ($apic:expr, $name:literal) => {
        match $apic.0 {
            Mode::XApic => concat!("xapic-", $name),
            Mode::X2Apic => concat!("x2apic-", $name),
        }
    };
}

fn run(checks: &mut Checks) {
    interrupts::acknowledge(Acknowledge::ByCheck);
    base(checks);
    let page = Apic(Mode::XApic);
    both_modes(checks, page);
    page_only(checks, page);
    change_modes(checks);
    let registers = Apic(Mode::X2Apic);
    both_modes(checks, registers);
    registers_only(checks, registers);
    deadline(checks, registers);
}

fn both_modes(checks: &mut Checks, apic: Apic) {
    identity(checks, apic);
    values(checks, apic);
    requests(checks, apic);
    priorities(checks, apic);
    errors(checks, apic);
    non_maskable(checks, apic);
    timer(checks, apic);
    software_disabled(checks, apic);
}

fn set_base(value: u64) -> guests::checks::Probe {
    // SAFETY: the modes that this program is left in are those that it uses.
    unsafe { cpu::try_wrmsr(apic::APIC_BASE, value) }
}

fn base(checks: &mut Checks) {
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

fn identity(checks: &mut Checks, apic: Apic) {
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

fn values(checks: &mut Checks, apic: Apic) {
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

fn requests(checks: &mut Checks, apic: Apic) {
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

fn priorities(checks: &mut Checks, apic: Apic) {
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

fn errors(checks: &mut Checks, apic: Apic) {
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

fn non_maskable(checks: &mut Checks, apic: Apic) {
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

/// Waits for the timer's request without taking it; whether it came.
fn timer_fires(apic: Apic) -> bool {
    (0..3_000_000).any(|_| apic.holds(REQUESTS, LOW))
}

fn timer(checks: &mut Checks, apic: Apic) {
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

/// The divider makes the timer slower in steps of two: TSC ticks for the same count, one divider after the other.
fn divides(checks: &mut Checks, apic: Apic) {
    const COUNT: u64 = 1 << 31;
    const WHILE: u64 = 4_000_000;
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
    let by_one = ticks(codes[0]);
    let mut odd = None;
    for (shift, code) in (0..).zip(codes) {
        // A busy host disturbs one measure, not three in a row.
        let fits = (0..3).any(|_| {
            let scaled = ticks(code) << shift;
            scaled > by_one / 2 && scaled < by_one * 2
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

fn software_disabled(checks: &mut Checks, apic: Apic) {
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

fn page_only(checks: &mut Checks, apic: Apic) {
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

fn change_modes(checks: &mut Checks) {
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

fn registers_only(checks: &mut Checks, apic: Apic) {
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

/// The timer's third mode, where the processor has it; the bare emulator has not.
fn deadline(checks: &mut Checks, apic: Apic) {
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
