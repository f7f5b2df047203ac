//! When events are taken: behind the shadows of STI and MOV SS, NMIs one at a time until IRET, in the order of their
//! urgency, and what becomes of an event whose delivery itself faults (AMD APM 24593, volume 2, sections 8.1.3, 8.2.9
//! and 8.5; Intel SDM, volume 3, sections 7.7 and 7.8).
//!
//! Unsafe because it is assembly whose every instruction may be interrupted, and because it replaces handlers.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use guests::control::{cr3, cr8, set_cr8};
use guests::interrupts::{self, Acknowledge, SPURIOUS_VECTOR, TablePointer, count, set_handler};
use guests::{Checks, apic, cpu, guest, probe};

guest!("nmi-and-shadow", run);

const NMI_VECTOR: u8 = 2;
const VECTOR: u8 = 0x51;
const OTHER_VECTOR: u8 = 0x71;
const BREAKPOINT: u8 = 3;
const DOUBLE_FAULT: u64 = 8;
const PAGE_FAULT: u64 = 14;

const X2APIC_IN_SERVICE: u32 = 0x810;
const X2APIC_EOI: u32 = 0x80b;
const X2APIC_COMMAND: u32 = 0x830;
const X2APIC_SELF_IPI: u32 = 0x83f;
const NMI: u64 = 4 << 8;

fn run(checks: &mut Checks) {
    apic::enable(SPURIOUS_VECTOR);
    interrupts::acknowledge(Acknowledge::ByCheck);
    interrupt_flag(checks);
    shadows(checks);
    nmis(checks);
    halts(checks);
    fresh_memory(checks);
    faults_in_delivery(checks);
}

/// Where [`noting_handler`] interrupted the program the last time.
static INTERRUPTED: AtomicU64 = AtomicU64::new(0);
/// How often.
static NOTED: AtomicU64 = AtomicU64::new(0);

// Notes where it came and ends the interrupt.
global_asm!(
    r#"
    .text
    noting_handler:
        push rax
        push rcx
        push rdx
        mov rax, [rsp + 24]
        mov [rip + {interrupted}], rax
        inc qword ptr [rip + {noted}]
        mov ecx, {eoi}
        xor eax, eax
        xor edx, edx
        wrmsr
        pop rdx
        pop rcx
        pop rax
        iretq
    "#,
    interrupted = sym INTERRUPTED,
    noted = sym NOTED,
    eoi = const X2APIC_EOI,
);

unsafe extern "C" {
    fn noting_handler();
}

fn send_to_self(vector: u8) {
    // SAFETY: every vector has a handler.
    unsafe { cpu::wrmsr(X2APIC_SELF_IPI, vector.into()) };
}

/// How often the noting handler ran since this was last asked.
fn noted() -> u64 {
    NOTED.swap(0, Relaxed)
}

fn interrupt_flag(checks: &mut Checks) {
    set_handler(VECTOR, noting_handler);
    send_to_self(VECTOR);
    cpu::cpuid(0, 0);
    checks.equal("masked-interrupt-waits", noted(), 0);
    cpu::take_interrupts();
    checks.equal("interrupt-comes-when-allowed", noted(), 1);
    // SAFETY: allows interrupts for no instruction but CLI, which is in STI's shadow.
    unsafe {
        asm!("wrmsr", "sti", "cli", "nop", in("ecx") X2APIC_SELF_IPI, in("eax") u32::from(VECTOR), in("edx") 0)
    };
    checks.equal("sti-cli-lets-nothing-through", noted(), 0);
    cpu::take_interrupts();
    checks.equal("what-waited-comes-later", noted(), 1);
    // POPF has no shadow.
    let expected: u64;
    // SAFETY: the stack is as it was; interrupts are masked again.
    unsafe {
        asm!(
            "wrmsr", "pushfq", "or dword ptr [rsp], 0x200", "lea {at}, [rip + 2f]", "popfq", "2:", "nop", "cli",
            at = out(reg) expected, in("ecx") X2APIC_SELF_IPI, in("eax") u32::from(VECTOR), in("edx") 0,
        );
    }
    checks.equal("popf-has-no-shadow", INTERRUPTED.load(Relaxed), expected);
    noted();
}

/// `$shadowed` and the instructions behind it run with an interrupt waiting; it must come at label 2.
macro_rules! interrupted_at_2 {
    ($checks:ident, $name:literal, $($instructions:literal),+ $(; $($operands:tt)*)?) => {{
        let expected: u64;
        INTERRUPTED.store(0, Relaxed);
        // SAFETY: the caller's instructions leave memory and stack as they were.
        unsafe {
            asm!(
                "wrmsr", "lea {at}, [rip + 2f]",
                $($instructions,)+
                "nop", "cli",
                at = out(reg) expected,
                in("ecx") X2APIC_SELF_IPI, in("eax") u32::from(VECTOR), in("edx") 0,
                $($($operands)*)?
            );
        }
        $checks.equal($name, INTERRUPTED.load(Relaxed), expected);
        noted();
    }};
}

fn shadows(checks: &mut Checks) {
    interrupted_at_2!(checks, "sti-shadows-one-instruction", "sti", "nop", "2:");
    interrupted_at_2!(
        checks,
        "sti-with-interrupts-allowed-has-no-second-shadow",
        "sti",
        "nop",
        "2: sti",
        "nop"
    );
    interrupted_at_2!(
        checks, "shadow-over-an-instruction-that-exits", "mov {keep}, rbx", "mov {a:e}, eax", "mov {c:e}, ecx", "sti", "in al, 0x61", "2: nop",
        "mov rbx, {keep}"; keep = out(reg) _, a = out(reg) _, c = out(reg) _
    );
    interrupted_at_2!(
        checks,
        "shadow-over-an-instruction-that-exits-twice",
        "sti",
        "out 0x80, al",
        "2: out 0x80, al"
    );
}

/// How often an NMI handler of its own ran, and what it saw.
static NMIS: AtomicU64 = AtomicU64::new(0);
static NMIS_INSIDE: AtomicU64 = AtomicU64::new(0);

// On its first run sends two more NMIs to itself and notes whether one came before its IRET.
global_asm!(
    r#"
    .text
    nmi_handler:
        push rax
        push rcx
        push rdx
        inc qword ptr [rip + {nmis}]
        cmp qword ptr [rip + {nmis}], 1
        jne 2f
        mov ecx, {command}
        mov eax, {nmi}
        xor edx, edx
        wrmsr
        wrmsr
        push rbx
        xor eax, eax
        cpuid
        pop rbx
        mov rax, [rip + {nmis}]
        mov [rip + {inside}], rax
    2:
        pop rdx
        pop rcx
        pop rax
        iretq
    "#,
    nmis = sym NMIS,
    inside = sym NMIS_INSIDE,
    command = const X2APIC_COMMAND,
    nmi = const NMI,
);

unsafe extern "C" {
    fn nmi_handler();
}

fn send_nmi() {
    // SAFETY: NMIs have a handler. The destination is the APIC's own id, which is 0 in a machine of one processor.
    unsafe { cpu::wrmsr(X2APIC_COMMAND, NMI) };
}

fn nmis(checks: &mut Checks) {
    let before = count(NMI_VECTOR);
    send_nmi();
    checks.equal("nmi-comes-although-interrupts-are-masked", (count(NMI_VECTOR) - before).into(), 1);
    send_nmi();
    checks.equal("nmi-comes-again-after-iret", (count(NMI_VECTOR) - before).into(), 2);
    let stepped = count(1);
    // SAFETY: the stack is as it was; the NMI comes within a single step.
    unsafe {
        asm!("pushfq", "or dword ptr [rsp], 0x100", "popfq", "wrmsr", "nop",
            in("ecx") X2APIC_COMMAND, in("eax") NMI as u32, in("edx") 0);
    }
    checks.equal(
        "nmi-and-single-step-both-come",
        (count(NMI_VECTOR) - before + count(1) - stepped).into(),
        4,
    );
    set_handler(NMI_VECTOR, nmi_handler);
    send_nmi();
    checks.equal("nmi-waits-for-iret", NMIS_INSIDE.load(Relaxed), 1);
    checks.equal("one-nmi-is-kept-of-two", NMIS.load(Relaxed), 2);
    // An NMI and an interrupt at once: both come, the NMI is not held back by the interrupt's shadow.
    NMIS.store(1, Relaxed);
    set_cr8(0);
    send_to_self(VECTOR);
    send_nmi();
    let first = (NMIS.load(Relaxed), NOTED.load(Relaxed));
    cpu::take_interrupts();
    let both = (NMIS.load(Relaxed), noted());
    checks.check(
        "nmi-before-the-masked-interrupt",
        first == (2, 0) && both == (2, 1),
        format_args!("saw {first:?}, then {both:?}"),
    );
    checks.equal("task-priority-is-untouched", cr8(), 0);
}

/// The IOAPIC: which register, and its contents; input 2 is the 8254's.
const IOAPIC_SELECT: *mut u32 = 0xfec0_0000 as *mut u32;
const IOAPIC_WINDOW: *mut u32 = 0xfec0_0010 as *mut u32;
/// Channel 0 of the 8254, both bytes, mode 2: rate generator.
const PIT_PERIODIC: u8 = 0x34;
const IOAPIC_TIMER: u32 = 0x10 + 2 * 2;

fn halts(checks: &mut Checks) {
    send_to_self(VECTOR);
    // What waits ends HLT in STI's shadow at once.
    cpu::wait_for_interrupt();
    checks.equal("sti-hlt-wakes", noted(), 1);
    NMIS.store(1, Relaxed);
    // SAFETY: the 8254 sends an NMI every few milliseconds, which has a handler; interrupts stay masked.
    unsafe {
        IOAPIC_SELECT.write_volatile(IOAPIC_TIMER);
        IOAPIC_WINDOW.write_volatile(NMI as u32);
        // Again and again: a busy host may let the first one pass before the halt.
        cpu::outb(0x43, PIT_PERIODIC);
        cpu::outb(0x40, 0);
        cpu::outb(0x40, 0x20);
        asm!("hlt", options(nostack));
        IOAPIC_WINDOW.write_volatile(1 << 16);
    }
    let nmis = NMIS.load(Relaxed);
    checks.check("nmi-wakes-hlt-with-interrupts-masked", nmis >= 2, format_args!("{nmis} of them"));
    interrupts::taken();
}

/// Runs an instruction with a stack in memory that nobody has touched: in a virtual machine its delivery may have to
/// wait for the memory.
macro_rules! on_fresh_stack {
    ($top:expr, $($instructions:literal),+ $(; $($operands:tt)*)?) => {
        // SAFETY: the memory is nobody's; the stack is put back.
        unsafe {
            asm!(
                "mov {old}, rsp", "mov rsp, {new}", $($instructions,)+ "mov rsp, {old}",
                old = out(reg) _, new = in(reg) $top, $($($operands)*)?
            );
        }
    };
}

fn fresh_memory(checks: &mut Checks) {
    /// Beyond this program, each in a large page of its own.
    const FRESH: u64 = 6 << 20;
    const APART: u64 = 2 << 20;
    noted();
    send_to_self(VECTOR);
    on_fresh_stack!(FRESH, "sti", "nop", "nop", "cli");
    checks.equal("interrupt-on-a-fresh-stack-comes-once", noted(), 1);
    let before = count(BREAKPOINT);
    on_fresh_stack!(FRESH + APART, "int3");
    checks.equal("breakpoint-on-a-fresh-stack-comes-once", (count(BREAKPOINT) - before).into(), 1);
    let before = count(OTHER_VECTOR);
    on_fresh_stack!(FRESH + 2 * APART, "int 0x71");
    checks.equal("software-interrupt-on-a-fresh-stack-comes-once", (count(OTHER_VECTOR) - before).into(), 1);
    NMIS.store(1, Relaxed);
    on_fresh_stack!(FRESH + 3 * APART, "wrmsr"; in("ecx") X2APIC_COMMAND, in("eax") NMI as u32, in("edx") 0);
    checks.equal("nmi-on-a-fresh-stack-comes-once", NMIS.load(Relaxed), 2);
    interrupts::taken();
}

/// How often [`page_fault_handler`] ran.
static PAGE_FAULTS: AtomicU64 = AtomicU64::new(0);

// Counts, and goes on where it came from.
global_asm!(
    r#"
    .text
    page_fault_handler:
        inc qword ptr [rip + {faults}]
        add rsp, 8
        iretq
    "#,
    faults = sym PAGE_FAULTS,
);

unsafe extern "C" {
    fn page_fault_handler();
}

/// An IDT whose second half is in another large page, at [`IDT_SPLIT`], which can be taken away.
const IDT_SPLIT: u64 = 14 << 20;
const GATE_BYTES: u64 = 16;
const IDT: u64 = IDT_SPLIT - 128 * GATE_BYTES;

/// The page-directory entry of [`IDT_SPLIT`].
fn directory_entry() -> *mut u64 {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    // SAFETY: page tables are mapped where they are.
    unsafe {
        let pdpt = ((cr3() & ADDRESS) as *const u64).read_volatile() & ADDRESS;
        let directory = (pdpt as *const u64).read_volatile() & ADDRESS;
        (directory as *mut u64).add((IDT_SPLIT >> 21) as usize)
    }
}

/// Makes the second half of the IDT present or not.
fn set_present(present: bool) {
    let entry = directory_entry();
    // SAFETY: nothing but the half of the IDT is there.
    unsafe {
        entry.write_volatile(entry.read_volatile() & !1 | u64::from(present));
        asm!("invlpg [{}]", in(reg) IDT_SPLIT, options(nostack));
    }
}

fn load_idt(base: u64) -> u64 {
    let mut old = TablePointer { limit: 0, base: 0 };
    let new = TablePointer { limit: 256 * 16 - 1, base };
    // SAFETY: both tables have a gate for every vector.
    unsafe { asm!("sidt [{}]", "lidt [{}]", in(reg) &raw mut old, in(reg) &raw const new, options(nostack)) };
    old.base
}

fn faults_in_delivery(checks: &mut Checks) {
    const GATE_PRESENT: u64 = 1 << 47;
    let ours = load_idt(IDT);
    // SAFETY: a copy of the table in memory that is nobody's.
    unsafe { core::ptr::copy_nonoverlapping(ours as *const u8, IDT as *mut u8, 256 * GATE_BYTES as usize) };
    set_present(false);
    // SAFETY: it faults on the way to its handler.
    let (at, trap) = unsafe { probe!("int 0x91") };
    let gate = IDT + 0x91 * GATE_BYTES;
    let noted_fault =
        trap.is_some_and(|t| (t.vector, t.error_code, t.rip, t.cr2) == (PAGE_FAULT, 0, at, gate));
    checks.check(
        "software-interrupt-whose-gate-is-absent",
        noted_fault,
        format_args!("at {at:#x} saw {trap:x?}"),
    );
    set_present(true);
    // SAFETY: it has a handler.
    let (at, trap) = unsafe { probe!("int 0x91") };
    let delivered = trap.is_some_and(|t| (t.vector, t.rip) == (0x91, at + 2));
    checks.check("software-interrupt-tried-again", delivered, format_args!("at {at:#x} saw {trap:x?}"));

    set_handler(PAGE_FAULT as u8, page_fault_handler);
    // SAFETY: the gate that was just made.
    unsafe {
        let gate = |table: u64| (table + PAGE_FAULT * GATE_BYTES) as *mut [u64; 2];
        gate(IDT).write_volatile(gate(ours).read_volatile());
    }
    set_present(false);
    send_to_self(0x91);
    cpu::take_interrupts();
    checks.equal("interrupt-whose-gate-is-absent-faults-once", PAGE_FAULTS.load(Relaxed), 1);
    checks.equal("and-is-in-service", cpu::rdmsr(X2APIC_IN_SERVICE + 4) >> 17 & 1, 1);
    set_present(true);
    // SAFETY: ends it.
    unsafe { cpu::wrmsr(X2APIC_EOI, 0) };
    interrupts::taken();

    // A fault in the delivery of a general protection fault is a double fault.
    let gate = (IDT + 13 * GATE_BYTES) as *mut u64;
    // SAFETY: the gate is put back.
    unsafe {
        gate.write_volatile(gate.read_volatile() & !GATE_PRESENT);
        let non_canonical = probe!("mov {to}, [{from}]", to = out(reg) _, from = in(reg) 1_u64 << 63);
        checks.raised("double-fault", non_canonical, DOUBLE_FAULT, 0);
        gate.write_volatile(gate.read_volatile() | GATE_PRESENT);
    }
    load_idt(ours);
}
