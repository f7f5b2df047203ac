//! What an exit costs, in executed instructions: run by `cargo xtask bench exits`, where time is counted instructions.
//!
//! Each operation is done [`SAMPLES`] times between two readings of the TSC, in turn with each of its encodings, so that
//! nobody can know its length without looking at its bytes. The same code around an instruction that does not exit
//! (NOP, or INT for what ends in a handler) is subtracted; what remains is the operation alone:
//!
//! ```text
//!   RDTSC  operands  operation ─> exit, hypervisor, entry ─> RDTSC      total + surroundings
//!   RDTSC  operands  NOP                                     RDTSC      surroundings + 1
//! ```
//!
//! The operation's own instruction belongs to its total; the hypervisor's share is all but that. Nothing is stamped
//! in the hypervisor, where stamps would be instructions of their own: all that is not the guest's is the
//! hypervisor's, since both run on one processor that does nothing else.
//!
//! One line per operation is printed:
//! `bench: NAME: samples N, median N, minimum N, guest N, exits N`.
//!
//! Unsafe because it is assembly, and writes model-specific registers.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use guests::interrupts::{self, APIC_VECTOR, SPURIOUS_VECTOR};
use guests::{Checks, apic, cpu, guest, println};

guest!("bench-exits", run);

/// How often each operation is done; odd, so that the median is one of them.
const SAMPLES: usize = 501;
/// How many are done before, unmeasured: tables are walked and code is translated then.
const WARM_UP: usize = 16;

const VECTOR: u8 = APIC_VECTOR + 0x10;
const X2APIC_EOI: u32 = 0x80b;
const X2APIC_SELF_IPI: u32 = 0x83f;
const TSC_DEADLINE: u32 = 0x6e0;
/// LVT timer: the deadline mode.
const LVT_TSC_DEADLINE: u64 = 2 << 17;
/// A register of the processor that every hypervisor emulates.
const MISC_ENABLE: u32 = 0x1a0;
const COM1_DATA: u32 = 0x3f8;
/// Ports and memory where nothing is.
const NOBODYS_PORT: u32 = 0x1234;
const NOBODYS_MEMORY: u64 = 0xd000_0000;
/// A hypercall that nobody knows.
const UNKNOWN_HYPERCALL: u32 = 0x0bad_0bad;
/// Cofferdam's hypercall that tells a test VM how often it has exited, this one included.
const EXITS_HYPERCALL: u64 = 0x4346_0001;
/// How far off a timer is set, in ticks of the TSC: longer than it takes to halt.
const AHEAD: u64 = 1_000_000;

/// From the handler's first instruction to its reading of the TSC.
const HANDLER_INSTRUCTIONS: u32 = 2;

static STAMP: AtomicU32 = AtomicU32::new(0);

// The handler of `VECTOR`: notes when it began. The end of interrupt is the interrupted code's.
global_asm!(
    ".globl stamp_on_interrupt",
    "stamp_on_interrupt:",
    "push rax",
    "push rdx",
    "rdtsc",
    "mov dword ptr [rip + {stamp}], eax",
    "pop rdx",
    "pop rax",
    "iretq",
    stamp = sym STAMP,
);

unsafe extern "C" {
    fn stamp_on_interrupt();
}

/// The ticks from before the operands are in place until after `$operation`, an instruction that finds them in EAX, ECX,
/// EDX and RDI.
macro_rules! timed {
    ($operation:literal, $eax:expr, $ecx:expr, $edx:expr, $rdi:expr) => {{
        let ticks: u32;
        // SAFETY: every operation measured leaves memory and all registers but those named here as they are.
        unsafe {
            asm!(
                "mov rsi, rbx",
                "rdtsc",
                "mov r8d, eax",
                "mov eax, r9d",
                "mov ecx, r10d",
                "mov edx, r11d",
                $operation,
                "rdtsc",
                "sub eax, r8d",
                "mov rbx, rsi",
                in("rdi") $rdi,
                in("r9d") $eax,
                in("r10d") $ecx,
                in("r11d") $edx,
                out("eax") ticks,
                out("ecx") _,
                out("edx") _,
                out("r8") _,
                out("rsi") _,
            );
        }
        ticks
    }};
}

/// [`timed!`] for an unknown hypercall, by the instruction of the processor's maker.
macro_rules! timed_hypercall {
    ($intel:literal, $amd:literal) => {
        if cpu::is_intel() {
            timed!($intel, UNKNOWN_HYPERCALL, 0, 0, 0_u64)
        } else {
            timed!($amd, UNKNOWN_HYPERCALL, 0, 0, 0_u64)
        }
    };
}

/// The ticks from before the operands are in place until the handler of `VECTOR` reads the TSC.
macro_rules! timed_to_handler {
    ($operation:literal, $eax:expr, $ecx:expr) => {{
        let begin: u32;
        // SAFETY: as above; the interrupt's handler changes nothing but the stamp, and there is no red zone.
        unsafe {
            asm!(
                "sti",
                "nop",
                "rdtsc",
                "mov r8d, eax",
                "mov eax, r9d",
                "xor edx, edx",
                $operation,
                "cli",
                in("r9d") $eax,
                in("ecx") $ecx,
                out("eax") _,
                out("edx") _,
                out("r8d") begin,
            );
        }
        STAMP.load(Relaxed).wrapping_sub(begin)
    }};
}

/// An operation: what comes before it, its encodings, and the code around it without it.
struct Operation {
    name: &'static str,
    prepare: fn(),
    encodings: &'static [fn() -> u32],
    surroundings: fn() -> u32,
    /// What the guest executes between the two readings besides the surroundings.
    guest_instructions: u32,
}

const fn nothing() {}

fn nop() -> u32 {
    timed!("nop", 0, 0, 0, 0_u64)
}

// Prefixes: 2E, 3E, 26 and 64 name segments that nothing here uses; 48 is REX.W; 67 is the address size.
const OPERATIONS: [Operation; 9] = [
    Operation {
        name: "CPUID",
        prepare: nothing,
        encodings: &[
            || timed!("cpuid", 0, 0, 0, 0_u64),
            || timed!(".byte 0x3e, 0x0f, 0xa2", 1, 0, 0, 0_u64),
            || timed!(".byte 0x2e, 0x48, 0x0f, 0xa2", 7, 0, 0, 0_u64),
        ],
        surroundings: nop,
        guest_instructions: 1,
    },
    Operation {
        name: "hypercall",
        prepare: nothing,
        encodings: &[
            || timed_hypercall!("vmcall", "vmmcall"),
            || timed_hypercall!(".byte 0x3e, 0x0f, 0x01, 0xc1", ".byte 0x3e, 0x0f, 0x01, 0xd9"),
            || timed_hypercall!(".byte 0x26, 0x2e, 0x0f, 0x01, 0xc1", ".byte 0x26, 0x2e, 0x0f, 0x01, 0xd9"),
        ],
        surroundings: nop,
        guest_instructions: 1,
    },
    Operation {
        name: "emulated MSR",
        prepare: nothing,
        encodings: &[
            || timed!("rdmsr", 0, MISC_ENABLE, 0, 0_u64),
            || timed!(".byte 0x3e, 0x0f, 0x32", 0, MISC_ENABLE, 0, 0_u64),
            || timed!(".byte 0x2e, 0x48, 0x0f, 0x32", 0, MISC_ENABLE, 0, 0_u64),
        ],
        surroundings: nop,
        guest_instructions: 1,
    },
    Operation {
        name: "x2APIC EOI",
        prepare: serve_interrupt,
        encodings: &[
            || timed!("wrmsr", 0, X2APIC_EOI, 0, 0_u64),
            || timed!(".byte 0x3e, 0x0f, 0x30", 0, X2APIC_EOI, 0, 0_u64),
            || timed!(".byte 0x2e, 0x48, 0x0f, 0x30", 0, X2APIC_EOI, 0, 0_u64),
        ],
        surroundings: nop,
        guest_instructions: 1,
    },
    Operation {
        name: "unhandled port write",
        prepare: nothing,
        encodings: &[
            || timed!("out dx, al", 0, 0, NOBODYS_PORT, 0_u64),
            || timed!(".byte 0x3e, 0xef", 0, 0, NOBODYS_PORT, 0_u64),
            || timed!(".byte 0x2e, 0xe6, 0x80", 0, 0, 0, 0_u64),
        ],
        surroundings: nop,
        guest_instructions: 1,
    },
    Operation {
        name: "UART data write",
        prepare: nothing,
        encodings: &[
            || timed!("out dx, al", 0x2e, 0, COM1_DATA, 0_u64),
            || timed!(".byte 0x3e, 0xee", 0x2e, 0, COM1_DATA, 0_u64),
            || timed!(".byte 0x2e, 0x48, 0xee", 0x2e, 0, COM1_DATA, 0_u64),
        ],
        surroundings: nop,
        guest_instructions: 1,
    },
    Operation {
        name: "unhandled MMIO read",
        prepare: nothing,
        encodings: &[
            || timed!("mov eax, dword ptr [rdi]", 0, 0, 0, NOBODYS_MEMORY),
            || timed!("mov al, byte ptr [rdi + rcx * 2 + 5]", 0, 0, 0, NOBODYS_MEMORY),
            || timed!(".byte 0x3e, 0x67, 0x48, 0x8b, 0x97, 0x00, 0x01, 0x00, 0x00", 0, 0, 0, NOBODYS_MEMORY),
            || timed!("movzx ecx, word ptr [rdi]", 0, 0, 0, NOBODYS_MEMORY),
        ],
        surroundings: nop,
        guest_instructions: 1,
    },
    Operation {
        name: "self-IPI to handler",
        prepare: end_interrupt,
        encodings: &[
            || timed_to_handler!("wrmsr", u32::from(VECTOR), X2APIC_SELF_IPI),
            || timed_to_handler!(".byte 0x3e, 0x0f, 0x30", u32::from(VECTOR), X2APIC_SELF_IPI),
            || timed_to_handler!(".byte 0x2e, 0x48, 0x0f, 0x30", u32::from(VECTOR), X2APIC_SELF_IPI),
        ],
        surroundings: || timed_to_handler!("int 0x50", 0, 0),
        guest_instructions: 1,
    },
    Operation {
        name: "timer wake from HLT, lateness",
        prepare: end_interrupt,
        encodings: &[timer_wake],
        // What is subtracted below is what the handler executes before it reads the TSC; like a NOP it counts one less.
        surroundings: || 0,
        guest_instructions: HANDLER_INSTRUCTIONS,
    },
];

/// Ends the interrupt in service, if there is one.
fn end_interrupt() {
    // SAFETY: what was in service has run to its end.
    unsafe { cpu::wrmsr(X2APIC_EOI, 0) };
}

/// Takes an interrupt and leaves it in service.
fn serve_interrupt() {
    let _ = timed_to_handler!("wrmsr", u32::from(VECTOR), X2APIC_SELF_IPI);
}

/// How late the handler runs when a timer ends HLT, in ticks.
fn timer_wake() -> u32 {
    let deadline = cpu::tsc() + AHEAD;
    // SAFETY: the timer's vector has a handler.
    unsafe { cpu::wrmsr(TSC_DEADLINE, deadline) };
    let before = STAMP.load(Relaxed);
    while STAMP.load(Relaxed) == before {
        cpu::wait_for_interrupt();
    }
    STAMP.load(Relaxed).wrapping_sub(deadline as u32)
}

/// How many times the VM has exited, this one included; 0 where nobody tells.
fn exits() -> u64 {
    let count = cpu::hypercall(EXITS_HYPERCALL);
    if (count as i64) < 0 { 0 } else { count }
}

/// The ticks of one instruction, found by a thousand; rounded, since Bochs counts some instructions at a time.
fn ticks_per_instruction() -> u32 {
    let one = timed!("nop", 0, 0, 0, 0_u64);
    let many = timed!(".rept 1001\nnop\n.endr", 0, 0, 0, 0_u64);
    (many.wrapping_sub(one) + 500) / 1000
}

/// Vector state that every exit must leave alone.
const PATTERN: u64 = 0x0123_4567_89ab_cdef;

fn fill_vector_register() {
    // SAFETY: `enable_vectors` has allowed it; compiled code does not use these registers.
    unsafe { asm!("movq xmm15, {}", "addps xmm14, xmm14", in(reg) PATTERN, options(nostack)) };
}

fn vector_register() -> u64 {
    let value: u64;
    // SAFETY: as above.
    unsafe { asm!("addps xmm14, xmm14", "movq {}, xmm15", out(reg) value, options(nostack)) };
    value
}

fn enable_vectors() {
    const OSFXSR_OSXMMEXCPT: u64 = 1 << 9 | 1 << 10;
    // SAFETY: allows SSE instructions (Intel SDM, volume 3, section 2.5).
    unsafe {
        asm!("mov {0}, cr4", "or {0}, {1}", "mov cr4, {0}", out(reg) _, in(reg) OSFXSR_OSXMMEXCPT, options(nostack));
    }
}

fn run(checks: &mut Checks) {
    enable_vectors();
    apic::enable(SPURIOUS_VECTOR);
    interrupts::set_handler(VECTOR, stamp_on_interrupt);
    // SAFETY: the timer's vector has a handler.
    unsafe { cpu::wrmsr(apic::LVT_TIMER, LVT_TSC_DEADLINE | u64::from(VECTOR)) };
    let tick = ticks_per_instruction();
    checks.check("ticks-are-instructions", tick != 0, format_args!("an instruction takes no time"));
    if tick == 0 {
        return;
    }
    fill_vector_register();
    for operation in &OPERATIONS {
        measure(operation, tick, checks);
    }
}

fn measure(operation: &Operation, tick: u32, checks: &mut Checks) {
    let mut totals = [0_u32; SAMPLES];
    let mut exit_counts = [0_u32; SAMPLES];
    let mut encodings = operation.encodings.iter().cycle();
    let mut once = || {
        (operation.prepare)();
        let encoding = encodings.next().copied().unwrap_or(operation.surroundings);
        let before = exits();
        let ticks = encoding();
        let after = exits();
        (ticks, after.wrapping_sub(before).saturating_sub(1) as u32)
    };
    (0..WARM_UP).for_each(|_| {
        let _ = once();
    });
    let surroundings = (operation.surroundings)();
    for (total, exits) in totals.iter_mut().zip(&mut exit_counts) {
        let (ticks, exited) = once();
        // The instruction in the operation's place among the surroundings counts again.
        *total = ticks.wrapping_sub(surroundings) / tick + u32::from(surroundings != 0);
        *exits = exited;
        checks_vector(checks);
    }
    totals.sort_unstable();
    exit_counts.sort_unstable();
    end_interrupt();
    println!();
    println!(
        "bench: {}: samples {SAMPLES}, median {}, minimum {}, guest {}, exits {}",
        operation.name,
        totals[SAMPLES / 2],
        totals[0],
        operation.guest_instructions,
        exit_counts[SAMPLES / 2],
    );
}

/// The guest's vector state is live all the time.
fn checks_vector(checks: &mut Checks) {
    let seen = vector_register();
    if seen != PATTERN {
        checks.equal("vector-state-survives", seen, PATTERN);
        fill_vector_register();
    }
}
