//! One CPU that can run guests, whichever vendor made it.

use crate::amd;
use crate::frames::{FrameSource, OutOfFrames};
use crate::intel;
use crate::mitigations::Mitigations;
use crate::vendor::Vcpu;
use base::{ApicId, CpuId, Hpa};
use core::fmt;
use memory::NestedFormat;

/// Why a CPU cannot run guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BringUpError {
    /// It has no virtualization extension that the hypervisor knows, or something hides it.
    NoExtension,
    /// Its AMD-V does not do.
    Amd(amd::refusal::Refusal),
    /// Its VT-x does not do.
    Intel(intel::refusal::Refusal),
    /// There is no memory for the structures that it needs.
    OutOfFrames(OutOfFrames),
}

impl fmt::Display for BringUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoExtension => f.write_str(
                "this CPU shows neither AMD-V (CPUID 0x80000001, ECX bit 2) nor VT-x (CPUID 1, ECX bit 5): it is too \
                 old, or runs in a virtual machine without nested virtualization",
            ),
            Self::Amd(refusal) => refusal.fmt(f),
            Self::Intel(refusal) => refusal.fmt(f),
            Self::OutOfFrames(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for BringUpError {}

impl From<OutOfFrames> for BringUpError {
    fn from(error: OutOfFrames) -> Self {
        Self::OutOfFrames(error)
    }
}

impl From<amd::refusal::Refusal> for BringUpError {
    fn from(refusal: amd::refusal::Refusal) -> Self {
        Self::Amd(refusal)
    }
}

impl From<intel::refusal::Refusal> for BringUpError {
    fn from(refusal: intel::refusal::Refusal) -> Self {
        Self::Intel(refusal)
    }
}

/// Whether the processor may run guests' local APICs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApicVirtualization {
    /// Where it can.
    #[default]
    WherePresent,
    /// It may not: every access to a local APIC is emulated.
    Off,
}

/// One CPU, ready to run guests. It belongs to that CPU.
#[derive(Debug)]
pub enum Engine {
    /// AMD-V.
    Amd(amd::bring_up::Engine),
    /// VT-x.
    Intel(intel::bring_up::Engine),
}

/// Makes the CPU that executes this, `cpu` with the local APIC `apic_id`, ready to run guests, whose local APICs it runs as `apics` says.
///
/// Its own GDT, TSS, GS base and system-call registers must be final: what they are now is what every exit restores.
/// CR4.OSFXSR and CR4.OSXSAVE are set, CR0.EM and CR0.TS cleared.
///
/// # Errors
/// What is missing, and how to provide it.
pub fn bring_up(
    cpu: CpuId,
    apic_id: ApicId,
    apics: ApicVirtualization,
    frames: &mut impl FrameSource,
) -> Result<Engine, BringUpError> {
    if amd::bring_up::is_present() {
        return amd::bring_up::bring_up(cpu, frames).map(Engine::Amd);
    }
    if intel::bring_up::is_present() {
        return intel::bring_up::bring_up(cpu, apic_id, apics, frames).map(Engine::Intel);
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
            Self::Intel(engine) => intel::vcpu::Vcpu::new(engine, nested_root, frames).map(Vcpu::Intel),
        }
    }

    /// The format of the nested page tables that its vCPUs walk.
    pub const fn nested_format(&self) -> NestedFormat {
        match self {
            Self::Amd(_) => NestedFormat::Npt,
            Self::Intel(_) => NestedFormat::Ept,
        }
    }

    /// What is done about the CPU's vulnerabilities.
    pub const fn mitigations(&self) -> &Mitigations {
        match self {
            Self::Amd(engine) => engine.mitigations(),
            Self::Intel(engine) => engine.mitigations(),
        }
    }

    /// The frame to show guests in the place of their local APICs' page, where the processor runs those.
    pub fn apic_page(&self) -> Option<Hpa> {
        match self {
            Self::Amd(_) => None,
            Self::Intel(engine) => engine.apic_page(),
        }
    }

    /// The XCR0 components that guests can be given; 0 when the CPU has no XSAVE.
    pub const fn xcr0_components(&self) -> u64 {
        match self {
            Self::Amd(engine) => engine.xcr0_components(),
            Self::Intel(engine) => engine.xcr0_components(),
        }
    }
}

/// The extension and its features, for the log.
impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amd(engine) => engine.capabilities().fmt(f),
            Self::Intel(engine) => engine.capabilities().fmt(f),
        }
    }
}
