//! Registers of the guest that no entry and no exit switches: they are in hardware from `load_on_cpu` to `unload`.
//!
//! The hypervisor uses none of them: it executes neither SYSCALL nor SWAPGS, sets no breakpoint (DR7 is disabled by every
//! exit), and reads CR2 and DR6 only in the epitaph of a fault of its own.
//!
//! Why unsafe: control, debug and model-specific registers are reached by privileged instructions only.

use crate::debug_registers;
use core::arch::asm;
use vcpu::VcpuState;
use vcpu::permission::msr;
use x86_64::registers::model_specific::Msr;

/// The registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are the registers of their names
pub struct Kept {
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub cr2: u64,
    pub dr6: u64,
    pub dr0_to_3: [u64; 4],
}

impl Kept {
    /// Those of `state`.
    pub const fn of(state: &VcpuState) -> Self {
        Self {
            star: state.star,
            lstar: state.lstar,
            cstar: state.cstar,
            sfmask: state.sfmask,
            kernel_gs_base: state.kernel_gs_base,
            cr2: state.cr2,
            dr6: state.dr6,
            dr0_to_3: state.dr0_to_3,
        }
    }

    /// Those of this CPU.
    pub fn from_hardware() -> Self {
        // SAFETY: every CPU in 64-bit mode has the registers; reading them has no effect.
        let read = |register| unsafe { Msr::new(register).read() };
        Self {
            star: read(msr::STAR),
            lstar: read(msr::LSTAR),
            cstar: read(msr::CSTAR),
            sfmask: read(msr::SFMASK),
            kernel_gs_base: read(msr::KERNEL_GS_BASE),
            cr2: cr2(),
            dr6: dr6(),
            dr0_to_3: debug_registers::read(),
        }
    }

    /// Makes them those of this CPU.
    pub fn to_hardware(self) {
        let write = |register, value| {
            // SAFETY: the hypervisor uses none of these registers. Addresses are canonical: the guest wrote them past the
            // processor's check, or `canonical` made them so.
            unsafe { Msr::new(register).write(value) };
        };
        write(msr::STAR, self.star);
        write(msr::LSTAR, canonical(self.lstar));
        write(msr::CSTAR, canonical(self.cstar));
        write(msr::SFMASK, self.sfmask);
        write(msr::KERNEL_GS_BASE, canonical(self.kernel_gs_base));
        set_cr2(self.cr2);
        set_dr6(self.dr6);
        debug_registers::write(&self.dr0_to_3);
    }
}

/// The canonical address nearest to `address`: a state that was not the processor's may hold any number, and WRMSR of
/// others faults.
const fn canonical(address: u64) -> u64 {
    ((address << 16) as i64 >> 16) as u64
}

fn cr2() -> u64 {
    let value;
    // SAFETY: reading CR2 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Makes `value` the hardware's CR2.
pub fn set_cr2(value: u64) {
    // SAFETY: CR2 has no effect by itself.
    unsafe { asm!("mov cr2, {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
}

/// The hardware's DR6.
pub fn dr6() -> u64 {
    let value;
    // SAFETY: reading DR6 has no effect; DR7.GD is clear in the hypervisor.
    unsafe { asm!("mov {}, dr6", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Makes `value` the hardware's DR6. Bits 63:32, which would fault, are dropped.
pub fn set_dr6(value: u64) {
    // SAFETY: DR6 has no effect by itself, and its upper half is zero.
    unsafe { asm!("mov dr6, {}", in(reg) value & 0xffff_ffff, options(nomem, nostack, preserves_flags)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_canonical_stays_and_others_become_so() {
        for address in [0, 0x7fff_ffff_ffff, 0xffff_8000_0000_0000, u64::MAX] {
            assert_eq!(canonical(address), address);
        }
        assert_eq!(canonical(0x8000_0000_0000), 0xffff_8000_0000_0000);
    }
}
