//! From the loader's entry to `guest_main`: page tables, GDT and stack of our own.
//!
//! ```text
//!   PVH, Multiboot:  start_32, 32-bit, paging off ──> long mode ──┐
//!   Linux protocol:  startup_64, 64-bit, loader's tables ─────────┴──> our tables, GDT, stack ──> guest_main
//!
//!   virtual                physical
//!   0 .. 4 GiB             the same, 2 MiB pages, writable
//!   512 GiB .. +2 MiB      0, read-only                          (`interrupts` checks write faults there)
//!   512 GiB +2 MiB .. +4   512 GiB, writable                     (far beyond any RAM)
//!   the rest               nothing
//! ```
//!
//! Unsafe because it is where another program's registers and pages become ours.

//!
//! Every guest has a PVH note. One that is to be entered by Linux's protocol says so by a note of its own, as Linux does;
//! one that is to be entered by Multiboot has a header: see [`guest!`](crate::guest).

use core::arch::global_asm;

global_asm!(
    r#"
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18            # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long start_32

    .section .text.entry, "ax"
    .code32
    .globl start_32
    start_32:
        cli
        cld
        movl %eax, boot_registers
        movl %ebx, boot_registers + 4
        movl %cr0, %eax
        movl %eax, boot_registers + 8
        movl %cr4, %eax
        movl %eax, boot_registers + 12
        lgdt gdt_pointer
        movl $pml4, %eax
        movl %eax, %cr3
        movl %cr4, %eax
        orl $0x20, %eax           # PAE
        movl %eax, %cr4
        movl $0xc0000080, %ecx    # EFER
        rdmsr
        orl $0x100, %eax          # LME
        wrmsr
        movl %cr0, %eax
        orl $0x80000001, %eax     # PG, PE
        movl %eax, %cr0
        ljmp $0x10, $startup_64

    .code64
    .globl startup_64
    startup_64:
        cli
        cld
        movq $stack_top, %rsp
        lgdt gdt_pointer
        movl $pml4, %eax
        movq %rax, %cr3
        movl $0x18, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %fs
        movl %eax, %gs
        movl %eax, %ss
        pushq $0x10
        pushq $1f
        lretq
    1:
        movq %cr0, %rax
        orq $0x10002, %rax        # WP, MP
        andq $~0xc, %rax          # TS, EM
        movq %rax, %cr0
        xorl %ebp, %ebp
        call guest_main
        ud2

    .section .rodata
    .balign 8
    gdt:
        .quad 0, 0
        .quad 0x00af9b000000ffff  # 0x10: 64-bit code
        .quad 0x00cf93000000ffff  # 0x18: data
    gdt_pointer:
        .word . - gdt - 1
        .quad gdt

    .section .data
    .globl boot_registers
    boot_registers:
        .long 0, 0, 0, 0
    .balign 4096
    .globl pml4
    pml4:
        .quad pdpt + 3
        .quad pdpt_alias + 3
        .fill 510, 8, 0
    pdpt:
        .quad directories + 3
        .quad directories + 0x1003
        .quad directories + 0x2003
        .quad directories + 0x3003
        .fill 508, 8, 0
    pdpt_alias:
        .quad directory_alias + 3
        .fill 511, 8, 0
    directory_alias:
        .quad 0x81                # physical 0, read-only, 2 MiB
        .quad 0x8000000083        # physical 512 GiB, writable, 2 MiB
        .fill 510, 8, 0
    directories:
        .set page, 0
        .rept 2048
        .quad (page << 21) + 0x83
        .set page, page + 1
        .endr

    .section .bss
    .balign 16
        .skip 0x10000
    stack_top:
    "#,
    options(att_syntax)
);

/// Where physical address 0 is mapped read-only.
pub const READ_ONLY_ALIAS: u64 = 512 << 30;
/// Where physical address 512 GiB is mapped, which no test machine has.
pub const FAR_ALIAS: u64 = READ_ONLY_ALIAS + (2 << 20);

/// What the loader left in registers, if it entered in 32-bit mode; else zeros.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct BootRegisters {
    /// EAX: Multiboot's magic number.
    pub eax: u32,
    /// EBX: the address of what the loader tells.
    pub ebx: u32,
    /// CR0.
    pub cr0: u32,
    /// CR4.
    pub cr4: u32,
}

/// What the loader left in registers.
pub fn boot_registers() -> BootRegisters {
    unsafe extern "C" {
        #[link_name = "boot_registers"]
        static REGISTERS: BootRegisters;
    }
    // SAFETY: the entry code wrote it before any of this code ran, and nothing writes it again.
    unsafe { core::ptr::read_volatile(&raw const REGISTERS) }
}
