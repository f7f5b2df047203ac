//! What CPUID tells a guest: the host's answers, cut down to an allow-list, for one virtual CPU.

use crate::control::Allowed;
use base::{ApicId, TscScale};

/// The four registers of an answer: EAX, EBX, ECX, EDX.
pub type Registers = [u32; 4];

/// Whether the guest may take its TSC for steady across frequency and sleep states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TscStability {
    /// The host's is invariant.
    Invariant,
    /// It is not, or nobody knows.
    Unknown,
}

/// The virtual CPU to describe.
#[derive(Clone, Copy, Debug)]
pub struct GuestCpu {
    /// Its local APIC's id.
    pub apic_id: ApicId,
    /// Its TSC's frequency.
    pub tsc: TscScale,
    /// Whether that is steady.
    pub tsc_stability: TscStability,
}

/// What of the vCPU's registers an answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct Dynamic {
    /// CR4.
    pub cr4: u64,
    /// XCR0.
    pub xcr0: u64,
    /// Whether IA32_APIC_BASE has the local APIC enabled.
    pub apic_enabled: bool,
}

/// The answers, computed once.
#[derive(Clone, Debug)]
pub struct Cpuid {
    allowed: Allowed,
}

impl Cpuid {
    /// The view of `guest` on a host whose CPUID instruction is `host(leaf, subleaf)`.
    pub fn new(_host: impl Fn(u32, u32) -> Registers, _guest: &GuestCpu) -> Self {
        todo!()
    }

    /// The answer to `leaf` and `subleaf`.
    pub fn query(&self, _leaf: u32, _subleaf: u32, _dynamic: &Dynamic) -> Registers {
        todo!()
    }

    /// The register bits that go with the features shown.
    pub const fn allowed(&self) -> &Allowed {
        &self.allowed
    }
}
