//! When this CPU takes interrupts: in idle and in brief windows, never else.
//!
//! Unsafe because the interrupt flag is changed by instructions; what runs in a window are this crate's own handlers,
//! which only enqueue.

use core::arch::asm;

/// Takes what interrupts are pending, then masks them again.
///
/// `sti` holds interrupts off for one more instruction, so the `nop` is where they arrive (Intel SDM, volume 2, STI).
#[inline]
pub fn window() {
    // SAFETY: the handlers keep all registers, and the flag is clear again afterwards. Not `nomem`: handlers write.
    unsafe { asm!("sti", "nop", "cli", options(nostack)) }
}

/// Sleeps until an interrupt, takes it, and masks interrupts again.
///
/// An interrupt that is pending already is not slept over: none is taken between `sti` and `hlt`.
#[inline]
pub fn enable_and_halt() {
    // SAFETY: as in `window`.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) }
}

/// Masks interrupts.
#[inline]
pub fn disable() {
    // SAFETY: masking interrupts harms no memory.
    unsafe { asm!("cli", options(nostack)) }
}

/// Stops this CPU for good.
pub fn halt_for_ever() -> ! {
    loop {
        // SAFETY: with interrupts masked only an NMI or a machine check wakes the CPU, and it sleeps again.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}
