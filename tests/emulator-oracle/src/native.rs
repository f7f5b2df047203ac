//! The processor's side: a page of code entered with chosen registers and left by a jump, or by a signal.
//!
//! Why unsafe: mapping memory at chosen places, entering code made at run time, and a signal handler.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use instruction_cases::{Case, Ending, MEMORY_BYTES, Machine, Outcome, PAGE, Place, Registers};

/// What entry code, exit code and signal handler share. One thread at a time uses it: who holds [`Arena`].
#[repr(C, align(64))]
struct Exchange {
    registers: Registers,
    /// The stack to return to.
    host_rsp: u64,
    /// The code to enter.
    target: u64,
    has_avx: u64,
    vector: u64,
    error_code: u64,
    cr2: u64,
}

struct Shared(UnsafeCell<Exchange>);
// SAFETY: accessed only by the thread that holds the lock in `Arena`.
unsafe impl Sync for Shared {}

/// Where the code page holds the address of the exit.
const EXIT_ADDRESS: usize = 64;
const NO_FAULT: u64 = u64::MAX;

static EXCHANGE: Shared = Shared(UnsafeCell::new(Exchange {
    registers: Registers::ZERO,
    host_rsp: 0,
    target: 0,
    has_avx: 0,
    vector: NO_FAULT,
    error_code: 0,
    cr2: 0,
}));
static LOCK: Mutex<()> = Mutex::new(());

global_asm!(
    ".globl oracle_enter",
    ".globl oracle_exit",
    "oracle_enter:",
    "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15", "pushfq",
    "mov [rip + {x} + {host_rsp}], rsp",
    "cmp qword ptr [rip + {x} + {has_avx}], 0",
    "lea rax, [rip + {x} + {vectors}]",
    "je 2f",
    "vmovdqu ymm0, [rax]", "vmovdqu ymm1, [rax + 32]", "vmovdqu ymm2, [rax + 64]", "vmovdqu ymm3, [rax + 96]",
    "vmovdqu ymm4, [rax + 128]", "vmovdqu ymm5, [rax + 160]", "vmovdqu ymm6, [rax + 192]", "vmovdqu ymm7, [rax + 224]",
    "vmovdqu ymm8, [rax + 256]", "vmovdqu ymm9, [rax + 288]", "vmovdqu ymm10, [rax + 320]", "vmovdqu ymm11, [rax + 352]",
    "vmovdqu ymm12, [rax + 384]", "vmovdqu ymm13, [rax + 416]", "vmovdqu ymm14, [rax + 448]", "vmovdqu ymm15, [rax + 480]",
    "2:",
    "mov rcx, [rip + {x} + 8]", "mov rdx, [rip + {x} + 16]", "mov rbx, [rip + {x} + 24]",
    "mov rbp, [rip + {x} + 40]", "mov rsi, [rip + {x} + 48]", "mov rdi, [rip + {x} + 56]",
    "mov r8, [rip + {x} + 64]", "mov r9, [rip + {x} + 72]", "mov r10, [rip + {x} + 80]", "mov r11, [rip + {x} + 88]",
    "mov r12, [rip + {x} + 96]", "mov r13, [rip + {x} + 104]", "mov r14, [rip + {x} + 112]", "mov r15, [rip + {x} + 120]",
    "push qword ptr [rip + {x} + 128]", "popfq",
    "mov rax, [rip + {x}]", "mov rsp, [rip + {x} + 32]",
    "jmp qword ptr [rip + {x} + {target}]",
    "oracle_exit:",
    "mov [rip + {x}], rax", "mov [rip + {x} + 32], rsp",
    "mov rsp, [rip + {x} + {host_rsp}]",
    "pushfq", "pop qword ptr [rip + {x} + 128]",
    "mov [rip + {x} + 8], rcx", "mov [rip + {x} + 16], rdx", "mov [rip + {x} + 24], rbx",
    "mov [rip + {x} + 40], rbp", "mov [rip + {x} + 48], rsi", "mov [rip + {x} + 56], rdi",
    "mov [rip + {x} + 64], r8", "mov [rip + {x} + 72], r9", "mov [rip + {x} + 80], r10", "mov [rip + {x} + 88], r11",
    "mov [rip + {x} + 96], r12", "mov [rip + {x} + 104], r13", "mov [rip + {x} + 112], r14", "mov [rip + {x} + 120], r15",
    "popfq",
    "cmp qword ptr [rip + {x} + {has_avx}], 0",
    "lea rax, [rip + {x} + {vectors}]",
    "je 3f",
    "vmovdqu [rax], ymm0", "vmovdqu [rax + 32], ymm1", "vmovdqu [rax + 64], ymm2", "vmovdqu [rax + 96], ymm3",
    "vmovdqu [rax + 128], ymm4", "vmovdqu [rax + 160], ymm5", "vmovdqu [rax + 192], ymm6", "vmovdqu [rax + 224], ymm7",
    "vmovdqu [rax + 256], ymm8", "vmovdqu [rax + 288], ymm9", "vmovdqu [rax + 320], ymm10", "vmovdqu [rax + 352], ymm11",
    "vmovdqu [rax + 384], ymm12", "vmovdqu [rax + 416], ymm13", "vmovdqu [rax + 448], ymm14", "vmovdqu [rax + 480], ymm15",
    "vzeroupper",
    "3:",
    "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
    "ret",
    x = sym EXCHANGE,
    host_rsp = const core::mem::offset_of!(Exchange, host_rsp),
    target = const core::mem::offset_of!(Exchange, target),
    has_avx = const core::mem::offset_of!(Exchange, has_avx),
    vectors = const core::mem::offset_of!(Registers, vectors),
);

unsafe extern "C" {
    /// Enters `target` with `registers`; returns once that has jumped to `oracle_exit`.
    fn oracle_enter();
    fn oracle_exit();
}

/// Memory below 4 GiB for code and operands, and the right to run cases.
pub struct Arena {
    code: *mut u8,
    memory: *mut u8,
    has_avx: bool,
    _only: MutexGuard<'static, ()>,
}

impl Arena {
    /// Maps the memory and takes the signals that exceptions become.
    pub fn new() -> Self {
        let only = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let has_avx = std::is_x86_feature_detected!("avx");
        let (code, memory) = (map(PAGE), map(4 * PAGE));
        // SAFETY: the pages are ours, just mapped; the handler touches only the exchange and the context given to it.
        unsafe {
            assert_eq!(libc::mprotect(memory.add(3 * PAGE).cast(), PAGE, libc::PROT_NONE), 0);
            // The handler must not run on the stack of a case.
            let stack = libc::stack_t { ss_sp: map(64 * PAGE).cast(), ss_flags: 0, ss_size: 64 * PAGE };
            assert_eq!(libc::sigaltstack(&stack, core::ptr::null_mut()), 0);
            let mut action: libc::sigaction = core::mem::zeroed();
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::ucontext_t) = on_signal;
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            for signal in [libc::SIGILL, libc::SIGSEGV, libc::SIGBUS] {
                assert_eq!(libc::sigaction(signal, &action, core::ptr::null_mut()), 0);
            }
            (*EXCHANGE.0.get()).has_avx = has_avx.into();
        }
        Self { code, memory, has_avx, _only: only }
    }

    /// Where its cases run.
    pub fn place(&self) -> Place {
        Place {
            code_address: self.code as u64,
            memory_address: self.memory as u64,
            has_avx: self.has_avx,
            machine: Machine::Processor,
        }
    }

    /// Runs a case on the processor.
    pub fn run(&mut self, case: &Case) -> Outcome {
        let code = with_exit(&case.code);
        let mut memory = [0; MEMORY_BYTES];
        let exchange = EXCHANGE.0.get();
        // SAFETY: the lock is held. Code and memory lie in pages of ours, which cases cannot leave: their addresses are
        // in this memory, and an access elsewhere ends in a signal. Entry and exit keep the caller's registers.
        let (vector, error_code, cr2, registers) = unsafe {
            core::ptr::copy_nonoverlapping(code.as_ptr(), self.code, code.len());
            self.protect(libc::PROT_READ | libc::PROT_WRITE);
            core::ptr::copy_nonoverlapping(case.memory.as_ptr(), self.memory, MEMORY_BYTES);
            self.protect(libc::PROT_READ);
            (*exchange).registers = case.registers;
            (*exchange).target = self.code as u64;
            (*exchange).vector = NO_FAULT;
            oracle_enter();
            core::ptr::copy_nonoverlapping(self.memory, memory.as_mut_ptr(), MEMORY_BYTES);
            let exchange = &*exchange;
            (exchange.vector, exchange.error_code, exchange.cr2, exchange.registers)
        };
        const PAGE_FAULT: u64 = 14;
        let ending = match vector {
            NO_FAULT => Ending::Completed,
            PAGE_FAULT => Ending::Fault(14, error_code as u32, cr2),
            other => Ending::Fault(other as u8, error_code as u32, 0),
        };
        Outcome { ending, registers, memory }
    }

    fn protect(&self, protection: libc::c_int) {
        // SAFETY: the page is ours, and no reference into it exists.
        assert_eq!(unsafe { libc::mprotect(self.memory.cast(), PAGE, protection) }, 0);
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

/// The instruction with a jump to the exit behind it: `jmp [rip + n]`, whose target is aligned in case RFLAGS.AC is set.
fn with_exit(instruction: &[u8]) -> [u8; EXIT_ADDRESS + 8] {
    let mut code = [0xcc; EXIT_ADDRESS + 8];
    let jump = instruction.len();
    code[..jump].copy_from_slice(instruction);
    code[jump..jump + 2].copy_from_slice(&[0xff, 0x25]);
    let distance = (EXIT_ADDRESS - (jump + 6)) as u32;
    code[jump + 2..jump + 6].copy_from_slice(&distance.to_le_bytes());
    code[EXIT_ADDRESS..].copy_from_slice(&(oracle_exit as *const () as u64).to_le_bytes());
    code
}

fn map(bytes: usize) -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    // SAFETY: a fresh mapping where the kernel likes it.
    let at = unsafe { libc::mmap(core::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED, "no memory below 4 GiB");
    at.cast()
}

/// Notes the exception and goes on at the exit, with the registers as they were at the instruction.
extern "C" fn on_signal(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
    // SAFETY: the kernel gives a valid context; the thread that runs a case holds the lock.
    unsafe {
        let gregs = &mut (*context).uc_mcontext.gregs;
        let exchange = EXCHANGE.0.get();
        if gregs[libc::REG_RIP as usize] as u64 != (*exchange).target {
            libc::abort();
        }
        (*exchange).vector = gregs[libc::REG_TRAPNO as usize] as u64;
        (*exchange).error_code = gregs[libc::REG_ERR as usize] as u64;
        (*exchange).cr2 = gregs[libc::REG_CR2 as usize] as u64;
        gregs[libc::REG_RIP as usize] = oracle_exit as *const () as i64;
    }
}
