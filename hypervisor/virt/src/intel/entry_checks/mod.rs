//! Why a VM entry failed: the processor's checks in the manual's order, each with the fields that fail it.
//!
//! The processor says only in which of three areas something is wrong. What it checks there is documented, so the
//! same checks, run over the same fields after the fact, find it:
//!
//! ```text
//!   VMLAUNCH / VMRESUME
//!     ├─ VM-instruction error 7 or 8 ──▶ controls, host_state         sections 27.2.1, 27.2.2 to 27.2.4
//!     ├─ another VM-instruction error ─▶ outcome: its text            section 31.4
//!     ├─ exit reason 33 with bit 31 ───▶ guest_state                  section 27.3.1
//!     └─ exit reasons 34, 41 ──────────▶ outcome: what the qualification says
//! ```
//!
//! Sections are those of revision 084 of SDM 325462, volume 3, where VM entries are chapter 27. Other editions have
//! another chapter (26 before, 29 later) with the same numbers after the point.
//!
//! Left out are the checks of features that this hypervisor never switches on (SMM monitors, shadow VMCSs, VM
//! functions, Processor Trace, CET, protection keys for supervisors, SGX), and those that compare with memory: the
//! virtual TPR, what a link pointer points to, the MSR areas.

mod bits;
mod controls;
mod fields;
mod guest_state;
mod host_state;
mod outcome;
mod rules;
#[cfg(test)]
mod testing;

use vcpu::{EntryFailure, FieldValue, OffendingFields};

pub use fields::Field;
pub use outcome::Outcome;

/// What can tell a VMCS's fields.
pub trait FieldReader {
    /// The value of `field`, zero-extended; 0 for a field that the processor does not have.
    fn read(&self, field: Field) -> u64;
}

/// Which bits of a control field may be what (SDM, volume 3, appendix A.2 to A.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlLimits {
    /// Bits that must be 1.
    pub required: u32,
    /// Bits that may be 1.
    pub allowed: u32,
}

impl ControlLimits {
    /// From a capability register, preferably a true one.
    pub const fn from_msr(value: u64) -> Self {
        Self { required: value as u32, allowed: (value >> 32) as u32 }
    }

    /// Whether `controls` keeps to them.
    const fn permit(self, controls: u64) -> bool {
        controls >> 32 == 0
            && controls as u32 & self.required == self.required
            && controls as u32 & !self.allowed == 0
    }
}

/// What of the processor's abilities the checks depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// IA32_VMX_BASIC.
    pub basic: u64,
    /// IA32_VMX_(TRUE_)PINBASED_CTLS.
    pub pin: ControlLimits,
    /// IA32_VMX_(TRUE_)PROCBASED_CTLS.
    pub primary: ControlLimits,
    /// IA32_VMX_PROCBASED_CTLS2.
    pub secondary: ControlLimits,
    /// IA32_VMX_PROCBASED_CTLS3: the bits that may be 1.
    pub tertiary: u64,
    /// IA32_VMX_(TRUE_)EXIT_CTLS.
    pub exit: ControlLimits,
    /// IA32_VMX_(TRUE_)ENTRY_CTLS.
    pub entry: ControlLimits,
    /// IA32_VMX_MISC.
    pub misc: u64,
    /// IA32_VMX_EPT_VPID_CAP.
    pub ept_vpid: u64,
    /// IA32_VMX_CR0_FIXED0 and FIXED1: the bits that must be 1, and those that may be.
    pub cr0: (u64, u64),
    /// IA32_VMX_CR4_FIXED0 and FIXED1.
    pub cr4: (u64, u64),
    /// The bits of EFER that the processor has.
    pub efer: u64,
    /// The width of a physical address in bits.
    pub physical_bits: u32,
    /// The width of a linear address in bits.
    pub linear_bits: u32,
}

/// A check that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal {
    reason: &'static str,
    fields: [Option<Field>; OffendingFields::MAX],
}

/// What is checked: the fields, and what the processor allows.
struct View<'a> {
    reader: &'a dyn FieldReader,
    limits: &'a Limits,
}

impl View<'_> {
    fn read(&self, field: Field) -> u64 {
        self.reader.read(field)
    }

    /// Whether any of `bits` is set in `field`.
    fn has(&self, field: Field, bits: u64) -> bool {
        self.read(field) & bits != 0
    }
}

/// The outcome of a check: refused for `reason`, which lies in `fields`, if it `fails`.
fn reject_if(fails: bool, reason: &'static str, fields: &[Field]) -> Result<(), Refusal> {
    if !fails {
        return Ok(());
    }
    let mut named = [None; OffendingFields::MAX];
    for (slot, field) in named.iter_mut().zip(fields) {
        *slot = Some(*field);
    }
    Err(Refusal { reason, fields: named })
}

/// What `outcome` of an entry is put down to.
pub fn explain(outcome: Outcome, reader: &dyn FieldReader, limits: &Limits) -> EntryFailure {
    let view = View { reader, limits };
    let refusal = outcome.explain(&view);
    let value = |field: Field| FieldValue { name: field.name(), value: reader.read(field) };
    let fields = OffendingFields::new(refusal.fields.map(|field| field.map(value)));
    EntryFailure { code: outcome.code(), reason: refusal.reason, fields }
}
