//! What the tiny guests share: entry, interrupts, a serial line, and checks that print their outcome.
//!
//! A guest is a static ELF file that starts by Linux's 64-bit boot protocol (two of them by PVH and Multiboot), or by PVH
//! on bare QEMU, runs its checks, prints one line each on COM1, and ends by writing the number of failed checks to the
//! debug-exit port.
//!
//! # Principles
//! - **One behaviour a guest**, and a line for every check: what it is called, and what was seen when it failed.
//! - **The same binary** runs under Cofferdam and on bare QEMU, which is the reference.
//! - **No guest trusts the machine.** Waits are bounded; an exception that no check asked for is printed and ends the run.
//!
//! # What it must never do
//! Depend on a crate of the hypervisor: a mistake there must not hide itself here.
//!
//! Why unsafe: a guest is bare-metal code; ports, registers and descriptor tables are all that it does.

#![no_std]

pub mod apic;
pub mod checks;
pub mod control;
pub mod cpu;
pub mod entry;
pub mod handed;
pub mod instructions;
pub mod interrupts;
pub mod legacy;
pub mod pages;
pub mod pci;
pub mod sandbox;
pub mod serial;
pub mod virtio;

pub use checks::Checks;

/// Names the function `fn(&mut Checks)` that a guest runs, what it is called in its output, and how it is entered: by
/// Linux's 64-bit protocol unless it says `pvh` or `multiboot`.
#[macro_export]
macro_rules! guest {
    ($name:literal, $run:path) => {
        // The note by which a loader knows Linux: its owner matters, not its content.
        ::core::arch::global_asm!(
            ".section .note.linux, \"a\", @note",
            ".balign 4",
            ".long 6, 4, 0x101",
            ".asciz \"Linux\"",
            ".balign 4",
            ".long 0",
            ".text",
        );
        $crate::guest!($name, $run, pvh);
    };
    ($name:literal, $run:path, multiboot) => {
        // Page-aligned modules, memory sizes, and the addresses of the file as one piece.
        ::core::arch::global_asm!(
            ".section .multiboot, \"a\"",
            ".balign 4",
            "multiboot_header:",
            ".long 0x1badb002, 0x10003, -(0x1badb002 + 0x10003)",
            ".long multiboot_header, guest_start, guest_data_end, guest_end, start_32",
            ".text",
        );
        $crate::guest!($name, $run, pvh);
    };
    ($name:literal, $run:path, pvh) => {
        /// Called by the entry code, on its stack, with interrupts off.
        #[unsafe(no_mangle)]
        extern "C" fn guest_main() -> ! {
            $crate::checks::run($name, $run)
        }
    };
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    println!("guest: panic: {info}");
    checks::exit(checks::PANICKED)
}
