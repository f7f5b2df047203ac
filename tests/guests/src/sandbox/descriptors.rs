//! Segments for code of every level and width, a TSS with a stack for whatever ends it, and an IDT that leads back.
//!
//! Sources: AMD APM 24593, volume 2, sections 4.7, 4.8 and 12.2.5.
//!
//! Unsafe because it loads GDTR and TR.

use super::switch;
use crate::interrupts::TablePointer;
use core::arch::asm;
use core::cell::UnsafeCell;

/// How a snippet's code is interpreted, and with which rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// 64-bit code of a user.
    User64,
    /// 32-bit code of a user, in compatibility mode.
    User32,
    /// 16-bit code of a user, in compatibility mode.
    User16,
    /// 64-bit code at privilege level 0.
    Kernel64,
}

impl Level {
    /// The selectors of CS and SS.
    pub(super) const fn selectors(self) -> (u64, u64) {
        match self {
            Self::User64 => (0x23, USER_DATA),
            Self::User32 => (0x33, USER_DATA),
            Self::User16 => (0x3b, USER_DATA_16),
            Self::Kernel64 => (0x10, 0x18),
        }
    }
}

/// Flat data of a user.
pub const USER_DATA: u64 = 0x2b;
/// The same for a stack whose pointer is SP.
const USER_DATA_16: u64 = 0x43;
/// Where the limited segment begins.
pub const LIMITED_BASE: u64 = super::MEMORY + 0x1000;
/// How long it is.
pub const LIMITED_BYTES: u64 = 0x1000;

const TSS_SELECTOR: u16 = 0x58;
const TSS_BYTES: u64 = 104;
/// The interrupt-stack-table entry that all gates name.
const STACK_NUMBER: u64 = 1;
const STACK_BYTES: usize = 4096;

/// Present, DPL 3, accessed; the type follows.
const USER: u64 = 0xf1 << 40;
const CODE: u64 = 0xa << 40;
const WRITABLE: u64 = 0x2 << 40;
const GRANULAR: u64 = 1 << 55;
const BIG: u64 = 1 << 54;
const LONG: u64 = 1 << 53;
const ALL: u64 = 0xf << 48 | 0xffff;

#[repr(C, align(16))]
struct Tables {
    gdt: [u64; 13],
    idt: [[u64; 2]; GATES],
    tss: [u32; TSS_BYTES as usize / 4],
    stack: [u8; STACK_BYTES],
}

const GATES: usize = switch::LEAVE as usize + 1;

struct Shared(UnsafeCell<Tables>);

// SAFETY: used on the only CPU, with interrupts masked, by functions that keep no reference.
unsafe impl Sync for Shared {}

static TABLES: Shared = Shared(UnsafeCell::new(Tables {
    gdt: [0; 13],
    idt: [[0; 2]; GATES],
    tss: [0; TSS_BYTES as usize / 4],
    stack: [0; STACK_BYTES],
}));

/// A data segment of `len_bytes` from `base` on.
const fn limited(base: u64, len_bytes: u64) -> u64 {
    USER | WRITABLE | BIG | (len_bytes - 1) | (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56
}

/// Loads the segments and the TSS. The selectors of the running code mean what they did.
pub(super) fn load() {
    // SAFETY: the only reference; the tables live for ever and say the same of the code that runs.
    let tables = unsafe { &mut *TABLES.0.get() };
    let tss = (&raw const tables.tss) as u64;
    let stack_top = (&raw const tables.stack) as u64 + STACK_BYTES as u64;
    let [low, high] = [stack_top as u32, (stack_top >> 32) as u32];
    // IST1.
    tables.tss[9] = low;
    tables.tss[10] = high;
    // No I/O permission bitmap.
    tables.tss[25] = (TSS_BYTES as u32) << 16;
    const PRESENT_TSS: u64 = 0x89 << 40;
    let tss_low = PRESENT_TSS | (TSS_BYTES - 1) | (tss & 0xff_ffff) << 16 | (tss >> 24 & 0xff) << 56;
    tables.gdt = [
        0,
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        USER | CODE | LONG | GRANULAR | ALL,
        USER | WRITABLE | BIG | GRANULAR | ALL,
        USER | CODE | BIG | GRANULAR | ALL,
        USER | CODE | GRANULAR | ALL,
        USER | WRITABLE | GRANULAR | ALL,
        limited(LIMITED_BASE, LIMITED_BYTES),
        USER | BIG | GRANULAR | ALL,
        tss_low,
        tss >> 32,
    ];
    for (vector, gate) in tables.idt.iter_mut().enumerate() {
        *gate = switch::handler(vector as u64).map_or([0; 2], gate_to);
    }
    let pointer =
        TablePointer { limit: size_of_val(&tables.gdt) as u16 - 1, base: (&raw const tables.gdt) as u64 };
    // SAFETY: as above; nobody has used TR before.
    unsafe {
        asm!(
            "lgdt [{pointer}]",
            "ltr {tss:x}",
            "mov fs, {data:e}",
            "mov gs, {data:e}",
            pointer = in(reg) &raw const pointer,
            tss = in(reg) TSS_SELECTOR,
            data = in(reg) USER_DATA,
            options(nostack),
        );
    }
}

/// Lets every exception lead out of the sandbox. What they led to before.
pub(super) fn take_exceptions() -> TablePointer {
    let tables = TABLES.0.get();
    let mut before = TablePointer { limit: 0, base: 0 };
    // SAFETY: `load` has filled the table, which lives for ever.
    let base = unsafe { &raw const (*tables).idt } as u64;
    let pointer = TablePointer { limit: (GATES * 16) as u16 - 1, base };
    // SAFETY: as above.
    unsafe {
        asm!("sidt [{}]", "lidt [{}]", in(reg) &raw mut before, in(reg) &raw const pointer, options(nostack));
    }
    before
}

/// Lets exceptions lead where they did.
pub(super) fn give_back_exceptions(before: &TablePointer) {
    // SAFETY: it was loaded before.
    unsafe { asm!("lidt [{}]", in(reg) before, options(nostack)) };
}

/// An interrupt gate that everybody may name, with a stack of its own.
fn gate_to(handler: u64) -> [u64; 2] {
    const INTERRUPT_GATE: u64 = 0xee << 40;
    const CODE_SELECTOR: u64 = 0x10 << 16;
    let offset = handler & 0xffff | (handler >> 16 & 0xffff) << 48;
    [offset | CODE_SELECTOR | STACK_NUMBER << 32 | INTERRUPT_GATE, handler >> 32]
}
