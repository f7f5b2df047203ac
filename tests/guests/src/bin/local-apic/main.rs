//! The local APIC: registers, priorities, requests and service, self-IPIs, errors, timer and modes; first through its
//! page (xAPIC), then by model-specific registers (x2APIC). (Intel SDM, volume 3, chapter 11; AMD APM 24593, volume 2,
//! chapter 16.)
//!
//! Unsafe because the registers decide what interrupts this program.

#![no_std]
#![no_main]

mod registers;
mod service;
mod timer;

use guests::interrupts::{self, Acknowledge, SPURIOUS_VECTOR};
use guests::{Checks, cpu, guest};

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

const LOW: u8 = 0x45;

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
use named;

fn run(checks: &mut Checks) {
    interrupts::acknowledge(Acknowledge::ByCheck);
    registers::base(checks);
    let page = Apic(Mode::XApic);
    both_modes(checks, page);
    registers::page_only(checks, page);
    registers::change_modes(checks);
    let msrs = Apic(Mode::X2Apic);
    both_modes(checks, msrs);
    registers::msrs_only(checks, msrs);
    timer::deadline(checks, msrs);
}

fn both_modes(checks: &mut Checks, apic: Apic) {
    registers::identity(checks, apic);
    registers::values(checks, apic);
    service::requests(checks, apic);
    service::priorities(checks, apic);
    service::errors(checks, apic);
    service::non_maskable(checks, apic);
    timer::timer(checks, apic);
    service::software_disabled(checks, apic);
}
