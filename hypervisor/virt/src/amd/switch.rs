//! The world switch: from the hypervisor into the guest and back.
//!
//! ```text
//!   callee-saved pushed ─ CLGI ─ STI ─ guest GPRs ─ VMLOAD guest ─ VMRUN
//!                                                                    │ guest runs: GIF=1, host interrupts exit
//!   popped ─ STGI ─ CLI ─ VMLOAD host ─ guest GPRs stored ─ VMSAVE guest ─ #VMEXIT
//! ```
//!
//! With the global interrupt flag clear nothing but a shutdown comes between: TR, GS and the system-call registers are
//! the guest's there, so an NMI would find a foreign TSS. RFLAGS.IF is set for VMRUN because V_INTR_MASKING takes the
//! host's IF at VMRUN as what lets host interrupts end the guest's run; it is clear again before GIF is set, so the
//! interrupt stays pending for the CPU's loop. A pending NMI is taken at STGI, with the host's TSS.
//! Where the processor's vulnerabilities want something done here, as [`Guards`] say, the switch is [`run_guarded`]: VERW just
//! before VMRUN, where only the guest's own values follow; the return stack filled before the first return.
//! `docs/decisions/0005-world-switch.md` weighs this against cheaper switches.
//!
//! Why unsafe: this is the instruction sequence itself.

use crate::mitigations::{Guards, clear_buffers, fill_return_stack};
use base::Hpa;
use core::arch::naked_asm;
use vcpu::{Gpr, Gprs};

/// Where a register lies in [`Gprs`].
const fn offset(register: Gpr) -> usize {
    register as usize * 8
}

/// The switch. Its arguments are pieces of assembly: what keeps the guards on the stack and drops them from there, and what
/// they ask for before VMRUN and before the return.
macro_rules! world_switch {
    ($keep_guards:expr, $before_entry:expr, $after_exit:expr, $drop_guards:expr) => {
        naked_asm!(
            "push rbp",
            "mov rbp, rsp",
            "push rbx",
            "push r12",
            "push r13",
            "push r14",
            "push r15",
            $keep_guards,
            "push rdi",
            "push rdx",
            "mov rax, rsi",
            "mov rcx, [rdi + {rcx}]",
            "mov rdx, [rdi + {rdx}]",
            "mov rbx, [rdi + {rbx}]",
            "mov rbp, [rdi + {rbp}]",
            "mov rsi, [rdi + {rsi}]",
            "mov r8,  [rdi + {r8}]",
            "mov r9,  [rdi + {r9}]",
            "mov r10, [rdi + {r10}]",
            "mov r11, [rdi + {r11}]",
            "mov r12, [rdi + {r12}]",
            "mov r13, [rdi + {r13}]",
            "mov r14, [rdi + {r14}]",
            "mov r15, [rdi + {r15}]",
            "mov rdi, [rdi + {rdi}]",
            "clgi",
            "sti",
            "vmload rax",
            $before_entry,
            "vmrun rax",
            // RAX and RSP are the host's again; RAX is still the VMCB.
            "vmsave rax",
            "mov rax, [rsp + 8]",
            "mov [rax + {rcx}], rcx",
            "mov [rax + {rdx}], rdx",
            "mov [rax + {rbx}], rbx",
            "mov [rax + {rbp}], rbp",
            "mov [rax + {rsi}], rsi",
            "mov [rax + {rdi}], rdi",
            "mov [rax + {r8}],  r8",
            "mov [rax + {r9}],  r9",
            "mov [rax + {r10}], r10",
            "mov [rax + {r11}], r11",
            "mov [rax + {r12}], r12",
            "mov [rax + {r13}], r13",
            "mov [rax + {r14}], r14",
            "mov [rax + {r15}], r15",
            "pop rax",
            "vmload rax",
            "cli",
            "stgi",
            // What the caller does not expect to survive must not carry the guest's values into speculation.
            "xor ecx, ecx",
            "xor edx, edx",
            "xor esi, esi",
            "xor r8d, r8d",
            "xor r9d, r9d",
            "xor r10d, r10d",
            "xor r11d, r11d",
            $after_exit,
            "pop rdi",
            $drop_guards,
            "pop r15",
            "pop r14",
            "pop r13",
            "pop r12",
            "pop rbx",
            "pop rbp",
            "ret",
            rcx = const offset(Gpr::Rcx),
            rdx = const offset(Gpr::Rdx),
            rbx = const offset(Gpr::Rbx),
            rbp = const offset(Gpr::Rbp),
            rsi = const offset(Gpr::Rsi),
            rdi = const offset(Gpr::Rdi),
            r8 = const offset(Gpr::R8),
            r9 = const offset(Gpr::R9),
            r10 = const offset(Gpr::R10),
            r11 = const offset(Gpr::R11),
            r12 = const offset(Gpr::R12),
            r13 = const offset(Gpr::R13),
            r14 = const offset(Gpr::R14),
            r15 = const offset(Gpr::R15),
        )
    };
}

/// Runs the guest of the VMCB at `vmcb` until it exits. RAX and RSP are in the VMCB, the other registers in `gprs`.
///
/// # Safety
/// This CPU has been brought up. `vmcb` is a VMCB that nobody else uses, complete, with intercepts, permission maps and
/// nested tables that keep the guest inside what it was granted. `host` is where VMSAVE put this CPU's own state, which
/// has not changed since. Interrupts are masked.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn run(gprs: &mut Gprs, vmcb: Hpa, host: Hpa) {
    world_switch!("", "", "", "")
}

/// As [`run`], and does what `guards` ask for.
///
/// # Safety
/// As for [`run`].
#[unsafe(naked)]
pub unsafe extern "sysv64" fn run_guarded(gprs: &mut Gprs, vmcb: Hpa, host: Hpa, guards: Guards) {
    world_switch!("push rcx", clear_buffers!("16"), fill_return_stack!("8"), "pop rcx")
}

/// Stores what VMLOAD restores of this CPU's own state into the page at `area`.
///
/// # Safety
/// AMD-V is on, and `area` is a frame that nobody else uses.
pub unsafe fn save_host(area: Hpa) {
    // SAFETY: by the contract above; the instruction writes only inside that frame.
    unsafe { core::arch::asm!("vmsave rax", in("rax") area.as_u64(), options(nostack, preserves_flags)) }
}
