//! The world switch: from the hypervisor into the guest and back.
//!
//! ```text
//!   callee-saved pushed ─ HOST_RSP ─ guest GPRs ─ VMLAUNCH or VMRESUME
//!            │                                          │ refused     │ guest runs; a host interrupt exits, whatever its IF
//!            │<──────────── 1 ──────────────────────────┘             │
//!   popped ─<┴─ 0 ── guest GPRs stored ───────────────────────────── exit
//! ```
//!
//! An exit restores everything that hypervisor code needs, GS, TR and the tables included, and masks interrupts: an NMI
//! finds the host's own TSS at any time. A host interrupt that ended the guest's run stays pending for the CPU's loop.
//!
//! Where the processor's vulnerabilities want something done here, as [`Guards`] say, the switch is [`run_guarded`]: VERW
//! just before the entry, where only the guest's own values follow; the return stack filled before the first return.
//!
//! Why unsafe: this is the instruction sequence itself.

use crate::mitigations::{Guards, clear_buffers, fill_return_stack};
use core::arch::{asm, naked_asm};
use vcpu::{Gpr, Gprs};

/// Where a register lies in [`Gprs`].
const fn offset(register: Gpr) -> usize {
    register as usize * 8
}

/// The encoding of the field HOST_RSP.
const HOST_RSP: u32 = 0x6c14;

/// How the guest is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Entry {
    /// VMRESUME: the VMCS was launched since it was loaded.
    Resume = 0,
    /// VMLAUNCH: the first time.
    Launch = 1,
}

/// The way in. Its arguments: assembly that keeps the guards on the stack, what they ask for before the entry, and where to
/// go on when the guest was not entered.
macro_rules! enter {
    ($keep_guards:expr, $before_entry:expr, $restore:path) => {
        naked_asm!(
            "push rbp",
            "push rbx",
            "push r12",
            "push r13",
            "push r14",
            "push r15",
            $keep_guards,
            "push rdi",
            "cmp [rsi], rsp",
            "je 2f",
            "mov [rsi], rsp",
            "mov eax, {host_rsp}",
            "vmwrite rax, rsp",
            "2:",
            "test edx, edx",
            // MOV leaves the flags alone.
            "mov rax, [rdi + {rax}]",
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
            "jne 3f",
            $before_entry,
            "vmresume",
            "jmp 4f",
            "3:",
            $before_entry,
            "vmlaunch",
            // Still here: the guest did not run.
            "4:",
            "mov eax, 1",
            "jmp {restore}",
            host_rsp = const HOST_RSP,
            restore = sym $restore,
            rax = const offset(Gpr::Rax),
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

/// The way out, with RAX as the outcome. Its arguments: what the guards ask for before the return, and what drops them from
/// the stack.
macro_rules! leave {
    ($after_exit:expr, $drop_guards:expr) => {
        concat!(
            // What the caller does not expect to survive must not carry the guest's values into speculation.
            "xor ecx, ecx\n",
            "xor edx, edx\n",
            "xor esi, esi\n",
            "xor r8d, r8d\n",
            "xor r9d, r9d\n",
            "xor r10d, r10d\n",
            "xor r11d, r11d\n",
            $after_exit,
            "\npop rdi\n",
            $drop_guards,
            "\npop r15\n",
            "pop r14\n",
            "pop r13\n",
            "pop r12\n",
            "pop rbx\n",
            "pop rbp\n",
            "ret",
        )
    };
}

/// Where an exit arrives, with the stack as the way in left it; the argument is the way out.
macro_rules! arrive {
    ($leave:expr) => {
        naked_asm!(
            "push rdi",
            "mov rdi, [rsp + 8]",
            "mov [rdi + {rax}], rax",
            "mov [rdi + {rcx}], rcx",
            "mov [rdi + {rdx}], rdx",
            "mov [rdi + {rbx}], rbx",
            "mov [rdi + {rbp}], rbp",
            "mov [rdi + {rsi}], rsi",
            "mov [rdi + {r8}],  r8",
            "mov [rdi + {r9}],  r9",
            "mov [rdi + {r10}], r10",
            "mov [rdi + {r11}], r11",
            "mov [rdi + {r12}], r12",
            "mov [rdi + {r13}], r13",
            "mov [rdi + {r14}], r14",
            "mov [rdi + {r15}], r15",
            "pop qword ptr [rdi + {rdi}]",
            // 0: the guest ran.
            "xor eax, eax",
            $leave,
            rax = const offset(Gpr::Rax),
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

/// Runs the guest of the loaded VMCS until it exits. RSP is in the VMCS, the other registers in `gprs`. `host_rsp` is what
/// the VMCS holds as the host's, and is kept so. 0 after an exit, 1 when the instruction failed.
///
/// # Safety
/// This CPU is in VMX operation and has a VMCS loaded that is complete, with controls, permission maps and nested tables
/// that keep the guest inside what it was granted, and this CPU's own state as the host's, with [`exit_address`] of no
/// guards. Interrupts are masked.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn run(gprs: &mut Gprs, host_rsp: &mut u64, entry: Entry) -> u64 {
    enter!("", "", restore)
}

/// As [`run`], and does what `guards` ask for.
///
/// # Safety
/// As for [`run`], but with [`exit_address`] of these guards.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn run_guarded(
    gprs: &mut Gprs,
    host_rsp: &mut u64,
    entry: Entry,
    guards: Guards,
) -> u64 {
    enter!("push rcx", clear_buffers!("8"), restore_guarded)
}

#[unsafe(naked)]
unsafe extern "sysv64" fn exit() {
    arrive!(leave!("", ""))
}

#[unsafe(naked)]
unsafe extern "sysv64" fn exit_guarded() {
    arrive!(leave!(fill_return_stack!("8"), "pop rcx"))
}

/// The end of [`run`] where the guest was not entered.
#[unsafe(naked)]
unsafe extern "sysv64" fn restore() {
    naked_asm!(leave!("", ""))
}

#[unsafe(naked)]
unsafe extern "sysv64" fn restore_guarded() {
    naked_asm!(leave!("", "pop rcx"))
}

/// Where an exit arrives, for the VMCS.
pub fn exit_address(guards: Guards) -> u64 {
    let arrival: unsafe extern "sysv64" fn() = if guards.is_empty() { exit } else { exit_guarded };
    arrival as *const () as u64
}

/// Lets the host's handler take an NMI that ended the guest's run: until its IRET the processor holds further ones back.
pub fn take_nmi() {
    // SAFETY: vector 2 of the hypervisor's IDT is its NMI handler, which counts and returns by IRET.
    unsafe { asm!("int 2") }
}
