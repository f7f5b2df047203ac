//! From a CPU that may have VT-x to an [`Engine`] that runs vCPUs on it (SDM 24.6 to 24.8, and 31 for VMXON).
//!
//! Why unsafe: model-specific and control registers that switch the extension on.

use super::capabilities::Capabilities;
use super::permission_maps::PermissionMaps;
use super::refusal::Refusal;
use super::vmcs;
use crate::engine::{ApicVirtualization, BringUpError};
use crate::flushes::tags_end;
use crate::fpu;
use crate::frames::{FrameSource, Frames};
use crate::mitigations::Mitigations;
use crate::tags::TagAllocator;
use crate::xsave::Method;
use base::{ApicId, CpuId, Hpa};
use core::arch::x86_64::__cpuid;
use vcpu::control::cr4;
use x86_64::registers::control::{Cr0, Cr4};
use x86_64::registers::model_specific::Msr;

/// CPUID 1, ECX: VMX.
const CPUID_VMX: u32 = 1 << 5;

const FEATURE_CONTROL: u32 = 0x3a;
const FEATURE_CONTROL_LOCK: u64 = 1 << 0;
const FEATURE_CONTROL_VMX: u64 = 1 << 2;

/// The bits that CR0 and CR4 must have set in VMX operation, and those that they may have set (SDM A.7 and A.8).
const CR0_FIXED0: u32 = 0x486;
const CR0_FIXED1: u32 = 0x487;
const CR4_FIXED0: u32 = 0x488;
const CR4_FIXED1: u32 = 0x489;

/// The first VPID that does not exist: it has 16 bits.
const VPID_END: u32 = 1 << 16;

/// One CPU, ready to run guests.
#[derive(Debug)]
pub struct Engine {
    /// The CPU's own, for who notifies it.
    pub(super) apic_id: ApicId,
    pub(super) capabilities: Capabilities,
    pub(super) maps: PermissionMaps,
    pub(super) tags: TagAllocator,
    pub(super) fpu_method: Method,
    pub(super) mitigations: Mitigations,
    /// What the processor needs in VMX operation; never read by software.
    _vmxon_region: Frames,
}

impl Engine {
    /// What the CPU can do, for the log.
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What is done about the CPU's vulnerabilities.
    pub const fn mitigations(&self) -> &Mitigations {
        &self.mitigations
    }

    /// The frame to show guests in the place of their local APICs' page, where the processor runs those.
    pub fn apic_page(&self) -> Option<Hpa> {
        self.capabilities.runs_apics().then_some(self.maps.apic_page)
    }

    /// The XCR0 components that guests can be given.
    pub const fn xcr0_components(&self) -> u64 {
        self.fpu_method.components()
    }
}

/// Whether the CPU has the extension at all.
pub fn is_present() -> bool {
    __cpuid(1).ecx & CPUID_VMX != 0
}

/// Switches VT-x on, on this CPU, which [`is_present`]; it runs guests' local APICs as `apics` says.
///
/// # Errors
/// What is missing, and how to provide it.
pub fn bring_up(
    cpu: CpuId,
    apic_id: ApicId,
    apics: ApicVirtualization,
    frames: &mut impl FrameSource,
) -> Result<Engine, BringUpError> {
    unlock()?;
    // SAFETY: every CPU with VMX has the registers that `detect` asks for, in its order.
    let capabilities =
        Capabilities::detect(&__cpuid(0x8000_0008), apics, |register| unsafe { Msr::new(register).read() })?;
    let maps = PermissionMaps::build(frames)?;
    let vmxon_region = vmcs::region(capabilities.revision, frames)?;
    let fpu_method = fpu::detect();
    fpu::enable(fpu_method);
    fix_control_registers();
    // SAFETY: the firmware allows it, the control registers have the bits, and the region is a frame with the revision
    // that the engine owns until the CPU stops.
    unsafe { vmcs::vmxon(vmxon_region.hpa()) }.map_err(|_| Refusal::VmxonFailed)?;
    let mitigations = Mitigations::detect();
    mitigations.set_up();
    let tags = TagAllocator::new(cpu, tags_end(VPID_END));
    Ok(Engine { apic_id, capabilities, maps, tags, fpu_method, mitigations, _vmxon_region: vmxon_region })
}

/// Allows VMXON where the firmware left that open, and closes it against changes (SDM 24.7).
fn unlock() -> Result<(), Refusal> {
    let mut register = Msr::new(FEATURE_CONTROL);
    // SAFETY: every CPU with VMX has the register; the bit only permits what the next step does.
    unsafe {
        if let Some(value) = unlocked(register.read())? {
            register.write(value);
        }
    }
    Ok(())
}

/// What IA32_FEATURE_CONTROL must become, if it must change from `value`.
const fn unlocked(value: u64) -> Result<Option<u64>, Refusal> {
    if value & FEATURE_CONTROL_LOCK == 0 {
        return Ok(Some(value | FEATURE_CONTROL_VMX | FEATURE_CONTROL_LOCK));
    }
    if value & FEATURE_CONTROL_VMX == 0 {
        return Err(Refusal::DisabledByFirmware);
    }
    Ok(None)
}

/// Gives CR0 and CR4 the bits that VMX operation needs, CR4.VMXE among them.
fn fix_control_registers() {
    // SAFETY: every CPU with VMX has the registers. What they force is CR0.NE, PE and PG and CR4.VMXE, of which the
    // hypervisor runs with PE and PG; NE lets x87 errors raise an exception, and the hypervisor computes none. What they
    // forbid no hypervisor in 64-bit mode has set.
    unsafe {
        let read = |register| Msr::new(register).read();
        Cr0::write_raw(Cr0::read_raw() & read(CR0_FIXED1) | read(CR0_FIXED0));
        Cr4::write_raw((Cr4::read_raw() | cr4::VMXE) & read(CR4_FIXED1) | read(CR4_FIXED0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_the_firmware_left_open_is_allowed_and_locked() {
        assert_eq!(unlocked(0), Ok(Some(5)));
        assert_eq!(unlocked(2), Ok(Some(7)));
        assert_eq!(unlocked(5), Ok(None));
    }

    #[test]
    fn what_the_firmware_forbade_is_refused_with_the_remedy() {
        let refusal = unlocked(1).unwrap_err();
        assert_eq!(refusal, Refusal::DisabledByFirmware);
        assert!(refusal.to_string().contains("Intel Virtualization Technology"));
        // Inside SMX operation only.
        assert_eq!(unlocked(3), Err(Refusal::DisabledByFirmware));
    }
}
