//! The way from a vector to its handler.
//!
//! ```text
//! IDT entry n -> stub n: error code (0 where the CPU pushes none), n
//!             -> common: saves the general registers, calls `dispatch(&mut TrapFrame)`, restores, IRETQ
//! ```
//! Unsafe because the entry is assembly, and because it calls into Rust with a pointer to what it saved.
//!
//! The hypervisor is built without vector registers, so what a guest has left in them passes through untouched.
//! An NMI can arrive anywhere, also before GS points to this CPU's data: its handler touches nothing but a static.

use crate::pci::DeviceVector;
use crate::percpu::PerCpu;
use crate::vectors;
use base::Vector;
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;

/// Exceptions of interest by number (Intel SDM, volume 3, table 6-1).
pub mod exception {
    /// Non-maskable interrupt.
    pub const NMI: u64 = 2;
    /// Double fault.
    pub const DOUBLE_FAULT: u64 = 8;
    /// Page fault; CR2 holds the address.
    pub const PAGE_FAULT: u64 = 14;
    /// Machine check.
    pub const MACHINE_CHECK: u64 = 18;
    /// The exceptions that push an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP, #VC, #SX.
    pub const WITH_ERROR_CODE: u32 =
        1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21 | 1 << 29 | 1 << 30;
}

/// The registers at the point of interruption, in the order in which the entry lays them on the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "registers are named by their names")]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    /// Which stub was entered.
    pub vector: u64,
    /// What the CPU pushed, or 0.
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Bytes between two stubs.
pub(crate) const STUB_BYTES: usize = 16;

global_asm!(
    // The stubs, one every 16 bytes, so that their addresses can be computed.
    ".pushsection .text.trap_stubs, \"ax\", @progbits",
    ".balign 16",
    ".global cofferdam_trap_stubs",
    "cofferdam_trap_stubs:",
    ".set cofferdam_vector, 0",
    ".rept 256",
    ".balign 16",
    ".if (cofferdam_vector >= 32) || ((({with_error_code} >> cofferdam_vector) & 1) == 0)",
    "pushq $0",
    ".endif",
    "pushq $cofferdam_vector",
    "jmp cofferdam_trap_common",
    ".set cofferdam_vector, cofferdam_vector + 1",
    ".endr",
    // The CPU has aligned the stack to 16 before it pushed 5 words; with 2 from the stub and 15 here it is again.
    "cofferdam_trap_common:",
    "pushq %rax",
    "pushq %rcx",
    "pushq %rdx",
    "pushq %rbx",
    "pushq %rbp",
    "pushq %rsi",
    "pushq %rdi",
    "pushq %r8",
    "pushq %r9",
    "pushq %r10",
    "pushq %r11",
    "pushq %r12",
    "pushq %r13",
    "pushq %r14",
    "pushq %r15",
    "cld",
    "movq %rsp, %rdi",
    "call {dispatch}",
    "popq %r15",
    "popq %r14",
    "popq %r13",
    "popq %r12",
    "popq %r11",
    "popq %r10",
    "popq %r9",
    "popq %r8",
    "popq %rdi",
    "popq %rsi",
    "popq %rbp",
    "popq %rbx",
    "popq %rdx",
    "popq %rcx",
    "popq %rax",
    "addq $16, %rsp",
    "iretq",
    ".popsection",
    with_error_code = const exception::WITH_ERROR_CODE,
    dispatch = sym dispatch,
    options(att_syntax)
);

unsafe extern "C" {
    #[link_name = "cofferdam_trap_stubs"]
    static TRAP_STUBS: [u8; 256 * STUB_BYTES];
}

/// The address of the stub of `vector`.
pub(crate) fn stub(vector: u8) -> u64 {
    let first = (&raw const TRAP_STUBS).addr();
    first.wrapping_add(usize::from(vector) * STUB_BYTES) as u64
}

/// What ends the hypervisor on an exception.
pub type ExceptionHook = fn(&TrapFrame) -> !;

static EXCEPTION_HOOK: Once<ExceptionHook> = Once::new();

/// NMIs taken on any CPU. The loop looks here; the handler can do nothing else safely.
pub static NMIS: AtomicU64 = AtomicU64::new(0);

/// Says what happens on an exception; the first call counts. Without one it is the epitaph.
pub fn set_exception_hook(hook: ExceptionHook) {
    EXCEPTION_HOOK.call_once(|| hook);
}

/// Called by the entry with what it saved.
extern "C" fn dispatch(frame: &mut TrapFrame) {
    if frame.vector == exception::NMI {
        NMIS.fetch_add(1, Ordering::Relaxed);
        return;
    }
    if frame.vector < u64::from(vectors::FIRST_INTERRUPT.0) {
        match EXCEPTION_HOOK.get() {
            Some(hook) => hook(frame),
            None => crate::epitaph::exception(frame),
        }
    }
    if let (Some(cpu), Ok(vector)) = (PerCpu::current(), u8::try_from(frame.vector)) {
        interrupt(cpu, Vector(vector));
    }
}

/// Handles an interrupt that this CPU has acknowledged without going through the IDT, as an exit from a guest can.
/// Interrupts are masked.
#[inline]
pub fn acknowledged(vector: Vector) {
    if let Some(cpu) = PerCpu::current() {
        interrupt(cpu, vector);
    }
}

/// Enqueues what `vector` means; the CPU's loop does the work.
fn interrupt(cpu: &PerCpu, vector: Vector) {
    match vector {
        vectors::SPURIOUS => {
            cpu.spurious.fetch_add(1, Ordering::Relaxed);
            return;
        }
        vectors::TIMER => cpu.timer_fired.store(true, Ordering::Relaxed),
        vectors::SERIAL => crate::serial::on_interrupt(),
        vectors::MESSAGE | vectors::POSTED => cpu.message_waits.store(true, Ordering::Relaxed),
        // It has woken the CPU's loop, which asks the devices.
        _ if DeviceVector::of(vector).is_some() => {}
        _ => _ = cpu.unexpected.fetch_add(1, Ordering::Relaxed),
    }
    if let Some(apic) = cpu.apic.get() {
        apic.end_of_interrupt();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::CpuId;

    #[test]
    fn the_frame_is_laid_out_as_the_entry_pushes_it() {
        assert_eq!(core::mem::offset_of!(TrapFrame, vector), 15 * 8);
        assert_eq!(core::mem::offset_of!(TrapFrame, rip), 17 * 8);
        assert_eq!(size_of::<TrapFrame>(), 22 * 8);
    }

    #[test]
    fn every_stub_pushes_its_own_vector() {
        // SAFETY: the stubs are constant code of this program.
        let code = unsafe { TRAP_STUBS };
        for vector in 0..=255_u8 {
            let stub = &code[usize::from(vector) * STUB_BYTES..][..STUB_BYTES];
            let pushes_zero = vector >= 32 || exception::WITH_ERROR_CODE >> vector & 1 == 0;
            let stub = if pushes_zero { stub.strip_prefix(&[0x6a, 0]).unwrap() } else { stub };
            // push imm8 sign-extends, so vectors from 128 on take the long form.
            match vector {
                0..=127 => assert_eq!(stub[..2], [0x6a, vector]),
                _ => assert_eq!(stub[..5], [0x68, vector, 0, 0, 0]),
            }
        }
    }

    #[test]
    fn a_handler_only_leaves_a_sign() {
        let cpu = PerCpu::new(CpuId(0));
        interrupt(&cpu, vectors::TIMER);
        assert!(cpu.take_timer_fired() && !cpu.take_timer_fired());
        interrupt(&cpu, vectors::MESSAGE);
        assert!(cpu.message_waits.load(Ordering::Relaxed));
        interrupt(&cpu, vectors::SPURIOUS);
        interrupt(&cpu, Vector(0xa7));
        assert_eq!((cpu.spurious.into_inner(), cpu.unexpected.into_inner()), (1, 1));
    }
}
