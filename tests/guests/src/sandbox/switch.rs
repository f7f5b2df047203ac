//! Into the sandbox with chosen registers, and out of it with what they have become.
//!
//! Unsafe because it is the sequence of instructions itself.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use instruction_cases::Registers;

/// The vector of `int 0x80`, by which a snippet that has completed leaves.
pub const LEAVE: u64 = 0x80;

/// What the code here shares with its caller.
#[repr(C, align(64))]
pub struct Exchange {
    /// Registers to enter with, then those left with.
    pub registers: Registers,
    /// Where to enter; then, where the snippet ended.
    pub rip: u64,
    pub cs: u64,
    pub ss: u64,
    /// For DS and ES.
    pub data: u64,
    /// Whether YMM registers are exchanged, 1, or none.
    pub has_avx: u64,
    /// What ended the snippet.
    pub vector: u64,
    pub error_code: u64,
    pub cr2: u64,
    pub dr6: u64,
    rsp: u64,
}

struct Shared(UnsafeCell<Exchange>);

// SAFETY: used on the only CPU, with interrupts masked, by functions that keep no reference.
unsafe impl Sync for Shared {}

static EXCHANGE: Shared = Shared(UnsafeCell::new(Exchange {
    registers: Registers::ZERO,
    rip: 0,
    cs: 0,
    ss: 0,
    data: 0,
    has_avx: 0,
    vector: 0,
    error_code: 0,
    cr2: 0,
    dr6: 0,
    rsp: 0,
}));

unsafe extern "C" {
    fn sandbox_enter();
    static sandbox_stubs: u8;
}

/// What is exchanged with the next [`enter`].
pub fn exchange() -> *mut Exchange {
    EXCHANGE.0.get()
}

/// Enters the sandbox; returns when an exception has left it.
///
/// # Safety
/// The exchange says where, and that can do no harm; exceptions lead to the handlers here.
pub unsafe fn enter() {
    // SAFETY: by the contract above; all registers are kept but those of YMM, which compiled code does not use.
    unsafe { sandbox_enter() }
}

/// The handler of an exception, or of [`LEAVE`].
pub fn handler(vector: u64) -> Option<u64> {
    const STUB_BYTES: u64 = 16;
    let place = match vector {
        0..32 => vector,
        LEAVE => 32,
        _ => return None,
    };
    Some(&raw const sandbox_stubs as u64 + place * STUB_BYTES)
}

global_asm!(
    ".globl sandbox_enter",
    "sandbox_enter:",
    "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15", "pushfq",
    "mov [rip + {x} + {rsp}], rsp",
    "lea rax, [rip + {x} + {vectors}]",
    "cmp qword ptr [rip + {x} + {has_avx}], 0",
    "je 2f",
    "vmovdqu ymm0, [rax]", "vmovdqu ymm1, [rax + 32]", "vmovdqu ymm2, [rax + 64]", "vmovdqu ymm3, [rax + 96]",
    "vmovdqu ymm4, [rax + 128]", "vmovdqu ymm5, [rax + 160]", "vmovdqu ymm6, [rax + 192]", "vmovdqu ymm7, [rax + 224]",
    "vmovdqu ymm8, [rax + 256]", "vmovdqu ymm9, [rax + 288]", "vmovdqu ymm10, [rax + 320]", "vmovdqu ymm11, [rax + 352]",
    "vmovdqu ymm12, [rax + 384]", "vmovdqu ymm13, [rax + 416]", "vmovdqu ymm14, [rax + 448]", "vmovdqu ymm15, [rax + 480]",
    "2:",
    "mov eax, [rip + {x} + {data}]", "mov ds, eax", "mov es, eax",
    "push qword ptr [rip + {x} + {ss}]", "push qword ptr [rip + {x} + 32]", "push qword ptr [rip + {x} + 128]",
    "push qword ptr [rip + {x} + {cs}]", "push qword ptr [rip + {x} + {target}]",
    "mov rcx, [rip + {x} + 8]", "mov rdx, [rip + {x} + 16]", "mov rbx, [rip + {x} + 24]",
    "mov rbp, [rip + {x} + 40]", "mov rsi, [rip + {x} + 48]", "mov rdi, [rip + {x} + 56]",
    "mov r8, [rip + {x} + 64]", "mov r9, [rip + {x} + 72]", "mov r10, [rip + {x} + 80]", "mov r11, [rip + {x} + 88]",
    "mov r12, [rip + {x} + 96]", "mov r13, [rip + {x} + 104]", "mov r14, [rip + {x} + 112]", "mov r15, [rip + {x} + 120]",
    "mov rax, [rip + {x}]",
    "iretq",

    ".balign 16",
    "sandbox_stubs:",
    ".set vector, 0",
    ".rept 32",
    ".balign 16",
    ".if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)",
    ".else",
    "push 0",
    ".endif",
    "push vector",
    "jmp sandbox_left",
    ".set vector, vector + 1",
    ".endr",
    ".balign 16",
    "push 0",
    "push {leave}",
    "jmp sandbox_left",

    // The stack: vector, error code, RIP, CS, RFLAGS, RSP, SS.
    "sandbox_left:",
    "mov [rip + {x}], rax", "mov [rip + {x} + 8], rcx", "mov [rip + {x} + 16], rdx", "mov [rip + {x} + 24], rbx",
    "mov [rip + {x} + 40], rbp", "mov [rip + {x} + 48], rsi", "mov [rip + {x} + 56], rdi",
    "mov [rip + {x} + 64], r8", "mov [rip + {x} + 72], r9", "mov [rip + {x} + 80], r10", "mov [rip + {x} + 88], r11",
    "mov [rip + {x} + 96], r12", "mov [rip + {x} + 104], r13", "mov [rip + {x} + 112], r14", "mov [rip + {x} + 120], r15",
    "pop qword ptr [rip + {x} + {vector}]", "pop qword ptr [rip + {x} + {error_code}]", "pop qword ptr [rip + {x} + {target}]",
    "pop rax", "pop qword ptr [rip + {x} + 128]", "pop qword ptr [rip + {x} + 32]",
    "mov rax, cr2", "mov [rip + {x} + {cr2}], rax", "mov rax, dr6", "mov [rip + {x} + {dr6}], rax",
    "xor eax, eax", "mov dr6, rax",
    "mov rsp, [rip + {x} + {rsp}]",
    "lea rax, [rip + {x} + {vectors}]",
    "cmp qword ptr [rip + {x} + {has_avx}], 0",
    "je 3f",
    "vmovdqu [rax], ymm0", "vmovdqu [rax + 32], ymm1", "vmovdqu [rax + 64], ymm2", "vmovdqu [rax + 96], ymm3",
    "vmovdqu [rax + 128], ymm4", "vmovdqu [rax + 160], ymm5", "vmovdqu [rax + 192], ymm6", "vmovdqu [rax + 224], ymm7",
    "vmovdqu [rax + 256], ymm8", "vmovdqu [rax + 288], ymm9", "vmovdqu [rax + 320], ymm10", "vmovdqu [rax + 352], ymm11",
    "vmovdqu [rax + 384], ymm12", "vmovdqu [rax + 416], ymm13", "vmovdqu [rax + 448], ymm14", "vmovdqu [rax + 480], ymm15",
    "3:",
    "popfq", "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
    "ret",
    x = sym EXCHANGE,
    leave = const LEAVE,
    vectors = const offset_of!(Registers, vectors),
    target = const offset_of!(Exchange, rip),
    cs = const offset_of!(Exchange, cs),
    ss = const offset_of!(Exchange, ss),
    data = const offset_of!(Exchange, data),
    has_avx = const offset_of!(Exchange, has_avx),
    vector = const offset_of!(Exchange, vector),
    error_code = const offset_of!(Exchange, error_code),
    cr2 = const offset_of!(Exchange, cr2),
    dr6 = const offset_of!(Exchange, dr6),
    rsp = const offset_of!(Exchange, rsp),
);
