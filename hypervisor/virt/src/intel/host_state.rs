//! What every exit restores of the hypervisor's own state (SDM 25.5 and 28.5), as it is on this CPU when a vCPU is loaded.
//! It does not change while one is: the hypervisor's page tables have one root, its descriptor tables one place.
//!
//! An exit sets the limits of GDTR and IDTR to 0xFFFF. That lies past the tables, where no selector and no vector of the
//! hypervisor's points.
//!
//! Why unsafe: registers are read by privileged instructions, and the base of the TSS from the GDT.

use super::controls::OnExit;
use super::switch;
use super::vmcs::{Field, Vmcs};
use crate::mitigations::Guards;
use core::arch::asm;
use vcpu::permission::msr;
use x86_64::instructions::tables::{sgdt, sidt};
use x86_64::registers::control::{Cr0, Cr4};
use x86_64::registers::model_specific::Msr;

const _: () = assert!(OnExit::all().contains(OnExit::LOAD_EFER.union(OnExit::LOAD_PAT)));

/// Writes this CPU's state into `vmcs`, which is loaded, for a world switch with these guards, which writes RSP itself.
pub fn write(vmcs: &mut Vmcs, guards: Guards) {
    // SAFETY: every CPU in 64-bit mode has the registers; reading them has no effect.
    let register = |index| unsafe { Msr::new(index).read() };
    let segments = Segments::read();
    let fields = [
        (Field::HostCr0, Cr0::read_raw()),
        (Field::HostCr3, cr3()),
        (Field::HostCr4, Cr4::read_raw()),
        (Field::HostEsSelector, segments.es),
        (Field::HostCsSelector, segments.cs),
        (Field::HostSsSelector, segments.ss),
        (Field::HostDsSelector, segments.ds),
        (Field::HostFsSelector, segments.fs),
        (Field::HostGsSelector, segments.gs),
        (Field::HostTrSelector, segments.tr),
        (Field::HostFsBase, register(msr::FS_BASE)),
        (Field::HostGsBase, register(msr::GS_BASE)),
        (Field::HostTrBase, tss_base(segments.tr)),
        (Field::HostGdtrBase, sgdt().base.as_u64()),
        (Field::HostIdtrBase, sidt().base.as_u64()),
        (Field::HostSysenterCs, register(msr::SYSENTER_CS)),
        (Field::HostSysenterEsp, register(msr::SYSENTER_ESP)),
        (Field::HostSysenterEip, register(msr::SYSENTER_EIP)),
        (Field::HostPat, register(msr::PAT)),
        (Field::HostEfer, register(msr::EFER)),
        (Field::HostRip, switch::exit_address(guards)),
    ];
    for (field, value) in fields {
        vmcs.write(field, value);
    }
}

/// The selectors, with RPL and TI clear as the processor wants them.
struct Segments {
    es: u64,
    cs: u64,
    ss: u64,
    ds: u64,
    fs: u64,
    gs: u64,
    tr: u64,
}

impl Segments {
    fn read() -> Self {
        let (es, cs, ss, ds, fs, gs, tr): (u64, u64, u64, u64, u64, u64, u64);
        // SAFETY: reading selectors has no effect.
        unsafe {
            asm!("mov {:e}, es", "mov {:e}, cs", "mov {:e}, ss", "mov {:e}, ds", "mov {:e}, fs", "mov {:e}, gs", "str {:e}",
                 out(reg) es, out(reg) cs, out(reg) ss, out(reg) ds, out(reg) fs, out(reg) gs, out(reg) tr,
                 options(nomem, nostack, preserves_flags));
        }
        let selector = |value: u64| value & 0xfff8;
        Self {
            es: selector(es),
            cs: selector(cs),
            ss: selector(ss),
            ds: selector(ds),
            fs: selector(fs),
            gs: selector(gs),
            tr: selector(tr),
        }
    }
}

fn cr3() -> u64 {
    let value;
    // SAFETY: reading CR3 has no effect.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// The base in the TSS descriptor that `selector` names.
fn tss_base(selector: u64) -> u64 {
    let descriptor =
        core::ptr::with_exposed_provenance::<[u64; 2]>((sgdt().base.as_u64() + selector) as usize);
    // SAFETY: TR was loaded through this descriptor, and the GDT lives for ever.
    base_of(unsafe { descriptor.read_unaligned() })
}

/// The base of a 64-bit system-segment descriptor (SDM figure 8-4).
const fn base_of([low, high]: [u64; 2]) -> u64 {
    low >> 16 & 0xff_ffff | low >> 56 << 24 | high << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_of_a_system_segment_is_gathered_from_three_fields() {
        assert_eq!(base_of([0x1200_8934_5678_0067, 0xffff_8000]), 0xffff_8000_1234_5678);
    }
}
