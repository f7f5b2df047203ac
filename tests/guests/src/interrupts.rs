//! An IDT with a handler for every vector, and probes: instructions that are expected to fault.
//!
//! ```text
//!   probe!: RESUME = label behind the instruction ─> instruction ─┬─ no fault: None
//!                                                                 └─ fault: handler notes it, continues at RESUME
//! ```
//!
//! `#DB`, `#BP` and NMI are noted and returned from; interrupts are counted and acknowledged, or left to the check to
//! acknowledge and listed in their order; an exception with no RESUME is printed and ends the guest.
//!
//! Unsafe because descriptor tables and handlers are below the language.

use crate::{checks, cpu, println};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The vector that the legacy controllers' first line is given.
pub const PIC_VECTOR: u8 = 0x20;
/// The first vector of the local APIC's; legacy ones end before it.
pub const APIC_VECTOR: u8 = 0x40;
/// The local APIC's spurious vector.
pub const SPURIOUS_VECTOR: u8 = 0xff;

const DEBUG: u64 = 1;
const NMI: u64 = 2;
const BREAKPOINT: u64 = 3;
const RFLAGS_TF: u64 = 1 << 8;
/// RFLAGS.RF: an instruction breakpoint is not taken again.
const RFLAGS_RF: u64 = 1 << 16;
const X2APIC_EOI: u32 = 0x80b;
const PIC_COMMAND: u16 = 0x20;
const PIC_EOI: u8 = 0x20;

global_asm!(
    r#"
    .text
    .balign 16
    .globl interrupt_stubs
    interrupt_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
        pushq $0
    .endif
        pushq $vector
        jmp interrupt_common
    .set vector, vector + 1
    .endr

    interrupt_common:
        pushq %rax
        pushq %rcx
        pushq %rdx
        pushq %rbx
        pushq %rbp
        pushq %rsi
        pushq %rdi
        pushq %r8
        pushq %r9
        pushq %r10
        pushq %r11
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        movq %rsp, %rdi
        cld
        call on_interrupt
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %r11
        popq %r10
        popq %r9
        popq %r8
        popq %rdi
        popq %rsi
        popq %rbp
        popq %rbx
        popq %rdx
        popq %rcx
        popq %rax
        addq $16, %rsp
        iretq
    "#,
    options(att_syntax)
);

/// What the stubs leave on the stack.
#[repr(C)]
struct Frame {
    registers: [u64; 15],
    vector: u64,
    error_code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// An exception as its handler saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// 0-31, or what INT n named.
    pub vector: u64,
    /// The error code, or 0.
    pub error_code: u64,
    /// The return address on the stack.
    pub rip: u64,
    /// CR2 then.
    pub cr2: u64,
    /// DR6 then.
    pub dr6: u64,
}

/// Where a fault continues, or 0. Written by `probe!`.
#[doc(hidden)]
pub static RESUME: AtomicU64 = AtomicU64::new(0);

/// What happened to the program so far.
static COUNTS: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];
static LAST: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];

/// Whether the handler acknowledges interrupts.
static ACKNOWLEDGES: AtomicBool = AtomicBool::new(true);
/// The interrupts that it did not acknowledge, in their order; those past the end are only counted.
static TAKEN: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];
static TAKEN_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Who acknowledges interrupts at their controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// The handler, at once.
    ByHandler,
    /// The check, after it has looked.
    ByCheck,
}

/// Says who acknowledges from now on.
pub fn acknowledge(by: Acknowledge) {
    ACKNOWLEDGES.store(by == Acknowledge::ByHandler, Relaxed);
}

/// The vectors of the interrupts that came since this was last asked and that the handler left to the check, the first
/// in the lowest byte.
pub fn taken() -> u64 {
    let count = TAKEN_COUNT.swap(0, Relaxed).min(TAKEN.len());
    let vectors = TAKEN.iter().take(count).rev();
    vectors.fold(0, |vectors, vector| vectors << 8 | u64::from(vector.load(Relaxed)))
}

/// How often `vector` came.
pub fn count(vector: u8) -> u32 {
    COUNTS[usize::from(vector)].load(Relaxed)
}

/// The last exception, or INT n.
pub fn last() -> Trap {
    let [vector, error_code, rip, cr2, dr6] = [0, 1, 2, 3, 4].map(|i: usize| LAST[i].load(Relaxed));
    Trap { vector, error_code, rip, cr2, dr6 }
}

#[unsafe(no_mangle)]
extern "C" fn on_interrupt(frame: &mut Frame) {
    let vector = frame.vector as u8;
    COUNTS[usize::from(vector)].fetch_add(1, Relaxed);
    if vector >= PIC_VECTOR && !ACKNOWLEDGES.load(Relaxed) && RESUME.load(Relaxed) == 0 {
        if let Some(place) = TAKEN.get(TAKEN_COUNT.fetch_add(1, Relaxed)) {
            place.store(vector.into(), Relaxed);
        }
        return;
    }
    if vector == SPURIOUS_VECTOR {
        return;
    }
    if (PIC_VECTOR..PIC_VECTOR + 8).contains(&vector) {
        cpu::outb(PIC_COMMAND, PIC_EOI);
        return;
    }
    if vector >= APIC_VECTOR && RESUME.load(Relaxed) == 0 {
        // SAFETY: acknowledges the interrupt that is being served.
        unsafe { cpu::wrmsr(X2APIC_EOI, 0) };
        return;
    }
    note(frame);
    let resume = RESUME.swap(0, Relaxed);
    match frame.vector {
        DEBUG => frame.rflags = frame.rflags & !RFLAGS_TF | RFLAGS_RF,
        BREAKPOINT | NMI => {}
        _ if resume != 0 => frame.rip = resume,
        _ => unexpected(),
    }
}

fn note(frame: &Frame) {
    let (cr2, dr6): (u64, u64);
    // SAFETY: reads two registers, and clears DR6's sticky bits for the next exception.
    unsafe {
        asm!("mov {}, cr2", "mov {}, dr6", out(reg) cr2, out(reg) dr6, options(nomem, nostack));
        asm!("mov dr6, {}", in(reg) 0_u64, options(nomem, nostack));
    }
    for (place, value) in LAST.iter().zip([frame.vector, frame.error_code, frame.rip, cr2, dr6]) {
        place.store(value, Relaxed);
    }
}

fn unexpected() -> ! {
    println!("guest: FAILED unexpected exception {:x?}", last());
    checks::exit(checks::UNEXPECTED_EXCEPTION)
}

/// Executes one instruction that may fault, with `asm!` operands after it. The address of the instruction, and the
/// fault, if it came.
///
/// To be used in an unsafe block: the instruction must be sound when it does not fault.
#[macro_export]
macro_rules! probe {
    ($instruction:expr $(, $($operands:tt)*)?) => {{
        let at: u64;
        core::arch::asm!(
            "lea {at}, [rip + 3f]",
            "mov qword ptr [rip + {resume}], {at}",
            "lea {at}, [rip + 2f]",
            "2:",
            $instruction,
            "3:",
            at = out(reg) at,
            resume = sym $crate::interrupts::RESUME,
            $($($operands)*)?
        );
        (at, $crate::interrupts::fault())
    }};
}

/// The fault of the probe just made, if it came.
#[doc(hidden)]
pub fn fault() -> Option<Trap> {
    (RESUME.swap(0, Relaxed) == 0).then(last)
}

/// A gate of the IDT (AMD APM 24593, volume 2, section 4.8.4).
#[repr(C)]
#[derive(Clone, Copy)]
struct Gate {
    low: u64,
    high: u64,
}

impl Gate {
    /// An interrupt gate: its handler begins with interrupts masked.
    const fn to(address: u64) -> Self {
        const INTERRUPT_GATE: u64 = 0x8e << 40;
        const CODE_SELECTOR: u64 = 0x10 << 16;
        let low = address & 0xffff | CODE_SELECTOR | INTERRUPT_GATE | (address >> 16 & 0xffff) << 48;
        Self { low, high: address >> 32 }
    }
}

struct Idt(UnsafeCell<[Gate; 256]>);

// SAFETY: written on the only CPU, with interrupts masked, by functions that keep no reference.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([Gate { low: 0, high: 0 }; 256]));

unsafe extern "C" {
    static interrupt_stubs: u8;
}

/// A descriptor-table pointer, as LIDT reads it.
#[repr(C, packed)]
pub struct TablePointer {
    /// The size in bytes, minus one.
    pub limit: u16,
    /// The linear address.
    pub base: u64,
}

/// Loads the IDT and masks the legacy interrupt controllers.
pub(crate) fn init() {
    const STUB_BYTES: u64 = 16;
    let stubs = &raw const interrupt_stubs as u64;
    // SAFETY: the only reference, before interrupts are possible.
    let gates = unsafe { &mut *IDT.0.get() };
    for (vector, gate) in (0..).zip(gates.iter_mut()) {
        *gate = Gate::to(stubs + vector * STUB_BYTES);
    }
    let pointer = TablePointer { limit: 256 * 16 - 1, base: IDT.0.get() as u64 };
    // SAFETY: every gate leads to a stub; the table lives for ever.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack)) };
    mask_pics();
}

/// Makes `vector` lead to `handler`, interrupt code of the caller's own, instead of the common one. Interrupts are
/// masked.
pub fn set_handler(vector: u8, handler: unsafe extern "C" fn()) {
    // SAFETY: the only reference, on the only CPU, with interrupts masked.
    let gates = unsafe { &mut *IDT.0.get() };
    gates[usize::from(vector)] = Gate::to(handler as *const () as u64);
}

/// Gives the legacy controllers vectors of their own and masks all their lines (Intel 8259A data sheet).
fn mask_pics() {
    for (command, vector, cascade) in [(0x20, PIC_VECTOR, 4), (0xa0, PIC_VECTOR + 8, 2)] {
        cpu::outb(command, 0x11);
        cpu::outb(command + 1, vector);
        cpu::outb(command + 1, cascade);
        cpu::outb(command + 1, 1);
        cpu::outb(command + 1, 0xff);
    }
}
