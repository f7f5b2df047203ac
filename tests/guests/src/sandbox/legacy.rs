//! Snippets outside of long mode, without paging: 32- and 16-bit protected mode, and real mode with the segments of
//! protected mode ("big real mode"). They have no exceptions: a fault ends the machine.
//!
//! ```text
//!   64-bit ─> compatibility ─> PG off: 32-bit ─> segments, flags, registers ─> (PE off) ─> snippet
//!   64-bit <─ compatibility <─ PG on            <─ registers, flags          <─ (PE on)  <────┘
//! ```
//!
//! Memory is reached by a data segment whose base is the memory's physical address, so that offsets, and with them
//! registers, are the same for all memory.
//!
//! Unsafe because it leaves long mode, and runs what it is given.

use super::switch::{Exchange, exchange};
use core::arch::{asm, global_asm};
use core::mem::offset_of;

/// Selectors in the sandbox's GDT.
pub const FLAT_CODE: u64 = 0x68;
pub const CODE_32: u64 = 0x70;
pub const CODE_16: u64 = 0x78;
pub const DATA: u64 = 0x80;

/// The modes that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Protected mode with 32-bit code.
    Protected32,
    /// Protected mode with 16-bit code.
    Protected16,
    /// Real mode with segments of protected mode.
    Real,
}

const CR0_PE: u32 = 1 << 0;
const CR0_PG: u32 = 1 << 31;

/// The most bytes that stand around a snippet.
const AROUND_BYTES: usize = 64;

/// Bytes of code, put together one after the other.
pub struct Text {
    bytes: [u8; AROUND_BYTES],
    len: usize,
}

impl Text {
    const fn new() -> Self {
        Self { bytes: [0; AROUND_BYTES], len: 0 }
    }

    fn add(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        self
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

unsafe extern "C" {
    fn legacy_enter();
    static legacy_back: u8;
}

/// What stands at the start of the snippet's segment: `code`, and the way there and back.
pub fn text(mode: Mode, code: &[u8]) -> Text {
    const MOV_CR0_EAX: &[u8] = &[0x0f, 0x22, 0xc0];
    let rax = (exchange() as u32).to_le_bytes();
    // Also from 16-bit code: operands and addresses of 32 bits, in FS.
    let wide: &[u8] = if mode == Mode::Protected32 { &[0x64] } else { &[0x64, 0x66, 0x67] };
    let mut text = Text::new();
    if mode == Mode::Real {
        text.add(MOV_CR0_EAX).add(wide).add(&[0xa1]).add(&rax);
    }
    text.add(code).add(wide).add(&[0xa3]).add(&rax);
    if mode == Mode::Real {
        text.add(&[0x66, 0xb8]).add(&(cr0() & !CR0_PG).to_le_bytes()).add(MOV_CR0_EAX);
    }
    if mode != Mode::Protected32 {
        text.add(&[0x66]);
    }
    let back = (&raw const legacy_back as u32).to_le_bytes();
    text.add(&[0xea]).add(&back).add(&(FLAT_CODE as u16).to_le_bytes());
    text
}

/// Runs the code that [`text`] has made, at the start of the segments [`CODE_32`] and [`CODE_16`].
///
/// # Safety
/// It is there, the exchange holds what it begins with, and it does not fault.
pub unsafe fn enter(mode: Mode) {
    let exchange = exchange();
    // SAFETY: by the contract above; the exchange is nobody else's. Long mode is as it was afterwards.
    unsafe {
        (*exchange).cs = if mode == Mode::Protected32 { CODE_32 } else { CODE_16 };
        (*exchange).rip = (*exchange).cs << 32;
        (*exchange).data = DATA;
        (*exchange).entry_rax = match mode {
            Mode::Real => (cr0() & !(CR0_PE | CR0_PG)).into(),
            _ => (*exchange).registers.gprs[0],
        };
        legacy_enter();
    }
}

fn cr0() -> u32 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr0", out(reg) value, options(nomem, nostack)) };
    value as u32
}

global_asm!(
    ".globl legacy_enter",
    ".globl legacy_back",
    ".text",
    "legacy_enter:",
    "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15", "pushfq",
    "mov [rip + {x} + {rsp}], rsp",
    "push {flat}", "lea rax, [rip + 2f]", "push rax", "retfq",

    ".code32",
    "2:",
    "mov eax, cr0", "and eax, 0x7fffffff", "mov cr0, eax",
    "mov eax, 0x18", "mov fs, eax", "mov ss, eax",
    "push dword ptr fs:[{x} + 128]", "popfd",
    "mov eax, fs:[{x} + {data}]", "mov ds, eax", "mov es, eax", "mov ss, eax",
    "mov esp, fs:[{x} + 32]",
    "mov ecx, fs:[{x} + 8]", "mov edx, fs:[{x} + 16]", "mov ebx, fs:[{x} + 24]",
    "mov ebp, fs:[{x} + 40]", "mov esi, fs:[{x} + 48]", "mov edi, fs:[{x} + 56]",
    "mov eax, fs:[{x} + {entry_rax}]",
    "jmp fword ptr fs:[{x} + {far}]",

    // EAX has been stored.
    "legacy_back:",
    "mov fs:[{x} + 8], ecx", "mov fs:[{x} + 16], edx", "mov fs:[{x} + 24], ebx", "mov fs:[{x} + 32], esp",
    "mov fs:[{x} + 40], ebp", "mov fs:[{x} + 48], esi", "mov fs:[{x} + 56], edi",
    "mov eax, 0x18", "mov ds, eax", "mov es, eax", "mov ss, eax",
    "mov esp, [{x} + {rsp}]",
    "pushfd", "pop dword ptr [{x} + 128]",
    "mov eax, cr0", "or eax, 0x80000000", "mov cr0, eax",
    "push 0x10", "lea eax, [3f]", "push eax", "retf",

    ".code64",
    "3:",
    "mov rsp, [rip + {x} + {rsp}]",
    "popfq", "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
    "ret",
    x = sym super::switch::EXCHANGE,
    flat = const FLAT_CODE,
    rsp = const offset_of!(Exchange, rsp),
    data = const offset_of!(Exchange, data),
    far = const offset_of!(Exchange, rip),
    entry_rax = const offset_of!(Exchange, entry_rax),
);
