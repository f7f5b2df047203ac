//! One CPU that can run guests, whichever vendor made it.

use crate::amd;
use crate::frames::{FrameSource, OutOfFrames};
use crate::mitigations::Mitigations;
use crate::vcpu_type::Vcpu;
use base::{CpuId, Hpa};
use core::fmt;
use memory::NestedFormat;

/// Why a CPU cannot run guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BringUpError {
    /// It has no virtualization extension that the hypervisor knows, or something hides it.
    NoExtension,
    /// The firmware switched the extension off and locked that.
    DisabledByFirmware,
    /// It cannot translate guest-physical addresses.
    NoNestedPaging,
    /// It has no address-space ids for guests.
    NoAddressSpaceIds,
    /// There is no memory for the structures that it needs.
    OutOfFrames(OutOfFrames),
}

impl fmt::Display for BringUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoExtension => {
                "this CPU shows no AMD-V (CPUID 0x80000001, ECX bit 2): it is too old, or runs in a virtual machine \
                 without nested virtualization"
            }
            Self::DisabledByFirmware => {
                "AMD-V is switched off and locked by the firmware (VM_CR.SVMDIS): enable \"SVM Mode\" in its setup, \
                 often under Advanced > CPU Configuration, then power the machine off and on"
            }
            Self::NoNestedPaging => "this CPU's AMD-V has no nested paging (CPUID 0x8000000A, EDX bit 0): a newer one is needed",
            Self::NoAddressSpaceIds => "this CPU's AMD-V offers no ASID for guests (CPUID 0x8000000A, EBX below 2)",
            Self::OutOfFrames(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for BringUpError {}

impl From<OutOfFrames> for BringUpError {
    fn from(error: OutOfFrames) -> Self {
        Self::OutOfFrames(error)
    }
}

/// One CPU, ready to run guests. It belongs to that CPU.
#[derive(Debug)]
pub enum Engine {
    /// AMD-V.
    Amd(amd::bring_up::Engine),
}

/// Makes the CPU that executes this, `cpu`, ready to run guests.
///
/// Its own GDT, TSS, GS base and system-call registers must be final: what they are now is what every exit restores.
/// CR4.OSFXSR and CR4.OSXSAVE are set, CR0.EM and CR0.TS cleared.
///
/// # Errors
/// What is missing, and how to provide it.
pub fn bring_up(cpu: CpuId, frames: &mut impl FrameSource) -> Result<Engine, BringUpError> {
    if amd::bring_up::is_present() {
        return amd::bring_up::bring_up(cpu, frames).map(Engine::Amd);
    }
    Err(BringUpError::NoExtension)
}

impl Engine {
    /// A vCPU in its state after reset, whose guest-physical addresses the tables at `nested_root` translate.
    ///
    /// The tables decide what memory the guest reaches: they are those of the VM's own guest-physical map, and they
    /// outlive the vCPU.
    ///
    /// # Errors
    /// [`OutOfFrames`] when there is no memory for its structures.
    pub fn new_vcpu(&self, nested_root: Hpa, frames: &mut impl FrameSource) -> Result<Vcpu, OutOfFrames> {
        match self {
            Self::Amd(engine) => amd::vcpu::Vcpu::new(engine, nested_root, frames).map(Vcpu::Amd),
        }
    }

    /// The format of the nested page tables that its vCPUs walk.
    pub const fn nested_format(&self) -> NestedFormat {
        match self {
            Self::Amd(_) => NestedFormat::Npt,
        }
    }

    /// What is done about the CPU's vulnerabilities.
    pub const fn mitigations(&self) -> &Mitigations {
        match self {
            Self::Amd(engine) => engine.mitigations(),
        }
    }

    /// The XCR0 components that guests can be given; 0 when the CPU has no XSAVE.
    pub const fn xcr0_components(&self) -> u64 {
        match self {
            Self::Amd(engine) => engine.xcr0_components(),
        }
    }
}

/// The extension and its features, for the log.
impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amd(engine) => engine.capabilities().fmt(f),
        }
    }
}
