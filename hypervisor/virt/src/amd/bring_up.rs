//! From a CPU that may have AMD-V to an [`Engine`] that runs vCPUs on it
//! (APM 24593, volume 2, sections 15.4, 15.30 and 15.31).
//!
//! Why unsafe: model-specific registers that switch the extension on.

use super::capabilities::{Capabilities, Features};
use super::permission_maps::PermissionMaps;
use super::refusal::Refusal;
use super::switch;
use crate::engine::BringUpError;
use crate::flushes::tags_end;
use crate::fpu;
use crate::frames::{FrameSource, Frames};
use crate::mitigations::Mitigations;
use crate::tags::TagAllocator;
use crate::xsave::Method;
use base::CpuId;
use core::arch::x86_64::__cpuid;
use x86_64::registers::model_specific::{Efer, EferFlags, Msr};

const VM_CR: u32 = 0xc001_0114;
const VM_CR_LOCK: u64 = 1 << 3;
const VM_CR_SVMDIS: u64 = 1 << 4;
const VM_HSAVE_PA: u32 = 0xc001_0117;

/// CPUID 0x8000_0001, ECX: SVM.
const CPUID_SVM: u32 = 1 << 2;

/// One CPU, ready to run guests.
#[derive(Debug)]
pub struct Engine {
    pub(super) capabilities: Capabilities,
    pub(super) maps: PermissionMaps,
    pub(super) tags: TagAllocator,
    pub(super) fpu_method: Method,
    pub(super) mitigations: Mitigations,
    /// Where VMSAVE put the CPU's own state, for VMLOAD after each exit.
    pub(super) host: Frames,
    /// Where the processor keeps the host's state while a guest runs; never read by software.
    _host_save: Frames,
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

    /// The XCR0 components that guests can be given.
    pub const fn xcr0_components(&self) -> u64 {
        self.fpu_method.components()
    }
}

/// Whether the CPU has the extension at all.
pub fn is_present() -> bool {
    let extended = __cpuid(0x8000_0000).eax;
    extended >= 0x8000_000a && __cpuid(0x8000_0001).ecx & CPUID_SVM != 0
}

/// Switches AMD-V on, on this CPU, which [`is_present`].
///
/// # Errors
/// What is missing, and how to provide it.
pub fn bring_up(cpu: CpuId, frames: &mut impl FrameSource) -> Result<Engine, BringUpError> {
    let capabilities = detect();
    check(&capabilities)?;
    unlock()?;
    let maps = PermissionMaps::build(frames)?;
    let host_save = frames.take(1)?;
    let host = frames.take(1)?;
    let fpu_method = fpu::detect();
    fpu::enable(fpu_method);
    // SAFETY: the CPU has AMD-V and the firmware allows it; SVME only makes its instructions valid. The save area is a
    // frame that the engine owns until the CPU stops, and so is the one for VMSAVE.
    unsafe {
        Efer::update(|flags| flags.insert(EferFlags::SECURE_VIRTUAL_MACHINE_ENABLE));
        Msr::new(VM_HSAVE_PA).write(host_save.hpa().as_u64());
        switch::save_host(host.hpa());
    }
    let mitigations = Mitigations::detect();
    mitigations.set_up();
    let tags = TagAllocator::new(cpu, tags_end(capabilities.asids));
    Ok(Engine { capabilities, maps, tags, fpu_method, mitigations, host, _host_save: host_save })
}

fn detect() -> Capabilities {
    Capabilities::from_cpuid(&__cpuid(0x8000_000a), &__cpuid(0x8000_0008))
}

/// Whether the hypervisor can work with `capabilities`.
fn check(capabilities: &Capabilities) -> Result<(), Refusal> {
    if !capabilities.features.contains(Features::NESTED_PAGING) {
        return Err(Refusal::NoNestedPaging);
    }
    // Id 0 is the host's.
    if capabilities.asids < 2 {
        return Err(Refusal::NoAddressSpaceIds);
    }
    Ok(())
}

/// Lifts the firmware's bar, if it is not locked.
fn unlock() -> Result<(), Refusal> {
    let mut vm_cr = Msr::new(VM_CR);
    // SAFETY: every CPU with SVM has the register; clearing SVMDIS only permits what the next step does.
    unsafe {
        let value = vm_cr.read();
        if value & VM_CR_SVMDIS == 0 {
            return Ok(());
        }
        if value & VM_CR_LOCK != 0 {
            return Err(Refusal::DisabledByFirmware);
        }
        vm_cr.write(value & !VM_CR_SVMDIS);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amd::capabilities::capabilities;

    #[test]
    fn a_cpu_without_nested_paging_or_ids_is_refused() {
        assert_eq!(check(&capabilities(16, 0)), Err(Refusal::NoNestedPaging));
        assert_eq!(check(&capabilities(1, 1)), Err(Refusal::NoAddressSpaceIds));
        assert_eq!(check(&capabilities(2, 1)), Ok(()));
    }
}
