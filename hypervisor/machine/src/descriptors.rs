//! This CPU's GDT and TSS, and the IDT that all CPUs share.
//!
//! ```text
//! GDT  0x00 null   0x08 code, 64 bit   0x10 data   0x18 TSS (two entries)
//! TSS  IST 1 NMI   IST 2 #DF           IST 3 #MC   - each a stack of its own
//! IDT  256 interrupt gates to the stubs of `trap`
//! ```
//! Unsafe because the CPU reads these tables by address for as long as it runs.
//!
//! Sources: Intel SDM, volume 3, sections 3.4.5, 6.14 and 8.7; AMD APM, volume 2, sections 4.8 and 12.2.5.

use crate::percpu::PerCpu;
use crate::trap;
use core::arch::asm;
use spin::Once;

/// Selector of the code segment.
pub const CODE_SELECTOR: u16 = 0x08;
/// Selector of the data segment.
pub const DATA_SELECTOR: u16 = 0x10;
/// Selector of the task-state segment.
pub const TSS_SELECTOR: u16 = 0x18;

/// Present, execute/read, accessed, long mode.
const CODE_SEGMENT: u64 = 0x0020_9b00_0000_0000;
/// Present, read/write, accessed.
const DATA_SEGMENT: u64 = 0x0000_9300_0000_0000;
/// Present, 64-bit TSS, available.
const TSS_TYPE: u64 = 0x89 << 40;
/// Present, 64-bit interrupt gate: interrupts are masked on entry.
const INTERRUPT_GATE: u64 = 0x8e << 40;

/// The stacks that some exceptions switch to, each given by its top: one past its last byte, a multiple of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmergencyStacks {
    /// For NMIs.
    pub nmi_top: u64,
    /// For double faults: the stack in use may be the reason.
    pub double_fault_top: u64,
    /// For machine checks.
    pub machine_check_top: u64,
}

/// The task-state segment (Intel SDM, volume 3, figure 8-11): 104 bytes, no I/O bitmap.
#[repr(C, packed(4))]
struct TaskState {
    reserved0: u32,
    privilege_stacks: [u64; 3],
    reserved1: u64,
    interrupt_stacks: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    io_bitmap_offset: u16,
}

const _: () = assert!(size_of::<TaskState>() == 104);

/// What one CPU's segment registers refer to.
pub(crate) struct Tables {
    gdt: [u64; 5],
    tss: TaskState,
}

impl Tables {
    pub(crate) const fn new() -> Self {
        Self {
            gdt: [0, CODE_SEGMENT, DATA_SEGMENT, 0, 0],
            tss: TaskState {
                reserved0: 0,
                privilege_stacks: [0; 3],
                reserved1: 0,
                interrupt_stacks: [0; 7],
                reserved2: 0,
                reserved3: 0,
                io_bitmap_offset: size_of::<TaskState>() as u16,
            },
        }
    }
}

/// The two halves of a TSS descriptor at `base`.
const fn tss_descriptor(base: u64) -> [u64; 2] {
    let limit = size_of::<TaskState>() as u64 - 1;
    let low = limit | (base & 0x00ff_ffff) << 16 | TSS_TYPE | (base >> 24 & 0xff) << 56;
    [low, base >> 32]
}

/// A gate of the IDT to `handler`, on interrupt stack `stack` (0 stays on the present one).
const fn gate(handler: u64, stack: u8) -> [u64; 2] {
    let low = handler & 0xffff
        | (CODE_SELECTOR as u64) << 16
        | (stack as u64) << 32
        | INTERRUPT_GATE
        | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

/// Which interrupt stack an exception switches to.
const fn interrupt_stack(vector: u8) -> u8 {
    match vector as u64 {
        trap::exception::NMI => 1,
        trap::exception::DOUBLE_FAULT => 2,
        trap::exception::MACHINE_CHECK => 3,
        _ => 0,
    }
}

type Idt = [[u64; 2]; 256];

static IDT: Once<Idt> = Once::new();

fn idt() -> &'static Idt {
    IDT.call_once(|| {
        core::array::from_fn(|vector| {
            let vector = vector as u8;
            gate(trap::stub(vector), interrupt_stack(vector))
        })
    })
}

/// The operand of LGDT and LIDT.
#[repr(C, packed(2))]
struct TablePointer {
    limit: u16,
    base: u64,
}

impl TablePointer {
    fn to<T>(table: *const T) -> Self {
        Self { limit: (size_of::<T>() - 1) as u16, base: table.expose_provenance() as u64 }
    }
}

/// Makes `cpu`'s tables those of the CPU that runs this: GDT, TSS, IDT, segment registers and GS.
///
/// Called again it takes other stacks, for when better ones exist than at the start.
///
/// # Safety
/// `cpu` belongs to the CPU that runs this and to no other; interrupts are masked; the stacks are writable memory
/// that nothing else uses, of at least 8 KiB each, and stay so.
pub unsafe fn install(cpu: &'static PerCpu, stacks: &EmergencyStacks) {
    let tables = cpu.tables.get();
    // SAFETY: this CPU alone writes its tables, and interrupts are masked. The CPU itself reads `interrupt_stacks`
    // only on one of three exceptions, and sees an old or a new stack then.
    unsafe {
        let tss = &raw mut (*tables).tss;
        (*tss).interrupt_stacks =
            [stacks.nmi_top, stacks.double_fault_top, stacks.machine_check_top, 0, 0, 0, 0];
        let [low, high] = tss_descriptor(tss.expose_provenance() as u64);
        (*tables).gdt = [0, CODE_SEGMENT, DATA_SEGMENT, low, high];
    }
    // SAFETY: `tables` is part of a `&'static PerCpu`.
    let gdt = TablePointer::to(unsafe { &raw const (*tables).gdt });
    let idt = TablePointer::to(idt());
    // SAFETY: both tables live for ever and are well-formed; the code selector is reloaded by a far return, the TSS
    // descriptor was just written as available; with null selectors FS and GS keep no stale base (`install` sets GS).
    unsafe {
        asm!(
            "lgdt [{gdt}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ds, {data:x}",
            "mov es, {data:x}",
            "mov ss, {data:x}",
            "mov fs, {null:x}",
            "mov gs, {null:x}",
            "ltr {tss:x}",
            "lidt [{idt}]",
            gdt = in(reg) &raw const gdt,
            idt = in(reg) &raw const idt,
            code = in(reg) u64::from(CODE_SELECTOR),
            data = in(reg) u32::from(DATA_SELECTOR),
            null = in(reg) 0_u32,
            tss = in(reg) u32::from(TSS_SELECTOR),
            scratch = out(reg) _,
        );
        cpu.install();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_scatters_the_handler_over_three_fields() {
        let [low, high] = gate(0x1122_3344_5566_7788, 2);
        assert_eq!(low & 0xffff, 0x7788);
        assert_eq!(low >> 16 & 0xffff, u64::from(CODE_SELECTOR));
        assert_eq!(low >> 32 & 0xff, 2);
        assert_eq!(low >> 40 & 0xff, 0x8e);
        assert_eq!(low >> 48, 0x5566);
        assert_eq!(high, 0x1122_3344);
    }

    #[test]
    fn a_tss_descriptor_holds_base_limit_and_type() {
        let [low, high] = tss_descriptor(0xffff_8000_1234_5678);
        assert_eq!(low & 0xffff, 103);
        assert_eq!(low >> 16 & 0xff_ffff, 0x34_5678);
        assert_eq!(low >> 40 & 0xff, 0x89);
        assert_eq!(low >> 56, 0x12);
        assert_eq!(high, 0xffff_8000);
    }

    #[test]
    fn exactly_three_exceptions_have_stacks_of_their_own() {
        let with_stack = (0..=255).filter(|&v| interrupt_stack(v) != 0).map(|v| (v, interrupt_stack(v)));
        assert!(with_stack.eq([(2, 1), (8, 2), (18, 3)]));
    }

    #[test]
    fn all_256_gates_lead_to_their_stubs() {
        for (vector, [low, high]) in idt().iter().enumerate() {
            let handler = low & 0xffff | (low >> 48) << 16 | high << 32;
            assert_eq!(handler, trap::stub(vector as u8));
        }
    }
}
