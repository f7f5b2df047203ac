//! Where boot jumps to.
//!
//! Unsafe because it is the boundary: the address of the handoff block arrives in a register.
//!
//! At entry (docs/boot.md): long mode, interrupts masked, RDI = physical address of the handoff block, which is mapped at
//! that address, RSP = top of boot's stack.

core::arch::global_asm!(
    ".pushsection .text.entry, \"ax\", @progbits",
    ".global _start",
    "_start:",
    // The end of every backtrace.
    "xor ebp, ebp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    ".popsection",
    main = sym main,
);

extern "C" fn main(handoff_address: u64) -> ! {
    crate::bring_up::on_boot_tables(handoff_address)
}
