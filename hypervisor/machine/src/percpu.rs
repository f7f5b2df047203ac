//! What each CPU has for itself, found through GS.
//!
//! Unsafe because GS is set by an MSR and read by an instruction, and because the descriptor tables in here are written
//! by their CPU alone while the whole is shared.
//!
//! The boot CPU's is a static, so that it can be installed before there is a heap.

use crate::apic::LocalApic;
use crate::descriptors::Tables;
use base::CpuId;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use spin::Once;
use sync::{HeldRanks, ThisCpu};

/// One CPU's own data. GS points to it, and its first field points to itself.
#[repr(C)]
pub struct PerCpu {
    this: UnsafeCell<*const PerCpu>,
    cpu: CpuId,
    held: HeldRanks,
    /// Descriptor tables: written by this CPU in [`crate::descriptors`] only.
    pub(crate) tables: UnsafeCell<Tables>,
    /// The local APIC, once it is driven.
    pub apic: Once<LocalApic>,
    /// Set by the timer's handler; the CPU's loop clears it.
    pub timer_fired: AtomicBool,
    /// Set when another CPU asks for attention; the CPU's loop clears it.
    pub message_waits: AtomicBool,
    /// Interrupts taken with a vector that nobody owns.
    pub unexpected: AtomicU64,
    /// Spurious interrupts taken.
    pub spurious: AtomicU64,
}

// SAFETY: `this` and `tables` are written only by the CPU they belong to, with interrupts masked (`install` here and
// in `descriptors`); all else is atomic or set once.
unsafe impl Sync for PerCpu {}

/// Whether GS is valid. There is one CPU now; a CPU that starts later installs its own before it takes a lock.
static INSTALLED: AtomicBool = AtomicBool::new(false);

static BOOT_CPU: PerCpu = PerCpu::new(CpuId(0));

impl PerCpu {
    /// The data of `cpu`, not yet installed.
    pub const fn new(cpu: CpuId) -> Self {
        Self {
            this: UnsafeCell::new(core::ptr::null()),
            cpu,
            held: HeldRanks::new(),
            tables: UnsafeCell::new(Tables::new()),
            apic: Once::new(),
            timer_fired: AtomicBool::new(false),
            message_waits: AtomicBool::new(false),
            unexpected: AtomicU64::new(0),
            spurious: AtomicU64::new(0),
        }
    }

    /// The boot CPU's.
    pub fn boot_cpu() -> &'static Self {
        &BOOT_CPU
    }

    /// Which CPU this is.
    pub const fn cpu(&self) -> CpuId {
        self.cpu
    }

    /// Whether the timer has fired since the last call.
    pub fn take_timer_fired(&self) -> bool {
        self.timer_fired.swap(false, Ordering::Relaxed)
    }

    /// Points GS of the CPU that runs this to `self`.
    ///
    /// # Safety
    /// This CPU is `self.cpu()`, and nobody else has installed `self`.
    pub(crate) unsafe fn install(&'static self) {
        // SAFETY: only this CPU writes the field, and nobody reads it yet.
        unsafe { *self.this.get() = self }
        // SAFETY: x86-64 always has this MSR; the hypervisor uses GS for nothing else.
        unsafe {
            crate::msr::write(crate::msr::GS_BASE, core::ptr::from_ref(self).expose_provenance() as u64)
        }
        INSTALLED.store(true, Ordering::Release);
    }

    /// The data of the CPU that runs this; `None` before they are installed, and on a host.
    #[inline]
    pub fn current() -> Option<&'static Self> {
        if !INSTALLED.load(Ordering::Acquire) {
            return None;
        }
        let this: *const Self;
        // SAFETY: GS points to a `PerCpu`, whose first field is its own address.
        unsafe {
            core::arch::asm!("mov {}, gs:[0]", out(reg) this, options(nostack, preserves_flags, readonly, pure));
        }
        // SAFETY: `install` stored the address of a `&'static Self` there.
        Some(unsafe { &*this })
    }
}

/// The CPU that runs the code that asks.
#[derive(Debug)]
pub struct CurrentCpu;

impl ThisCpu for CurrentCpu {
    fn held_ranks() -> Option<&'static HeldRanks> {
        PerCpu::current().map(|cpu| &cpu.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_installed_nobody_keeps_account() {
        assert!(PerCpu::current().is_none());
        assert!(CurrentCpu::held_ranks().is_none());
        assert_eq!(PerCpu::boot_cpu().cpu(), CpuId(0));
    }

    #[test]
    fn gs_finds_the_self_pointer_first() {
        assert_eq!(core::mem::offset_of!(PerCpu, this), 0);
    }
}
